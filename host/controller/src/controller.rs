//! The loop: hear, claim, run, renew.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use threeport_kube::Watches;
use threeport_scheduler::{Bell, Listener};
use threeport_store::{Claim, Class, Key, Resource, Shares, Store, TraceContext};
use threeport_wasm::Runtime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{Instrument, field};

use crate::back;
use crate::backoff::jittered;
use crate::components;
use crate::config::Config;
use crate::events;
use crate::follow::{self, Behind};
use crate::host::Host;
use crate::hosts;
use crate::kinds::{Kinds, plugins, reusables};
use crate::lease::Lease;
use crate::look::{self, Placed};
use crate::meters::{self, Outcome};
use crate::pause::Pauses;
use crate::redact::Redactor;
use crate::rung::Rung;
use crate::serving::Serving;
use crate::stats::{Counters, Stats, add};
use crate::targets::Targets;
use crate::work::work;

/// Rings of watches are gathered for so long: a roll-out is many events and one reason to look.
const GATHER: Duration = Duration::from_millis(20);

/// What is due stays due while the database fails: without a pause the loop would spin.
const AFTER_ERROR: Duration = Duration::from_millis(250);

/// One host's controller.
pub struct Controller {
    host: Arc<Host>,
    listener: Box<dyn Listener>,
    drifts: mpsc::UnboundedReceiver<Arc<str>>,
    running: Arc<Running>,
}

/// Looks at a controller while it runs. Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    host: Arc<Host>,
    running: Arc<Running>,
}

impl Monitor {
    /// What happened since the start.
    pub fn stats(&self) -> Stats {
        Stats { running: self.running.lock().len() as u64, ..self.host.counters.snapshot() }
    }

    /// What is on targets because of an object, and how it is there now; in the order of application.
    ///
    /// # Errors
    /// When the store fails. A target that does not answer is said of what is on it.
    pub async fn placed(&self, key: &Key) -> Result<Vec<Placed>, threeport_store::Error> {
        look::placed(&self.host, key).await
    }

    /// The name that this host claims work with.
    pub fn host(&self) -> &str {
        &self.host.config.owner
    }

    /// Name of the Plugin that serves a collection.
    pub fn plugin(&self, resource: &Resource) -> Option<Arc<str>> {
        self.host.kinds.get(resource).map(|kind| kind.plugin.clone())
    }

    /// Brings the meters of this moment up to date.
    pub fn sample(&self) {
        meters::sample(self.running.lock().len(), self.host.config.slots, self.host.watches.len());
        meters::targets(&self.host.targets.circuits());
    }

    /// Digest of the component that serves under a Plugin's name.
    pub fn serving(&self, plugin: &str) -> Option<String> {
        self.host.serving.registry.serving(plugin).map(|plugin| plugin.digest.clone())
    }
}

/// Runs under way, by the object's uid.
#[derive(Default)]
struct Running(Mutex<HashMap<Arc<str>, Slot>>);

struct Slot {
    epoch: u64,
    claim: Claim,
    lease: Arc<Lease>,
    abort: AbortHandle,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a run, if it is this one.
    fn end(&self, uid: &Arc<str>, epoch: u64) {
        let mut running = self.lock();
        if running.get(uid).is_some_and(|slot| slot.epoch == epoch) {
            running.remove(uid);
        }
    }
}

impl Controller {
    /// A controller that claims work from `store`. It does nothing until it is [run](Self::run).
    pub fn new(
        config: Config,
        store: Store,
        bell: Arc<dyn Bell>,
        listener: Box<dyn Listener>,
        runtime: Runtime,
    ) -> Self {
        let kinds = Arc::new(Kinds::default());
        let (drifted, drifts) = mpsc::unbounded_channel();
        // An error means that the loop has ended: nobody is to be rung any more.
        let watches = Watches::new(Arc::new(move |uid: &str| drop(drifted.send(uid.into()))));
        let targets = Arc::new(Targets::new(store.clone(), kinds.clone(), config.target_pause));
        let serving = Serving::new(runtime);
        let redactor = Redactor::new(&config.digest_key);
        let (counters, behind) = (Counters::default(), Behind::default());
        let mixed = AtomicBool::new(false);
        let pauses = Pauses::default();
        let host =
            Host { config, store, bell, kinds, serving, behind, mixed, pauses, targets, redactor, watches, counters };
        Self { host: Arc::new(host), listener, drifts, running: Arc::default() }
    }

    /// For looking at it while it runs.
    pub fn monitor(&self) -> Monitor {
        Monitor { host: self.host.clone(), running: self.running.clone() }
    }

    /// Works until `shutdown` says true (or its sender is gone), then lets runs finish within the grace time and gives the rest back.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Self { host, listener, drifts, running } = self;
        let since = host.store.version();
        let beating = hosts::join(host.clone()).await;
        if let Err(error) = start(&host).await {
            // What is not loaded now is loaded by the runs of the Plugin objects.
            tracing::error!("the plugins that served last cannot be loaded: {error}");
        }
        let is_full = watch::Sender::new(false);
        let ready = Arc::new(Notify::new());
        let (mut rung, listening) = Rung::new(listener, is_full.subscribe());
        let helpers = [
            tokio::spawn(listening),
            tokio::spawn(follow::follow(host.clone(), since, ready.clone())),
            tokio::spawn(gather(host.clone(), drifts)),
            tokio::spawn(renew(host.clone(), running.clone())),
            tokio::spawn(events::forget(host.store.clone())),
            tokio::spawn(components::collect(host.clone())),
            tokio::spawn(back::find_out(host.clone())),
            tokio::spawn(beating),
        ];
        let mut runs = JoinSet::new();
        while !*shutdown.borrow() {
            rung.gather();
            let (full, shares) = claim(&host, &running, &mut runs, &mut rung).await;
            is_full.send_if_modified(|was| std::mem::replace(was, full) != full);
            // What is due and held back is no reason to look again: a run that ends is, and so is what comes.
            let next = host.store.next_due_within(&shares).unwrap_or(Duration::MAX).max(Duration::from_millis(1));
            let sweep = jittered(host.config.sweep).min(next);
            tokio::select! {
                stop = shutdown.changed() => {
                    if stop.is_err() {
                        break;
                    }
                }
                () = rung.wait(), if !full => {}
                () = ready.notified(), if !full => {}
                // With all slots taken, only a run that ends makes room.
                () = tokio::time::sleep(sweep), if !full => {}
                Some(_) = runs.join_next() => {}
            }
            while runs.try_join_next().is_some() {}
        }
        finish(&host, &running, runs).await;
        helpers.iter().for_each(tokio::task::JoinHandle::abort);
        hosts::leave(&host).await;
    }
}

/// Loads what served, and has everything looked at once: watches are this process's own.
async fn start(host: &Host) -> Result<(), threeport_store::Error> {
    host.serving.restore(&host.store, &host.kinds).await?;
    host.wake_all(&plugins()).await?;
    host.wake_all(&reusables()).await?;
    for kind in host.kinds.all() {
        host.wake_all(&kind.resource).await?;
    }
    Ok(())
}

/// Takes what is due into free slots; whether none is left free, and the shares by which more may be claimed.
async fn claim(host: &Arc<Host>, running: &Arc<Running>, runs: &mut JoinSet<()>, rung: &mut Rung) -> (bool, Shares) {
    loop {
        let shares = shares(host, running);
        let free = host.config.slots.saturating_sub(runs.len());
        if free == 0 {
            return (true, shares);
        }
        let (began, at) = (Instant::now(), SystemTime::now());
        let claims = match host.store.claim_within(&host.config.owner, host.config.lease, free, shares.clone()).await {
            Ok(claims) => claims,
            Err(error) => {
                tracing::error!("cannot claim work: {error}; trying again");
                tokio::time::sleep(AFTER_ERROR).await;
                return (false, shares);
            }
        };
        if claims.is_empty() {
            rung.nothing_due();
            return (false, shares);
        }
        meters::claiming(began);
        for claim in claims {
            rung.taken(&claim.object.uid);
            if let Some(trace) = claim.trace {
                trace.past("claim", at, SystemTime::now());
            }
            spawn(host, running, runs, claim);
        }
    }
}

/// No plugin gets more than three quarters of the slots, and no namespace more than three quarters of a plugin's: one whose runs never end must leave others
/// room, with the same plugin as well. A target gets what is set.
fn shares(host: &Host, running: &Running) -> Shares {
    let most = (host.config.slots * 3).div_ceil(4);
    let shares = Shares::new(most).in_each_namespace((most * 3).div_ceil(4));
    let mut shares = shares.at_each_target(host.config.target_slots.max(1));
    for kind in host.kinds.all() {
        shares.belongs(kind.resource.clone(), kind.plugin.clone());
    }
    host.behind.kinds(host.mixed.load(Relaxed)).into_iter().for_each(|kind| shares.refuse(kind));
    running.lock().values().for_each(|slot| shares.hold(&slot.claim));
    shares
}

fn spawn(host: &Arc<Host>, running: &Arc<Running>, runs: &mut JoinSet<()>, claim: Claim) {
    host.counters.claimed(claim.waited);
    meters::claimed(host, &claim.object.key.resource, claim.waited);
    let (uid, epoch) = (claim.object.uid.clone(), claim.epoch);
    let lease = Arc::new(Lease::new(claim.expires));
    let span = span(host, &claim);
    let mut slots = running.lock();
    let task = {
        let (host, running, claim, lease, uid) =
            (host.clone(), running.clone(), claim.clone(), lease.clone(), uid.clone());
        async move {
            work(host, claim, lease).await;
            running.end(&uid, epoch);
        }
    };
    let abort = runs.spawn(task.instrument(span));
    if let Some(older) = slots.insert(uid, Slot { epoch, claim, lease, abort }) {
        // The same object again: its earlier lease ran out.
        older.lease.lose();
        older.abort.abort();
    }
}

/// A run's span: a part of the trace of the write that made it due, or the first of a trace of its own.
fn span(host: &Host, claim: &Claim) -> tracing::Span {
    let resource = &claim.object.key.resource;
    let span = tracing::info_span!(
        "run",
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        object = %claim.object.key,
        plugin = host.kinds.get(resource).map(|kind| kind.plugin.to_string()),
        epoch = claim.epoch,
        class = ?claim.class,
        waited_us = u64::try_from(claim.waited.as_micros()).unwrap_or(u64::MAX),
        attempt = claim.attempts,
        generation = field::Empty,
        reason = field::Empty,
        trace_id = field::Empty,
    );
    if let Some(trace) = claim.trace {
        trace.adopt(&span);
    }
    if let Some(own) = TraceContext::of(&span) {
        span.record("trace_id", field::display(own.trace()));
    }
    span
}

/// Makes the owners due whose watches rang.
async fn gather(host: Arc<Host>, mut drifts: mpsc::UnboundedReceiver<Arc<str>>) {
    while let Some(first) = drifts.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut uids = HashSet::from([first]);
        while let Ok(uid) = drifts.try_recv() {
            uids.insert(uid);
        }
        let uids: Vec<Arc<str>> = uids.into_iter().collect();
        match host.store.wake(&uids, Class::Drift).await {
            Ok(()) => host.ring(&uids, Class::Drift),
            Err(error) => tracing::warn!("objects whose watch rang are not woken: {error}; the resync finds them"),
        }
    }
}

/// Prolongs all leases of this host in one statement, and ends the runs whose lease is lost.
async fn renew(host: Arc<Host>, running: Arc<Running>) {
    let ttl = host.config.lease;
    let mut ticks = tokio::time::interval(ttl / 4);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let held: Vec<(Arc<str>, u64)> = running.lock().iter().map(|(uid, slot)| (uid.clone(), slot.epoch)).collect();
        if held.is_empty() {
            continue;
        }
        let sent = Instant::now();
        match host.store.renew(&host.config.owner, &held, ttl).await {
            Ok(lost) => {
                let lost: HashSet<_> = lost.into_iter().collect();
                let mut slots = running.lock();
                for (uid, epoch) in held {
                    let Some(slot) = slots.get(&uid).filter(|slot| slot.epoch == epoch) else { continue };
                    if !lost.contains(&uid) {
                        slot.lease.renewed(sent + ttl);
                        continue;
                    }
                    slot.lease.lose();
                    if !slot.lease.is_completing() {
                        slot.abort.abort();
                        add(&host.counters.leases_lost);
                        meters::ended(&host, &slot.claim.object.key.resource, Outcome::LeaseLost, None);
                    }
                    slots.remove(&uid);
                }
            }
            Err(error) => tracing::warn!("leases are not renewed: {error}; runs stop acting when they end"),
        }
    }
}

/// Waits for runs under way, then gives back what they hold.
async fn finish(host: &Host, running: &Running, mut runs: JoinSet<()>) {
    let all_ended = async { while runs.join_next().await.is_some() {} };
    if tokio::time::timeout(host.config.grace, all_ended).await.is_ok() {
        return;
    }
    runs.shutdown().await;
    let rest: Vec<Claim> = running.lock().drain().map(|(_, slot)| slot.claim).collect();
    for claim in rest {
        // An error means that the lease is over: then it is given back already.
        if let Err(error) = host.store.release(&claim).await {
            tracing::debug!(object = %claim.object.key, "not given back: {error}");
        }
    }
}

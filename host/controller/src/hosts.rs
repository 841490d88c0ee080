//! Who else works on the same database: this host says that it is there, hears of the others, and has looked at again what those watched that are gone.
//!
//! What a host held is claimed by others when its leases are over, whatever happens here. What it watched on targets nobody would miss before the next
//! resync: so each work item says who watches, and what a host watched that is no longer heard of is made due.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use threeport_store::{Beat, Class, HostInfo};
use tokio::time::MissedTickBehavior;

use crate::host::Host;
use crate::meters;

/// A host says that it is there so many times while its leases hold.
const BEATS: u32 = 5;

/// Objects that nobody watches any more are looked at one after the other, so far apart.
const APART: Duration = Duration::from_millis(2);

/// One ring is enough to have a host look; some more bring the others.
const RINGS: usize = 16;

/// After so many beats, watches for objects that other hosts have seen go are ended.
const TIDY: u32 = 60;

/// A clock that is wrong by more than this, in microseconds, is told of.
const SKEWED: i64 = 5_000_000;

/// Says for the first time that this host is there: before it claims anything, so that nobody takes its watches for those of a dead one. The rest goes on as
/// long as it is polled.
pub(crate) async fn join(host: Arc<Host>) -> impl Future<Output = ()> + Send {
    let mut seen = Seen::default();
    beat(&host, &mut seen).await;
    async move {
        let mut ticks = tokio::time::interval(host.config.lease / BEATS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            beat(&host, &mut seen).await;
        }
    }
}

/// The others need not wait for this host's silence. Nothing may beat any more.
pub(crate) async fn leave(host: &Host) {
    let left = tokio::time::timeout(host.config.lease, host.store.leave(&host.config.owner)).await;
    if !matches!(left, Ok(Ok(()))) {
        tracing::debug!("the others are not told that this host goes; they find out by its silence");
    }
}

async fn beat(host: &Host, seen: &mut Seen) {
    let config = &host.config;
    let said = Beat { name: config.owner.as_str().into(), version: config.version.clone(), lease: config.lease };
    let hosts = match tokio::time::timeout(config.lease / 2, host.store.beat(&said)).await {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(error)) => return seen.silence(&error.to_string()),
        Err(_elapsed) => return seen.silence("it does not answer"),
    };
    let live = hosts.iter().filter(|host| host.is_live()).count();
    meters::hosts(live, hosts.len() - live, host.store.clock_ahead());
    host.mixed.store(hosts.iter().any(|other| other.is_live() && other.version != config.version), Relaxed);
    seen.clock(host.store.clock_ahead());
    seen.tell(&hosts);
    seen.beats = seen.beats.wrapping_add(1);
    if seen.beats.is_multiple_of(TIDY) {
        tidy(host).await;
    }
    if let Some(live) = seen.judge(&hosts, &said, Instant::now()) {
        take_over(host, &live).await;
    }
}

/// Has some of what hosts watched that are gone looked at; more of it with the next beat.
async fn take_over(host: &Host, live: &HashSet<Arc<str>>) {
    let gone = host.store.watching_but(live);
    if gone.is_empty() {
        return;
    }
    match host.store.take_watches(gone.clone(), APART).await {
        Ok(due) => {
            tracing::info!(?gone, count = due.len(), "watched by nobody: looked at again");
            host.ring(due.iter().take(RINGS), Class::Drift);
        }
        Err(error) => tracing::warn!(?gone, "what they watched is not looked at again: {error}; trying again"),
    }
}

/// Whoever sees an object go ends its own watches for it; those that other hosts have from before end here.
async fn tidy(host: &Host) {
    for uid in host.watches.subscribers() {
        if matches!(host.store.by_uid(&uid).await, Ok(None)) {
            host.watches.replace(&uid, Vec::new());
        }
    }
}

/// What this host knows of the others.
#[derive(Default)]
struct Seen {
    /// Since when it was never silent itself for longer than its leases hold; and when it beat last.
    unbroken: Option<(Instant, Instant)>,
    /// Whether each was there.
    known: Option<HashMap<Arc<str>, bool>>,
    beats: u32,
    skewed: bool,
}

impl Seen {
    /// The database did not take the beat.
    fn silence(&mut self, why: &str) {
        if self.unbroken.take().is_some() {
            tracing::debug!("the other hosts are not heard of: {why}; trying again");
        }
    }

    /// Which hosts are there; None while that cannot be told: after a silence of our own, or of the database, the others need as long to be heard again.
    fn judge(&mut self, hosts: &[HostInfo], said: &Beat, now: Instant) -> Option<HashSet<Arc<str>>> {
        let since = match self.unbroken {
            Some((since, last)) if now.duration_since(last) <= said.lease => since,
            _ => now,
        };
        self.unbroken = Some((since, now));
        let unbroken = now.duration_since(since);
        let live = hosts.iter().filter(|host| host.is_live() || unbroken < host.lease);
        (unbroken >= said.lease).then(|| live.map(|host| host.name.clone()).collect())
    }

    /// Says who came and who is gone.
    fn tell(&mut self, hosts: &[HostInfo]) {
        let now: HashMap<Arc<str>, bool> = hosts.iter().map(|host| (host.name.clone(), host.is_live())).collect();
        let Some(before) = self.known.replace(now) else { return };
        for host in hosts {
            let (name, live) = (&*host.name, host.is_live());
            match (before.get(&host.name).copied(), live) {
                (None | Some(false), true) => {
                    tracing::info!(host = name, version = host.version, "another host is there")
                }
                (Some(true), false) => tracing::warn!(
                    host = name,
                    silent_ms = u64::try_from(host.heard_ago.as_millis()).unwrap_or(u64::MAX),
                    "a host is gone: what it held and watched is the others'"
                ),
                _ => {}
            }
        }
        let here = |name: &Arc<str>| hosts.iter().any(|host| host.name == *name);
        for name in before.iter().filter(|(name, live)| **live && !here(name)).map(|(name, _)| name) {
            tracing::info!(host = &**name, "a host has stopped");
        }
    }

    /// Says when this host's clock is wrong, and when it is right again.
    fn clock(&mut self, ahead: i64) {
        let skewed = ahead.saturating_abs() > if self.skewed { SKEWED / 2 } else { SKEWED };
        if skewed && !self.skewed {
            let (seconds, where_to) =
                (ahead.saturating_abs() / 1_000_000, if ahead > 0 { "ahead of" } else { "behind" });
            tracing::warn!(
                "this host's clock is {seconds} s {where_to} the database's: leases, due times and tokens go by the database's and stay right, but some times that \
                 this host writes into objects and logs are wrong; set its clock, or the database's (NTP)"
            );
        } else if self.skewed && !skewed {
            tracing::info!("this host's clock is right again");
        }
        self.skewed = skewed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, silent: u64) -> HostInfo {
        HostInfo {
            name: name.into(),
            version: "1".into(),
            started: Default::default(),
            heard_ago: Duration::from_millis(silent),
            lease: Duration::from_millis(1600),
            clock_ahead: 0,
        }
    }

    #[tokio::test]
    async fn watches_for_what_another_host_has_removed_end() {
        let (host, _dir) = crate::work::tests::host().await;
        let scope = || vec![("target".to_owned(), threeport_kube::WatchScope::owned("v1", "ConfigMap"))];
        host.watches.replace("u", scope());
        host.watches.replace("gone", scope());
        tidy(&host).await;
        assert_eq!(host.watches.subscribers(), ["u"]);
    }

    #[test]
    fn nobody_is_taken_for_dead_by_one_who_was_silent_itself() {
        let said = Beat { name: "me".into(), version: "1".into(), lease: Duration::from_millis(1600) };
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut judged = |at: u64, silent: u64| {
            let hosts = [host("me", 0), host("other", silent)];
            seen.judge(&hosts, &said, start + Duration::from_millis(at)).map(|live| live.len())
        };
        assert_eq!([judged(0, 9000), judged(800, 9800), judged(1500, 10_500)], [None; 3], "it is new itself");
        assert_eq!([judged(1600, 10_600), judged(2000, 300), judged(3000, 1700)], [Some(1), Some(2), Some(1)]);
        assert_eq!([judged(9000, 7700), judged(10_000, 8700)], [None; 2], "it was away itself");
        assert_eq!([judged(10_600, 100), judged(10_700, 200)], [Some(2); 2]);
        seen.silence("the database was away");
        assert_eq!(
            seen.judge(&[host("me", 0), host("other", 1700)], &said, start + Duration::from_millis(10_800)),
            None
        );
    }
}

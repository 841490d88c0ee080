//! One claim from its run to its completion, whatever happens in between.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use serde_json::Value;
use threeport_scheduler::Wake;
use threeport_store::{Claim, Class, Completed, Completion, Error};

use crate::abandon;
use crate::events;
use crate::host::{Host, now};
use crate::kinds::{Kind, plugins, reusables};
use crate::lease::Lease;
use crate::meters::{self, Outcome, Part};
use crate::pause;
use crate::plugins::{self as plugin_objects, Install};
use crate::report::Report;
use crate::revisions;
use crate::run;
use crate::stats::add;
use crate::trouble::{Stop, Trouble};

/// Wait between attempts to write a completion.
const RETRY: Duration = Duration::from_millis(200);

/// What is due sooner is found by the sweep before a ring for it would help.
const LATER: Duration = Duration::from_secs(1);

/// Runs a claim and completes it.
pub(crate) async fn work(host: Arc<Host>, claim: Claim, lease: Arc<Lease>) {
    let object = claim.object.value();
    let run = dispatch(&host, &claim, &lease, &object);
    finish(&host, &claim, &lease, &object, run).await;
}

/// Whatever `run` comes to is completed: a panic as well.
async fn finish(
    host: &Host,
    claim: &Claim,
    lease: &Lease,
    object: &Value,
    run: impl Future<Output = Result<(Report, Option<Install>), Stop>>,
) {
    let began = Instant::now();
    let resource = &claim.object.key.resource;
    let mut panicked = false;
    let (report, install) = match AssertUnwindSafe(run).catch_unwind().await {
        Ok(Ok(done)) => done,
        Ok(Err(Stop::Trouble(trouble))) => (Report::trouble(&trouble), None),
        Ok(Err(Stop::LeaseLost)) => return lost(host, claim),
        Err(panic) => {
            panicked = true;
            add(&host.counters.panics);
            let message =
                format!("the host failed while it worked on this object: {}; please report this", said(panic.as_ref()));
            tracing::error!(object = %claim.object.key, "{message}");
            (Report::trouble(&Trouble { stalled: true, ..Trouble::again("HostFailed", message) }), None)
        }
    };
    let left_behind = abandon::of_namespace(host, claim, &report.notes, now(&host.store)).await;
    let mut completion = report.completion(&host.config, claim, object, now(&host.store));
    completion.ops.extend(left_behind);
    // An error: then the write below fails as well, and is tried again.
    if let Err(error) = events::merge(&host.store, &mut completion.ops).await {
        tracing::debug!(object = %claim.object.key, "events are not merged: {error}");
    }
    completion.watches = host.watches.has(&claim.object.uid);
    let failed = completion.failed;
    let later = later(&completion);
    let turns = *resource == plugins() && pause::turns(object, &completion);
    let completing = Instant::now();
    let completed = complete(host, claim, lease, object, completion).await;
    meters::part(host, resource, Part::Complete, completing.elapsed());
    match completed {
        Some((completed, whole)) => {
            let outcome = match (panicked, failed) {
                (true, _) => Outcome::Panicked,
                (false, true) => Outcome::Failed,
                (false, false) => Outcome::Succeeded,
            };
            meters::ended(host, resource, outcome, Some(began.elapsed()));
            add(&host.counters.runs);
            if failed {
                add(&host.counters.failures);
                tracing::Span::current().record("otel.status_code", "ERROR");
            }
            tracing::debug!(object = %claim.object.key, epoch = claim.epoch, failed, took = ?began.elapsed(), "run completed");
            if completed.removed {
                host.watches.replace(&claim.object.uid, Vec::new());
                revisions::left(host, object).await;
            }
            host.ring(&completed.woken, Class::Dependency);
            if completed.due_again {
                host.ring([&claim.object.uid], Class::User);
            } else if let Some((delay, class)) = later {
                host.bell.ring_after(Wake::new(&*claim.object.uid, class.name()), delay);
            }
            if let Some(install) = install.filter(|_| whole) {
                follow_up(host, install).await;
            }
            if turns {
                // Its objects have to say that they are paused, or go on at once.
                plan_again(host, host.kinds.of_plugin(&claim.object.key.name)).await;
            }
        }
        None => lost(host, claim),
    }
}

/// When to be rung for again: what is only looked at from time to time is left to the timers of the hosts.
fn later(completion: &Completion) -> Option<(Duration, Class)> {
    let class = completion.next_class.unwrap_or(Class::Resync);
    completion.next.filter(|next| class != Class::Resync && *next >= LATER).map(|next| (next, class))
}

async fn dispatch(
    host: &Host,
    claim: &Claim,
    lease: &Lease,
    object: &Value,
) -> Result<(Report, Option<Install>), Stop> {
    if claim.object.key.resource == plugins() {
        return plugin_objects::run(host, claim, object).await;
    }
    if claim.object.key.resource == reusables() {
        return Ok((revisions::run(host, claim, object).await?, None));
    }
    Ok((run::run(host, claim, lease, object).await?, None))
}

fn lost(host: &Host, claim: &Claim) {
    add(&host.counters.leases_lost);
    meters::ended(host, &claim.object.key.resource, Outcome::LeaseLost, None);
    tracing::info!(object = %claim.object.key, epoch = claim.epoch, "the lease was lost: the result is dropped");
}

/// Writes the completion. A database that fails for a moment is tried again while the lease holds; None when the lease is over.
/// True if it was written as the run said; false if other writes came between, so that nothing of the run but its inventory counts.
async fn complete(
    host: &Host,
    claim: &Claim,
    lease: &Lease,
    object: &Value,
    completion: Completion,
) -> Option<(Completed, bool)> {
    let mut completion = completion;
    let mut whole = true;
    lease.complete();
    loop {
        match host.store.complete(claim, completion.clone()).await {
            Ok(completed) => return Some((completed, whole)),
            Err(Error::LeaseLost { .. }) => return None,
            Err(why @ (Error::Database(_) | Error::Full(_) | Error::Away(_) | Error::Undecided(_)))
                if lease.check().is_ok() =>
            {
                tracing::warn!(object = %claim.object.key, "cannot complete: {why}; trying again");
                tokio::time::sleep(RETRY).await;
            }
            // Another write came between: what was done is done, what is said of it is said by the next run.
            Err(
                error @ (Error::Conflict { .. }
                | Error::AlreadyExists(_)
                | Error::NotFound(_)
                | Error::NotEmpty(_)
                | Error::InUse { .. }
                | Error::Going(_)),
            ) if !completion.ops.is_empty() => {
                let trouble = Trouble::again("WriteConflict", format!("{error}; it is tried again"));
                let report = Report { inventory: completion.inventory.take(), ..Report::trouble(&trouble) };
                whole = false;
                let watches = completion.watches;
                completion = Completion {
                    ops: Vec::new(),
                    watches,
                    ..report.completion(&host.config, claim, object, now(&host.store))
                };
            }
            Err(error) => {
                tracing::error!(object = %claim.object.key, "cannot complete: {error}; the lease runs out");
                return None;
            }
        }
    }
}

/// What a Plugin's run changes in this host.
async fn follow_up(host: &Host, install: Install) {
    match install {
        Install::Serve { name, plugin, kinds, grants, before } => {
            let loaded = host.serving.registry.serving(&name).map(|plugin| plugin.digest.clone());
            let known = host.kinds.of_plugin(&name).len();
            host.serving.approve(&name, grants);
            let digest = plugin.digest.clone();
            host.serving.registry.install(&name, plugin);
            host.kinds.install(&name, &kinds);
            if [&before, &loaded].into_iter().all(|before| before.as_ref() == Some(&digest)) && known == kinds.len() {
                return;
            }
            tracing::info!(plugin = name, digest, "serving");
            // Those that refer to one of them, too: what nobody served could not be found.
            let refers = |other: &Arc<Kind>| {
                let names = |kind: &Kind| {
                    other
                        .references
                        .iter()
                        .any(|rule| rule.group() == &*kind.resource.group && rule.to_kinds.contains(&kind.kind))
                };
                kinds.iter().any(names)
            };
            let mut looked: Vec<Arc<Kind>> = kinds.iter().cloned().map(Arc::new).collect();
            looked.extend(host.kinds.all().into_iter().filter(refers).filter(|other| *other.plugin != *name));
            plan_again(host, looked).await;
        }
        Install::Remove { name } => {
            host.kinds.install(&name, &[]);
            host.serving.remove(&name);
            tracing::info!(plugin = name, "no longer serving");
        }
    }
}

/// Makes all objects of these kinds due.
async fn plan_again(host: &Host, kinds: Vec<Arc<Kind>>) {
    for kind in kinds {
        match host.wake_all(&kind.resource).await {
            Ok(count) => tracing::debug!(kind = kind.kind, count, "objects are planned again"),
            // They are looked at again with the resync.
            Err(error) => tracing::warn!(kind = kind.kind, "objects are not planned again at once: {error}"),
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;
    use threeport_kube::Watches;
    use threeport_scheduler::local;
    use threeport_store::{Key, Key32, Op, Precondition, ReferenceRule, Resource, Store};
    use threeport_wasm::{Limits, Runtime};

    use crate::config::Config;
    use crate::serving::Serving;
    use crate::stats::Counters;
    use crate::targets::Targets;
    use crate::trouble::Trouble;

    pub(crate) const TTL: Duration = Duration::from_secs(20);

    pub(crate) fn key() -> Key {
        Key { resource: Resource::new("example.org", "kites"), namespace: Some("a".into()), name: "red".into() }
    }

    /// A host whose store has one object that is due.
    pub(crate) async fn host() -> (Host, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(threeport_store::Config::new(dir.path().join("db"), Key32::generate())).await.unwrap();
        let body = json!({"apiVersion": "example.org/v1", "kind": "Kite", "metadata": {"namespace": "a", "name": "red", "uid": "u", "generation": 1}});
        let put =
            Op::Put { key: key(), body, precondition: Precondition::Absent, edges: None, wake: Some(Class::User) };
        store.write(vec![put]).await.unwrap();
        let config = Config::new("me");
        let kinds = Arc::default();
        let host = Host {
            targets: Arc::new(Targets::new(store.clone(), Arc::clone(&kinds), config.target_pause)),
            serving: Serving::new(Runtime::new(Limits::default()).unwrap()),
            behind: crate::follow::Behind::default(),
            mixed: std::sync::atomic::AtomicBool::new(false),
            pauses: crate::pause::Pauses::default(),
            redactor: crate::redact::Redactor::new(&config.digest_key),
            watches: Watches::new(Arc::new(|_: &str| {})),
            bell: Arc::new(local::bell().0),
            counters: Counters::default(),
            config,
            store,
            kinds,
        };
        (host, dir)
    }

    pub(crate) fn kind(references: Vec<ReferenceRule>) -> Kind {
        Kind {
            plugin: "toys".into(),
            resource: key().resource,
            api_version: "example.org/v1".into(),
            kind: "Kite".into(),
            namespaced: true,
            references,
        }
    }

    pub(crate) async fn claim(host: &Host, owner: &str, ttl: Duration) -> Claim {
        let deadline = Instant::now() + TTL;
        loop {
            if let Some(claim) = host.store.claim(owner, ttl, 1).await.unwrap().pop() {
                return claim;
            }
            assert!(Instant::now() < deadline, "nothing became due");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn run(host: &Host, claim: &Claim, result: impl Future<Output = Result<(Report, Option<Install>), Stop>>) {
        let object = claim.object.value();
        finish(host, claim, &Lease::new(claim.expires), &object, result).await;
    }

    async fn ready(host: &Host) -> Option<Value> {
        host.store.get(&key()).await.unwrap().unwrap().value().pointer("/status/conditions/0").cloned()
    }

    #[tokio::test]
    async fn a_run_that_panics_ends_as_a_condition_and_is_tried_again() {
        let (host, _dir) = host().await;
        let first = claim(&host, "me", TTL).await;
        run(&host, &first, async { panic!("the sky fell") }).await;
        let condition = ready(&host).await.unwrap();
        assert_eq!((&condition["type"], &condition["reason"]), (&json!("Ready"), &json!("HostFailed")));
        assert!(condition["message"].as_str().unwrap().contains("the sky fell"));
        let again = claim(&host, "me", TTL).await;
        assert_eq!((again.attempts, again.epoch), (1, first.epoch + 1));
        assert_eq!(host.counters.snapshot().panics, 1);
    }

    #[tokio::test]
    async fn what_a_run_wants_installed_is_not_when_its_writes_came_too_late() {
        let (host, _dir) = host().await;
        host.kinds.install("toys", &[kind(Vec::new())]);
        let claim = claim(&host, "me", TTL).await;
        let missing = Key { name: "gone".into(), ..key() };
        let precondition = Precondition::Present { uid: None, resource_version: None };
        let report = Report {
            ops: vec![Op::Remove { key: missing, precondition }],
            ..Report::trouble(&Trouble::stalled("Said", "as the run said"))
        };
        run(&host, &claim, async { Ok((report, Some(Install::Remove { name: "toys".into() }))) }).await;
        assert_eq!(ready(&host).await.unwrap()["reason"], "WriteConflict");
        assert_eq!(host.kinds.of_plugin("toys").len(), 1, "it still serves");
    }

    #[tokio::test]
    async fn who_lost_the_lease_writes_nothing() {
        let (host, _dir) = host().await;
        let late = claim(&host, "late", Duration::from_millis(1)).await;
        let holder = claim(&host, "holder", TTL).await;
        let version = host.store.version();
        run(&host, &late, async { Err(Trouble::stalled("Late", "too late").into()) }).await;
        assert_eq!((host.store.version(), ready(&host).await), (version, None));
        run(&host, &holder, async { Err(Trouble::stalled("InTime", "in time").into()) }).await;
        assert_eq!(ready(&host).await.unwrap()["reason"], "InTime");
        assert_eq!(host.counters.snapshot().leases_lost, 1);
    }
}

//! One claim from its run to its completion, whatever happens in between.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use threeport_scheduler::Wake;
use threeport_store::{Claim, Completed, Completion, Error};

use crate::host::Host;
use crate::kinds::plugins;
use crate::lease::Lease;
use crate::plugins::{self as plugin_objects, Install};
use crate::report::Report;
use crate::run;
use crate::stats::add;
use crate::trouble::{Stop, Trouble};

/// Wait between attempts to write a completion.
const RETRY: Duration = Duration::from_millis(200);

/// Runs a claim and completes it.
pub(crate) async fn work(host: Arc<Host>, claim: Claim, lease: Arc<Lease>) {
    let object = claim.object.value();
    let began = Instant::now();
    let (report, install) = match AssertUnwindSafe(dispatch(&host, &claim, &lease, &object)).catch_unwind().await {
        Ok(Ok(done)) => done,
        Ok(Err(Stop::Trouble(trouble))) => (Report::trouble(&trouble), None),
        Ok(Err(Stop::LeaseLost)) => return lost(&host, &claim),
        Err(panic) => {
            add(&host.counters.panics);
            let message =
                format!("the host failed while it worked on this object: {}; please report this", said(panic.as_ref()));
            tracing::error!(object = %claim.object.key, "{message}");
            (Report::trouble(&Trouble { stalled: true, ..Trouble::again("HostFailed", message) }), None)
        }
    };
    let completion = report.completion(&host.config, &claim, &object, Timestamp::now());
    let failed = completion.failed;
    match complete(&host, &claim, &lease, &object, completion).await {
        Some(completed) => {
            add(&host.counters.runs);
            if failed {
                add(&host.counters.failures);
            }
            tracing::debug!(object = %claim.object.key, epoch = claim.epoch, failed, took = ?began.elapsed(), "run completed");
            if completed.removed {
                host.watches.replace(&claim.object.uid, Vec::new());
            }
            host.ring(completed.woken.iter());
            if completed.due_again {
                host.bell.ring(Wake { uid: claim.object.uid.to_string() });
            }
            if let Some(install) = install {
                follow_up(&host, install).await;
            }
        }
        None => lost(&host, &claim),
    }
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
    Ok((run::run(host, claim, lease, object).await?, None))
}

fn lost(host: &Host, claim: &Claim) {
    add(&host.counters.leases_lost);
    tracing::info!(object = %claim.object.key, epoch = claim.epoch, "the lease was lost: the result is dropped");
}

/// Writes the completion. A database that fails for a moment is tried again while the lease holds; None when the lease is over.
async fn complete(
    host: &Host,
    claim: &Claim,
    lease: &Lease,
    object: &Value,
    completion: Completion,
) -> Option<Completed> {
    let mut completion = completion;
    lease.complete();
    loop {
        match host.store.complete(claim, completion.clone()).await {
            Ok(completed) => return Some(completed),
            Err(Error::LeaseLost { .. }) => return None,
            Err(Error::Database(why)) if lease.check().is_ok() => {
                tracing::warn!(object = %claim.object.key, "cannot complete: {why}; trying again");
                tokio::time::sleep(RETRY).await;
            }
            // Another write came between: what was done is done, what is said of it is said by the next run.
            Err(error @ (Error::Conflict { .. } | Error::AlreadyExists(_) | Error::NotFound(_)))
                if !completion.ops.is_empty() =>
            {
                let trouble = Trouble::again("WriteConflict", format!("{error}; it is tried again"));
                let report = Report { inventory: completion.inventory.take(), ..Report::trouble(&trouble) };
                completion =
                    Completion { ops: Vec::new(), ..report.completion(&host.config, claim, object, Timestamp::now()) };
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
        Install::Serve { name, plugin, kinds, grants } => {
            let before = host.serving.registry.serving(&name).map(|plugin| plugin.digest.clone());
            let known = host.kinds.of_plugin(&name).len();
            host.serving.approve(&name, grants);
            let digest = plugin.digest.clone();
            host.serving.registry.install(&name, plugin);
            host.kinds.install(&name, &kinds);
            if before.as_ref() == Some(&digest) && known == kinds.len() {
                return;
            }
            tracing::info!(plugin = name, digest, "serving");
            for kind in kinds {
                match host.wake_all(&kind.resource).await {
                    Ok(count) => tracing::debug!(kind = kind.kind, count, "objects are planned again"),
                    // They are looked at again with the resync.
                    Err(error) => tracing::warn!(kind = kind.kind, "objects are not planned again at once: {error}"),
                }
            }
        }
        Install::Remove { name } => {
            host.kinds.install(&name, &[]);
            host.serving.remove(&name);
            tracing::info!(plugin = name, "no longer serving");
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

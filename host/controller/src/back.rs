//! Finding out when a target that was left alone is back, beside the runs: none of them waits for it. Then everything that has to do with it is looked at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use threeport_store::{Class, Error};
use tokio::task::JoinSet;

use crate::carried::target_ref;
use crate::host::Host;

/// Objects that have something on a target, though they do not refer to it any more, are looked for up to so many.
const LEFT: usize = 10_000;

/// Probes what is left alone, for as long as the host runs.
pub(crate) async fn find_out(host: Arc<Host>) {
    let mut probes = JoinSet::new();
    loop {
        let next = host.targets.next_probe();
        let wait = next.map(|at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = host.targets.given_up.notified() => {}
            () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
            Some(_) = probes.join_next() => {}
        }
        for (target, digest) in host.targets.to_probe() {
            let host = host.clone();
            probes.spawn(async move {
                if target.probe().await {
                    tracing::info!(server = target.server(), "the target answers again");
                    for name in host.targets.names(&digest) {
                        if let Err(error) = wake(&host, &name).await {
                            tracing::warn!(
                                target = %name,
                                "what waits for it is not woken: {error}; it is found by its own time"
                            );
                        }
                    }
                }
            });
        }
    }
}

/// Makes due what has to do with a target, and the target itself.
async fn wake(host: &Host, name: &str) -> Result<(), Error> {
    let Some(key) = target_ref(name).and_then(|target| host.kinds.key(&target)) else { return Ok(()) };
    let users = host.store.dependants(&key).await?.into_iter().filter(|(_, edge)| edge.is_target());
    let mut keys: BTreeSet<_> = users.map(|(user, _)| user).collect();
    keys.extend(host.store.on_target(name, LEFT).await?);
    keys.insert(key);
    let mut uids = Vec::with_capacity(keys.len());
    for key in &keys {
        uids.extend(host.store.get(key).await?.map(|object| object.uid));
    }
    host.wake(&uids, Class::Dependency).await
}

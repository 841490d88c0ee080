//! The JetStream bell against a real nats-server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod bell;
mod changes;
mod nats;
mod outages;
mod settings;

use std::collections::HashMap;

use nats::{Nats, PATIENCE, until};
use threeport_scheduler::jetstream::{Config, Doorbell, JetStreamListener, Reason, Status, Trouble, connect};
use threeport_scheduler::{Listener, Ring, Wake};
use tokio::time::{Instant, timeout_at};

fn wake(uid: impl ToString) -> Wake {
    Wake::new(uid.to_string(), "user")
}

/// A host's doorbell, once rings go over NATS.
async fn host(nats: &Nats) -> Doorbell {
    host_with(Config::new(&nats.url)).await
}

async fn host_with(config: Config) -> Doorbell {
    let doorbell = connect(config).await.unwrap();
    well(&doorbell.status).await;
    doorbell
}

async fn well(status: &Status) {
    until("rings to go over NATS", async || status.trouble().is_none().then_some(())).await;
}

/// Waits for trouble of this kind.
async fn ill(status: &Status, reason: Reason) -> Trouble {
    until(&format!("{reason:?}"), async || status.trouble().filter(|trouble| trouble.reason == reason)).await
}

/// Listens until all of these have been heard, and hands over what it hears; counts how often each was heard.
async fn hears(
    listener: &mut JetStreamListener,
    uids: impl IntoIterator<Item = impl ToString>,
) -> HashMap<String, usize> {
    let mut missing: Vec<String> = uids.into_iter().map(|uid| uid.to_string()).collect();
    let mut heard = HashMap::new();
    while !missing.is_empty() {
        for ring in next(listener, &missing).await {
            missing.retain(|uid| *uid != ring.wake.uid);
            *heard.entry(ring.wake.uid.clone()).or_default() += 1;
            ring.handed_over();
        }
    }
    heard
}

async fn next(listener: &mut JetStreamListener, missing: impl std::fmt::Debug) -> Vec<Ring> {
    let Ok(rings) = timeout_at(Instant::now() + PATIENCE, listener.heard()).await else {
        panic!("never heard: {missing:?}")
    };
    rings.expect("the bell is not gone")
}

/// What the stream holds; None when there is none.
async fn held(nats: &Nats) -> Option<u64> {
    Some(nats.context().await.get_stream("THREEPORT_WAKE").await.ok()?.cached_info().state.messages)
}

/// Everything that was heard has been acknowledged.
async fn is_empty(nats: &Nats) {
    until("everything heard to be acknowledged", async || (held(nats).await? == 0).then_some(())).await;
}

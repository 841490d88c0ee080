//! Following collections of the store: first what is there, then every change, and again from the start when the log has moved on. And the writes
//! that come of it.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::select_all;
use jiff::Timestamp;
use serde_json::Value;
use threeport_store::{Change, Error, Key, ListQuery, Object, Op, Precondition, Resource, Scope, Store, lifecycle};
use tokio::sync::watch;

/// Told of what is in the followed collections.
pub(super) trait Follower: Send {
    /// All that is there, as of `version`.
    fn all(&mut self, objects: Vec<Object>, version: u64) -> impl Future<Output = ()> + Send;
    /// One change. Everything up to `settled` was told.
    fn changed(&mut self, change: Change, settled: u64) -> impl Future<Output = ()> + Send;
}

/// Follows until the store closes or `stop` says so.
pub(super) async fn follow(
    store: Store,
    collections: Vec<Resource>,
    mut follower: impl Follower,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            result = run(&store, &collections, &mut follower) => {
                tracing::debug!(?result, "following anew");
            }
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// All objects of some collections. Read one after the other: as of the version before the first.
pub(super) async fn everything(store: &Store, collections: &[Resource]) -> Result<(Vec<Object>, u64), Error> {
    let version = store.version();
    let mut objects = Vec::new();
    for resource in collections {
        let scope = Scope { resource: resource.clone(), namespace: None };
        objects.extend(store.list(ListQuery { scope, limit: None, after: None, at: None }).await?.items);
    }
    Ok((objects, version))
}

async fn run(store: &Store, collections: &[Resource], follower: &mut impl Follower) -> Result<(), Error> {
    let (objects, version) = everything(store, collections).await?;
    let mut watches = Vec::with_capacity(collections.len());
    for resource in collections {
        watches.push(store.watch(Scope { resource: resource.clone(), namespace: None }, Some(version)).await?);
    }
    follower.all(objects, version).await;
    let mut changes = select_all(watches);
    while let Some(change) = changes.next().await {
        let settled = changes.iter().map(threeport_store::Watch::position).min().unwrap_or(version);
        follower.changed(change?, settled).await;
    }
    Ok(())
}

/// A new object of a kind without generations, as the server itself writes it.
pub(super) fn create(key: Key, body: Value) -> Op {
    let body = lifecycle::create(body, Timestamp::now(), &uuid::Uuid::new_v4().to_string(), false);
    Op::Put { key, body: without_generation(body), precondition: Precondition::Absent, edges: None, wake: None }
}

/// Writes a body over exactly this object, of a kind without generations.
pub(super) fn update(there: &Object, body: Value) -> Op {
    let body = without_generation(lifecycle::update(&there.value(), body, lifecycle::Part::Whole));
    Op::Put { key: there.key.clone(), body, precondition: exactly(there), edges: None, wake: None }
}

/// It is still this object at this version.
pub(super) fn exactly(there: &Object) -> Precondition {
    Precondition::Present { uid: Some(there.uid.clone()), resource_version: Some(there.resource_version) }
}

fn without_generation(mut body: Value) -> Value {
    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.remove("generation");
    }
    body
}

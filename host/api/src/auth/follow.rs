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

/// Until it follows anew.
const AGAIN: Duration = Duration::from_millis(100);
/// Until it follows anew when the store could not do what is to be done: to read everything again is not for nothing.
const SICK: Duration = Duration::from_secs(1);

/// Told of what is in the followed collections. After an error it is told all anew.
pub(super) trait Follower: Send {
    /// All that is there, as of `version`.
    fn all(&mut self, objects: Vec<Object>, version: u64) -> impl Future<Output = Result<(), Error>> + Send;
    /// One change. Everything up to `settled` was told.
    fn changed(&mut self, change: Change, settled: u64) -> impl Future<Output = Result<(), Error>> + Send;
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
            () = async {
                let result = run(&store, &collections, &mut follower).await;
                let pause = match &result {
                    Err(error) if passes(error) => SICK,
                    _ => AGAIN,
                };
                tracing::debug!(?result, ?pause, "following anew");
                tokio::time::sleep(pause).await;
            } => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
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
    follower.all(objects, version).await?;
    let mut changes = select_all(watches);
    while let Some(change) = changes.next().await {
        let settled = changes.iter().map(threeport_store::Watch::position).min().unwrap_or(version);
        follower.changed(change?, settled).await?;
    }
    Ok(())
}

/// Whether an error is the store's and not the object's: the same succeeds later.
pub(super) fn passes(error: &Error) -> bool {
    matches!(error, Error::Full(_) | Error::Database(_) | Error::Away(_) | Error::Undecided(_))
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport_store::{Config, Key32};

    use super::*;

    /// Fails at the first change, and at the second time that it is told all.
    struct Fails {
        store: Store,
        told: Vec<usize>,
        changes: usize,
        done: watch::Sender<bool>,
    }

    impl Follower for &mut Fails {
        async fn all(&mut self, objects: Vec<Object>, _version: u64) -> Result<(), Error> {
            self.told.push(objects.len());
            match self.told.len() {
                1 => put(&self.store, "second").await,
                2 => Err(Error::Full("for a while".into())),
                3 => {
                    self.done.send_replace(true);
                    Ok(())
                }
                _ => Ok(()),
            }
        }

        async fn changed(&mut self, _change: Change, _settled: u64) -> Result<(), Error> {
            self.changes += 1;
            Err(Error::Database("for a while".into()))
        }
    }

    fn maps() -> Resource {
        Resource::new("", "configmaps")
    }

    async fn put(store: &Store, name: &str) -> Result<(), Error> {
        let key = Key { resource: maps(), namespace: Some("a".into()), name: name.into() };
        store.write(vec![create(key, json!({"metadata": {}}))]).await.map(drop)
    }

    #[tokio::test]
    async fn what_failed_is_told_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let store =
            Store::open(Config::new(directory.path().join("store.db"), Key32::generate())).await.expect("a store");
        put(&store, "first").await.expect("written");
        let (done, stop) = watch::channel(false);
        let mut follower = Fails { store: store.clone(), told: Vec::new(), changes: 0, done };
        let following = follow(store, vec![maps()], &mut follower, stop);
        tokio::time::timeout(Duration::from_secs(30), following).await.expect("told again");
        assert_eq!((follower.told, follower.changes), (vec![1, 2, 2], 1), "what failed is in what is told next");
    }
}

//! Keeps the registry current by following the CustomResourceDefinitions in the store.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use threeport_store::{ChangeKind, Error, ListQuery, Object, Op, Precondition, Resource, Scope, Store};

use super::{CRD_GROUP, CRD_PLURAL, Registry, establish};

/// Loads what is there and returns a task that follows on, until the store goes away or `stop` says so.
pub(crate) async fn follow(
    store: Store,
    registry: Arc<Registry>,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> Result<impl Future<Output = ()>, Error> {
    let mut since = load(&store, &registry).await?;
    Ok(async move {
        loop {
            let result = tokio::select! {
                result = run(&store, &registry, since) => result,
                _ = stop.wait_for(|stopped| *stopped) => return,
            };
            tracing::debug!(?result, "following CustomResourceDefinitions anew");
            tokio::time::sleep(Duration::from_millis(100)).await;
            match load(&store, &registry).await {
                Ok(version) => since = version,
                Err(error) => tracing::warn!(%error, "CustomResourceDefinitions cannot be read; trying again"),
            }
        }
    })
}

fn scope() -> Scope {
    Scope { resource: Resource::new(CRD_GROUP, CRD_PLURAL), namespace: None }
}

/// Takes over the whole list; returns the version it is of.
async fn load(store: &Store, registry: &Registry) -> Result<u64, Error> {
    let list = store.list(ListQuery { scope: scope(), limit: None, after: None, at: None }).await?;
    for object in &list.items {
        take(store, registry, object).await;
    }
    let present = |name: &str| list.items.iter().any(|o| &*o.key.name == name);
    for name in registry.defined_names() {
        if !present(&name) {
            registry.remove(&name, list.resource_version);
        }
    }
    Ok(list.resource_version)
}

async fn run(store: &Store, registry: &Registry, since: u64) -> Result<(), Error> {
    let mut changes = store.watch(scope(), Some(since)).await?;
    while let Some(change) = changes.next().await {
        let change = change?;
        match change.kind {
            ChangeKind::Added | ChangeKind::Modified => take(store, registry, &change.object).await,
            ChangeKind::Deleted => registry.remove(&change.object.key.name, change.object.resource_version),
        }
    }
    Ok(())
}

/// Serves a definition; one that was written past the API gets its status here, so that waiting for Established works.
async fn take(store: &Store, registry: &Registry, object: &Object) {
    registry.put(object);
    let mut definition = object.value();
    let established = definition
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .is_some_and(|conditions| conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
    if established || !super::check_crd(&definition).is_empty() {
        return;
    }
    establish(&mut definition, &crate::clock::now());
    let write = Op::Put {
        key: object.key.clone(),
        body: definition,
        precondition: Precondition::Present {
            uid: Some(object.uid.clone()),
            resource_version: Some(object.resource_version),
        },
        edges: None,
        wake: None,
    };
    match store.write(vec![write]).await {
        Ok(_) | Err(Error::Conflict { .. } | Error::NotFound(_)) => {}
        Err(error) => tracing::warn!(%error, crd = %object.key.name, "its status could not be written"),
    }
}

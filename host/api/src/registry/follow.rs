//! Keeps the registry current by following the CustomResourceDefinitions in the store.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use threeport_store::{ChangeKind, Error, ListQuery, Object, Op, Precondition, Resource, Scope, Store};

use super::establish::has_its_names;
use super::{CRD_GROUP, CRD_PLURAL, Registry, establish, is_established};

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
        retry(store, registry, &change.object).await?;
    }
    Ok(())
}

/// Names that are free now may be what another definition of the group waits for.
async fn retry(store: &Store, registry: &Registry, changed: &Object) -> Result<(), Error> {
    let group = changed.value()["spec"]["group"].clone();
    let list = store.list(ListQuery { scope: scope(), limit: None, after: None, at: None }).await?;
    for object in list.items.iter().filter(|object| object.key != changed.key) {
        let definition = object.value();
        if definition["spec"]["group"] == group && !has_its_names(&definition) {
            take(store, registry, object).await;
        }
    }
    Ok(())
}

/// Serves a definition; its status is brought up to date here if it was written past the API or waited for a name.
async fn take(store: &Store, registry: &Registry, object: &Object) {
    let mut definition = object.value();
    if is_established(&definition) && has_its_names(&definition) {
        return registry.put(object);
    }
    if !super::check_crd(&definition).is_empty() {
        return;
    }
    let before = definition.clone();
    let group = definition["spec"]["group"].as_str().unwrap_or_default().to_owned();
    establish(&mut definition, &registry.taken(&group, &object.key.name), &crate::clock::now());
    if definition == before {
        return registry.put(object);
    }
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
        Ok(written) => written.iter().for_each(|object| registry.put(object)),
        Err(Error::Conflict { .. } | Error::NotFound(_)) => {}
        Err(error) => tracing::warn!(%error, crd = %object.key.name, "its status could not be written"),
    }
}

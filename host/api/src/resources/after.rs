//! What this host does at once when an object was written or removed; others find it out by following the store.

use std::sync::Arc;

use threeport_store::{Class, Edge, Key, Object, lifecycle};

use crate::registry::{CRD_GROUP, CRD_PLURAL, Kind};
use crate::router::App;

/// Rings if the object is due, serves it if it defines a kind, and judges by it if it is a role.
pub(super) async fn written(app: &Arc<App>, kind: &Kind, stored: &Object, woken: bool) {
    if woken {
        app.ring(&stored.uid, Class::User);
    }
    if kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
        app.registry.put(stored);
    }
    app.auth.rbac().written(stored);
    ring_dependants(app, &stored.key).await;
}

/// The same for what is gone, as of a version.
pub(super) async fn removed(app: &Arc<App>, kind: &Kind, key: &Key, version: u64) {
    if kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
        app.registry.remove(&key.name, version);
    }
    app.auth.rbac().removed(key, version);
    ring_dependants(app, key).await;
}

/// Rings for what an object needed before it was written or removed: if that goes, it may have waited for this.
pub(super) async fn left(app: &Arc<App>, before: &[Edge]) {
    for edge in before {
        if let Ok(Some(object)) = app.store.get(&edge.to).await
            && lifecycle::is_going(&object)
        {
            app.ring(&object.uid, Class::Dependency);
        }
    }
}

/// Rings for the objects that refer to this one: the store has made them due with the write.
async fn ring_dependants(app: &Arc<App>, key: &Key) {
    let Ok(dependants) = app.store.dependants(key).await else { return };
    for (key, _) in dependants {
        if let Ok(Some(object)) = app.store.get(&key).await {
            app.ring(&object.uid, Class::Dependency);
        }
    }
}

//! Where new objects may be put: not where everything goes.

use serde_json::json;
use threeport_store::{Demand, Edge, Error, Op, Precondition, lifecycle};

use super::builtin::namespace_key;
use crate::registry::{CRD_GROUP, CRD_PLURAL, Kind};
use crate::router::App;
use crate::status::{ApiError, ApiResult};

/// Refuses new objects in a namespace that is not there or is going, before anything is written.
pub(super) async fn open_namespace(app: &App, kind: &Kind, namespace: &str, name: &str) -> ApiResult<()> {
    let key = namespace_key(namespace);
    match app.store.get(&key).await? {
        None => Err(no_room(kind, name, Error::NotFound(key))),
        Some(there) if lifecycle::is_going(&there) => Err(no_room(kind, name, Error::Going(key))),
        Some(_) => Ok(()),
    }
}

/// What must hold for a write: that what it newly needs stays; of a new object, its namespace, and the definition of its kind.
pub(super) fn room(kind: &Kind, op: &Op) -> Vec<Op> {
    let Op::Put { key, precondition, edges, .. } = op else { return Vec::new() };
    let needs = edges.as_ref().filter(|edges| edges.iter().any(Edge::is_needed));
    let lasting = needs.map(|edges| Op::Check(Demand::Lasting { from: key.clone(), edges: edges.clone() }));
    if *precondition != Precondition::Absent {
        return lasting.into_iter().collect();
    }
    let mut stay = Vec::new();
    stay.extend(key.namespace.as_deref().map(namespace_key));
    if !kind.builtin {
        stay.push(lifecycle::definition_key(&key.resource));
    }
    stay.into_iter().map(|key| Op::Check(Demand::Stays(key))).chain(lasting).collect()
}

/// Why an object could not be put there.
pub(super) fn no_room(kind: &Kind, name: &str, error: Error) -> ApiError {
    match error {
        Error::Going(key) if lifecycle::is_namespace(&key) => {
            let namespace = &key.name;
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let message = format!("namespace {namespace} is being terminated");
            ApiError::forbidden(&kind.resource, name, &why).with_causes(vec![
                json!({"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}),
            ])
        }
        Error::Going(_) => {
            let mut refused = ApiError::method_not_allowed("create").about(&kind.resource, "");
            refused.message = "create not allowed while custom resource definition is terminating".to_owned();
            refused
        }
        // The definition went meanwhile, and the kind with it.
        Error::NotFound(key) if &*key.resource.group == CRD_GROUP && &*key.resource.plural == CRD_PLURAL => {
            ApiError::no_such_path()
        }
        error => error.into(),
    }
}

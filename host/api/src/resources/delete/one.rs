//! DELETE of one object.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use threeport_store::lifecycle::{self, DELETE, DEPENDANTS, Deletion, INSTANCES, WITH_DEPENDANTS};
use threeport_store::{Class, Demand, Error, Key, ListQuery, Object, Op, Precondition, Resource, Scope};

use super::along;
use super::options::Options;
use crate::auth::User;
use crate::clock;
use crate::definitions;
use crate::registry::{CRD_GROUP, CRD_PLURAL, Kind, OWN_GROUP, PLUGIN, is_established};
use crate::resources::{after, answer, existing, key};
use crate::router::{App, Call};
use crate::status::{ApiError, ApiResult, json_response, success};

/// How often a deletion is tried again when others write at the same time.
const ATTEMPTS: usize = 10;

/// Namespaces that Kubernetes keeps.
const KEPT: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What came of a deletion.
#[derive(Debug)]
pub(super) enum Deleted {
    /// The object is gone; it was this.
    Gone(Object),
    /// It goes when it is let go of; it is this until then.
    Going(Bytes),
}

/// DELETE of one object.
pub(crate) async fn delete(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    let options = Options::of(&call)?;
    match delete_one(app, &call.user, &call.kind, key(&call)?, &options).await? {
        // Kubernetes answers with an account that was, and with the bare success otherwise.
        Deleted::Gone(object) if call.kind.is_builtin("", "serviceaccounts") => {
            answer(&call, StatusCode::OK, &object.body, &[])
        }
        Deleted::Gone(object) => {
            let resource = &call.kind.resource;
            let mut details = json!({"name": &*object.key.name, "kind": &*resource.plural, "uid": &*object.uid});
            if !resource.group.is_empty() {
                details["group"] = (&*resource.group).into();
            }
            Ok(json_response(StatusCode::OK, success(details).to_string()))
        }
        Deleted::Going(body) => {
            let code = if options.old_cascade { StatusCode::ACCEPTED } else { StatusCode::OK };
            answer(&call, code, &body, &[])
        }
    }
}

/// Deletes one object, or asks for its deletion.
pub(super) async fn delete_one(
    app: &Arc<App>,
    user: &User,
    kind: &Kind,
    key: Key,
    options: &Options,
) -> ApiResult<Deleted> {
    let mut attempt = 1;
    loop {
        match attempt_one(app, user, kind, &key, options).await {
            // Somebody else wrote meanwhile; what stands in the way has causes, and stays in the way.
            Err(error) if error.is_lost_race() && options.may_try_again() && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

async fn attempt_one(app: &Arc<App>, user: &User, kind: &Kind, key: &Key, options: &Options) -> ApiResult<Deleted> {
    if kind.is_builtin("", "namespaces") && KEPT.contains(&&*key.name) {
        return Err(ApiError::forbidden(&kind.resource, &key.name, "this namespace may not be deleted"));
    }
    let object = existing(app, kind, key).await?;
    options.expect(kind, &object)?;
    let old = object.value();
    let (deletion, demands) = plan(app, user, kind, &object, &old, options).await?;
    let precondition =
        Precondition::Present { uid: Some(object.uid.clone()), resource_version: Some(object.resource_version) };
    let mut ops: Vec<Op> = demands.into_iter().map(Op::Check).collect();
    let deletion = match deletion {
        Deletion::Already => return Ok(Deleted::Going(object.body)),
        deletion if options.dry_run => {
            app.store.write(ops).await.map_err(|error| in_the_way(kind, key, error))?;
            return Ok(match deletion {
                Deletion::Mark(body) => Deleted::Going(body.to_string().into()),
                _ => Deleted::Gone(object),
            });
        }
        Deletion::Remove => {
            ops.push(Op::Remove { key: key.clone(), precondition });
            None
        }
        Deletion::Mark(body) => {
            let wake = kind.reconciled.then_some(Class::User);
            ops.push(Op::Put { key: key.clone(), body, precondition, edges: None, wake });
            Some(wake)
        }
    };
    let before = app.store.references(key).await.unwrap_or_default();
    let written = app.store.write(ops).await.map_err(|error| in_the_way(kind, key, error))?.pop();
    let written = written.ok_or_else(|| ApiError::internal("the store gave no object back"))?;
    Ok(match deletion {
        Some(wake) => {
            after::written(app, kind, &written, wake.is_some()).await;
            Deleted::Going(written.body)
        }
        None => {
            definitions::tell(app, key, &before).await;
            after::left(app, &before).await;
            after::removed(app, kind, key, written.resource_version).await;
            Deleted::Gone(object)
        }
    })
}

/// What the deletion of an object comes to, and what must hold for it.
async fn plan(
    app: &App,
    user: &User,
    kind: &Kind,
    object: &Object,
    old: &Value,
    options: &Options,
) -> ApiResult<(Deletion, Vec<Demand>)> {
    let (now, way) = (app.store.now(), options.propagation);
    if lifecycle::deleted(old) {
        return Ok((lifecycle::delete(old, now, way), Vec::new()));
    }
    let key = &object.key;
    let with_dependants = old["metadata"]["annotations"][DELETE] == WITH_DEPENDANTS;
    if kind.is_builtin("", "namespaces") {
        let Deletion::Mark(mut body) = lifecycle::delete(old, now, way) else {
            return Ok((Deletion::Remove, vec![Demand::NoneIn(key.name.clone())]));
        };
        as_whole(old, &mut body);
        body["status"]["phase"] = "Terminating".into();
        if with_dependants {
            let content = app.store.in_namespace(&key.name).await?.into_iter().map(|inside| inside.key);
            along::allowed(app, user, content.collect(), Some(&key.name)).await?;
            return Ok((Deletion::Mark(body), Vec::new()));
        }
        return Ok((Deletion::Mark(body), vec![Demand::NamespaceUnused(key.name.clone())]));
    }
    let mut demands = Vec::new();
    if kind.is_builtin(OWN_GROUP, "plugins") {
        demands = nothing_served(app, object).await?;
    }
    if kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
        if old["metadata"]["annotations"][PLUGIN].is_string() {
            // Only the plugin can remove what they made.
            demands.extend(no_instances(old));
        } else {
            return Ok((terminating(old, lifecycle::delete_after(old, now, way, INSTANCES)), demands));
        }
    }
    if with_dependants && is_needed(app, key).await? {
        along::allowed(app, user, vec![key.clone()], None).await?;
        return Ok((lifecycle::delete_after(old, now, way, DEPENDANTS), demands));
    }
    demands.push(Demand::Unused { key: key.clone(), but: Vec::new() });
    Ok((lifecycle::delete(old, now, way), demands))
}

async fn is_needed(app: &App, key: &Key) -> ApiResult<bool> {
    Ok(app.store.dependants(key).await?.iter().any(|(user, edge)| user != key && edge.is_needed()))
}

/// That there are no objects that a definition defines. One that was never served has none: those under its names are another kind's.
fn no_instances(definition: &Value) -> Option<Demand> {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let resource = Resource::new(text("/spec/group"), text("/spec/names/plural"));
    is_established(definition).then_some(Demand::None(Scope { resource, namespace: None }))
}

/// What goes with its content is marked by its time alone, as Kubernetes does it.
fn as_whole(old: &Value, body: &mut Value) {
    let generation = old["metadata"]["generation"].clone();
    let Some(metadata) = body["metadata"].as_object_mut() else { return };
    metadata.remove("deletionGracePeriodSeconds");
    if !generation.is_null() {
        metadata.insert("generation".to_owned(), generation);
    }
}

/// Says of a definition that its objects go, in Kubernetes' words.
fn terminating(old: &Value, deletion: Deletion) -> Deletion {
    let Deletion::Mark(mut body) = deletion else { return deletion };
    as_whole(old, &mut body);
    let condition = json!({
        "type": "Terminating", "status": "True", "lastTransitionTime": clock::now(), "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will be issued soon",
    });
    match body["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => body["status"]["conditions"] = json!([condition]),
    }
    Deletion::Mark(body)
}

/// There is no object of a kind that this Plugin serves: only it can remove what they made, and a deletion cannot be taken back.
async fn nothing_served(app: &App, plugin: &Object) -> ApiResult<Vec<Demand>> {
    let scope = Scope { resource: Resource::new(CRD_GROUP, CRD_PLURAL), namespace: None };
    let all = app.store.list(ListQuery { scope, limit: None, after: None, at: None }).await?.items;
    let definitions = all.iter().map(Object::value);
    let served = definitions.filter(|body| body["metadata"]["annotations"][PLUGIN].as_str() == Some(&*plugin.key.name));
    Ok(served.filter_map(|body| no_instances(&body)).collect())
}

/// 409 with what stands in the way.
fn in_the_way(kind: &Kind, key: &Key, error: Error) -> ApiError {
    let (why, causes) = match &error {
        Error::InUse { key: used, users } => {
            let causes = users
                .iter()
                .map(|(user, edge)| {
                    let what = if used == key && !lifecycle::is_namespace(key) { "it".to_owned() } else { edge.to.to_string() };
                    json!({"reason": "InUse", "message": format!("{user} refers to {what} in {}", edge.field), "field": edge.field})
                })
                .collect();
            let what = if lifecycle::is_namespace(key) { "what is in it" } else { "it" };
            let users = error.to_string();
            let users = users.split_once(" is in use by ").map_or(users.as_str(), |(_, users)| users);
            (
                format!(
                    "{what} is in use by {users}; delete them first, or annotate it with {DELETE}={WITH_DEPENDANTS} to have them deleted with it"
                ),
                causes,
            )
        }
        Error::NotEmpty(_) => {
            let why = format!(
                "objects of it still exist: {}; delete them first",
                error.to_string().trim_start_matches("there are still ")
            );
            let causes = vec![json!({"reason": "InstancesExist", "message": why})];
            (why, causes)
        }
        _ => return error.into(),
    };
    ApiError::conflict(&kind.resource, &key.name, &why).with_causes(causes)
}

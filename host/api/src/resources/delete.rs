//! delete.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use threeport_store::lifecycle::{self, Deletion};
use threeport_store::{Class, Key, ListQuery, Object, Op, Precondition, Resource, Scope};

use super::write::{put, remove};
use super::{answer, existing, key};
use crate::accept;
use crate::auth::comes_with_namespace;
use crate::registry::{CRD_GROUP, CRD_PLURAL, Kind, OWN_GROUP, PLUGIN};
use crate::router::{App, Call};
use crate::status::{ApiError, ApiResult, json_response, success};

/// How many users or objects an error names.
const NAMED: usize = 10;
/// How often a deletion is tried again when others write at the same time.
const ATTEMPTS: usize = 10;

/// `metav1.DeleteOptions`, as far as it says something here. Grace periods and propagation policies are accepted: nothing here has a grace
/// period, and owned objects are removed by the reconciler that made them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    preconditions: Option<Preconditions>,
    propagation_policy: Option<String>,
    dry_run: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// DELETE of one object.
pub(crate) async fn delete(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    let options = options(&call)?;
    let mut attempt = 1;
    loop {
        match delete_once(app, &call, &options).await {
            // Somebody else wrote meanwhile; what stands in the way has causes, and stays in the way.
            Err(error) if error.is_lost_race() && options.preconditions.is_none() && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn options(call: &Call) -> ApiResult<Options> {
    let mut options: Options = if call.body.is_empty() {
        Options::default()
    } else {
        let value = accept::decode(&accept::content_type(&call.headers), &call.body)?;
        serde_json::from_value(value)
            .map_err(|e| ApiError::bad_request(format!("DeleteOptions cannot be read: {e}")))?
    };
    if let Some(policy) = call.query.get("propagationPolicy") {
        options.propagation_policy = Some(policy.to_owned());
    }
    match options.propagation_policy.as_deref() {
        None | Some("" | "Background" | "Foreground" | "Orphan") => {}
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "propagationPolicy: Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
            )));
        }
    }
    if call.query.dry_run()? {
        options.dry_run = Some(vec!["All".into()]);
    }
    match options.dry_run.as_deref() {
        None | Some([]) => {}
        Some([all]) if all == "All" => {}
        Some(_) => return Err(ApiError::bad_request("dryRun: supported values: \"All\"")),
    }
    Ok(options)
}

async fn delete_once(app: &Arc<App>, call: &Call, options: &Options) -> ApiResult<Response> {
    let kind = &call.kind;
    let key = key(call)?;
    let object = existing(app, kind, &key).await?;
    if let Some(wanted) = &options.preconditions {
        if let Some(uid) = wanted.uid.as_deref().filter(|uid| *uid != &*object.uid) {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", object.uid);
            return Err(ApiError::conflict(&kind.resource, &key.name, &why));
        }
        let version = object.resource_version.to_string();
        if let Some(wanted) = wanted.resource_version.as_deref().filter(|v| *v != version) {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {version}"
            );
            return Err(ApiError::conflict(&kind.resource, &key.name, &why));
        }
    }
    let dry_run = options.dry_run.as_ref().is_some_and(|d| !d.is_empty());
    let precondition =
        Precondition::Present { uid: Some(object.uid.clone()), resource_version: Some(object.resource_version) };
    unused(app, kind, &key).await?;
    if kind.is_builtin("", "namespaces") {
        return namespace(app, call, &object, precondition, dry_run).await;
    }
    if kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
        no_instances(app, kind, &object.key.name, &object).await?;
    }
    if kind.is_builtin(OWN_GROUP, "plugins") {
        nothing_served(app, kind, &object).await?;
    }
    match lifecycle::delete(&object.value(), Timestamp::now()) {
        Deletion::Remove => {
            if !dry_run {
                remove(app, kind, key, precondition).await?;
            }
            Ok(gone(call, &object))
        }
        Deletion::Mark(body) if dry_run => answer(call, StatusCode::OK, &Bytes::from(body.to_string()), &[]),
        Deletion::Mark(body) => {
            let wake = kind.reconciled.then_some(Class::User);
            let marked = put(app, kind, Op::Put { key, body, precondition, edges: None, wake }).await?;
            answer(call, StatusCode::OK, &marked.body, &[])
        }
        Deletion::Already => answer(call, StatusCode::OK, &object.body, &[]),
    }
}

/// The answer for an object that is gone.
fn gone(call: &Call, object: &Object) -> Response {
    let details = json!({
        "name": &*object.key.name, "group": &*call.kind.resource.group, "kind": &*call.kind.resource.plural, "uid": &*object.uid,
    });
    json_response(StatusCode::OK, success(details).to_string())
}

/// 409 while others need the object, naming them.
async fn unused(app: &App, kind: &Kind, key: &Key) -> ApiResult<()> {
    let users: Vec<(Key, String)> = app
        .store
        .dependants(key)
        .await?
        .into_iter()
        .filter(|(user, edge)| user != key && matches!(edge.role.as_str(), "target" | "requires"))
        .map(|(user, edge)| (user, edge.field))
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    let causes = users
        .iter()
        .map(|(user, field)| json!({"reason": "InUse", "message": format!("{user} refers to it in {field}"), "field": field}))
        .collect();
    let why = format!("it is in use by {}; delete them first", some(users.iter().map(|(user, _)| user.to_string())));
    Err(ApiError::conflict(&kind.resource, &key.name, &why).with_causes(causes))
}

/// The first few names of many.
fn some(names: impl ExactSizeIterator<Item = String>) -> String {
    let count = names.len();
    let mut shown: Vec<String> = names.take(NAMED).collect();
    if count > NAMED {
        shown.push(format!("{} more", count - NAMED));
    }
    shown.join(", ")
}

/// 409 while there are objects of the defined kind, for what is called `name`.
async fn no_instances(app: &App, kind: &Kind, name: &str, definition: &Object) -> ApiResult<()> {
    let spec = &definition.value()["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = Resource::new(text(&spec["group"]), text(&spec["names"]["plural"]));
    let objects = few(app, resource, None).await?;
    if objects.is_empty() {
        return Ok(());
    }
    let why = format!(
        "objects of kind {} still exist: {}; delete them first",
        text(&spec["names"]["kind"]),
        some(objects.iter().map(|o| o.key.to_string()))
    );
    let causes = vec![json!({"reason": "InstancesExist", "message": why})];
    Err(ApiError::conflict(&kind.resource, name, &why).with_causes(causes))
}

/// 409 while there are objects of a kind that this Plugin serves: only it can remove what they made, and a deletion cannot be taken back.
async fn nothing_served(app: &App, kind: &Kind, plugin: &Object) -> ApiResult<()> {
    let scope = Scope { resource: Resource::new(CRD_GROUP, CRD_PLURAL), namespace: None };
    for definition in app.store.list(ListQuery { scope, limit: None, after: None, at: None }).await?.items {
        let body = definition.value();
        if body["metadata"]["annotations"][PLUGIN].as_str() == Some(&*plugin.key.name) {
            no_instances(app, kind, &plugin.key.name, &definition).await?;
        }
    }
    Ok(())
}

async fn few(app: &App, resource: Resource, namespace: Option<&str>) -> ApiResult<Vec<Object>> {
    let scope = Scope { resource, namespace: namespace.map(Into::into) };
    Ok(app.store.list(ListQuery { scope, limit: Some(NAMED + 1), after: None, at: None }).await?.items)
}

/// A namespace goes when it is empty; events in it go along.
async fn namespace(
    app: &Arc<App>,
    call: &Call,
    object: &Object,
    precondition: Precondition,
    dry_run: bool,
) -> ApiResult<Response> {
    let name = &object.key.name;
    if &**name == "default" {
        return Err(ApiError::forbidden(&call.kind.resource, name, "this namespace may not be deleted"));
    }
    let _gate = app.namespaces.write().await;
    let kinds = app.registry.kinds();
    let mut inside = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for kind in kinds.all().filter(|k| k.namespaced && !k.is_builtin("", "events")) {
        if seen.insert(&kind.resource) {
            let found = few(app, kind.resource.clone(), Some(name)).await?;
            inside.extend(found.into_iter().filter(|object| !comes_with_namespace(&object.key)));
        }
    }
    if !inside.is_empty() {
        let why = format!("it is not empty: {}; delete them first", some(inside.iter().map(|o| o.key.to_string())));
        let causes = vec![json!({"reason": "NamespaceNotEmpty", "message": why})];
        return Err(ApiError::conflict(&call.kind.resource, name, &why).with_causes(causes));
    }
    let events = Scope { resource: Resource::new("", "events"), namespace: Some(name.clone()) };
    let events = app.store.list(ListQuery { scope: events, limit: None, after: None, at: None }).await?;
    let any = Precondition::Present { uid: None, resource_version: None };
    let mut with = events.items;
    for resource in ["configmaps", "serviceaccounts"] {
        let found = few(app, Resource::new("", resource), Some(name)).await?;
        with.extend(found.into_iter().filter(|object| comes_with_namespace(&object.key)));
    }
    let mut ops: Vec<Op> =
        with.into_iter().map(|object| Op::Remove { key: object.key, precondition: any.clone() }).collect();
    let key = object.key.clone();
    match lifecycle::delete(&object.value(), Timestamp::now()) {
        Deletion::Already => return answer(call, StatusCode::OK, &object.body, &[]),
        Deletion::Remove => ops.push(Op::Remove { key, precondition }),
        Deletion::Mark(mut body) => {
            body["status"]["phase"] = "Terminating".into();
            if dry_run {
                return answer(call, StatusCode::OK, &Bytes::from(body.to_string()), &[]);
            }
            ops.push(Op::Put { key, body, precondition, edges: None, wake: None });
            let marked = app.store.write(ops).await?.pop();
            return answer(call, StatusCode::OK, marked.as_ref().map_or(&object.body, |o| &o.body), &[]);
        }
    }
    if !dry_run {
        app.store.write(ops).await?;
    }
    Ok(gone(call, object))
}

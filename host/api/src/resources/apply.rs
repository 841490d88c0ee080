//! Server-side apply: PATCH with `application/apply-patch+yaml`.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use threeport_store::Object;

use super::admit::FieldValidation;
use super::options::{Options, Write};
use super::write::{ATTEMPTS, add, fits, replace};
use super::{key, managers, value_of};
use crate::auth::{Attributes, Resource};
use crate::managed::{self, Applied, Conflict, Entries, Refused};
use crate::router::{App, Call};
use crate::status::{ApiError, ApiResult, UNKNOWN};

/// Applies to an object or to its status; makes the object if it is not there.
pub(super) async fn apply(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    let mut options = Options::parse(Write::Apply, &call.query, &call.headers)?;
    fits(call.body.len())?;
    let (config, twice) = decode(&call)?;
    options.twice.extend(twice.map(|told| format!("error converting YAML to JSON: {told}")));
    if let (FieldValidation::Strict, [told, ..]) = (options.validation, options.twice.as_slice()) {
        return Err(ApiError::bad_request(format!("error strict decoding YAML: {told}")));
    }
    let named = config["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty());
    let mut attempt = 1;
    loop {
        match once(app, &call, &options, &config).await {
            Err(error) if lost(&error) && !named && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// Somebody else was faster: to change it, or to make it.
fn lost(error: &ApiError) -> bool {
    error.is_lost_race() || error.reason == "AlreadyExists"
}

async fn once(app: &Arc<App>, call: &Call, options: &Options, config: &Value) -> ApiResult<Response> {
    match app.store.get(&key(call)?).await? {
        Some(stored) => change(app, call, options, config, stored).await,
        None if call.status => Err(ApiError::not_found(&call.kind.resource, call.name.as_deref().unwrap_or_default())),
        None => make(app, call, options, config).await,
    }
}

async fn change(app: &Arc<App>, call: &Call, options: &Options, config: &Value, stored: Object) -> ApiResult<Response> {
    let mut old = value_of(&call.kind, &stored);
    let there = Entries::stored(managers::take(&mut old).unwrap_or_default());
    let mut live = old.clone();
    live["apiVersion"] = (&*call.kind.api_version).into();
    let Applied { object, entries } = merged(app, call, options, config, &live, there)?;
    replace(app, call, options, stored, old, object, |_, _, _| entries).await
}

async fn make(app: &Arc<App>, call: &Call, options: &Options, config: &Value) -> ApiResult<Response> {
    may_create(app, call)?;
    if let Some(uid) = config["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(ApiError::conflict(&call.kind.resource, call.name.as_deref().unwrap_or_default(), &why)
            .with_causes(Vec::new()));
    }
    let Applied { object, entries } =
        merged(app, call, options, config, &Value::Object(Map::new()), Entries::default())?;
    add(app, call, options, object, |_, _| entries).await
}

/// Who applies may patch; what is not there yet, it must also be allowed to create.
pub(super) fn may_create(app: &App, call: &Call) -> ApiResult<()> {
    if call.user.is_superuser() {
        return Ok(());
    }
    let kind = &call.kind;
    let resource = Resource {
        group: &kind.resource.group,
        version: &kind.version,
        resource: &kind.resource.plural,
        namespace: call.namespace.as_deref().unwrap_or_default(),
        name: call.name.as_deref().unwrap_or_default(),
        ..Resource::default()
    };
    app.auth.permit(&call.user, &Attributes::on("create", resource))
}

fn merged(
    app: &App,
    call: &Call,
    options: &Options,
    config: &Value,
    live: &Value,
    there: Entries,
) -> ApiResult<Applied> {
    let applied = managers::with_context(app, call, options, |context| {
        managed::apply(context, live, config, there, options.force)
    });
    applied.map_err(|refused| match refused {
        Refused::Conflicts(conflicts) => conflict(&conflicts),
        // In these words and with this code kube-apiserver says it.
        Refused::Type(why) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, UNKNOWN, why),
    })
}

/// 409 with a cause for every field.
fn conflict(conflicts: &[Conflict]) -> ApiError {
    let message = match conflicts {
        [Conflict { manager, path }] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
        many => {
            let mut lines = Vec::new();
            let mut last = None;
            for Conflict { manager, path } in many {
                if last.replace(manager) != Some(manager) {
                    lines.push(format!("conflicts with {manager}:"));
                }
                lines.push(format!("- {path}"));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let cause = |Conflict { manager, path }: &Conflict| json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path});
    ApiError::new(StatusCode::CONFLICT, "Conflict", message).with_causes(conflicts.iter().map(cause).collect())
}

/// The configuration: YAML, of which JSON is a part. Besides, what is to be said of keys that stand there twice.
fn decode(call: &Call) -> ApiResult<(Value, Option<String>)> {
    let (config, twice) = crate::strict::yaml::read(&call.body)
        .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))?;
    if !config.is_object() {
        return Err(ApiError::bad_request("error decoding YAML: the configuration must be an object"));
    }
    let kind = &call.kind;
    let text = |name: &str| config[name].as_str().unwrap_or_default();
    if text("apiVersion") != &*kind.api_version || text("kind") != &*kind.kind {
        let (group, version) = text("apiVersion").rsplit_once('/').unwrap_or(("", text("apiVersion")));
        let message = format!("invalid object type: {group}/{version}, Kind={}", text("kind"));
        return Err(ApiError::bad_request(message));
    }
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok((config, twice))
}

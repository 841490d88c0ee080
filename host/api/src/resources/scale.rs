//! The verbs on the `scale` subresource: a Scale is read from an object, and what is written to it is written to the object.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::options::{Options, Write};
use super::{existing, key, managers, value_of, write};
use crate::accept::{self, Output};
use crate::clock;
use crate::patch::Patch;
use crate::registry::Scale;
use crate::router::{App, Call};
use crate::status::{ApiError, ApiResult, json_response};
use crate::table::{self, Include};

/// Answers a request for the scale of an object.
pub(crate) async fn scale(app: &Arc<App>, method: &Method, call: Call) -> ApiResult<Response> {
    match *method {
        Method::GET | Method::HEAD => {
            let object = value_of(&call.kind, &existing(app, &call.kind, &key(&call)?).await?);
            let read = of(&call, &object)?;
            if read["spec"].get("replicas").is_none() {
                let path = subresource(&call)?.spec_path();
                return Err(ApiError::internal(format!("the spec replicas field {path:?} does not exist")));
            }
            answer(&call, &object)
        }
        Method::PUT => {
            let options = Options::parse(Write::Update, &call.query, &call.headers)?;
            let sent = accept::decode(&accept::content_type(&call.headers), &call.body)?;
            let named = sent["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty());
            write::change(app, &call, &options, named, |old| take(&call, old, &sent)).await
        }
        Method::PATCH => {
            // A Scale has no lists: the two are the same.
            let sent = accept::content_type(&call.headers);
            let merge = "application/merge-patch+json";
            let sent = if sent == "application/strategic-merge-patch+json" { merge } else { &sent };
            let options = Options::parse(Write::Patch, &call.query, &call.headers)?;
            let patch = Patch::decode(&call.kind, sent, &call.body)?;
            write::change(app, &call, &options, patch.names_version(), |old| {
                take(&call, old, &patch.apply(&call.kind, of(&call, old)?)?)
            })
            .await
        }
        _ => Err(ApiError::method_not_supported(&call.kind.resource, &method.as_str().to_lowercase())),
    }
}

fn subresource(call: &Call) -> ApiResult<&Scale> {
    call.kind.scale.as_ref().ok_or_else(ApiError::no_such_path)
}

fn of(call: &Call, object: &Value) -> ApiResult<Value> {
    subresource(call)?.of(object).map_err(ApiError::internal)
}

/// The object with what a written Scale says.
fn take(call: &Call, old: &Value, scale: &Value) -> ApiResult<Value> {
    let given = (scale["apiVersion"].as_str(), scale["kind"].as_str());
    if given.0.is_some_and(|version| version != "autoscaling/v1") || given.1.is_some_and(|kind| kind != "Scale") {
        let (version, kind) = (given.0.unwrap_or_default(), given.1.unwrap_or_default());
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized: {version} {kind} is not autoscaling/v1 Scale"
        )));
    }
    let wanted = subresource(call)?;
    let replicas = match scale["spec"].get("replicas") {
        None | Some(Value::Null) => {
            let path = wanted.spec_path();
            // A Scale that says nothing means none, as in Kubernetes, unless nothing was said before either.
            if of(call, old)?["spec"].get("replicas").is_none() {
                return Err(ApiError::bad_request(format!("the spec replicas field {path:?} cannot be empty")));
            }
            0
        }
        Some(value) => value
            .as_i64()
            .filter(|count| i32::try_from(*count).is_ok())
            .ok_or_else(|| ApiError::bad_request("spec.replicas of a Scale must be a 32 bit integer"))?,
    };
    let mut new = managers::without(old);
    new["apiVersion"] = (&*call.kind.api_version).into();
    wanted.set(&mut new, replicas);
    for key in ["resourceVersion", "uid"] {
        match scale["metadata"].get(key).filter(|value| value.as_str().is_some_and(|text| !text.is_empty())) {
            Some(value) => new["metadata"][key] = value.clone(),
            None if key == "resourceVersion" => new["metadata"][key] = "".into(),
            None => {}
        }
    }
    if let Some(name) = scale["metadata"].get("name").filter(|name| !name.is_null()) {
        new["metadata"]["name"] = name.clone();
    }
    Ok(new)
}

/// The Scale of an object as the client wants it.
pub(super) fn answer(call: &Call, object: &Value) -> ApiResult<Response> {
    let mut scale = of(call, object)?;
    if scale["spec"].get("replicas").is_none() {
        scale["spec"] = json!({});
    }
    let body = match accept::output(&call.headers)? {
        Output::Json => scale,
        Output::Metadata => table::metadata_only(&scale),
        Output::Table => {
            let column = |name: &str, kind: &str, format: &str, description: &str| json!({"name": name, "type": kind, "format": format, "description": description, "priority": 0});
            let columns = json!([
                column("Name", "string", "name", "Name must be unique within a namespace."),
                column("Desired", "integer", "", "Number of desired replicas"),
                column("Available", "integer", "", "Number of observed replicas"),
                column("Age", "string", "", "How long ago it was created"),
            ]);
            let created = scale["metadata"]["creationTimestamp"].as_str();
            let age = created.and_then(|created| clock::age(created, Timestamp::now()));
            let cells = json!([
                scale["metadata"]["name"],
                scale["spec"]["replicas"],
                scale["status"]["replicas"],
                age.unwrap_or_else(|| "<unknown>".to_owned()),
            ]);
            let metadata = json!({"resourceVersion": scale["metadata"]["resourceVersion"]});
            let object = match Include::parse(call.query.get("includeObject"))? {
                Include::None => Value::Null,
                Include::Metadata => table::metadata_only(&scale),
                Include::Object => scale,
            };
            table::table(columns, vec![json!({"cells": cells, "object": object})], &metadata)
        }
    };
    Ok(json_response(StatusCode::OK, body.to_string()))
}

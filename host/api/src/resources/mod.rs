//! The verbs on objects.

mod admit;
mod apply;
mod builtin;
mod delete;
mod managers;
mod options;
mod owners;
mod place;
mod read;
mod watch;
mod write;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};
use threeport_store::{Key, Object};

use options::{Options, Write};

use crate::accept::{self, Output};
use crate::auth::Named;
use crate::registry::Kind;
use crate::router::{App, Call};
use crate::status::{ApiError, ApiResult, json_response};
use crate::table::{self, Include};

pub(crate) use admit::SUBDOMAIN;
pub(crate) use admit::{judge, refuse};
pub(crate) use builtin::prepare_store;
pub(crate) use delete::{delete, delete_collection};
pub(crate) use read::{get, list};
pub(crate) use watch::watch;
pub(crate) use write::{OBJECT_LIMIT, create, fits, patch, update};

/// The key of the object a call is about.
fn key(call: &Call) -> ApiResult<Key> {
    let name = call.name.as_deref().ok_or_else(ApiError::no_such_path)?;
    Ok(key_of(&call.kind, call.namespace.as_deref(), name))
}

pub(crate) fn key_of(kind: &Kind, namespace: Option<&str>, name: &str) -> Key {
    Key { resource: kind.resource.clone(), namespace: namespace.map(Into::into), name: name.into() }
}

/// The object there.
async fn existing(app: &App, kind: &Kind, key: &Key) -> ApiResult<Object> {
    app.store.get(key).await?.ok_or_else(|| ApiError::not_found(&kind.resource, &key.name))
}

/// The body as the version that was asked for (versions differ in the apiVersion only): the stored bytes, unless they were written as another one. That is
/// not always the storage version of now: a definition may have changed since.
fn in_version(kind: &Kind, body: &Bytes) -> Bytes {
    // Keys are stored in order, and this is the first.
    let as_asked =
        body.strip_prefix(b"{\"apiVersion\":\"").and_then(|rest| rest.strip_prefix(kind.api_version.as_bytes()));
    if as_asked.is_some_and(|rest| rest.starts_with(b"\"")) {
        return body.clone();
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(mut value) => {
            value["apiVersion"] = (&*kind.api_version).into();
            Bytes::from(value.to_string())
        }
        Err(_) => body.clone(),
    }
}

/// An object as the client wants it.
fn answer(call: &Call, code: StatusCode, body: &Bytes, warnings: &[String]) -> ApiResult<Response> {
    let kind = &call.kind;
    let body = in_version(kind, body);
    let mut response = match accept::output(&call.headers)? {
        Output::Json => json_response(code, body),
        Output::Metadata => json_response(code, table::metadata_only(&parse(&body)?).to_string()),
        Output::Table => {
            let object = parse(&body)?;
            let include = Include::parse(call.query.get("includeObject"))?;
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let row = table::row(kind, object, include, Timestamp::now());
            json_response(code, table::table(table::columns(kind), vec![row], &metadata).to_string())
        }
    };
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", Value::from(warning.as_str()))) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(response)
}

fn parse(body: &Bytes) -> ApiResult<Value> {
    serde_json::from_slice(body).map_err(|e| ApiError::internal(format!("a stored object cannot be read: {e}")))
}

/// Reads what is asked in a review: known fields of the right type.
pub(crate) fn fit(call: &Call, body: &mut Value) -> ApiResult<()> {
    let kind = &call.kind;
    let mode = Options::parse(Write::Create, &call.query, &call.headers)?.validation;
    admit::identify(kind, call.namespace.as_deref(), None, body)?;
    admit::complete(kind, mode, body)?;
    let mut errors = Vec::new();
    crate::schema::validate(&kind.schema, body, None, "", &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&kind.resource.group, &kind.kind, "", &errors)) }
}

/// A response that says what it is about.
fn about(mut response: Response, name: &str) -> Response {
    response.extensions_mut().insert(Named(name.into()));
    response
}

/// Rings for the objects that refer to this one: the store has made them due with the write.
async fn ring_dependants(app: &Arc<App>, key: &Key) {
    let Ok(dependants) = app.store.dependants(key).await else { return };
    for (key, _) in dependants {
        if let Ok(Some(object)) = app.store.get(&key).await {
            app.ring(&object.uid);
        }
    }
}

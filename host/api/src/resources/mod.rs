//! The verbs on objects.

mod admit;
mod after;
mod apply;
mod builtin;
mod delete;
mod events;
mod managers;
mod metadata;
mod options;
mod owners;
mod place;
mod read;
mod scale;
mod secrets;
mod watch;
mod watcher;
mod write;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};
use threeport_store::{Key, Object};

use options::{Options, Write};

use crate::accept::{self, Output};
use crate::auth::Named;
use crate::definitions;
use crate::registry::Kind;
use crate::router::{App, Call};
use crate::schema;
use crate::status::{ApiError, ApiResult, json_response};
use crate::table::{self, Include};

pub(crate) use admit::{judge, refuse};
pub(crate) use builtin::prepare_store;
pub(crate) use delete::{delete, delete_collection};
pub(crate) use options::is_dry_run;
pub(crate) use read::{get, list};
pub(crate) use scale::scale;
pub(crate) use watch::watch;
pub(crate) use write::{OBJECT_LIMIT, create, finalize, fits, patch, update};

/// The key of the object a call is about.
fn key(call: &Call) -> ApiResult<Key> {
    let name = call.name.as_deref().ok_or_else(ApiError::no_such_path)?;
    Ok(key_of(&call.kind, call.namespace.as_deref(), name))
}

pub(crate) fn key_of(kind: &Kind, namespace: Option<&str>, name: &str) -> Key {
    Key { resource: kind.stored.clone(), namespace: namespace.map(Into::into), name: name.into() }
}

/// The object there.
async fn existing(app: &App, kind: &Kind, key: &Key) -> ApiResult<Object> {
    app.store.get(key).await?.ok_or_else(|| ApiError::not_found(&kind.resource, &key.name))
}

/// An object as the kind that was asked for (versions differ in the apiVersion only): the stored bytes, unless they were written as another
/// version, which is not always the storage version of now, or before the schema was what it is.
fn shown(kind: &Kind, object: &Object) -> Bytes {
    if object.resource_version >= kind.since && is_of(kind, &object.body) {
        return object.body.clone();
    }
    match serde_json::from_slice::<Value>(&object.body) {
        Ok(mut value) => {
            show(kind, object.resource_version, &mut value);
            Bytes::from(value.to_string())
        }
        Err(_) => object.body.clone(),
    }
}

/// Whether a stored body says that it is of the version that was asked for.
fn is_of(kind: &Kind, body: &[u8]) -> bool {
    // Keys are stored in order, and this is the first.
    let rest = body.strip_prefix(b"{\"apiVersion\":\"").and_then(|rest| rest.strip_prefix(kind.api_version.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b"\""))
}

/// Makes what is stored into what the kind shows.
fn show(kind: &Kind, version: u64, value: &mut Value) {
    value["apiVersion"] = (&*kind.api_version).into();
    if let Some(view) = &kind.view {
        view.show(value);
    } else if version < kind.since {
        // As if it were written now; what a Definition leaves open stays open.
        schema::prune(&kind.schema, value, "", &mut Vec::new());
        let spec = definitions::is_partial(kind, value).then(|| value["spec"].take());
        schema::apply_defaults(&kind.schema, value);
        if let Some(spec) = spec {
            value["spec"] = spec;
        }
    }
}

/// The object as the kind shows it, still under the version that it is stored in.
fn value_of(kind: &Kind, object: &Object) -> Value {
    let mut value = object.value();
    show(kind, object.resource_version, &mut value);
    value["apiVersion"] = (&*kind.storage_api_version).into();
    value
}

/// An object as the client wants it.
fn answer(call: &Call, code: StatusCode, body: &Bytes, warnings: &[String]) -> ApiResult<Response> {
    let kind = &call.kind;
    let body = if is_of(kind, body) {
        body.clone()
    } else {
        let mut value = parse(body)?;
        show(kind, u64::MAX, &mut value);
        Bytes::from(value.to_string())
    };
    if call.scale {
        return scale::answer(call, &parse(&body)?);
    }
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
    warnings.iter().for_each(|warning| warn(&mut response, warning));
    Ok(response)
}

/// Tells the client something that is no error.
pub(crate) fn warn(response: &mut Response, warning: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", Value::from(warning))) {
        response.headers_mut().append(header::WARNING, value);
    }
}

fn parse(body: &Bytes) -> ApiResult<Value> {
    serde_json::from_slice(body).map_err(|e| ApiError::internal(format!("a stored object cannot be read: {e}")))
}

/// Reads what is asked in a review: known fields of the right type.
pub(crate) fn fit(call: &Call, body: &mut Value) -> ApiResult<()> {
    let kind = &call.kind;
    let mode = Options::parse(Write::Create, &call.query, &call.headers)?.validation;
    admit::identify(kind, call.namespace.as_deref(), None, body)?;
    admit::complete(kind, mode, body, &[])?;
    let mut errors = Vec::new();
    crate::schema::validate(&kind.schema, body, None, "", &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&kind.resource.group, &kind.kind, "", &errors)) }
}

/// A response that says what it is about.
fn about(mut response: Response, name: &str) -> Response {
    response.extensions_mut().insert(Named(name.into()));
    response
}

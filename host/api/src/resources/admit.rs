//! What an object must be before it is written: known fields, defaults, valid.

use serde_json::Value;
use threeport_store::Edge;
use threeport_store::lifecycle::Part;

use super::{builtin, owners};
use crate::definitions;
use crate::references;
use crate::registry::{Kind, Kinds};
use crate::router::App;
use crate::schema::{self, FieldError, Schema, is_dns_label, is_dns_subdomain, is_label_value, is_qualified_name};
use crate::status::{ApiError, ApiResult};

/// What is done about unknown fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Checks what the body says it is, and completes it from the path.
pub(super) fn identify(kind: &Kind, namespace: Option<&str>, name: Option<&str>, body: &mut Value) -> ApiResult<()> {
    for (field, expected) in [("apiVersion", &kind.api_version), ("kind", &kind.kind)] {
        match body.get(field).and_then(Value::as_str) {
            None => body[field] = (&**expected).into(),
            Some(given) if given == &**expected => {}
            Some(given) => {
                return Err(ApiError::bad_request(format!(
                    "the {field} in the data ({given}) does not match the expected {field} ({expected})"
                )));
            }
        }
    }
    // Stored objects carry the storage version, whichever version they came in.
    body["apiVersion"] = (&*kind.storage_api_version).into();
    if !body.get("metadata").is_some_and(Value::is_object) {
        body["metadata"] = Value::Object(serde_json::Map::new());
    }
    let metadata = &mut body["metadata"];
    if let Some(fields) = metadata.as_object_mut() {
        fields.remove("managedFields");
    }
    let text = |value: &Value, key: &str| value[key].as_str().filter(|v| !v.is_empty()).map(str::to_owned);
    match (namespace, text(metadata, "namespace")) {
        (Some(expected), None) => metadata["namespace"] = expected.into(),
        (Some(expected), Some(given)) if given != expected => {
            return Err(ApiError::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({given} and {expected})"
            )));
        }
        (None, Some(_)) => drop(metadata.as_object_mut().and_then(|m| m.remove("namespace"))),
        _ => {}
    }
    match (name, text(metadata, "name")) {
        (Some(expected), None) => metadata["name"] = expected.into(),
        (Some(expected), Some(given)) if given != expected => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({expected})"
            )));
        }
        _ => {}
    }
    Ok(())
}

/// Removes unknown fields (or refuses them) and fills in defaults. Answers warnings.
pub(super) fn complete(kind: &Kind, mode: FieldValidation, body: &mut Value) -> ApiResult<Vec<String>> {
    let mut unknown = Vec::new();
    schema::prune(&kind.schema, body, "", &mut unknown);
    let messages: Vec<String> = unknown.iter().map(|field| format!("unknown field \"{field}\"")).collect();
    if mode == FieldValidation::Strict && !messages.is_empty() {
        return Err(ApiError::bad_request(format!(
            "{0} in version \"{1}\" cannot be handled as a {0}: strict decoding error: {2}",
            kind.kind,
            kind.version,
            messages.join(", ")
        )));
    }
    let partial = definitions::is_partial(kind, body);
    let spec = partial.then(|| body["spec"].take());
    schema::drop_nulls(&kind.schema, body);
    schema::apply_defaults(&kind.schema, body);
    if let Some(spec) = spec {
        body["spec"] = spec;
    }
    builtin::fold(kind, body);
    Ok(if mode == FieldValidation::Warn { messages } else { Vec::new() })
}

/// Judges an object as it would be stored, by a schema of its kind; answers its references and what is wrong with it.
pub(crate) async fn judge(
    app: &App,
    kinds: &Kinds,
    kind: &Kind,
    schema: &Schema,
    body: &Value,
    old: Option<&Value>,
    part: Part,
) -> ApiResult<(Vec<Edge>, Vec<FieldError>)> {
    let mut errors = Vec::new();
    schema::validate(schema, body, old, "", &mut errors);
    match part {
        // What the other half says is not this client's fault.
        Part::Status => errors.retain(|e| e.field.starts_with("status")),
        Part::Main => errors.retain(|e| !e.field.starts_with("status")),
        Part::Whole => {}
    }
    let mut edges = Vec::new();
    if part != Part::Status {
        metadata(kind, &body["metadata"], old.map(|o| &o["metadata"]), &mut errors);
        if !kind.references.is_empty() {
            let (found, wrong) = references::edges(kinds, kind, body);
            edges = found;
            errors.extend(wrong);
        }
        if kind.builtin && errors.is_empty() {
            errors.extend(builtin::check(app, kind, body, old).await?);
        }
    }
    if kind.is_builtin("", "secrets") {
        errors.iter_mut().for_each(conceal);
    }
    Ok((edges, errors))
}

/// 422 if something is wrong.
pub(crate) fn refuse(kind: &Kind, body: &Value, errors: &[FieldError]) -> ApiResult<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    Err(ApiError::invalid(&kind.resource.group, &kind.kind, name, errors))
}

/// What is wrong with a Secret, without what it holds: answers end up in logs and terminals.
fn conceal(error: &mut FieldError) {
    error.value = None;
    let root = error.field.split(['.', '[']).next().unwrap_or_default();
    if matches!(root, "" | "data" | "stringData") && error.kind != schema::ErrorKind::Forbidden {
        error.detail = "the value is not shown".to_owned();
    }
}

pub(crate) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
     with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn metadata(kind: &Kind, metadata: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    match metadata["name"].as_str() {
        None | Some("") => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        Some(name) => {
            let label = kind.is_builtin("", "namespaces");
            if crate::auth::names_are_segments(kind) {
                if let Some(why) = crate::auth::path_segment(name) {
                    errors.push(FieldError::invalid("metadata.name", &name.into(), why));
                }
            } else if label && !is_dns_label(name) {
                let detail = "must be a lowercase RFC 1123 label of at most 63 characters (e.g. 'my-name')";
                errors.push(FieldError::invalid("metadata.name", &name.into(), detail));
            } else if !label && !is_dns_subdomain(name) {
                errors.push(FieldError::invalid("metadata.name", &name.into(), SUBDOMAIN));
            }
        }
    }
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        if !is_qualified_name(key) {
            errors.push(FieldError::invalid("metadata.labels", &key.as_str().into(), "must be a qualified name"));
        }
        if !is_label_value(value.as_str().unwrap_or_default()) {
            let detail = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', at most 63";
            errors.push(FieldError::invalid("metadata.labels", value, detail));
        }
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if !is_qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &key.as_str().into(), "must be a qualified name"));
        }
    }
    if size > 256 * 1024 {
        let detail = "may not be more than 262144 bytes";
        errors.push(FieldError::new(schema::ErrorKind::TooLong, "metadata.annotations", None, detail));
    }
    let finalizers = metadata["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, finalizer) in finalizers.iter().enumerate() {
        if !is_qualified_name(finalizer.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(
                format!("metadata.finalizers[{index}]"),
                finalizer,
                "must be a qualified name",
            ));
        }
    }
    errors.extend(owners::check(metadata));
    if let Some(old) = old.filter(|old| old["deletionTimestamp"].is_string()) {
        let before = old["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let added: Vec<String> = finalizers.iter().filter(|f| !before.contains(f)).map(ToString::to_string).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                added.join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", detail));
        }
    }
}

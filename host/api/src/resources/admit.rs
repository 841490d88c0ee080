//! What an object must be before it is written: known fields, defaults, valid.

use serde_json::Value;
use threeport_store::Edge;
use threeport_store::lifecycle::Part;

use super::{builtin, metadata};
use crate::definitions;
use crate::references;
use crate::registry::{Kind, Kinds};
use crate::router::App;
use crate::schema::{self, ErrorKind, FieldError, Schema};
use crate::status::{ApiError, ApiResult};

/// What is done about unknown fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
    /// The same for a patch, of which the patched object is to blame and not what was sent.
    StrictPatch,
}

/// Kubernetes' own kinds without a generation have none here either.
pub(super) fn count_generations(kind: &Kind, body: &mut Value) {
    if !kind.has_generation()
        && let Some(metadata) = body["metadata"].as_object_mut()
    {
        metadata.remove("generation");
    }
}

/// Checks what the body says it is, and completes it from the path.
pub(super) fn identify(kind: &Kind, namespace: Option<&str>, name: Option<&str>, body: &mut Value) -> ApiResult<()> {
    for (field, named, expected) in [("kind", "Kind", &kind.kind), ("apiVersion", "apiVersion", &kind.api_version)] {
        match body.get(field).and_then(Value::as_str).filter(|given| !given.is_empty()) {
            // Typed clients leave it to the path.
            None if kind.is_typed() => body[field] = (&**expected).into(),
            None => {
                let (kind, shown) = (&kind.kind, body.to_string());
                let start: String = shown.chars().take(30).collect();
                return Err(ApiError::bad_request(format!(
                    "the object provided is unrecognized (must be of type {kind}): Object '{named}' is missing in '{shown}' ({start} ...)"
                )));
            }
            Some(given) if given == &**expected => {}
            Some(given) if field == "apiVersion" => {
                return Err(ApiError::bad_request(format!(
                    "the API version in the data ({given}) does not match the expected API version ({expected})"
                )));
            }
            Some(given) if kind.is_typed() => {
                return Err(ApiError::bad_request(format!(
                    "{given} in version \"{}\" cannot be handled as a {expected}",
                    kind.version
                )));
            }
            Some(given) => {
                let error = FieldError::invalid("kind", &given.into(), format!("must be {expected}"));
                let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                return Err(ApiError::invalid(&kind.resource.group, given, name, &[error]));
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
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
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
/// `twice` is what is to be said of fields that the body named twice.
pub(super) fn complete(
    kind: &Kind,
    mode: FieldValidation,
    body: &mut Value,
    twice: &[String],
) -> ApiResult<Vec<String>> {
    let mut unknown = Vec::new();
    schema::prune(&kind.schema, body, "", &mut unknown);
    unknown.sort();
    let messages: Vec<String> =
        twice.iter().cloned().chain(unknown.iter().map(|field| format!("unknown field \"{field}\""))).collect();
    if !messages.is_empty() {
        let why = format!("strict decoding error: {}", messages.join(", "));
        match mode {
            FieldValidation::Strict => {
                let (kind, version) = (&kind.kind, &kind.version);
                let message = format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}");
                return Err(ApiError::bad_request(message));
            }
            FieldValidation::StrictPatch => {
                return Err(ApiError::invalid("", "", "", &[FieldError::new(ErrorKind::Invalid, "patch", None, why)]));
            }
            FieldValidation::Ignore | FieldValidation::Warn => {}
        }
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
    if part != Part::Status || kind.status_has_metadata() {
        metadata::check(kind, &body["metadata"], old.map(|o| &o["metadata"]), &mut errors);
    }
    // What the other half says is not this client's fault.
    let mine = |error: &FieldError| match part {
        Part::Status => error.field.starts_with("status"),
        Part::Main => !error.field.starts_with("status"),
        Part::Whole => true,
    };
    let mut found = Vec::new();
    schema::check(schema, body, "", &mut found);
    if kind.is_builtin("", "secrets") {
        found.iter_mut().for_each(conceal);
    }
    errors.extend(found.into_iter().filter(mine));
    if let Some(wrong) = errors.iter().find(|error| undecodable(kind, error)) {
        return Err(ApiError::bad_request(format!(
            "{0} in version \"{1}\" cannot be handled as a {0}: {2}: {3}",
            kind.kind, kind.version, wrong.field, wrong.detail
        )));
    }
    if let Some(scale) = &kind.scale {
        errors.extend(scale.check(body, part));
    }
    let mut edges = Vec::new();
    if part != Part::Status {
        if !kind.references.is_empty() {
            let (found, wrong) = references::edges(kinds, kind, body);
            edges = found;
            errors.extend(wrong);
        }
        if kind.builtin && errors.is_empty() {
            errors.extend(builtin::check(app, kind, body, old).await?);
        }
    }
    let before = errors.len();
    schema::check_rules(schema, body, old, "", &mut errors);
    let mut ruled = errors.split_off(before);
    if kind.is_builtin("", "secrets") {
        ruled.iter_mut().for_each(conceal);
    }
    // That rules were not looked at is told of kinds that are known to have some: Kubernetes' own have none.
    errors
        .extend(ruled.into_iter().filter(|error| if error.field.is_empty() { !kind.is_typed() } else { mine(error) }));
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

/// Whether a typed client's decoder would have failed on it already: a kind of Kubernetes' own, or the metadata of any.
fn undecodable(kind: &Kind, error: &FieldError) -> bool {
    error.kind == ErrorKind::TypeInvalid && (kind.is_typed() || error.field.starts_with("metadata"))
}

/// What is wrong with a Secret, without what it holds: answers end up in logs and terminals.
fn conceal(error: &mut FieldError) {
    error.value = None;
    let root = error.field.split(['.', '[']).next().unwrap_or_default();
    if error.kind == ErrorKind::TypeInvalid {
        let wanted = error.detail.split_once(" of type ").and_then(|(_, rest)| rest.split(':').next());
        error.detail = format!("must be of type {}; the value is not shown", wanted.unwrap_or("the schema"));
    } else if matches!(root, "" | "data" | "stringData") && error.kind == ErrorKind::Invalid {
        error.detail = "the value is not shown".to_owned();
    }
}

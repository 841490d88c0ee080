//! The managers of an object's fields, through a write.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use threeport_store::Object;
use threeport_store::lifecycle::Part;

use super::options::Options;
use super::write::part_of;
use crate::managed::{self, Context, Entries, Writer};
use crate::registry::Kind;
use crate::router::{App, Call};
use crate::schema::{ErrorKind, FieldError};
use crate::status::{ApiError, ApiResult};

const FIELD: &str = "managedFields";

/// Takes the managers out of an object.
pub(super) fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove(FIELD)
}

/// Most entries that a client may send. Every manager of an object has one for each way of writing: nobody has a hundred; and each is compared with all.
const MOST: usize = 1000;

/// Takes the managers that a client sent out of its object; `there` are those that are stored.
///
/// # Errors
/// 422 when there are more than anybody needs.
pub(super) fn take_sent(kind: &Kind, object: &mut Value, there: Option<&Value>) -> ApiResult<Option<Value>> {
    let sent = take(object);
    let count = sent.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
    if count <= MOST || sent.as_ref() == there {
        return Ok(sent);
    }
    let detail = format!(
        "must have at most {MOST} items; leave it out to keep what is stored, or give an empty list to forget it"
    );
    let error = FieldError::new(ErrorKind::TooMany, "metadata.managedFields", Some(count.into()), detail);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::invalid(&kind.resource.group, &kind.kind, name, &[error]))
}

/// The object without its managers.
pub(super) fn without(object: &Value) -> Value {
    let Some(fields) = object.as_object() else { return object.clone() };
    let copy = |name: &String, value: &Value| match (name.as_str(), value) {
        ("metadata", Value::Object(metadata)) => {
            let kept = metadata.iter().filter(|(name, _)| *name != FIELD);
            Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        _ => value.clone(),
    };
    Value::Object(fields.iter().map(|(name, value)| (name.clone(), copy(name, value))).collect::<Map<_, _>>())
}

/// Who manages the fields before a change: those that are stored, or those that the client sent.
pub(super) fn base(call: &Call, sent: Option<Value>, there: Option<Value>) -> Entries {
    let there = there.unwrap_or_default();
    // What comes through a subresource cannot set them; who does not know them leaves them as they are.
    match sent.filter(|sent| !call.status && *sent != there) {
        Some(sent) if Entries::is_reset(&sent) => Entries::default(),
        Some(sent) => match Entries::sent(&sent) {
            Ok(entries) if !entries.is_empty() => entries,
            _ => Entries::stored(there),
        },
        None => Entries::stored(there),
    }
}

/// The managers of a new object.
pub(super) fn of_new(app: &App, call: &Call, options: &Options, body: &Value, sent: Option<Value>) -> Entries {
    let sent = sent.and_then(|sent| Entries::sent(&sent).ok()).unwrap_or_default();
    with_context(app, call, options, |context| managed::created(context, body, sent))
}

/// The managers of a changed object.
pub(super) fn of_changed(
    app: &App,
    call: &Call,
    options: &Options,
    old: &Value,
    body: &Value,
    there: Entries,
) -> Entries {
    with_context(app, call, options, |context| managed::updated(context, old, body, there))
}

/// What a write is about, for the rules of `managed`.
pub(super) fn with_context<T>(app: &App, call: &Call, options: &Options, use_it: impl FnOnce(Context<'_>) -> T) -> T {
    let kind = &call.kind;
    let other = |api_version: &str| -> Option<Arc<Kind>> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        app.registry.find(group, version, &kind.resource.plural)
    };
    let outside: &[&str] = match part_of(call) {
        Part::Main => &["status"],
        Part::Status if kind.status_has_metadata() => &["spec"],
        Part::Status => &["metadata", "spec"],
        Part::Whole => &[],
    };
    let writer = Writer {
        manager: &options.manager,
        api_version: &kind.api_version,
        subresource: match (call.status, call.scale, call.finalize) {
            (true, _, _) => "status",
            (_, true, _) => "scale",
            (_, _, true) => "finalize",
            _ => "",
        },
        now: Timestamp::now(),
    };
    use_it(Context { kind, other: &other, writer, outside })
}

/// Writes the managers into an object.
pub(super) fn set(object: &mut Value, entries: Entries) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    match entries.into_value() {
        Some(value) => metadata.insert(FIELD.to_owned(), value),
        None => metadata.remove(FIELD),
    };
}

/// The same for an object that was there. If nothing else changed, the times do not either: a write that changes nothing makes no new version.
pub(super) fn set_changed(object: &mut Value, entries: Entries, old: Value, stored: &Object) {
    if *object == old {
        let there = stored.value().get_mut("metadata").and_then(|metadata| metadata.get_mut(FIELD)).map(Value::take);
        let there = Entries::stored(there.unwrap_or_default());
        if entries.same_but_times(&there) {
            return set(object, there);
        }
    }
    set(object, entries);
}

//! From client-side apply to server-side apply without conflicts: what kubectl wrote down of its last client-side apply counts as its own.

use serde_json::Value;

use super::check::check;
use super::compare::compare;
use super::fields::FieldSet;
use super::owners::Context;
use super::walk::field_set;

/// The manager that this is done for: kubectl's own name, unless the user gives another.
pub(super) const MANAGER: &str = "kubectl";
/// Where kubectl writes it down.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most bytes of all annotations.
const ANNOTATIONS: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// The fields of the last client-side apply that are still as it left them. None if there was none in this version.
pub(super) fn fields(context: Context<'_>, live: &Value) -> Option<FieldSet> {
    let last: Value = serde_json::from_str(annotation(live)?).ok()?;
    if last.get("apiVersion")?.as_str()? != &*context.kind.api_version || check(context.root(), &last).is_err() {
        return None;
    }
    let mut fields = field_set(context.root(), &last, context.outside());
    let changes = compare(context.root(), &last, live, context.outside());
    for changed in [&changes.modified, &changes.added, &changes.removed] {
        fields.subtract(changed);
    }
    Some(fields)
}

/// Writes the applied configuration down where kubectl's client-side apply looks for it, if it ever did.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(ANNOTATION.to_owned(), Value::String(format!("{config}\n")));
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS {
        annotations.remove(ANNOTATION);
    }
}

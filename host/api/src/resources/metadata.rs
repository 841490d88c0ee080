//! What must hold for `metadata`, as in `k8s.io/apimachinery/pkg/api/validation`.

use serde_json::Value;
use threeport_store::lifecycle::{FOREGROUND, ORPHAN};

use super::owners;
use crate::registry::Kind;
use crate::schema::names::{Wrong, dns_label, dns_subdomain, label_value, qualified_name};
use crate::schema::{ErrorKind, FieldError};

/// Bytes of all annotations together.
const ANNOTATIONS: usize = 256 * 1024;

/// Checks the metadata of an object as it would be stored; `old` is what is stored.
pub(super) fn check(kind: &Kind, metadata: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if old.is_none() {
        names(kind, metadata, errors);
    }
    let mut each = |field: &str, value: &str, wrong: Wrong| {
        let value = Value::from(value);
        errors.extend(wrong.into_iter().map(|why| FieldError::invalid(format!("metadata.{field}"), &value, why)));
    };
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        each("labels", key, qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        each("labels", value, label_value(value));
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        each("annotations", key, qualified_name(&key.to_lowercase()));
    }
    if size > ANNOTATIONS {
        let detail = format!("may not be more than {ANNOTATIONS} bytes");
        errors.push(FieldError::new(ErrorKind::TooLong, "metadata.annotations", None, detail));
    }
    errors.extend(owners::check(metadata));
    finalizers(metadata, old, errors);
}

fn names(kind: &Kind, metadata: &Value, errors: &mut Vec<FieldError>) {
    let rule: fn(&str) -> Wrong = if crate::auth::names_are_segments(kind) {
        |name| crate::auth::path_segment(name).into_iter().collect()
    } else if kind.is_builtin("", "namespaces") {
        dns_label
    } else {
        dns_subdomain
    };
    if let Some(prefix) = metadata["generateName"].as_str().filter(|prefix| !prefix.is_empty()) {
        // A prefix may end in what a name may not end in.
        let masked = prefix.strip_suffix('-').map_or_else(|| prefix.to_owned(), |rest| format!("{rest}a"));
        let value = Value::from(prefix);
        errors.extend(rule(&masked).into_iter().map(|why| FieldError::invalid("metadata.generateName", &value, why)));
    }
    match metadata["name"].as_str() {
        None | Some("") => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        Some(name) => {
            let value = Value::from(name);
            errors.extend(rule(name).into_iter().map(|why| FieldError::invalid("metadata.name", &value, why)));
        }
    }
}

fn finalizers(metadata: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "metadata.finalizers";
    let list = |metadata: &Value| -> Vec<String> {
        let all = metadata["finalizers"].as_array().into_iter().flatten();
        all.map(|finalizer| finalizer.as_str().unwrap_or_default().to_owned()).collect()
    };
    let (now, before) = (list(metadata), old.map(list).unwrap_or_default());
    for finalizer in now.iter().filter(|finalizer| !before.contains(finalizer)) {
        let value = Value::from(finalizer.as_str());
        errors.extend(qualified_name(finalizer).into_iter().map(|why| FieldError::invalid(FIELD, &value, why)));
    }
    if old.is_some_and(|old| old["deletionTimestamp"].is_string()) {
        let mut added: Vec<&String> = now.iter().filter(|finalizer| !before.contains(finalizer)).collect();
        added.sort();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.iter().map(|finalizer| format!("{finalizer:?}")).collect::<Vec<_>>().join(", ")
            );
            errors.push(FieldError::forbidden(FIELD, detail));
        }
    }
}

/// What a new object is warned of: names of finalizers that others might choose too.
pub(super) fn warnings(metadata: &Value, old: Option<&Value>) -> Vec<String> {
    const STANDARD: [&str; 3] = [ORPHAN, FOREGROUND, "kubernetes"];
    let known = |finalizer: &Value| {
        old.and_then(|old| old["finalizers"].as_array()).is_some_and(|before| before.contains(finalizer))
    };
    let added = metadata["finalizers"].as_array().into_iter().flatten().filter(|finalizer| !known(finalizer));
    added
        .filter_map(Value::as_str)
        .filter(|finalizer| !finalizer.contains('/') && !STANDARD.contains(finalizer))
        .map(|finalizer| {
            let how = if finalizer.contains('.') { " including a path (/)" } else { "" };
            format!(
                "metadata.finalizers: {finalizer:?}: prefer a domain-qualified finalizer name{how} to avoid accidental conflicts with other finalizer writers"
            )
        })
        .collect()
}

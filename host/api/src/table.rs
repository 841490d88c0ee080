//! `meta.k8s.io/v1` Tables: what `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock;
use crate::jsonpath::JsonPath;
use crate::registry::{Column, ColumnPath, Kind};
use crate::status::{ApiError, ApiResult};

/// What a row carries of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// From the query parameter `includeObject`.
    pub(crate) fn parse(text: Option<&str>) -> ApiResult<Self> {
        match text {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => {
                Err(ApiError::bad_request(format!("includeObject must be None, Metadata or Object, not {other:?}")))
            }
        }
    }
}

/// What Kubernetes says of every name.
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to \
     request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration \
     definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// The headings.
pub(crate) fn columns(kind: &Kind) -> Value {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": NAME,
    });
    let others = kind.columns.iter().map(|c| {
        json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority})
    });
    std::iter::once(name).chain(others).collect()
}

/// A table; a watch leaves the headings out after its first.
pub(crate) fn table(columns: Value, rows: Vec<Value>, metadata: &Value) -> Value {
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}

/// One row.
pub(crate) fn row(kind: &Kind, object: Value, include: Include, now: Timestamp) -> Value {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    let cells: Vec<Value> = std::iter::once(name).chain(kind.columns.iter().map(|c| cell(c, &object, now))).collect();
    let object = match include {
        Include::None => Value::Null,
        Include::Metadata => metadata_only(&object),
        Include::Object => object,
    };
    json!({"cells": cells, "object": object})
}

/// A `PartialObjectMetadata`.
pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let first = |path: &JsonPath| path.find(object).into_iter().find(|v| !v.is_null()).cloned();
    let named = |r: &Value, case: fn(&str) -> String| {
        let text = |key: &str| r[key].as_str().unwrap_or_default();
        format!("{}/{}", case(text("kind")), text("name")).into()
    };
    let age = |time: Option<&Value>| -> Value {
        let age = time.and_then(Value::as_str).and_then(|time| clock::age(time, now));
        age.unwrap_or_else(|| "<unknown>".into()).into()
    };
    let value = match &column.path {
        ColumnPath::Json(path) => first(path),
        ColumnPath::First(paths) => paths.iter().find_map(first),
        // A number and a time, whatever the column is said to hold, as Kubernetes prints them.
        ColumnPath::Count(paths) => return paths.iter().map(|p| p.find(object).len()).sum::<usize>().into(),
        ColumnPath::Age(paths) => return age(paths.iter().find_map(first).as_ref()),
        ColumnPath::Created => return object["metadata"]["creationTimestamp"].clone(),
        ColumnPath::Reference(path) => first(path).map(|r| named(&r, str::to_lowercase)),
        ColumnPath::Slash(path) => first(path).map(|r| named(&r, str::to_owned)),
        ColumnPath::Subjects(kind) => Some(subjects(object, kind).into()),
    };
    let Some(value) = value else { return if column.kind == "string" { "".into() } else { Value::Null } };
    match column.kind.as_str() {
        "date" => age(Some(&value)),
        "string" => match value {
            Value::String(_) => value,
            other => other.to_string().into(),
        },
        "integer" => value.as_i64().map_or(Value::Null, Value::from),
        "number" => value.as_f64().map_or(Value::Null, Value::from),
        "boolean" => value.as_bool().map_or(Value::Null, Value::from),
        _ => value,
    }
}

/// The subjects of one kind; ServiceAccounts with their namespaces.
fn subjects(object: &Value, kind: &str) -> String {
    let of_kind = object["subjects"].as_array().into_iter().flatten().filter(|subject| subject["kind"] == kind);
    let names: Vec<String> = of_kind
        .map(|subject| {
            let text = |key: &str| subject[key].as_str().unwrap_or_default();
            if kind == "ServiceAccount" {
                format!("{}/{}", text("namespace"), text("name"))
            } else {
                text("name").to_owned()
            }
        })
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn builtin_kinds_print_as_in_kubernetes() {
        let kinds = Registry::new().kinds();
        let now: Timestamp = "2026-11-23T20:05:00Z".parse().expect("a time");
        let metadata = json!({"name": "x", "creationTimestamp": "2026-11-23T20:00:00Z"});
        let cases = [
            ("namespaces", json!({"metadata": metadata, "status": {"phase": "Active"}}), json!(["x", "Active", "5m"])),
            (
                "secrets",
                json!({"metadata": metadata, "type": "Opaque", "data": {"a": "", "b": ""}}),
                json!(["x", "Opaque", 2, "5m"]),
            ),
            ("configmaps", json!({"metadata": metadata}), json!(["x", 0, "5m"])),
            (
                "events",
                json!({"metadata": metadata, "type": "Normal", "reason": "R", "message": "m", "lastTimestamp": null,
                       "involvedObject": {"kind": "Widget", "name": "w"}, "count": 2}),
                json!(["x", "5m", "Normal", "R", "widget/w", "", "m", "5m", 2]),
            ),
        ];
        for (plural, object, expected) in cases {
            let kind = kinds.find("", "v1", plural).expect(plural);
            let row = row(kind, object, Include::None, now);
            assert_eq!(row["cells"], expected, "{plural}");
            assert_eq!(columns(kind).as_array().map(Vec::len), expected.as_array().map(Vec::len), "{plural}");
        }
    }
}

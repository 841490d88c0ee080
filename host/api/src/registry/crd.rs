//! From a CustomResourceDefinition to the kinds it defines.

use std::sync::Arc;

use serde_json::Value;
use threeport_store::{ReferenceRule, Resource};

use super::kind::{Column, ColumnPath, Kind, Selectable, Subresource};
use super::scale::Scale;
use super::view::View;
use crate::definitions::extend;
use crate::jsonpath::JsonPath;
use crate::schema::{self, FieldError, Schema};

/// Annotation: the plugin that serves the kind.
pub(crate) const PLUGIN: &str = "threeport.dev/plugin";
/// Annotation: what refers to what, as JSON.
const REFERENCES: &str = "threeport.dev/references";

/// The kinds that a definition serves, one for each served version.
pub(crate) fn kinds(definition: &Value) -> Result<Vec<Kind>, Vec<FieldError>> {
    kinds_with(definition, false)
}

/// The same, for the files in `builtin/`.
pub(super) fn kinds_with(definition: &Value, builtin: bool) -> Result<Vec<Kind>, Vec<FieldError>> {
    let spec = &definition["spec"];
    // What it wants to be called, and what it may be called, which is less while another kind has one of the names.
    let accepted = definition.pointer("/status/acceptedNames").filter(|names| names["plural"].is_string());
    let names = accepted.unwrap_or(&spec["names"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap_or_default();
    let group = text(&spec["group"]);
    let kind = text(&spec["names"]["kind"]);
    let or = |value: &Value, other: String| value.as_str().filter(|v| !v.is_empty()).map_or(other, str::to_owned);
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let api_version = |version: &str| -> Arc<str> {
        if group.is_empty() { version.into() } else { format!("{group}/{version}").into() }
    };
    let storage = versions.iter().find(|v| v["storage"] == true).map(|v| text(&v["name"])).unwrap_or_default();
    let annotation = |key: &str| definition.pointer("/metadata/annotations")?.get(key)?.as_str();
    let mut errors = Vec::new();
    let references: Vec<ReferenceRule> = match annotation(REFERENCES).map(serde_json::from_str::<Vec<ReferenceRule>>) {
        None => Vec::new(),
        Some(Ok(references)) => references.into_iter().filter(|r| r.kind == kind).collect(),
        Some(Err(error)) => {
            let detail = format!("must be a JSON list of references: {error}");
            errors.push(FieldError::forbidden(format!("metadata.annotations[{REFERENCES}]"), detail));
            Vec::new()
        }
    };
    let subresources: Vec<Subresource> = match spec.get("subresources") {
        Some(list) if builtin => serde_json::from_value(list.clone())
            .map_err(|error| vec![FieldError::forbidden("spec.subresources", error.to_string())])?,
        _ => Vec::new(),
    };
    let reconciled = annotation(PLUGIN).is_some_and(|name| !name.is_empty());
    let mut kinds = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = text(&version["name"]);
        let source = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or(Value::Null);
        if source.is_null() {
            errors.push(FieldError::required(format!("{at}.schema.openAPIV3Schema"), "schemas are required"));
            continue;
        }
        let path = format!("{at}.schema.openAPIV3Schema");
        let defined =
            if reconciled && !builtin && spec["scope"] == "Namespaced" { extend(&source, &path) } else { Ok(None) };
        let compiled = defined.and_then(|defined| {
            let (whole_source, partial) = match &defined {
                Some(extended) => (&extended.whole, Some(whole(&extended.partial, &path, builtin)?)),
                None => (&source, None),
            };
            Ok((whole(whole_source, &path, builtin)?, partial, defined))
        });
        let (schema, partial, defined) = match compiled {
            Ok(compiled) => compiled,
            Err(wrong) => {
                errors.extend(wrong);
                continue;
            }
        };
        let columns = columns(&version["additionalPrinterColumns"], &at, builtin, &mut errors);
        let selectable = selectable(&version["selectableFields"]);
        if version["served"] != true {
            continue;
        }
        let resource = Resource::new(group.as_str(), text(&spec["names"]["plural"]));
        let (stored, view, storage_api_version) = match spec.get("storedAs") {
            Some(source) if builtin => (
                Resource::new(text(&source["group"]), text(&source["plural"])),
                Some(View::read(&source["fields"])),
                text(&source["apiVersion"]).into(),
            ),
            _ => (resource.clone(), None, api_version(&storage)),
        };
        let shown = format!("{group}/{name} {kind}");
        let deprecation = (version["deprecated"] == true)
            .then(|| or(&version["deprecationWarning"], format!("{shown} is deprecated")));
        kinds.push(Kind {
            resource,
            stored,
            view,
            api_version: api_version(&name),
            storage_api_version,
            version: name.into(),
            list_kind: or(&names["listKind"], format!("{kind}List")).into(),
            singular: or(&names["singular"], kind.to_lowercase()).into(),
            kind: kind.as_str().into(),
            short_names: list(&names["shortNames"]),
            categories: list(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            scope: spec["scope"].as_str().unwrap_or_default().into(),
            has_status: version.pointer("/subresources/status").is_some_and(|status| !status.is_null()),
            scale: version.pointer("/subresources/scale").and_then(Scale::read),
            selectable,
            deprecation,
            since: 0,
            builtin,
            answered: builtin && spec["answered"] == true,
            subresources: subresources.clone(),
            schema,
            partial,
            source: defined.map_or(source, |extended| extended.partial),
            columns,
            reconciled,
            references: references.clone(),
        });
    }
    if errors.is_empty() { Ok(kinds) } else { Err(errors) }
}

/// The schema of the whole object: what the definition says, with Kubernetes' own metadata.
fn whole(source: &Value, path: &str, builtin: bool) -> Result<Schema, Vec<FieldError>> {
    if source["type"] != "object" {
        return Err(vec![FieldError::invalid(format!("{path}.type"), &source["type"], "must be object at the root")]);
    }
    let mut source = source.clone();
    if let Some(metadata) = source.pointer("/properties/metadata").and_then(Value::as_object)
        && !builtin
        && metadata.keys().any(|key| key != "type" && key != "description")
    {
        let at = format!("{path}.properties[metadata]");
        return Err(vec![FieldError::forbidden(at, "must not specify anything other than the type")]);
    }
    if let Some(properties) = source.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
    }
    let mut schema = schema::compile(&source, path)?;
    let meta = |part: &str| {
        schema::compile(&super::builtin::metadata()[part], part)
            .expect("the schema of metadata is a file of this program")
    };
    schema.properties.insert("apiVersion".into(), meta("apiVersion"));
    schema.properties.insert("kind".into(), meta("kind"));
    schema.properties.insert("metadata".into(), meta("metadata"));
    Ok(schema)
}

/// What Kubernetes says of the time of creation.
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in \
     happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by \
     the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

fn columns(source: &Value, path: &str, builtin: bool, errors: &mut Vec<FieldError>) -> Vec<Column> {
    let list = source.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut columns: Vec<Column> = Vec::new();
    for (index, column) in list.iter().enumerate() {
        let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
        match column_path(column, builtin) {
            Ok(path) => columns.push(Column {
                name: text("name"),
                kind: text("type"),
                format: text("format"),
                description: match text("description") {
                    said if said.is_empty() && builtin => CREATED.to_owned(),
                    said if said.is_empty() => {
                        format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath"))
                    }
                    said => said,
                },
                priority: column["priority"].as_i64().unwrap_or(0),
                path,
            }),
            Err(why) => {
                let at = format!("{path}.additionalPrinterColumns[{index}].jsonPath");
                errors.push(FieldError::invalid(at, &column["jsonPath"], why));
            }
        }
    }
    if columns.is_empty() {
        columns.push(Column {
            name: "Age".into(),
            kind: "date".into(),
            format: String::new(),
            description: "Custom resource definition column (in JSONPath format): .metadata.creationTimestamp".into(),
            priority: 0,
            path: ColumnPath::Json(JsonPath::parse(".metadata.creationTimestamp").expect("a valid path")),
        });
    }
    columns
}

/// Fields that objects can be selected by. A built-in kind may name one otherwise than by its path, and look in several places.
fn selectable(source: &Value) -> Vec<Selectable> {
    let read = |entry: &Value| {
        let paths = entry["first"].as_array().map_or_else(|| vec![&entry["jsonPath"]], |paths| paths.iter().collect());
        let first = paths.first()?.as_str()?;
        let field = entry["field"].as_str().unwrap_or_else(|| first.trim_start_matches('.')).to_owned();
        let paths = paths.into_iter().filter_map(Value::as_str).filter_map(|path| JsonPath::parse(path).ok()).collect();
        Some(Selectable { field, paths })
    };
    source.as_array().into_iter().flatten().filter_map(read).collect()
}

/// Built-in kinds may count, choose and name references, as kubectl's own printers do.
fn column_path(column: &Value, builtin: bool) -> Result<ColumnPath, String> {
    if builtin {
        let paths = |list: &Value| -> Result<Vec<JsonPath>, String> {
            list.as_array().into_iter().flatten().filter_map(Value::as_str).map(JsonPath::parse).collect()
        };
        if let Some(list) = column.get("count") {
            return Ok(ColumnPath::Count(paths(list)?));
        }
        if let Some(list) = column.get("first") {
            return Ok(ColumnPath::First(paths(list)?));
        }
        if let Some(list) = column.get("age") {
            return Ok(ColumnPath::Age(paths(list)?));
        }
        if column["created"] == true {
            return Ok(ColumnPath::Created);
        }
        if let Some(path) = column["reference"].as_str() {
            return Ok(ColumnPath::Reference(JsonPath::parse(path)?));
        }
        if let Some(path) = column["slash"].as_str() {
            return Ok(ColumnPath::Slash(JsonPath::parse(path)?));
        }
        if let Some(kind) = column["subjects"].as_str() {
            return Ok(ColumnPath::Subjects(kind.to_owned()));
        }
    }
    Ok(ColumnPath::Json(JsonPath::parse(column["jsonPath"].as_str().unwrap_or_default())?))
}

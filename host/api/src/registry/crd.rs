//! From a CustomResourceDefinition to the kinds it defines.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use threeport_store::{ReferenceRule, Resource};

use super::kind::{Column, ColumnPath, Kind, Subresource};
use crate::definitions::extend;
use crate::jsonpath::JsonPath;
use crate::schema::{self, FieldError, Schema, is_dns_label, is_dns_subdomain};

/// Annotation: the plugin that serves the kind.
pub(crate) const PLUGIN: &str = "threeport.dev/plugin";
/// Annotation: what refers to what, as JSON.
const REFERENCES: &str = "threeport.dev/references";

/// Checks a definition beyond its schema: can it be served at all?
pub(crate) fn check(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &definition["spec"];
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, plural) = (text("/group"), text("/names/plural"));
    let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if name != format!("{plural}.{group}") {
        errors.push(FieldError::invalid("metadata.name", &name.into(), "must be spec.names.plural+\".\"+spec.group"));
    }
    if !is_dns_subdomain(group) || !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", &group.into(), "should be a domain with at least one dot"));
    }
    for (field, value) in [("plural", plural), ("singular", text("/names/singular"))] {
        if !value.is_empty() && !is_dns_label(value) {
            let detail = "must be a lowercase RFC 1123 label";
            errors.push(FieldError::invalid(format!("spec.names.{field}"), &value.into(), detail));
        }
    }
    if text("/conversion/strategy") == "Webhook" {
        let detail = "conversion webhooks are not supported; use strategy None";
        errors.push(FieldError::forbidden("spec.conversion.strategy", detail));
    }
    if spec.get("preserveUnknownFields").and_then(Value::as_bool) == Some(true) {
        let detail = "must be false; set x-kubernetes-preserve-unknown-fields in the schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", &true.into(), detail));
    }
    let versions = spec.get("versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            &versions.len().into(),
            "must have exactly one version marked as storage version",
        ));
    }
    let mut seen = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = version["name"].as_str().unwrap_or_default();
        if seen.contains(&name) {
            errors.push(FieldError::new(schema::ErrorKind::Duplicate, format!("{at}.name"), Some(name.into()), ""));
        }
        seen.push(name);
        for unsupported in ["scale", "selectableFields"] {
            let there = version.get(unsupported).is_some() || version.pointer("/subresources/scale").is_some();
            if there {
                errors.push(FieldError::forbidden(&at, format!("{unsupported} is not supported yet")));
                break;
            }
        }
    }
    if errors.is_empty()
        && let Err(wrong) = kinds(definition)
    {
        errors.extend(wrong);
    }
    errors
}

/// The kinds that a definition serves, one for each served version.
pub(crate) fn kinds(definition: &Value) -> Result<Vec<Kind>, Vec<FieldError>> {
    kinds_with(definition, false)
}

/// The same, for the files in `builtin/`.
pub(super) fn kinds_with(definition: &Value, builtin: bool) -> Result<Vec<Kind>, Vec<FieldError>> {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap_or_default();
    let group = text(&spec["group"]);
    let kind = text(&names["kind"]);
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
        if version["served"] != true {
            continue;
        }
        kinds.push(Kind {
            resource: Resource::new(group.as_str(), text(&names["plural"])),
            api_version: api_version(&name),
            storage_api_version: api_version(&storage),
            version: name.into(),
            list_kind: or(&names["listKind"], format!("{kind}List")).into(),
            singular: or(&names["singular"], kind.to_lowercase()).into(),
            kind: kind.as_str().into(),
            short_names: list(&names["shortNames"]),
            categories: list(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            has_status: version.pointer("/subresources/status").is_some(),
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
                description: text("description"),
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
            description: "How long ago it was created".into(),
            priority: 0,
            path: ColumnPath::Json(JsonPath::parse(".metadata.creationTimestamp").expect("a valid path")),
        });
    }
    columns
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

/// Fills in what a definition may leave out, and its status: names accepted, established.
pub(crate) fn establish(definition: &mut Value, now: &str) {
    let spec = &mut definition["spec"];
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    let names = &mut spec["names"];
    if names["singular"].as_str().is_none_or(str::is_empty) {
        names["singular"] = kind.to_lowercase().into();
    }
    if names["listKind"].as_str().is_none_or(str::is_empty) {
        names["listKind"] = format!("{kind}List").into();
    }
    if spec.get("conversion").is_none() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    let accepted = spec["names"].clone();
    let storage: Option<Value> = spec["versions"]
        .as_array()
        .and_then(|versions| versions.iter().find(|v| v["storage"] == true).map(|v| v["name"].clone()));
    let mut status = definition.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    status.insert("acceptedNames".into(), accepted);
    let mut stored: Vec<Value> = status.get("storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(version) = storage
        && !stored.contains(&version)
    {
        stored.push(version);
    }
    status.insert("storedVersions".into(), Value::Array(stored));
    condition(&mut status, "NamesAccepted", "NoConflicts", "no conflicts found", now);
    condition(&mut status, "Established", "InitialNamesAccepted", "the initial names have been accepted", now);
    definition["status"] = Value::Object(status);
}

fn condition(status: &mut Map<String, Value>, kind: &str, reason: &str, message: &str, now: &str) {
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    if list.iter().any(|c| c["type"] == kind && c["status"] == "True") {
        return;
    }
    list.retain(|c| c["type"] != kind);
    list.push(json!({
        "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now,
    }));
}

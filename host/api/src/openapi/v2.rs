//! OpenAPI v2: one document of everything, made from those of v3. What v2 cannot say is left out as Kubernetes leaves it out, so that what a client
//! checks by it is never more than what the server checks.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::{build, by_group, digest};
use crate::registry::{Kind, Kinds};
use crate::status::json_response;

/// The document with its digest.
pub(crate) type Document = (String, Bytes);

/// Keywords that v2 does not have.
const JUNCTORS: [&str; 4] = ["allOf", "anyOf", "oneOf", "not"];
/// The methods of a path.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// `/openapi/v2`
pub(crate) fn document(kinds: &Kinds, headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("protobuf") {
        // kubectl falls back to this for a kind that no v3 document has, finds nothing here, and then says what it would say to any server: that
        // there is no such kind. It takes nothing but protobuf. openapi.v2.Document: swagger (1), info (2) with title (1) and version (2).
        let document: &[u8] = b"\x0a\x032.0\x12\x0f\x0a\x09threeport\x12\x02v1";
        let media_type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        return ([(header::CONTENT_TYPE, media_type)], document).into_response();
    }
    let (hash, bytes) = kinds.swagger.get_or_init(|| {
        let bytes = Bytes::from(swagger(kinds).to_string());
        (digest(&bytes), bytes)
    });
    let tag = format!("\"{hash}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let mut response = if known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json_response(StatusCode::OK, bytes.clone())
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn swagger(kinds: &Kinds) -> Value {
    let (mut definitions, mut paths) = (Map::new(), Map::new());
    for kinds in by_group(kinds).values() {
        let mut document = build(kinds);
        if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
            definitions.extend(std::mem::take(schemas).into_iter().map(|(name, schema)| (name, definition(schema))));
        }
        if let Some(found) = document["paths"].as_object_mut() {
            paths.extend(std::mem::take(found).into_iter().map(|(path, item)| (path, path_item(item))));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Threeport", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "definitions": definitions,
    })
}

/// The schema of an object.
fn definition(mut schema: Value) -> Value {
    // Clients would take fields that it does not name for unknown ones.
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return json!({"type": "object", Kind::NAMED: schema[Kind::NAMED]});
    }
    narrow(&mut schema);
    schema
}

/// Leaves out what v2 cannot say.
fn narrow(schema: &mut Value) {
    refer(schema);
    let Some(fields) = schema.as_object_mut() else { return };
    let said = |fields: &Map<String, Value>, keyword: &str| fields.get(keyword).is_some_and(|value| value == true);
    JUNCTORS.iter().for_each(|keyword| drop(fields.remove(*keyword)));
    if said(fields, "nullable") {
        // kubectl takes a value of no type as any.
        ["type", "nullable", "items", "properties"].iter().for_each(|keyword| drop(fields.remove(*keyword)));
    }
    if said(fields, "x-kubernetes-preserve-unknown-fields") {
        ["items", "properties"].iter().for_each(|keyword| drop(fields.remove(*keyword)));
        if fields.get("type").is_some_and(|kind| kind == "object") {
            fields.remove("type");
        }
    }
    if fields.get("type").is_some_and(|kind| kind == "array") && !fields.contains_key("items") {
        fields.remove("type");
    }
    let nullable: Vec<String> = match fields.get("properties").and_then(Value::as_object) {
        Some(properties) => {
            let nullable = properties.iter().filter(|(_, schema)| schema["nullable"] == true);
            nullable.map(|(name, _)| name.clone()).collect()
        }
        None => Vec::new(),
    };
    let any_null = fields.get("additionalProperties").is_some_and(|schema| schema["nullable"] == true);
    if let Some(required) = fields.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !any_null && !nullable.iter().any(|nullable| name == nullable.as_str()));
        if required.is_empty() {
            fields.remove("required");
        }
    }
    for schema in fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        narrow(schema);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(keyword) {
            narrow(schema);
        }
    }
}

/// References to where v2 has the definitions. Beside one, v3 needs `allOf` to say more, v2 does not.
fn refer(schema: &mut Value) {
    if let Some(reference) = schema.pointer("/allOf/0/$ref").cloned() {
        schema["$ref"] = reference;
        if let Some(fields) = schema.as_object_mut() {
            fields.remove("default");
        }
    }
    if let Some(reference) = schema["$ref"].as_str() {
        schema["$ref"] = reference.replace("#/components/schemas/", "#/definitions/").into();
    }
}

fn path_item(mut item: Value) -> Value {
    parameters(&mut item["parameters"]);
    let Some(fields) = item.as_object_mut() else { return item };
    if fields.get("parameters").is_some_and(Value::is_null) {
        fields.remove("parameters");
    }
    for method in METHODS {
        if let Some(operation) = fields.get_mut(method) {
            parameters(&mut operation["parameters"]);
            body(operation);
        }
    }
    item
}

/// A parameter says its type itself.
fn parameters(list: &mut Value) {
    for parameter in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(Value::Object(schema)) = parameter.remove("schema") {
            parameter.extend(schema);
        }
    }
}

/// What is sent is a parameter, and what comes back has one schema, whatever its media type.
fn body(operation: &mut Value) {
    let schema_of = |content: &Value| {
        let mut schema = content.as_object().and_then(|types| types.values().next())?.get("schema")?.clone();
        refer(&mut schema);
        Some(schema)
    };
    let sent = operation.as_object_mut().and_then(|operation| operation.remove("requestBody"));
    if let Some(sent) = sent {
        let types: Vec<Value> =
            sent["content"].as_object().into_iter().flatten().map(|(name, _)| name.as_str().into()).collect();
        operation["consumes"] = types.into();
        if let (Some(schema), Some(list)) = (schema_of(&sent["content"]), operation["parameters"].as_array_mut()) {
            list.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
        }
    }
    operation["produces"] = json!(["application/json", "application/yaml"]);
    for answer in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let (Some(schema), Some(answer)) = (schema_of(&answer["content"]), answer.as_object_mut()) {
            answer.remove("content");
            answer.insert("schema".to_owned(), schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v2_cannot_say_is_left_out() {
        let mut schema = json!({
            "type": "object", "required": ["maybe", "sure"], "oneOf": [{"required": ["sure"]}],
            "properties": {
                "maybe": {"type": "string", "nullable": true, "description": "or not"},
                "sure": {"type": "array", "items": {"type": "string", "nullable": true}},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
                "all": {"type": "array"},
            },
        });
        narrow(&mut schema);
        let expected = json!({
            "type": "object", "required": ["sure"],
            "properties": {
                "maybe": {"description": "or not"},
                "sure": {"type": "array", "items": {}},
                "any": {"x-kubernetes-preserve-unknown-fields": true},
                "all": {},
            },
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn a_document_names_nothing_that_it_does_not_have() {
        fn walk(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| walk(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let document = swagger(&crate::registry::Registry::new().kinds());
        let mut found = Vec::new();
        walk(&document, &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for reference in found {
            let name = reference.strip_prefix("#/definitions/").expect("a definition");
            assert!(document["definitions"].get(name).is_some(), "{reference}");
        }
        assert!(!document.to_string().contains("requestBody"));
        let secret = &document["paths"]["/api/v1/namespaces/{namespace}/secrets"];
        assert_eq!(
            secret["parameters"][0],
            json!({"name": "namespace", "in": "path", "required": true, "type": "string"})
        );
        assert_eq!(secret["post"]["responses"]["200"]["schema"]["$ref"], "#/definitions/io.k8s.api.core.v1.Secret");
    }
}

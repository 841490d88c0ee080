//! OpenAPI v3, made from the registry: one document for each group and version. `kubectl explain` reads the schemas, `kubectl apply` learns from
//! the paths that the server validates fields. [`v2`] makes the older form of it.

pub(crate) mod v2;

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::registry::{Kind, Kinds};
use crate::status::{ApiError, ApiResult, json_response};

/// Name of the schema of `metadata`.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The documents of one picture of the registry, by path, with a digest of each.
pub(crate) type Documents = BTreeMap<String, (String, Bytes)>;

fn documents(kinds: &Kinds) -> &Documents {
    kinds.documents.get_or_init(|| {
        let encode = |(path, kinds): (String, Vec<&Kind>)| {
            let bytes = Bytes::from(build(&kinds).to_string());
            (path, (digest(&bytes), bytes))
        };
        by_group(kinds).into_iter().map(encode).collect()
    })
}

/// The kinds by the path of their group and version.
fn by_group(kinds: &Kinds) -> BTreeMap<String, Vec<&Kind>> {
    let mut groups: BTreeMap<String, Vec<&Kind>> = BTreeMap::new();
    for kind in kinds.all() {
        groups.entry(kind.group_path()).or_default().push(kind);
    }
    groups
}

/// Tells documents apart.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|b| format!("{b:02X}")).collect()
}

/// `/openapi/v3`: where the documents are; the digest in each address lets clients keep them.
pub(crate) fn index(kinds: &Kinds) -> Response {
    let paths: Map<String, Value> = documents(kinds)
        .iter()
        .map(|(path, (hash, _))| {
            (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
        })
        .collect();
    json_response(StatusCode::OK, json!({"paths": paths}).to_string())
}

/// `/openapi/v3/apis/{group}/{version}`
pub(crate) fn document(kinds: &Kinds, path: &str) -> ApiResult<Response> {
    let (_, bytes) = documents(kinds).get(path).ok_or_else(ApiError::no_such_path)?;
    Ok(json_response(StatusCode::OK, bytes.clone()))
}

fn build(kinds: &[&Kind]) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    schemas.insert(OBJECT_META.into(), crate::registry::metadata()["metadata"].clone());
    for kind in kinds {
        let name = schema_name(kind, &kind.kind);
        schemas.insert(name.clone(), object(kind));
        schemas.insert(schema_name(kind, &kind.list_kind), list(kind, &name));
        add_paths(kind, &mut paths);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Threeport", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

/// `example.com/v1 Widget` is `com.example.v1.Widget`; core kinds are named as in Kubernetes.
fn schema_name(kind: &Kind, name: &str) -> String {
    if kind.resource.group.is_empty() {
        return format!("io.k8s.api.core.{}.{name}", kind.version);
    }
    let reversed: Vec<&str> = kind.resource.group.rsplit('.').collect();
    format!("{}.{}.{name}", reversed.join("."), kind.version)
}

fn gvk(kind: &Kind, name: &str) -> Value {
    json!({"group": &*kind.resource.group, "version": &*kind.version, "kind": name})
}

/// The schema of an object, as its definition has it, with the parts that every object has.
fn object(kind: &Kind) -> Value {
    let mut schema = kind.source.clone();
    let meta = crate::registry::metadata();
    let properties = &mut schema["properties"];
    if !properties.is_object() {
        *properties = json!({});
    }
    properties["apiVersion"] = meta["apiVersion"].clone();
    properties["kind"] = meta["kind"].clone();
    properties["metadata"] = json!({
        "description": meta["metadata"]["description"], "default": {}, "allOf": [{"$ref": format!("#/components/schemas/{OBJECT_META}")}],
    });
    schema[Kind::NAMED] = json!([gvk(kind, &kind.kind)]);
    schema
}

fn list(kind: &Kind, item: &str) -> Value {
    let meta = crate::registry::metadata();
    json!({
        "type": "object",
        "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": meta["apiVersion"], "kind": meta["kind"],
            "metadata": {"type": "object", "properties": {
                "continue": {"type": "string"}, "resourceVersion": {"type": "string"}, "remainingItemCount": {"type": "integer", "format": "int64"},
            }},
            "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{item}")}},
        },
        Kind::NAMED: [gvk(kind, &kind.list_kind)],
    })
}

fn parameter(name: &str, kind: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

fn add_paths(kind: &Kind, paths: &mut Map<String, Value>) {
    let base = format!("/{}", kind.group_path());
    let plural = &kind.resource.plural;
    let (collection, mut shared) = if kind.namespaced {
        let namespace = json!({"name": "namespace", "in": "path", "required": true, "schema": {"type": "string"}});
        (format!("{base}/namespaces/{{namespace}}/{plural}"), vec![namespace])
    } else {
        (format!("{base}/{plural}"), Vec::new())
    };
    let writing = [
        parameter("dryRun", "string", "All: validate without writing."),
        parameter("fieldManager", "string", "Who writes."),
        parameter("fieldValidation", "string", "Ignore, Warn or Strict: what is done about unknown fields."),
    ];
    let listing = [
        parameter("labelSelector", "string", "Selects by labels."),
        parameter("fieldSelector", "string", "Selects by fields."),
        parameter("limit", "integer", "At most this many."),
        parameter("continue", "string", "Where the last page ended."),
        parameter("resourceVersion", "string", "Since when, or as of when."),
        parameter("watch", "boolean", "Follow changes."),
        parameter("allowWatchBookmarks", "boolean", "Send bookmarks."),
        parameter("timeoutSeconds", "integer", "How long to follow."),
    ];
    let operation = |action: &str, parameters: &[Value], answer: &str, body: Option<&[&str]>| {
        let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{}", schema_name(kind, name))});
        let id = format!("{action}{}{}", kind.api_version.replace(['/', '.', '-'], "_"), kind.kind);
        let mut operation = json!({
            "operationId": id,
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference(answer)}}}},
            "x-kubernetes-action": action,
            Kind::NAMED: gvk(kind, &kind.kind),
        });
        if let Some(types) = body {
            let schema =
                |t: &&str| if *t == "application/json" { reference(&kind.kind) } else { json!({"type": "object"}) };
            let content: Map<String, Value> =
                types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema(t)}))).collect();
            operation["requestBody"] = json!({"required": true, "content": content});
        }
        operation
    };
    let json_body: &[&str] = &["application/json", "application/yaml"];
    // Strategic merge patches are taken for built-in kinds but not announced: announced ones would have to come with patch strategies in the
    // schemas, and clients that know the kinds send them anyway.
    let patches: &[&str] = &["application/json-patch+json", "application/merge-patch+json"];
    if kind.answered {
        let post = operation("post", &writing, &kind.kind, Some(json_body));
        paths.insert(collection, json!({"parameters": shared, "post": post}));
        return;
    }
    paths.insert(
        collection.clone(),
        json!({
            "parameters": shared,
            "get": operation("list", &listing, &kind.list_kind, None),
            "post": operation("post", &writing, &kind.kind, Some(json_body)),
        }),
    );
    shared.push(json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}));
    let named = |verbs: &[&str]| {
        let mut item = json!({"parameters": shared});
        for verb in verbs {
            item[*verb] = match *verb {
                "get" => operation("get", &[], &kind.kind, None),
                "put" => operation("put", &writing, &kind.kind, Some(json_body)),
                "patch" => operation("patch", &writing, &kind.kind, Some(patches)),
                _ => operation("delete", &writing[..1], &kind.kind, None),
            };
        }
        item
    };
    paths.insert(format!("{collection}/{{name}}"), named(&["get", "put", "patch", "delete"]));
    if kind.has_status {
        paths.insert(format!("{collection}/{{name}}/status"), named(&["get", "put", "patch"]));
    }
    if kind.namespaced {
        paths.insert(format!("{base}/{plural}"), json!({"get": operation("list", &listing, &kind.list_kind, None)}));
    }
}

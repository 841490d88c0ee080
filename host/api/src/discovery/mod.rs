//! What is served: `/api`, `/apis` and the resource lists. Clients of today take everything at once ([`aggregated`]), older ones ask list by list.

mod aggregated;

use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::insight::View;
use crate::registry::{Kind, Kinds, OWN_GROUP};
use crate::status::{ApiError, ApiResult, json_response};

/// The Kubernetes version whose API conventions are spoken; clients choose their behaviour by it.
const KUBERNETES: (&str, &str) = ("1", "36");

fn ok(body: &Value) -> Response {
    json_response(StatusCode::OK, body.to_string())
}

/// `/version`
pub(crate) fn version() -> Response {
    let (major, minor) = KUBERNETES;
    ok(&json!({
        "major": major, "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+threeport-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    }))
}

/// `/api`
pub(crate) fn core_versions(kinds: &Kinds, uri: &Uri, headers: &HeaderMap) -> Response {
    if let Some(all) = aggregated::wanted(headers) {
        return all.answer(kinds, headers, str::is_empty);
    }
    ok(&json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": reached_at(uri, headers)}],
    }))
}

/// Where this client reaches the server: not where the server listens, which may be every address of the machine.
fn reached_at<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let host = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(axum::http::uri::Authority::as_str).or_else(host).unwrap_or_default()
}

/// `/apis`
pub(crate) fn groups(kinds: &Kinds, headers: &HeaderMap) -> Response {
    if let Some(all) = aggregated::wanted(headers) {
        return all.answer(kinds, headers, |group| !group.is_empty());
    }
    let groups: Vec<Value> =
        kinds.groups().filter(|(name, _)| !name.is_empty()).map(|(name, versions)| describe(name, &versions)).collect();
    ok(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

/// `/apis/{group}`
pub(crate) fn group(kinds: &Kinds, name: &str) -> ApiResult<Response> {
    let (group, versions) =
        kinds.groups().find(|(group, _)| !group.is_empty() && &***group == name).ok_or_else(ApiError::no_such_path)?;
    let mut group = describe(group, &versions);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Ok(ok(&group))
}

fn describe(group: &str, versions: &[&std::sync::Arc<str>]) -> Value {
    let versions: Vec<Value> =
        versions.iter().map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": &***v})).collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

/// `/api/{version}` and `/apis/{group}/{version}`
pub(crate) fn resources(kinds: &Kinds, group: &str, version: &str) -> ApiResult<Response> {
    let served = kinds.of(group, version).ok_or_else(ApiError::no_such_path)?;
    let mut resources = Vec::new();
    for kind in served {
        resources.push(resource(kind));
        for part in subresources(kind) {
            let mut resource = json!({
                "name": format!("{}/{}", kind.resource.plural, part.name), "singularName": "",
                "namespaced": kind.namespaced, "kind": part.kind, "verbs": part.verbs,
            });
            if let Some((group, version)) = part.group_version {
                resource["group"] = group.into();
                resource["version"] = version.into();
            }
            resources.push(resource);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(ok(&json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    })))
}

fn resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "name": &*kind.resource.plural, "singularName": &*kind.singular, "namespaced": kind.namespaced,
        "kind": &*kind.kind, "verbs": kind.verbs(),
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.answered {
        resource["storageVersionHash"] = storage_version_hash(kind).into();
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    resource
}

/// Tells clients when objects come to be stored in another version.
fn storage_version_hash(kind: &Kind) -> String {
    let (group, version) = kind.storage_api_version.split_once('/').unwrap_or(("", &kind.storage_api_version));
    let digest = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    STANDARD.encode(&digest[..8])
}

/// A part of an object with a path of its own.
struct Part<'a> {
    name: &'a str,
    kind: &'a str,
    /// If they are not those of the object.
    group_version: Option<(&'a str, &'a str)>,
    verbs: Vec<&'a str>,
}

fn subresources(kind: &Kind) -> Vec<Part<'_>> {
    let verbs = || vec!["get", "patch", "update"];
    let mut parts = Vec::new();
    if kind.has_status {
        parts.push(Part { name: "status", kind: &kind.kind, group_version: None, verbs: verbs() });
    }
    if kind.scale.is_some() {
        parts.push(Part { name: "scale", kind: "Scale", group_version: Some(("autoscaling", "v1")), verbs: verbs() });
    }
    parts.extend(
        kind.subresources.iter().map(|own| Part {
            name: &own.name,
            kind: &own.kind,
            group_version: Some((own.group.as_str(), own.version.as_str()))
                .filter(|of| *of != (&*kind.resource.group, &*kind.version)),
            verbs: own.verbs.iter().map(String::as_str).collect(),
        }),
    );
    parts.extend(View::ALL.into_iter().filter(|_| !kind.answered).map(|view| Part {
        name: view.subresource(),
        kind: view.kind(),
        group_version: Some((OWN_GROUP, "v1")),
        verbs: vec!["get"],
    }));
    parts
}

/// `/`
pub(crate) fn paths(kinds: &Kinds) -> Response {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in kinds.groups().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    ok(&json!({"paths": paths}))
}

//! What is served: `/api`, `/apis` and the resource lists, in the unaggregated form that every client understands.

use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

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
pub(crate) fn core_versions(address: SocketAddr) -> Response {
    ok(&json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()}],
    }))
}

/// `/apis`
pub(crate) fn groups(kinds: &Kinds) -> Response {
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
        if kind.has_status {
            resources.push(json!({
                "name": format!("{}/status", kind.resource.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": &*kind.kind, "verbs": ["get", "patch", "update"],
            }));
        }
        for subresource in &kind.subresources {
            resources.push(json!({
                "name": format!("{}/{}", kind.resource.plural, subresource.name), "singularName": "",
                "namespaced": kind.namespaced, "group": subresource.group, "version": subresource.version,
                "kind": subresource.kind, "verbs": subresource.verbs,
            }));
        }
        for view in View::ALL.into_iter().filter(|_| !kind.answered) {
            resources.push(json!({
                "name": format!("{}/{}", kind.resource.plural, view.subresource()), "singularName": "",
                "namespaced": kind.namespaced, "group": OWN_GROUP, "version": "v1", "kind": view.kind(), "verbs": ["get"],
            }));
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
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    resource
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

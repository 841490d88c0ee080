//! Everything in one answer (`apidiscovery.k8s.io`): what kubectl and client-go ask for first.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::subresources;
use crate::registry::{Kind, Kinds};
use crate::status::json_response;

/// An accepted aggregated form; its versions differ in nothing but their name.
pub(super) struct Aggregated {
    version: &'static str,
}

/// The aggregated form, if it is what the client would rather have.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Aggregated> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json" | "application/*" | "*/*")) {
            continue;
        }
        let parameters: Vec<&str> = parts.collect();
        let has = |parameter: &str| parameters.contains(&parameter);
        if !parameters.iter().any(|parameter| parameter.starts_with("as=")) {
            return None;
        }
        if has("g=apidiscovery.k8s.io") && has("as=APIGroupDiscoveryList") {
            for (parameter, version) in [("v=v2", "v2"), ("v=v2beta1", "v2beta1")] {
                if has(parameter) {
                    return Some(Aggregated { version });
                }
            }
        }
    }
    None
}

impl Aggregated {
    /// The groups that are asked for; 304 for a client that has them already.
    pub(super) fn answer(&self, kinds: &Kinds, headers: &HeaderMap, select: impl Fn(&str) -> bool) -> Response {
        let items: Vec<Value> = kinds
            .groups()
            .filter(|(name, _)| select(name))
            .map(|(name, versions)| {
                let versions: Vec<Value> = versions.iter().map(|version| self::version(kinds, name, version)).collect();
                let mut metadata = json!({"creationTimestamp": null});
                if !name.is_empty() {
                    metadata["name"] = (&**name).into();
                }
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        let body = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{}", self.version),
            "metadata": {}, "items": items,
        })
        .to_string();
        let digest: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02X}")).collect();
        let tag = format!("\"{digest}\"");
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let mut response = if known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag)) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            json_response(StatusCode::OK, body)
        };
        let media_type = format!("application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", self.version);
        for (name, value) in
            [(header::CONTENT_TYPE, media_type.as_str()), (header::ETAG, &tag), (header::VARY, "Accept")]
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

fn version(kinds: &Kinds, group: &str, version: &str) -> Value {
    let resources: Vec<Value> = kinds.of(group, version).into_iter().flatten().map(|kind| resource(kind)).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn resource(kind: &Kind) -> Value {
    let own = (&*kind.resource.group, &*kind.version);
    let response_kind =
        |(group, version): (&str, &str), name: &str| json!({"group": group, "version": version, "kind": name});
    let mut resource = json!({
        "resource": &*kind.resource.plural,
        "responseKind": response_kind(own, &kind.kind),
        "scope": &*kind.scope,
        "singularResource": &*kind.singular,
        "verbs": kind.verbs(),
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    let parts: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|part| {
            json!({
                "subresource": part.name, "responseKind": response_kind(part.group_version.unwrap_or(own), part.kind),
                "verbs": part.verbs,
            })
        })
        .collect();
    if !parts.is_empty() {
        resource["subresources"] = parts.into();
    }
    resource
}

//! Content negotiation: what the client sends, and what it wants back.

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::status::{ApiError, ApiResult};

/// How objects are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// As they are.
    Json,
    /// As a `meta.k8s.io/v1` Table.
    Table,
    /// Metadata only.
    Metadata,
}

/// The first form that the client accepts and this server has; protobuf is passed over, clients offer JSON beside it.
pub(crate) fn output(headers: &HeaderMap) -> ApiResult<Output> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.trim().is_empty())
    else {
        return Ok(Output::Json);
    };
    if accept == "application/json" || accept == "*/*" {
        return Ok(Output::Json);
    }
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json" | "*/*" | "application/*")) {
            continue;
        }
        let (mut kind, mut version, mut group) = (None, None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => kind = Some(value),
                Some(("v", value)) => version = Some(value),
                Some(("g", value)) => group = Some(value),
                _ => {}
            }
        }
        match (kind, version, group) {
            (None, _, _) => return Ok(Output::Json),
            (Some("Table"), Some("v1"), Some("meta.k8s.io")) => return Ok(Output::Table),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1"), Some("meta.k8s.io")) => {
                return Ok(Output::Metadata);
            }
            _ => {}
        }
    }
    Err(ApiError::new(
        StatusCode::NOT_ACCEPTABLE,
        "NotAcceptable",
        "only the following media types are accepted: application/json, application/json;as=Table;v=v1;g=meta.k8s.io, \
         application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    ))
}

/// The media type of the body, without parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Decodes an object: JSON, YAML, or the protobuf of a core kind.
pub(crate) fn decode(content_type: &str, body: &[u8]) -> ApiResult<Value> {
    let value: Value = match content_type {
        "application/json" | "text/json" => serde_json::from_slice(body)
            .map_err(|e| ApiError::bad_request(format!("the body of the request cannot be read as JSON: {e}")))?,
        "application/yaml" | "text/yaml" | "application/x-yaml" => serde_yaml_ng::from_slice(body)
            .map_err(|e| ApiError::bad_request(format!("the body of the request cannot be read as YAML: {e}")))?,
        "application/vnd.kubernetes.protobuf" => {
            crate::protobuf::decode(body).map_err(ApiError::unsupported_media_type)?
        }
        other => {
            return Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: application/json, application/yaml"
            )));
        }
    };
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("the body of the request must be an object")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_form_is_taken() {
        let cases = [
            ("", Some(Output::Json)),
            ("*/*", Some(Output::Json)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some(Output::Table)),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Some(Output::Json)),
            ("application/vnd.kubernetes.protobuf, application/json", Some(Output::Json)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(Output::Metadata)),
            ("application/vnd.kubernetes.protobuf", None),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a header"));
            assert_eq!(output(&headers).ok(), expected, "{accept}");
        }
    }
}

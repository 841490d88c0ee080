//! Content negotiation: what the client sends, and what it wants back.

use axum::body::HttpBody as _;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
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
    choose(headers, true)
}

/// The same for answers that have no other form than their own.
pub(crate) fn plain(headers: &HeaderMap) -> ApiResult<()> {
    choose(headers, false).map(drop)
}

fn choose(headers: &HeaderMap, forms: bool) -> ApiResult<Output> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.trim().is_empty())
    else {
        return Ok(Output::Json);
    };
    if accept == "application/json" || accept == "*/*" {
        return Ok(Output::Json);
    }
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        match parts.next() {
            Some("application/json" | "*/*" | "application/*") => {}
            // Written as YAML when the answer is there; see `yaml`.
            Some("application/yaml") => return Ok(Output::Json),
            _ => continue,
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
            (Some("Table"), Some("v1"), Some("meta.k8s.io")) if forms => return Ok(Output::Table),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1"), Some("meta.k8s.io")) if forms => {
                return Ok(Output::Metadata);
            }
            _ => {}
        }
    }
    Err(ApiError::new(
        StatusCode::NOT_ACCEPTABLE,
        "NotAcceptable",
        "only the following media types are accepted: application/json, application/yaml",
    ))
}

/// Whether the client wants YAML rather than JSON.
pub(crate) fn yaml(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let known = |range: &str| match range.split(';').next().unwrap_or_default().trim() {
        "application/yaml" => Some(true),
        "application/json" | "application/*" | "*/*" => Some(false),
        _ => None,
    };
    accept.contains("yaml") && accept.split(',').find_map(known) == Some(true)
}

/// A JSON answer as YAML; anything else as it is.
pub(crate) async fn to_yaml(response: Response) -> Response {
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let stream = response.body().size_hint().exact().is_none();
    if !json || stream {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let read = axum::body::to_bytes(body, usize::MAX).await.ok();
    let value = read.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(text) = value.and_then(|value| serde_yaml_ng::to_string(&value).ok()) else {
        return ApiError::internal("the answer cannot be written as YAML").into_response();
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    Response::from_parts(parts, text.into())
}

/// The media type of the body, without parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Decodes an object: JSON, YAML, or the protobuf of a core kind.
pub(crate) fn decode(content_type: &str, body: &[u8]) -> ApiResult<Value> {
    Ok(decode_strictly(content_type, body)?.0)
}

/// The same; answers besides what is to be said of fields that the body names twice.
pub(crate) fn decode_strictly(content_type: &str, body: &[u8]) -> ApiResult<(Value, Vec<String>)> {
    let mut twice = Vec::new();
    let value: Value = match content_type {
        "application/json" | "text/json" => {
            let (value, found) = crate::strict::read(body)
                .map_err(|e| ApiError::bad_request(format!("the body of the request cannot be read as JSON: {e}")))?;
            twice = found;
            value
        }
        "application/yaml" | "text/yaml" | "application/x-yaml" => {
            let (value, found) = crate::strict::yaml::read(body)
                .map_err(|e| ApiError::bad_request(format!("the body of the request cannot be read as YAML: {e}")))?;
            twice.extend(found);
            value
        }
        "application/vnd.kubernetes.protobuf" => {
            crate::protobuf::decode(body).map_err(ApiError::unsupported_media_type)?
        }
        _ => {
            return Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, \
                 application/vnd.kubernetes.protobuf",
            ));
        }
    };
    if value.is_object() {
        Ok((value, twice))
    } else {
        Err(ApiError::bad_request("the body of the request must be an object"))
    }
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
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        for (accept, fine) in [(table, false), (&format!("{table},application/json"), true), ("*/*", true)] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a header"));
            assert_eq!(plain(&headers).is_ok(), fine, "{accept}");
        }
    }
}

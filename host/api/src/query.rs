//! Paths and query parameters, percent-decoded.

use axum::http::Method;

use crate::schema::FieldError;
use crate::status::{ApiError, ApiResult};

/// The query parameters of a request. Parameters that are not known are ignored, as in Kubernetes.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    /// The kind that they are fields of: errors name it.
    options: &'static str,
}

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|p| !p.is_empty());
        let pairs = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Self { pairs: pairs.collect(), options: "ListOptions" }
    }

    /// Those of a request with this method.
    pub(crate) fn of(method: &Method, text: Option<&str>) -> Self {
        let options = match *method {
            Method::POST => "CreateOptions",
            Method::PUT => "UpdateOptions",
            Method::PATCH => "PatchOptions",
            Method::DELETE => "DeleteOptions",
            _ => "ListOptions",
        };
        Self { options, ..Self::parse(text) }
    }

    /// 422 for a parameter that cannot be.
    pub(crate) fn invalid(&self, errors: &[FieldError]) -> ApiError {
        ApiError::invalid_options(self.options, errors)
    }

    /// A parameter, unless it is absent or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// A flag: `true`, `1`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some("true" | "1" | "True" | "TRUE" | "t"))
    }

    /// A number.
    pub(crate) fn number(&self, key: &str) -> ApiResult<Option<u64>> {
        self.get(key)
            .map(|v| {
                v.parse().map_err(|_| {
                    ApiError::bad_request(format!("invalid value {v:?} of parameter {key}: must be a number"))
                })
            })
            .transpose()
    }

    /// A resourceVersion; `0` is kept, it means "any".
    pub(crate) fn version(&self, key: &str) -> ApiResult<Option<u64>> {
        self.get(key)
            .map(|v| {
                v.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "invalid resource version: {key}: Invalid value: {v:?}: strconv.ParseUint: parsing {v:?}: invalid syntax"
                    ))
                })
            })
            .transpose()
    }
}

/// The segments of a path.
pub(crate) fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|s| !s.is_empty()).map(|s| decode(s, false)).collect()
}

/// A text with its percent-escapes undone.
pub(crate) fn unescape(text: &str) -> String {
    decode(text, false)
}

fn decode(text: &str, plus: bool) -> String {
    let encoded = text.contains('%') || (plus && text.contains('+'));
    if !encoded {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let hex = tail
                    .get(..2)
                    .and_then(|h| std::str::from_utf8(h).ok())
                    .and_then(|h| u8::from_str_radix(h, 16).ok());
                if let Some(byte) = hex {
                    bytes.push(byte);
                    rest = &tail[2..];
                } else {
                    bytes.push(b'%');
                }
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("labelSelector=app%3Dweb%2Ctier+in+%28a%29&limit=5&empty=&watch=1"));
        assert_eq!(query.get("labelSelector"), Some("app=web,tier in (a)"));
        assert_eq!(query.number("limit").expect("a number"), Some(5));
        assert_eq!(query.get("empty"), None);
        assert!(query.flag("watch"));
        assert!(Query::parse(Some("limit=x")).number("limit").is_err());
        assert_eq!(segments("/api/v1/namespaces/a%2Fb/"), ["api", "v1", "namespaces", "a/b"]);
    }
}

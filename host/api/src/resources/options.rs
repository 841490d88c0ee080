//! What a client asks of a write: PatchOptions, CreateOptions and UpdateOptions of Kubernetes.

use axum::http::{HeaderMap, header};

use super::admit::FieldValidation;
use crate::query::Query;
use crate::schema::{ErrorKind, FieldError};
use crate::status::{ApiError, ApiResult};

/// Most bytes of a manager's name.
const MANAGER_LIMIT: usize = 128;

/// Which write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Create,
    Update,
    Patch,
    Apply,
}

/// What is asked of it.
#[derive(Debug)]
pub(super) struct Options {
    /// Check and answer, but do not write.
    pub dry_run: bool,
    /// What is done about unknown fields.
    pub validation: FieldValidation,
    /// Who writes: the field manager, or else the first word of the user agent.
    pub manager: String,
    /// Take what others have (of an apply).
    pub force: bool,
    /// What is to be said of fields that the body names twice.
    pub twice: Vec<String>,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// 422 with every option that is wrong.
    pub(super) fn parse(write: Write, query: &Query, headers: &HeaderMap) -> ApiResult<Self> {
        let mut errors = Vec::new();
        let manager = query.get("fieldManager").unwrap_or_default();
        if write == Write::Apply && manager.is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if write == Write::Patch && query.get("force").is_some() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        if manager.len() > MANAGER_LIMIT {
            let detail = format!("may not be more than {MANAGER_LIMIT} bytes");
            errors.push(FieldError::new(ErrorKind::TooLong, "fieldManager", None, detail));
        }
        if let Some((at, odd)) = manager.char_indices().find(|(_, c)| c.is_control()) {
            let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(odd));
            errors.push(FieldError::invalid("fieldManager", &manager.into(), detail));
        }
        let dry_run = query.get("dryRun");
        if dry_run.is_some_and(|value| value != "All") {
            errors.push(unsupported("dryRun", &serde_json::json!([dry_run]), r#""All""#));
        }
        let validation = match query.get("fieldValidation") {
            Some("Ignore") => FieldValidation::Ignore,
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") if write == Write::Patch => FieldValidation::StrictPatch,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                errors.push(unsupported("fieldValidation", &other.into(), r#""", "Ignore", "Strict", "Warn""#));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            let kind = match write {
                Write::Create => "CreateOptions",
                Write::Update => "UpdateOptions",
                Write::Patch | Write::Apply => "PatchOptions",
            };
            return Err(ApiError::invalid("meta.k8s.io", kind, "", &errors));
        }
        let manager = if manager.is_empty() { agent(headers) } else { manager.to_owned() };
        Ok(Self { dry_run: dry_run.is_some(), validation, manager, force: query.flag("force"), twice: Vec::new() })
    }
}

/// Whether a create is only to be tried.
///
/// # Errors
/// 422 with every option that is wrong.
pub(crate) fn is_dry_run(query: &Query, headers: &HeaderMap) -> ApiResult<bool> {
    Ok(Options::parse(Write::Create, query, headers)?.dry_run)
}

fn unsupported(field: &str, value: &serde_json::Value, supported: &str) -> FieldError {
    FieldError::new(ErrorKind::NotSupported, field, Some(value.clone()), format!("supported values: {supported}"))
}

/// The user agent up to its first slash.
fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let name: String = agent.split('/').next().unwrap_or_default().chars().take(MANAGER_LIMIT).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_option_is_named() {
        let long = format!("fieldManager={}", "m".repeat(129));
        let cases = [
            (Write::Apply, "", &["fieldManager"][..]),
            (Write::Patch, "force=true", &["force"]),
            (
                Write::Create,
                "fieldManager=a%0ab&dryRun=Some&fieldValidation=Loose",
                &["fieldManager", "dryRun", "fieldValidation"],
            ),
            (Write::Update, &long, &["fieldManager"]),
        ];
        for (write, query, expected) in cases {
            let error = Options::parse(write, &Query::parse(Some(query)), &HeaderMap::new()).expect_err(query);
            assert_eq!((error.code.as_u16(), error.fields()), (422, expected.to_vec()), "{query}");
        }
    }

    #[test]
    fn the_manager_is_the_named_one_or_the_agent() {
        let mut headers = HeaderMap::new();
        let manager = |query: &str, headers: &HeaderMap| {
            Options::parse(Write::Patch, &Query::parse(Some(query)), headers).expect("options").manager
        };
        assert_eq!(manager("", &headers), "unknown");
        headers.insert(header::USER_AGENT, "kubectl/v1.37 (linux)".parse().expect("a header"));
        assert_eq!(manager("", &headers), "kubectl");
        assert_eq!(manager("fieldManager=me", &headers), "me");
    }
}

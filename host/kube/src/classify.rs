//! From what the client library reports to what the caller can do.

use std::time::Duration;

use kube::core::Status;

use crate::error::FieldOwner;
use crate::{Error, Reference};

/// One request as messages tell it.
pub(crate) struct Asked<'a> {
    /// `apply Deployment default/web`
    pub(crate) step: &'a str,
    /// Where.
    pub(crate) server: &'a str,
    /// Which object or kind.
    pub(crate) reference: &'a Reference,
}

/// Everything that is no answer, and every answer that is an error.
pub(crate) fn classify(error: kube::Error, asked: &Asked<'_>) -> Error {
    let step = asked.step.to_owned();
    match error {
        kube::Error::Api(status) => refused(&status, asked),
        kube::Error::Auth(_) => Error::Unauthorized { step, why: "the credentials cannot be used".into() },
        kube::Error::BuildRequest(why) => Error::Invalid { step, why: why.to_string() },
        kube::Error::HttpError(why) => Error::Invalid { step, why: why.to_string() },
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
            Error::Server { step, code: 0, why: "its answer is not what Kubernetes sends".into() }
        }
        other if too_large(&other) => {
            let why = format!("its answer is an error of more than {} MiB", crate::transport::ERROR_BODY >> 20);
            Error::Server { step, code: 0, why }
        }
        other => Error::Unreachable { step, server: asked.server.to_owned(), why: causes(&other) },
    }
}

/// Why there is no answer of the target; None: there is one, or it was not asked.
pub(crate) fn unanswered(error: &kube::Error) -> Option<String> {
    use kube::Error::{Api, Auth, BuildRequest, FromUtf8, HttpError, SerdeError};
    let answered = matches!(error, Api(_) | Auth(_) | BuildRequest(_) | HttpError(_) | SerdeError(_) | FromUtf8(_));
    (!answered && !too_large(error)).then(|| causes(error))
}

fn too_large(error: &kube::Error) -> bool {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        if cause.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// The innermost causes, which are those that a person can act on ("Connection refused", "certificate has expired").
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.iter().any(|t| t.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    let keep = texts.len().saturating_sub(2);
    if texts.is_empty() { error.to_string() } else { texts.split_off(keep).join(": ") }
}

fn refused(status: &Status, asked: &Asked<'_>) -> Error {
    let step = asked.step.to_owned();
    let why = cut(words(status, asked.reference));
    let message = status.message.as_str();
    let cause = |reason: &str| status.details.iter().flat_map(|d| &d.causes).any(|c| c.reason == reason);
    let retry_after = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if message.contains("denied the request")
        || message.contains("denied request:")
        || message.contains("violates PodSecurity")
    {
        return Error::AdmissionDenied { step, why };
    }
    match (status.code, status.reason.as_str()) {
        (401, _) => Error::Unauthorized { step, why },
        (403, _) if cause("NamespaceTerminating") => {
            let what = format!("Namespace {}", asked.reference.namespace.as_deref().unwrap_or_default());
            Error::Terminating { step, what, finalizers: Vec::new() }
        }
        (403, _) if message.contains("exceeded quota") => Error::QuotaExceeded { step, why },
        (403, _) => Error::Forbidden { step, why },
        (404, _) => not_found(status, asked),
        (405, _) => Error::Invalid { step, why },
        (409, _) if cause("FieldManagerConflict") => Error::FieldConflict { step, conflicts: conflicts(status) },
        (409, _) => Error::Race { step, attempts: 1 },
        (410, _) => Error::Expired { step },
        (422, _) if immutable(status) => Error::ImmutableField { step, why },
        (408 | 504, _) | (_, "Timeout") => {
            Error::Timeout { step, server: asked.server.to_owned(), after: Duration::from_secs(u64::from(retry_after)) }
        }
        (429, _) => Error::Throttled { step, why, retry_after: Duration::from_secs(u64::from(retry_after.max(1))) },
        // The API server reports what server-side apply cannot read against the schema as its own failure.
        (500, _) if message.contains("typed patch object") => Error::Invalid { step, why },
        (400..=499, _) => Error::Invalid { step, why },
        (code, _) => Error::Server { step, code, why },
    }
}

/// A missing namespace, a kind that is not served, or the object itself: only the last names the object, and the caller asks for it with [`missing`].
fn not_found(status: &Status, asked: &Asked<'_>) -> Error {
    let step = asked.step.to_owned();
    match &status.details {
        Some(details) if details.kind == "namespaces" && asked.reference.kind != "Namespace" => {
            Error::NamespaceMissing { step, namespace: details.name.clone() }
        }
        Some(details) if !details.name.is_empty() => Error::Race { step, attempts: 1 },
        _ => Error::KindUnknown {
            step,
            api_version: asked.reference.api_version.clone(),
            kind: asked.reference.kind.clone(),
        },
    }
}

/// The object (not its kind, not its namespace) is not there.
pub(crate) fn missing(error: &kube::Error, reference: &Reference) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let Some(details) = &status.details else { return false };
    status.code == 404
        && details.name == reference.name
        && (details.kind != "namespaces" || reference.kind == "Namespace")
}

fn immutable(status: &Status) -> bool {
    let told = ["field is immutable", "updates to statefulset spec for fields other than", "cannot change roleRef"];
    told.iter().any(|text| status.message.contains(text))
}

/// `conflict with "kubectl" using apps/v1` -> kubectl
fn conflicts(status: &Status) -> Vec<FieldOwner> {
    let causes = status.details.iter().flat_map(|d| &d.causes).filter(|c| c.reason == "FieldManagerConflict");
    causes
        .map(|cause| {
            let manager = cause.message.split('"').nth(1).unwrap_or(cause.message.as_str());
            FieldOwner { field: cause.field.clone(), manager: manager.to_owned() }
        })
        .collect()
}

/// Longest words of a target that are repeated: an answer that quotes a whole object would fill conditions and logs.
const WORDS: usize = 1024;

fn cut(mut words: String) -> String {
    if words.len() > WORDS {
        words.truncate(words.floor_char_boundary(WORDS - 3));
        words.push_str("...");
    }
    words
}

/// The target's own words, as far as there is room; about a Secret only which fields it means, since the words may quote values.
fn words(status: &Status, reference: &Reference) -> String {
    if reference.kind != "Secret" {
        return if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
    }
    if status.code == 401 || status.code == 403 {
        return status.message.clone();
    }
    let fields: Vec<&str> =
        status.details.iter().flat_map(|d| &d.causes).map(|c| c.field.as_str()).filter(|f| !f.is_empty()).collect();
    let reason = if status.reason.is_empty() { "refused" } else { status.reason.as_str() };
    if fields.is_empty() {
        format!("{reason} (details withheld: it is a Secret)")
    } else {
        format!("{reason}: {} (details withheld: it is a Secret)", fields.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Class;

    fn told(status: Value, kind: &str) -> Error {
        let status: Status = serde_json::from_value(status).expect("a Status");
        let reference = Reference {
            api_version: "v1".into(),
            kind: kind.into(),
            namespace: Some("shop".into()),
            name: "web".into(),
        };
        let step = format!("apply {reference}");
        classify(
            kube::Error::Api(status.boxed()),
            &Asked { step: &step, server: "https://t:6443", reference: &reference },
        )
    }

    #[test]
    fn each_answer_of_a_target_has_its_reason_and_class() {
        let cause = |reason: &str| json!({"causes": [{"reason": reason, "field": ".spec.replicas", "message": "conflict with \"hpa\" using apps/v1"}]});
        for (status, reason, class) in [
            (json!({"code": 401, "message": "Unauthorized"}), "Unauthorized", Class::Denied),
            (json!({"code": 403, "message": "pods is forbidden: User \"x\" cannot get"}), "Forbidden", Class::Denied),
            (
                json!({"code": 403, "message": "pods \"a\" is forbidden: exceeded quota: q"}),
                "QuotaExceeded",
                Class::Invalid,
            ),
            (
                json!({"code": 403, "message": "pods \"a\" is forbidden: violates PodSecurity \"restricted\""}),
                "AdmissionDenied",
                Class::Invalid,
            ),
            (
                json!({"code": 403, "message": "being terminated", "details": cause("NamespaceTerminating")}),
                "Terminating",
                Class::Waiting,
            ),
            (json!({"code": 404, "message": "404 page not found"}), "KindUnknown", Class::Waiting),
            (
                json!({"code": 404, "details": {"kind": "namespaces", "name": "shop"}}),
                "NamespaceMissing",
                Class::Waiting,
            ),
            (
                json!({"code": 409, "reason": "Conflict", "details": cause("FieldManagerConflict")}),
                "FieldConflict",
                Class::Conflict,
            ),
            (
                json!({"code": 409, "reason": "Conflict", "message": "the object has been modified"}),
                "WriteRace",
                Class::Transient,
            ),
            (
                json!({"code": 422, "reason": "Invalid", "message": "spec.selector: field is immutable"}),
                "ImmutableField",
                Class::Invalid,
            ),
            (
                json!({"code": 422, "reason": "Invalid", "message": "spec.replicas: Invalid value"}),
                "Invalid",
                Class::Invalid,
            ),
            (
                json!({"code": 400, "message": "admission webhook \"w\" denied the request: no"}),
                "AdmissionDenied",
                Class::Invalid,
            ),
            (
                json!({"code": 422, "message": "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"}),
                "AdmissionDenied",
                Class::Invalid,
            ),
            (json!({"code": 429, "details": {"retryAfterSeconds": 7}}), "Throttled", Class::Transient),
            (json!({"code": 504, "reason": "Timeout"}), "Timeout", Class::Transient),
            (json!({"code": 500, "message": "failed calling webhook"}), "TargetError", Class::Transient),
            (
                json!({"code": 500, "message": "failed to create typed patch object: .spec.x: field not declared in schema"}),
                "Invalid",
                Class::Invalid,
            ),
            (json!({"code": 503, "message": "etcd leader changed"}), "TargetError", Class::Transient),
            (json!({"code": 410, "reason": "Expired"}), "ListExpired", Class::Transient),
        ] {
            let error = told(status.clone(), "Deployment");
            assert_eq!((error.reason(), error.class()), (reason, class), "{status}");
            assert!(error.to_string().starts_with("apply Deployment shop/web: "), "{error}");
        }
    }

    #[test]
    fn a_field_conflict_names_fields_and_managers() {
        let cause = json!({"reason": "FieldManagerConflict", "field": ".spec.replicas", "message": "conflict with \"hpa\" using apps/v1"});
        let error = told(json!({"code": 409, "reason": "Conflict", "details": {"causes": [cause]}}), "Deployment");
        assert!(error.to_string().contains(".spec.replicas (by hpa)"), "{error}");
    }

    #[test]
    fn throttling_tells_when_to_come_back() {
        let error =
            told(json!({"code": 429, "message": "slow down", "details": {"retryAfterSeconds": 7}}), "Deployment");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_target_that_talks_too_much_is_cut_short() {
        let error = told(json!({"code": 422, "reason": "Invalid", "message": "ä".repeat(9000)}), "Deployment");
        let text = error.to_string();
        assert!(text.len() < 1200 && text.contains("..."), "{} bytes", text.len());
    }

    #[test]
    fn a_refused_secret_is_not_quoted() {
        let cause =
            json!({"reason": "FieldValueInvalid", "field": "data[key]", "message": "Invalid value: \"hunter2\""});
        let error = told(
            json!({"code": 422, "reason": "Invalid", "message": "Invalid value: \"hunter2\"", "details": {"causes": [cause]}}),
            "Secret",
        );
        assert!(error.to_string().contains("data[key]") && !error.to_string().contains("hunter2"), "{error}");
    }
}

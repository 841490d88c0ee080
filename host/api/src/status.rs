//! Errors as Kubernetes writes them: a `metav1.Status` with a reason and a cause for every bad field.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use threeport_store::Error as StoreError;

use crate::schema::FieldError;

/// A refused or failed request.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub code: StatusCode,
    /// Machine-readable reason, as in `metav1.StatusReason`.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// `details`: name, group, kind, causes. Boxed: the ordinary result stays small.
    pub details: Option<Box<Value>>,
    /// Where a list can go on all the same.
    continues: Option<Box<str>>,
}

/// Reason of an error that Kubernetes gives none: it is left out.
pub(crate) const UNKNOWN: &str = "Unknown";

/// Result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// Reason of an error that is told as plain text: Kubernetes has no Status for a path that nobody serves.
const PLAIN: &str = "no Status";

impl ApiError {
    /// An error without details.
    pub(crate) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continues: None }
    }

    /// 400.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 404 for a path that is not served.
    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n")
    }

    /// 404 for an object.
    pub(crate) fn not_found(resource: &threeport_store::Resource, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("{resource} \"{name}\" not found")).about(resource, name)
    }

    /// 409 for a create.
    pub(crate) fn already_exists(resource: &threeport_store::Resource, name: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "AlreadyExists", format!("{resource} \"{name}\" already exists"))
            .about(resource, name)
    }

    /// 409: somebody else was faster, or something stands in the way.
    pub(crate) fn conflict(resource: &threeport_store::Resource, name: &str, why: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}"),
        )
        .about(resource, name)
    }

    /// 403 for what may never be done with this object.
    pub(crate) fn forbidden(resource: &threeport_store::Resource, name: &str, why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("{resource} \"{name}\" is forbidden: {why}"))
            .about(resource, name)
    }

    /// 405 for a verb that the kind does not have.
    pub(crate) fn method_not_supported(resource: &threeport_store::Resource, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).about(resource, "")
    }

    /// 405.
    pub(crate) fn method_not_allowed(_method: &str) -> Self {
        let message = "the server does not allow this method on the requested resource";
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
        Self { details: Some(Box::new(json!({}))), ..error }
    }

    /// 413.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// 415.
    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// 422 with a cause for every field.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        // What is said twice is told once.
        let mut told: Vec<String> = Vec::new();
        for error in errors.iter().map(ToString::to_string) {
            if !told.contains(&error) {
                told.push(error);
            }
        }
        let list = match told.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let cause = |e: &FieldError| {
            let field = if e.field.is_empty() { "<nil>" } else { &e.field };
            json!({"reason": e.kind.reason(), "message": e.body(), "field": field})
        };
        let causes: Vec<Value> = errors.iter().map(cause).collect();
        Self {
            code: StatusCode::UNPROCESSABLE_ENTITY,
            reason: "Invalid",
            message: format!("{qualified} \"{name}\" is invalid: {list}"),
            details: Some(Box::new(details(name, group, kind))),
            continues: None,
        }
        .with_causes(causes)
    }

    /// 422 for parameters of a request: `of` is the kind they are fields of.
    pub(crate) fn invalid_options(of: &str, errors: &[FieldError]) -> Self {
        Self::invalid("meta.k8s.io", of, "", errors)
    }

    /// 410: the asked version is not there any more.
    pub(crate) fn gone(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 500.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let cause = json!({"message": message});
        let told = format!("Internal error occurred: {message}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", told).with_causes(vec![cause])
    }

    /// Adds who it is about.
    pub(crate) fn about(mut self, resource: &threeport_store::Resource, name: &str) -> Self {
        self.details = Some(Box::new(details(name, &resource.group, &resource.plural)));
        self
    }

    /// Adds causes to the details.
    pub(crate) fn with_causes(mut self, causes: Vec<Value>) -> Self {
        let mut details = self.details.take().map_or_else(|| json!({}), |d| *d);
        details["causes"] = Value::Array(causes);
        self.details = Some(Box::new(details));
        self
    }

    /// Says where the list can go on all the same.
    pub(crate) fn continue_with(self, token: String) -> Self {
        Self { continues: Some(token.into()), ..self }
    }

    /// Asks the client to try again after so many seconds.
    pub(crate) fn again_after(mut self, seconds: u32) -> Self {
        let mut details = self.details.take().map_or_else(|| json!({}), |d| *d);
        details["retryAfterSeconds"] = seconds.into();
        self.details = Some(Box::new(details));
        self
    }

    /// The `metav1.Status`.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        if let Some(status) = status.as_object_mut().filter(|_| self.reason == UNKNOWN) {
            status.remove("reason");
        }
        if let Some(token) = &self.continues {
            status["metadata"]["continue"] = (&**token).into();
        }
        if let Some(details) = &self.details {
            status["details"] = (**details).clone();
        }
        status
    }

    /// The fields that are wrong.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let causes = self.details.as_ref().and_then(|details| details.get("causes")).and_then(Value::as_array);
        causes.into_iter().flatten().filter_map(|cause| cause.get("field").and_then(Value::as_str)).collect()
    }

    /// True for a lost race that reading again may win.
    pub(crate) fn is_lost_race(&self) -> bool {
        let caused = self.details.as_ref().is_some_and(|details| details.get("causes").is_some());
        self.code == StatusCode::CONFLICT && self.reason == "Conflict" && !caused
    }
}

/// Who an error is about; what is empty is left out.
fn details(name: &str, group: &str, kind: &str) -> Value {
    let parts = [("name", name), ("group", group), ("kind", kind)];
    parts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| (key.to_owned(), text.into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let said = error.to_string();
        match error {
            StoreError::AlreadyExists(key) => Self::already_exists(&key.resource, &key.name),
            StoreError::NotFound(key) => Self::not_found(&key.resource, &key.name),
            // The store says which of the two it is: "uid X" or "resourceVersion N".
            StoreError::Conflict { key, expected, found } => {
                let why = match (expected.strip_prefix("uid "), found.strip_prefix("uid ")) {
                    (Some(expected), Some(found)) => {
                        format!("Precondition failed: UID in precondition: {expected}, UID in object meta: {found}")
                    }
                    _ => "the object has been modified; please apply your changes to the latest version and try again"
                        .to_owned(),
                };
                Self::conflict(&key.resource, &key.name, &why)
            }
            StoreError::Gone { asked, newest, .. } if asked > newest => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "Timeout",
                format!("Timeout: Too large resource version: {asked}, current: {newest}"),
            )
            .with_causes(vec![json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"})])
            .again_after(1),
            StoreError::Gone { asked, oldest, .. } => {
                Self::gone(format!("too old resource version: {asked} (the change log starts at {oldest})"))
            }
            StoreError::InUse { key, .. } | StoreError::Going(key) => {
                let why = said.strip_prefix(&format!("{key} ")).unwrap_or(&said).to_owned();
                let causes = vec![json!({"reason": "InTheWay", "message": said})];
                Self::conflict(&key.resource, &key.name, &why).with_causes(causes)
            }
            StoreError::Leaving { from, edge, .. } => {
                let causes = vec![json!({"reason": "InTheWay", "message": said, "field": edge.field})];
                Self::conflict(&from.resource, &from.name, &said).with_causes(causes)
            }
            StoreError::NotEmpty(_) => Self::new(StatusCode::CONFLICT, "Conflict", said.clone())
                .with_causes(vec![json!({"reason": "NotEmpty", "message": said})]),
            full @ StoreError::Full(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "InsufficientStorage",
                format!("nothing was written: {full}"),
            ),
            away @ StoreError::Away(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", away.to_string()).again_after(1)
            }
            // As Kubernetes says it of a write whose end it did not see.
            undecided @ StoreError::Undecided(_) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", undecided.to_string())
            }
            too_deep @ StoreError::TooDeep(_) => Self::bad_request(too_deep.to_string()),
            other => {
                tracing::error!(error = %other, "the store failed");
                Self::internal(other.to_string())
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.reason == PLAIN {
            return (self.code, self.message).into_response();
        }
        let mut response = json_response(self.code, self.status().to_string());
        let after = self.details.as_ref().and_then(|details| details["retryAfterSeconds"].as_u64());
        if let Some(seconds) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A response with a JSON body.
pub(crate) fn json_response(code: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `metav1.Status` of a success, with the object it is about.
pub(crate) fn success(details: Value) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ErrorKind, FieldError};

    #[test]
    fn an_invalid_object_names_every_bad_field() {
        let errors = [
            FieldError::new(ErrorKind::Required, "spec.image", None, ""),
            FieldError::new(ErrorKind::Invalid, "spec.replicas", Some(json!(-1)), "must not be negative"),
        ];
        let error = ApiError::invalid("example.com", "Widget", "w", &errors);
        assert_eq!(
            error.message,
            "Widget.example.com \"w\" is invalid: [spec.image: Required value, spec.replicas: Invalid value: -1: must not be negative]"
        );
        let status = error.status();
        assert_eq!(status["details"]["causes"][0]["field"], "spec.image");
        assert_eq!(status["details"]["causes"][1]["reason"], "FieldValueInvalid");
        assert_eq!(status["code"], 422);
    }
}

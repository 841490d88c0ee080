//! How operators see a request: its span, and the id that its client knows as well.

use axum::extract::Request;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::Response;
use threeport_store::TraceContext;
use tracing::{Span, field};

use crate::meters::Meter;

/// Kubernetes' name for the id: a client may bring one, and finds it in the answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("audit-id");

/// Longest id that a client may bring.
const ID_LENGTH: usize = 64;

/// A request on its way.
pub(crate) struct Seen {
    pub(crate) span: Span,
    id: HeaderValue,
}

impl Seen {
    /// Opens the span: as a part of the client's trace when it tells of one.
    pub(crate) fn start(request: &Request) -> Self {
        let headers = request.headers();
        let id = headers.get(REQUEST_ID).filter(|id| usable(id)).cloned().unwrap_or_else(new_id);
        let path = request.uri().path();
        // Asked for every few seconds by whoever watches over the process.
        if matches!(path, "/livez" | "/readyz" | "/healthz") {
            return Self { span: Span::none(), id };
        }
        let span = tracing::debug_span!(
            "request",
            otel.kind = "server",
            otel.status_code = field::Empty,
            http.request.method = request.method().as_str(),
            url.path = path,
            request_id = id.to_str().unwrap_or_default(),
            user = field::Empty,
            verb = field::Empty,
            resource = field::Empty,
            http.response.status_code = field::Empty,
        );
        let parent = headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
        if let Some(parent) = parent {
            parent.adopt(&span);
        }
        Self { span, id }
    }

    /// Says what came of it, and gives the client the id. Within the span.
    pub(crate) fn finish(self, meter: &Meter, response: &mut Response) {
        response.headers_mut().insert(REQUEST_ID, self.id);
        // What follows is for the span's reader only.
        if !TraceContext::current().is_some_and(TraceContext::recorded) {
            return;
        }
        let (verb, kind) = meter.about();
        if let Some(kind) = kind {
            self.span.record("verb", verb);
            self.span.record("resource", kind.resource.to_string());
        }
        self.span.record("http.response.status_code", response.status().as_u16());
        if response.status().is_server_error() {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

fn usable(id: &HeaderValue) -> bool {
    !id.is_empty() && id.len() <= ID_LENGTH && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new_id() -> HeaderValue {
    let id = uuid::Uuid::new_v4().to_string();
    HeaderValue::from_str(&id).unwrap_or_else(|_digits| HeaderValue::from_static("none"))
}

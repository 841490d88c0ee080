//! What this crate counts: calls to targets. Labels are bounded; which target it was is in the spans.

use std::time::{Duration, Instant};

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

const REQUESTS: &str = "threeport_target_requests_total";
const DURATION: &str = "threeport_target_request_duration_seconds";
const GIVEN_UP: &str = "threeport_target_given_up_total";

/// Says what the meters mean; once, after the recorder is set.
pub fn describe_meters() {
    describe_counter!(
        REQUESTS,
        "Calls to targets by method and HTTP status; error: no answer came, timeout: none in time"
    );
    describe_counter!(GIVEN_UP, "How often a target did not answer and was left alone from then on");
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time until a target has answered, waiting for a free connection included"
    );
}

pub(crate) fn given_up() {
    counter!(GIVEN_UP).increment(1);
}

/// One call on its way.
pub(crate) struct Call {
    method: String,
    began: Instant,
}

impl Call {
    pub(crate) fn start(method: &http::Method) -> Self {
        Self { method: method.to_string(), began: Instant::now() }
    }

    pub(crate) fn answered<T>(self, answer: Option<&Result<T, kube::Error>>, span: &tracing::Span) {
        let code = match answer {
            None => "timeout".to_owned(),
            Some(Ok(_)) => "2xx".to_owned(),
            Some(Err(kube::Error::Api(status))) => status.code.to_string(),
            Some(Err(_)) => "error".to_owned(),
        };
        match answer {
            Some(Ok(_)) => {}
            Some(Err(kube::Error::Api(status))) => drop(span.record("http.response.status_code", status.code)),
            None | Some(Err(_)) => drop(span.record("otel.status_code", "ERROR")),
        }
        let took: Duration = self.began.elapsed();
        histogram!(DURATION, "method" => self.method.clone()).record(took);
        counter!(REQUESTS, "method" => self.method, "code" => code).increment(1);
    }
}

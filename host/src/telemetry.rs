//! What operators see of this process: logs on stderr, text for people on a terminal and JSON for collectors otherwise, and spans over OTLP where an
//! endpoint is set. The crates only say what happens, with `tracing`; that a run belongs to the request that caused it is known here.

use std::io::IsTerminal;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, global};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use threeport_store::{TraceContext, TraceHook, install_trace_hook};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// Ends with the process.
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts logging and tracing; within a tokio runtime, with the TLS provider installed.
///
/// `RUST_LOG` chooses what is logged, `info` by default, without kube's own line for every request that a target refuses: those end as conditions; without the NATS client's, whose troubles the bell tells; and
/// without the audit, a line for every write.
///
/// Spans go to `OTEL_EXPORTER_OTLP_ENDPOINT`; without one they are not recorded, and there are trace ids still, for the logs of runs.
///
/// # Errors
/// When a setting cannot be used; the message names its variable.
pub(crate) fn init() -> Result<Telemetry> {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,async_nats=off,audit=off,opentelemetry=warn"));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if std::io::stderr().is_terminal() { logs.boxed() } else { logs.json().flatten_event(true).boxed() };
    let registry = Registry::default().with(logs.with_filter(filter));
    let endpoint = ENDPOINTS.into_iter().find(|name| setting(name).is_some());
    // OpenTelemetry's own variable for "nothing at all".
    if setting("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        registry.init();
        return Ok(Telemetry { provider: None });
    }
    let provider = provider(endpoint)?;
    let exports = endpoint.is_some();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("threeport"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(move |metadata| traced(metadata, exports)).with_max_level_hint(LevelFilter::DEBUG));
    registry.with(spans).init();
    global::set_tracer_provider(provider.clone());
    install_trace_hook(TraceHook { current, adopt, of, past });
    Ok(Telemetry { provider: Some(provider) })
}

impl Telemetry {
    /// Sends what is left to send.
    pub(crate) async fn finish(self) {
        let Some(provider) = self.provider else { return };
        // It waits for the exporter, which needs this runtime's threads.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Our own spans and what is logged in them; only those that a run's trace id comes from when nobody gets to see the rest.
fn traced(metadata: &Metadata<'_>, exports: bool) -> bool {
    if !metadata.target().starts_with("threeport") {
        return false;
    }
    match (metadata.is_span(), exports) {
        (true, true) => true,
        (true, false) => matches!(metadata.name(), "request" | "run"),
        (false, exports) => exports && *metadata.level() <= tracing::Level::INFO,
    }
}

fn provider(endpoint: Option<&str>) -> Result<SdkTracerProvider> {
    let Some(endpoint) = endpoint else {
        return Ok(SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build());
    };
    for name in PROTOCOLS {
        if let Some(other) = setting(name).filter(|protocol| protocol != "http/protobuf") {
            bail!("{name}={other} is not supported: set it to http/protobuf, or leave it out");
        }
    }
    let unusable = || {
        format!(
            "{endpoint} cannot be used: it is where a collector takes OTLP over HTTP, such as http://127.0.0.1:4318"
        )
    };
    let http = reqwest::Client::builder().build().context("set up the client that exports spans")?;
    let client = Client { http, runtime: tokio::runtime::Handle::current() };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).build().with_context(unusable)?;
    let mut resource = Resource::builder();
    if setting("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("threeport");
    }
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.with_attribute(version).build())
        .build())
}

/// The exporter has a thread of its own, the client works in the runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        self.runtime.spawn(async move { http.send_bytes(request).await }).await?
    }
}

fn current() -> Option<TraceContext> {
    Context::map_current(context)
}

fn of(span: &tracing::Span) -> Option<TraceContext> {
    context(&span.context())
}

fn context(context: &Context) -> Option<TraceContext> {
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| TraceContext {
        trace_id: span.trace_id().to_bytes(),
        span_id: span.span_id().to_bytes(),
        flags: span.trace_flags().to_u8(),
    })
}

fn adopt(span: &tracing::Span, parent: TraceContext) {
    // An error means that nobody traces this span.
    let _untraced = span.set_parent(remote(parent));
}

fn past(name: &'static str, parent: TraceContext, began: SystemTime, ended: SystemTime) {
    let tracer = global::tracer("threeport");
    let mut span = tracer.span_builder(name).with_start_time(began).start_with_context(&tracer, &remote(parent));
    span.end_with_timestamp(ended);
}

fn remote(context: TraceContext) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from_bytes(context.trace_id),
        SpanId::from_bytes(context.span_id),
        TraceFlags::new(context.flags),
        true,
        TraceState::default(),
    ))
}

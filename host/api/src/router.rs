//! From a request to the handler that answers it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse as _, Response};
use threeport_scheduler::{Bell, Wake};
use threeport_store::Store;
use tokio::sync::{RwLock, watch};
use tracing::Instrument as _;

use crate::Metrics;
use crate::auth::Token;
use crate::meters::Meter;
use crate::query::{Query, segments};
use crate::registry::{Kind, Registry};
use crate::status::{ApiError, ApiResult};
use crate::{blobs, discovery, openapi, resources};

/// Largest body of a request.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// What every handler works with.
pub(crate) struct App {
    pub store: Store,
    pub registry: Arc<Registry>,
    pub bell: Arc<dyn Bell>,
    pub address: SocketAddr,
    token: Token,
    /// Bytes of an uploaded blob.
    pub blob_limit: u64,
    /// What `/metrics` answers.
    pub metrics: Option<Metrics>,
    /// Watches end when this turns true.
    pub stopped: watch::Receiver<bool>,
    /// Held for reading while an object is put into a namespace, for writing while one is removed: no object is left behind.
    pub namespaces: RwLock<()>,
}

impl App {
    pub(crate) fn new(
        store: Store,
        registry: Arc<Registry>,
        bell: Arc<dyn Bell>,
        token: Token,
        stopped: watch::Receiver<bool>,
        address: SocketAddr,
        blob_limit: u64,
    ) -> Self {
        Self { store, registry, bell, address, token, blob_limit, metrics: None, stopped, namespaces: RwLock::new(()) }
    }

    /// Rings for an object that is due.
    pub(crate) fn ring(&self, uid: &str) {
        self.bell.ring(Wake { uid: uid.to_owned() });
    }
}

/// A request for objects, taken apart.
pub(crate) struct Call {
    pub kind: Arc<Kind>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// Of the `status` subresource.
    pub status: bool,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Answers a request.
pub(crate) async fn dispatch(State(app): State<Arc<App>>, request: Request) -> Response {
    let span = tracing::debug_span!("request", method = %request.method(), path = request.uri().path());
    async move {
        let mut meter = Meter::start(request.method());
        let response = match route(&app, request, &mut meter).await {
            Ok(response) => response,
            Err(error) => {
                // Not the message: it may repeat what was sent.
                tracing::debug!(code = error.code.as_u16(), reason = error.reason, fields = ?error.fields(), "refused");
                error.into_response()
            }
        };
        meter.finish(response.status());
        response
    }
    .instrument(span)
    .await
}

async fn route(app: &Arc<App>, request: Request, meter: &mut Meter) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let get = |answer: Response| {
        if parts.method == Method::GET || parts.method == Method::HEAD {
            Ok(answer)
        } else {
            Err(ApiError::method_not_allowed(parts.method.as_str()))
        }
    };
    // Open to everyone: they say nothing about what is inside.
    match path {
        "/livez" | "/readyz" | "/healthz" => return get("ok".into_response()),
        "/version" => return get(discovery::version()),
        _ => {}
    }
    app.token.check(&parts.headers)?;
    let segments = segments(path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let kinds = app.registry.kinds();
    match segments.as_slice() {
        ["api"] => get(discovery::core_versions(app.address)),
        ["apis"] => get(discovery::groups(&kinds)),
        ["apis", group] => get(discovery::group(&kinds, group)?),
        ["api", version] => get(discovery::resources(&kinds, "", version)?),
        ["apis", group, version] => get(discovery::resources(&kinds, group, version)?),
        ["openapi", "v2"] => get(openapi::version_2(&parts.headers)),
        ["openapi", "v3"] => get(openapi::index(&kinds)),
        ["openapi", "v3", rest @ ..] => get(openapi::document(&kinds, &rest.join("/"))?),
        ["blobs"] if parts.method == Method::POST => blobs::upload(app, &parts.headers, body).await,
        ["blobs"] => Err(ApiError::method_not_allowed(parts.method.as_str())),
        ["metrics"] => match &app.metrics {
            Some(metrics) => {
                get(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics()).into_response())
            }
            None => Err(ApiError::no_such_path()),
        },
        [] => get(discovery::paths(&kinds)),
        segments => {
            let (kind, namespace, name, subresource) = resolve(app, segments)?;
            let status = match subresource {
                None => false,
                Some("status") if kind.has_status => true,
                Some(_) => return Err(ApiError::no_such_path()),
            };
            let query = Query::parse(parts.uri.query());
            meter.objects(&kind, namespace.is_some(), name.is_some(), query.flag("watch"), status.then_some("status"));
            if parts.method == Method::PATCH
                && crate::accept::content_type(&parts.headers).starts_with("application/apply-patch")
            {
                meter.applies();
            }
            let call = Call {
                kind,
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                status,
                query,
                body: read(body, BODY_LIMIT).await?,
                headers: parts.headers,
            };
            verb(app, &parts.method, call).await
        }
    }
}

/// The handler for a method.
async fn verb(app: &Arc<App>, method: &Method, call: Call) -> ApiResult<Response> {
    let refused = || Err(ApiError::method_not_allowed(method.as_str()));
    match (method.as_str(), call.name.is_some()) {
        ("GET", false) if call.query.flag("watch") => resources::watch(app, call).await,
        ("GET", false) => resources::list(app, &call).await,
        ("GET", true) if call.query.flag("watch") => refused(),
        ("GET" | "HEAD", true) => resources::get(app, &call).await,
        ("POST", false) => resources::create(app, call).await,
        ("PUT", true) => resources::update(app, call).await,
        ("PATCH", true) => resources::patch(app, call).await,
        ("DELETE", true) if !call.status => resources::delete(app, call).await,
        _ => refused(),
    }
}

type Resolved<'a> = (Arc<Kind>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// The kind, namespace, name and subresource of a path.
fn resolve<'a>(app: &App, segments: &[&'a str]) -> ApiResult<Resolved<'a>> {
    let (group, version, rest) = match segments {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(ApiError::no_such_path()),
    };
    let find = |plural: &str| app.registry.find(group, version, plural).ok_or_else(ApiError::no_such_path);
    let (kind, namespace, rest) = match rest {
        // `namespaces/x/status` is the namespace's own; anything else there lies in it.
        ["namespaces", namespace, plural, rest @ ..]
            if !(group.is_empty() && matches!(*plural, "status" | "finalize")) =>
        {
            let kind = find(plural)?;
            if !kind.namespaced {
                return Err(ApiError::no_such_path());
            }
            (kind, Some(*namespace), rest)
        }
        [plural, rest @ ..] => (find(plural)?, None, rest),
        [] => return Err(ApiError::no_such_path()),
    };
    let (name, subresource) = match rest {
        [] => (None, None),
        [name] => (Some(*name), None),
        [name, subresource] => (Some(*name), Some(*subresource)),
        _ => return Err(ApiError::no_such_path()),
    };
    if kind.namespaced && namespace.is_none() && name.is_some() {
        return Err(ApiError::no_such_path());
    }
    Ok((kind, namespace, name, subresource))
}

/// The whole body, if it is not too large.
async fn read(body: axum::body::Body, limit: usize) -> ApiResult<Bytes> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let too_large = std::error::Error::source(&error).is_some_and(|e| e.to_string().contains("length limit"));
        if too_large {
            ApiError::too_large(format!("the body of the request is too large: limit is {limit} bytes"))
        } else {
            ApiError::bad_request(format!("the body of the request could not be read: {error}"))
        }
    })
}

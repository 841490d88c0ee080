//! From a request to the handler that answers it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use threeport_scheduler::{Bell, Wake};
use threeport_store::{Class, Store};
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::auth::{self, Auth, Named, Resource, Trail, User};
use crate::body::Incoming;
use crate::insight::{self, Insight, Nothing, View};
use crate::meters::Meter;
use crate::query::{Query, segments};
use crate::registry::{Kind, OWN_GROUP, Registry};
use crate::seen::Seen;
use crate::status::{ApiError, ApiResult, json_response};
use crate::{Limits, Metrics, blobs, discovery, openapi, resources};

/// Largest body of a request.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// What every handler works with.
pub(crate) struct App {
    pub store: Store,
    pub registry: Arc<Registry>,
    pub bell: Arc<dyn Bell>,
    pub address: SocketAddr,
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// Bytes of an uploaded blob.
    pub blob_limit: u64,
    /// What clients may take up.
    pub limits: Limits,
    /// What `/metrics` answers.
    pub metrics: Option<Metrics>,
    /// What only the controller knows.
    pub insight: Arc<dyn Insight>,
    /// Watches end when this turns true.
    pub stopped: watch::Receiver<bool>,
}

impl App {
    pub(crate) fn new(
        store: Store,
        registry: Arc<Registry>,
        bell: Arc<dyn Bell>,
        auth: Arc<Auth>,
        stopped: watch::Receiver<bool>,
        address: SocketAddr,
        blob_limit: u64,
    ) -> Self {
        let (limits, metrics, insight) = (Limits::default(), None, Arc::new(Nothing));
        Self { store, registry, bell, address, auth, blob_limit, limits, metrics, insight, stopped }
    }

    /// Rings for an object that is due, in this class.
    pub(crate) fn ring(&self, uid: &str, class: Class) {
        let _span = tracing::debug_span!("ring", uid).entered();
        self.bell.ring(Wake::new(uid, class.name()));
    }
}

/// A request for objects, taken apart.
pub(crate) struct Call {
    /// Who asks; it may do this.
    pub user: Arc<User>,
    pub kind: Arc<Kind>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// Of the `status` subresource.
    pub status: bool,
    /// Of the `scale` subresource.
    pub scale: bool,
    /// Of the `finalize` subresource.
    pub finalize: bool,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Answers a request.
pub(crate) async fn dispatch(State(app): State<Arc<App>>, request: Request) -> Response {
    let seen = Seen::start(&request);
    let span = seen.span.clone();
    let mut trail = Trail::start(request.method(), request.uri().path());
    async move {
        let mut meter = Meter::start(request.method());
        let yaml = crate::accept::yaml(request.headers());
        let mut response = match route(&app, request, &mut meter, &mut trail).await {
            Ok(response) => response,
            Err(error) => {
                // Not the message: it may repeat what was sent.
                tracing::debug!(code = error.code.as_u16(), reason = error.reason, fields = ?error.fields(), "refused");
                error.into_response()
            }
        };
        seen.finish(&meter, &mut response);
        meter.finish(response.status());
        if let Some(trail) = trail {
            trail.finish(response.status(), response.extensions().get::<Named>());
        }
        if yaml { crate::accept::to_yaml(response).await } else { response }
    }
    .instrument(span)
    .await
}

async fn route(app: &Arc<App>, request: Request, meter: &mut Meter, trail: &mut Option<Trail>) -> ApiResult<Response> {
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
        "/livez" | "/healthz" => return get("ok".into_response()),
        "/readyz" => return get(readiness(app)),
        "/version" => return get(discovery::version()),
        _ => {}
    }
    let segments = segments(path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = Query::of(&parts.method, parts.uri.query());
    if path != "/metrics" {
        // Whoever comes from another host must find here what that one acknowledged.
        app.store.fresh().await?;
    }
    let identity = app.auth.identify(&app.store, &parts.headers).await?;
    tracing::Span::current().record("user", identity.user.name.as_str());
    if let Some(trail) = trail {
        trail.of(&identity);
    }
    let user = identity.user;
    // Before anything is read, the body included; and before it is said whether there is such a thing.
    app.auth.require(&user, &parts.method, &segments, &query)?;
    let kinds = app.registry.kinds();
    match segments.as_slice() {
        ["api"] => get(discovery::core_versions(&kinds, &parts.uri, &parts.headers)),
        ["apis"] => get(discovery::groups(&kinds, &parts.headers)),
        ["apis", group] => get(discovery::group(&kinds, group)?),
        ["api", version] => get(discovery::resources(&kinds, "", version)?),
        ["apis", group, version] => get(discovery::resources(&kinds, group, version)?),
        ["openapi", "v2"] => get(openapi::v2::document(&kinds, &parts.headers)),
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
        ["openid", "v1", "jwks"] => get(json_response(StatusCode::OK, app.auth.tokens().key_set().to_string())),
        [".well-known", "openid-configuration"] => {
            let address = format!("https://{}", app.address);
            get(json_response(StatusCode::OK, app.auth.tokens().configuration(&address).to_string()))
        }
        ["apis", OWN_GROUP, "v1", insight::QUEUE] => get(insight::queue(app, &user, None).await?),
        ["apis", OWN_GROUP, "v1", "namespaces", namespace, insight::QUEUE] => {
            get(insight::queue(app, &user, Some(namespace)).await?)
        }
        [] => get(discovery::paths(&kinds)),
        segments => {
            let (kind, namespace, name, subresource) = resolve(app, segments)?;
            if let Some((view, name)) = subresource.filter(|_| !kind.answered).and_then(View::of).zip(name) {
                meter.objects(&kind, namespace.is_some(), true, false, Some(view.subresource()));
                if parts.method != Method::GET {
                    return Err(ApiError::method_not_allowed(parts.method.as_str()));
                }
                let key = resources::key_of(&kind, namespace, name);
                return insight::show(app, &user, view, &key).await;
            }
            let (status, scale) = match subresource {
                None => (false, false),
                Some("status") if kind.has_status => (true, false),
                Some("scale") if kind.scale.is_some() => (false, true),
                Some(name) if kind.subresources.iter().any(|s| s.name == name) => (false, false),
                Some(_) => return Err(ApiError::not_found(&kind.resource, name.unwrap_or_default())),
            };
            let part = if status { Some("status") } else { scale.then_some("scale") };
            meter.objects(&kind, namespace.is_some(), name.is_some(), query.flag("watch"), part);
            if parts.method == Method::PATCH
                && crate::accept::content_type(&parts.headers).starts_with("application/apply-patch")
            {
                meter.applies();
            }
            let own = subresource.filter(|_| !status && !scale).map(str::to_owned);
            let call = Call {
                user,
                kind,
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                status,
                scale,
                finalize: false,
                query,
                body: Incoming::new(body, app.limits.body).whole(BODY_LIMIT).await?,
                headers: parts.headers,
            };
            let kind = call.kind.clone();
            let mut response = match own {
                Some(subresource) => subordinate(app, &parts.method, call, &subresource).await?,
                None => verb(app, &parts.method, call).await?,
            };
            if let Some(warning) = &kind.deprecation {
                resources::warn(&mut response, warning);
            }
            Ok(response)
        }
    }
}

/// Whether this host can do what it is asked for: whoever distributes requests among hosts leaves it out until it can. Why it cannot is for the log.
fn readiness(app: &App) -> Response {
    let trouble = if *app.stopped.borrow() {
        "[-]shutdown failed: this host is stopping"
    } else if app.store.trouble().is_some() {
        "[-]database failed: it cannot be reached or not be written to, the log of this host says why"
    } else {
        return "ok".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\nreadyz check failed\n")).into_response()
}

/// The handler for a method.
async fn verb(app: &Arc<App>, method: &Method, call: Call) -> ApiResult<Response> {
    let refused = || Err(ApiError::method_not_allowed(method.as_str()));
    if call.kind.answered {
        let asked = method == Method::POST && call.name.is_none();
        return if asked { auth::review(app, &call).await } else { refused() };
    }
    if call.scale {
        return resources::scale(app, method, call).await;
    }
    match (method.as_str(), call.name.is_some()) {
        ("GET", false) if call.query.flag("watch") => resources::watch(app, call).await,
        ("GET", false) => resources::list(app, &call).await,
        ("GET", true) if call.query.flag("watch") => refused(),
        ("GET" | "HEAD", true) => resources::get(app, &call).await,
        ("POST", false) => resources::create(app, call).await,
        ("PUT", true) => resources::update(app, call).await,
        ("PATCH", true) => resources::patch(app, call).await,
        ("DELETE", true) if !call.status => resources::delete(app, call).await,
        ("DELETE", false) => resources::delete_collection(app, call).await,
        _ => refused(),
    }
}

type Resolved<'a> = (Arc<Kind>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// The handler of a subresource that is a kind of its own.
async fn subordinate(app: &Arc<App>, method: &Method, call: Call, name: &str) -> ApiResult<Response> {
    let at = (call.namespace.as_deref(), call.name.as_deref());
    match (at, name, method) {
        ((Some(namespace), Some(account)), "token", &Method::POST) => {
            let dry_run = resources::is_dry_run(&call.query, &call.headers)?;
            auth::request_token(app, namespace, account, &call.headers, &call.body, dry_run).await
        }
        ((None, Some(_)), "finalize", &Method::PUT) => resources::finalize(app, call).await,
        _ => Err(ApiError::method_not_allowed(method.as_str())),
    }
}

/// The kind, namespace, name and subresource of a path.
fn resolve<'a>(app: &App, segments: &[&'a str]) -> ApiResult<Resolved<'a>> {
    let at = Resource::parse(segments).filter(|at| !at.beyond).ok_or_else(ApiError::no_such_path)?;
    let kind = app.registry.find(at.group, at.version, at.resource).ok_or_else(ApiError::no_such_path)?;
    let given = |text: &'a str| (!text.is_empty()).then_some(text);
    let (name, subresource) = (given(at.name), given(at.subresource));
    // A namespace lies in itself for the rules only.
    let namespace = given(at.namespace).filter(|_| !(at.group.is_empty() && at.resource == "namespaces"));
    if kind.namespaced != namespace.is_some() && (namespace.is_some() || name.is_some()) {
        return Err(ApiError::no_such_path());
    }
    Ok((kind, namespace, name, subresource))
}

//! A connection to one target: reading it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, StreamExt};
use http::{Request as HttpRequest, Uri};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::core::params::{GetParams, ListParams};
use kube::core::{ApiResource, DynamicObject, Request, Resource};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use tracing::{Instrument as _, field};

use crate::breaker::{Breaker, Circuit, Heard};
use crate::classify::{Asked, classify, missing, unanswered};
use crate::error::step;
use crate::kubeconfig::{parse, refuse};
use crate::meters;
use crate::transport::{self, Token};
use crate::{Error, Reference};

/// From asking to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Requests at once to one target: a slow target holds so many of our tasks and no more.
const AT_ONCE: usize = 16;
/// A page of 500 large objects fits; a target that never stops talking does not fill our memory.
const ANSWER: u64 = 64 << 20;

/// A connection to one target cluster. Cheap to clone.
#[derive(Clone)]
pub struct Target {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    /// For further clients of the same target.
    config: kube::Config,
    server: String,
    slots: Semaphore,
    /// Shared with all who act on the same target.
    breaker: Arc<Breaker>,
    /// Kinds by apiVersion, as the target's discovery told them; asked again when one is not among them.
    served: Mutex<HashMap<String, Arc<HashMap<String, Served>>>>,
}

/// How a kind is served.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) listable: bool,
}

impl Served {
    /// Requests for objects of this kind in that namespace (None: all, or cluster-scoped).
    pub(crate) fn request(&self, namespace: Option<&str>) -> Request {
        Request::new(DynamicObject::url_path(&self.resource, namespace))
    }
}

impl Target {
    /// Parses a kubeconfig and prepares the connection; no network. Refuses what would run programs or read files of this host.
    /// Must be called within a tokio runtime.
    pub fn connect(kubeconfig: &str) -> Result<Target, Error> {
        install_crypto();
        let config = parse(kubeconfig)?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let credentials = |_| {
            refuse(
                "users[].user",
                "the client certificate and key are not a pair of PEM in base64, or the token holds odd characters",
            )
        };
        let client = transport::client(config.clone(), None).map_err(credentials)?;
        let (slots, breaker, served) = (Semaphore::new(AT_ONCE), Arc::default(), Mutex::default());
        Ok(Target { inner: Arc::new(Inner { client, config, server, slots, breaker, served }) })
    }

    /// From now on the target is left alone when it does not answer: for `pause`, and for longer each time that it does not answer after that. `opened` is
    /// told; whoever hears that [probes](Self::probe) it. Holds for all who act on the target.
    pub fn guard(&self, pause: Duration, opened: Arc<Notify>) {
        self.inner.breaker.guard(pause, opened);
    }

    /// Whether requests are sent.
    pub fn circuit(&self) -> Circuit {
        self.inner.breaker.circuit()
    }

    /// Why nothing is sent at the moment; None: it is.
    pub fn left_alone(&self) -> Option<Error> {
        self.inner.breaker.left_alone("connect", &self.inner.server)
    }

    /// When to [probe](Self::probe) it; None: it is not left alone, or is being probed.
    pub fn probe_at(&self) -> Option<Instant> {
        self.inner.breaker.probe_at()
    }

    /// Finds out by one request whether a target that is left alone answers again, if it is time to. True: requests are sent again.
    pub async fn probe(&self) -> bool {
        if !self.inner.breaker.begin_probe() {
            return false;
        }
        let step = "check readiness";
        let mut request = HttpRequest::new(Vec::new());
        *request.uri_mut() = Uri::from_static("/readyz");
        let (answered, trouble) = match self.send(step, request).await {
            Err(_late) => (false, Some(silence())),
            Ok(Err(error)) => match unanswered(&error) {
                Some(why) => (false, Some(why)),
                None => {
                    let fails = matches!(&error, kube::Error::Api(status) if status.code >= 500);
                    (true, fails.then(|| self.told(step, &nothing(), error).to_string()))
                }
            },
            Ok(Ok(_)) => (true, None),
        };
        self.inner.breaker.end_probe(answered, trouble)
    }

    /// The same target with this token and nothing else of our credentials.
    pub(crate) fn with_token(&self, token: &Token) -> Result<Target, Error> {
        let config = self.inner.config.clone();
        let client = transport::client(config.clone(), Some(token.clone()))
            .map_err(|_| refuse("clusters[].cluster", "no client can be made of it"))?;
        let served = Mutex::new(self.inner.served.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let (server, slots, breaker) = (self.inner.server.clone(), Semaphore::new(AT_ONCE), self.inner.breaker.clone());
        Ok(Target { inner: Arc::new(Inner { client, config, server, slots, breaker, served }) })
    }

    /// Scheme, host and port, for messages.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// The target's version, `v1.36.4`.
    pub async fn version(&self) -> Result<String, Error> {
        let version: Value =
            self.parse("read the version", &nothing(), self.plain("/version", "read the version").await?)?;
        Ok(version["gitVersion"].as_str().unwrap_or("unknown").to_owned())
    }

    /// Does the API server call itself ready?
    pub async fn ready(&self) -> Result<(), Error> {
        self.plain("/readyz", "check readiness").await.map(|_| ())
    }

    /// One live object, None if it is not there.
    pub async fn get(&self, reference: &Reference) -> Result<Option<Value>, Error> {
        let step = step("get", reference);
        let served = self.resolve(&step, reference).await?;
        self.get_served(&step, reference, &served).await
    }

    /// As [`get`](Self::get), but what cannot exist under that name or in that scope is not there.
    pub async fn find(&self, reference: &Reference) -> Result<Option<Value>, Error> {
        let step = step("get", reference);
        match self.resolve(&step, reference).await {
            Ok(served) => self.get_served(&step, reference, &served).await,
            Err(Error::Invalid { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of a list and the token of the next one. `limit` 0: the target's own.
    pub async fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        labels: Option<&str>,
        limit: u32,
        token: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), Error> {
        let reference = Reference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: String::new(),
        };
        let step = format!("list {kind}{}", namespace.map(|n| format!(" in {n}")).unwrap_or_default());
        let served = self.served(&step, &reference).await?;
        if let Some(namespace) = namespace {
            segment(&step, "namespace", namespace)?;
            if !served.namespaced {
                return Err(Error::Invalid { step, why: format!("{kind} is cluster-scoped and has no namespace") });
            }
        }
        let params = ListParams {
            label_selector: labels.map(str::to_owned),
            limit: (limit > 0).then_some(limit),
            continue_token: token.map(str::to_owned),
            ..ListParams::default()
        };
        let request = served.request(namespace).list(&params).map_err(kube::Error::BuildRequest);
        let text = self.ask(&step, &reference, request).await?.map_err(|e| self.told(&step, &reference, e))?;
        let mut page: Value = self.parse(&step, &reference, text)?;
        let next =
            page.pointer("/metadata/continue").and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
        let mut items = match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            // Items of a list do not say what they are.
            item.insert("apiVersion".into(), api_version.into());
            item.insert("kind".into(), kind.into());
        }
        Ok((items, next))
    }

    /// Does the target serve that kind?
    pub async fn has_kind(&self, api_version: &str, kind: &str) -> Result<bool, Error> {
        Ok(self.namespaced(api_version, kind).await?.is_some())
    }

    /// Some(true) for a namespaced kind, Some(false) for a cluster-scoped one, None where the target does not serve it.
    pub async fn namespaced(&self, api_version: &str, kind: &str) -> Result<Option<bool>, Error> {
        let reference = Reference { api_version: api_version.to_owned(), kind: kind.to_owned(), ..nothing() };
        match self.served(&format!("look for kind {kind}"), &reference).await {
            Ok(served) => Ok(Some(served.namespaced)),
            Err(Error::KindUnknown { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Several objects, in the order asked for, some at once. A kind that is not served has no objects: [`Error::KindUnknown`].
    pub async fn observe(&self, references: &[Reference]) -> Vec<Result<Option<Value>, Error>> {
        futures::stream::iter(references).map(|reference| self.get(reference)).buffered(AT_ONCE).collect().await
    }

    /// The client below, for watches.
    pub(crate) fn client(&self) -> kube::Client {
        self.inner.client.clone()
    }

    pub(crate) fn same_connection(&self, other: &Target) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) async fn get_served(
        &self,
        step: &str,
        reference: &Reference,
        served: &Served,
    ) -> Result<Option<Value>, Error> {
        let request = served
            .request(reference.namespace.as_deref())
            .get(&reference.name, &GetParams::default())
            .map_err(kube::Error::BuildRequest);
        match self.ask(step, reference, request).await? {
            Ok(text) => Ok(Some(self.parse(step, reference, text)?)),
            Err(error) if missing(&error, reference) => Ok(None),
            Err(error) => Err(self.told(step, reference, error)),
        }
    }

    /// Checks a reference and finds how its kind is served.
    pub(crate) async fn resolve(&self, step: &str, reference: &Reference) -> Result<Served, Error> {
        segment(step, "name", &reference.name)?;
        let served = self.served(step, reference).await?;
        let why = match &reference.namespace {
            Some(namespace) => {
                segment(step, "namespace", namespace)?;
                // Not tolerated: what was granted for a namespace must not reach the whole cluster.
                (!served.namespaced)
                    .then(|| format!("{} is cluster-scoped and must not have a namespace", reference.kind))
            }
            None => served.namespaced.then(|| format!("{} needs a namespace", reference.kind)),
        };
        why.map_or(Ok(served), |why| Err(Error::Invalid { step: step.to_owned(), why }))
    }

    /// How a kind is served: from the cache, else from discovery.
    pub(crate) async fn served(&self, step: &str, reference: &Reference) -> Result<Served, Error> {
        let (api_version, kind) = (reference.api_version.as_str(), reference.kind.as_str());
        let cached = self
            .inner
            .served
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(api_version)
            .and_then(|k| k.get(kind).cloned());
        if let Some(served) = cached {
            return Ok(served);
        }
        let kinds = self.kinds(step, api_version).await?;
        kinds.get(kind).cloned().ok_or_else(|| Error::KindUnknown {
            step: step.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })
    }

    /// The kinds of a version of a group, as the target tells them now; none if it does not serve it.
    pub(crate) async fn kinds(&self, step: &str, api_version: &str) -> Result<Arc<HashMap<String, Served>>, Error> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        for part in [group, version].into_iter().filter(|p| !p.is_empty() || api_version.is_empty()) {
            segment(step, "apiVersion", part)?;
        }
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let text = match self.raw(step, &path).await? {
            Ok(text) => text,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Arc::default()),
            Err(error) => return Err(self.told(step, &nothing(), error)),
        };
        let list: APIResourceList = self.parse(step, &nothing(), text)?;
        let mut kinds = HashMap::new();
        for served in list.resources.into_iter().filter(|r| !r.name.contains('/')) {
            let resource = ApiResource {
                group: group.to_owned(),
                version: version.to_owned(),
                api_version: api_version.to_owned(),
                kind: served.kind.clone(),
                plural: served.name,
            };
            let listable = served.verbs.iter().any(|verb| verb == "list");
            kinds.insert(served.kind, Served { resource, namespaced: served.namespaced, listable });
        }
        let kinds = Arc::new(kinds);
        let mut served = self.inner.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.insert(api_version.to_owned(), kinds.clone());
        Ok(kinds)
    }

    /// One request, within the deadline and the slots. Outer error: no answer; inner: the target's.
    pub(crate) async fn ask(
        &self,
        step: &str,
        reference: &Reference,
        request: Result<HttpRequest<Vec<u8>>, kube::Error>,
    ) -> Result<Result<String, kube::Error>, Error> {
        let request = match request {
            Ok(request) => request,
            Err(error) => return Err(self.told(step, reference, error)),
        };
        let breaker = &self.inner.breaker;
        let cut = breaker.enter(step, &self.inner.server)?;
        let sent = Instant::now();
        let answer = tokio::select! {
            answer = self.send(step, request) => answer,
            () = cut => return Err(breaker.left_alone(step, &self.inner.server).unwrap_or_else(|| self.late(step))),
        };
        breaker.note(
            sent,
            match &answer {
                Err(_late) => Heard::Nothing(silence()),
                Ok(Ok(_) | Err(kube::Error::Api(_))) => Heard::Answer,
                Ok(Err(error)) => unanswered(error).map_or(Heard::NotAsked, Heard::Nothing),
            },
        );
        answer
    }

    fn late(&self, step: &str) -> Error {
        Error::Timeout { step: step.to_owned(), server: self.inner.server.clone(), after: DEADLINE }
    }

    async fn send(&self, step: &str, request: HttpRequest<Vec<u8>>) -> Result<Result<String, kube::Error>, Error> {
        let span = tracing::debug_span!(
            "target",
            otel.kind = "client",
            otel.status_code = field::Empty,
            step,
            http.request.method = request.method().as_str(),
            url.path = request.uri().path(),
            server.address = %self.inner.server,
            http.response.status_code = field::Empty,
        );
        let call = meters::Call::start(request.method());
        let answer = tokio::time::timeout(DEADLINE, async {
            let _slot = self.inner.slots.acquire().await.expect("the semaphore is never closed");
            let mut text = String::new();
            let mut stream = self.inner.client.request_stream(request).await?.take(ANSWER);
            stream.read_to_string(&mut text).await.map_err(kube::Error::ReadEvents)?;
            Ok(text)
        });
        let answer = answer.instrument(span.clone()).await;
        call.answered(answer.as_ref().ok(), &span);
        answer.map_err(|_elapsed| self.late(step))
    }

    /// Translates an answer that is an error; forgets discovery where it was wrong.
    pub(crate) fn told(&self, step: &str, reference: &Reference, error: kube::Error) -> Error {
        let error = classify(error, &Asked { step, server: &self.inner.server, reference });
        if matches!(error, Error::KindUnknown { .. }) {
            self.inner.served.lock().unwrap_or_else(PoisonError::into_inner).remove(&reference.api_version);
        }
        error
    }

    pub(crate) fn parse<T: serde::de::DeserializeOwned>(
        &self,
        step: &str,
        reference: &Reference,
        text: String,
    ) -> Result<T, Error> {
        serde_json::from_str(&text).map_err(|e| self.told(step, reference, kube::Error::SerdeError(e)))
    }

    pub(crate) async fn raw(&self, step: &str, path: &str) -> Result<Result<String, kube::Error>, Error> {
        self.ask(step, &nothing(), HttpRequest::get(path).body(Vec::new()).map_err(kube::Error::HttpError)).await
    }

    async fn plain(&self, path: &str, step: &str) -> Result<String, Error> {
        self.raw(step, path).await?.map_err(|error| self.told(step, &nothing(), error))
    }
}

/// A part of a URL path. What a plugin says must not lead elsewhere than to the object that was checked.
fn segment(step: &str, what: &str, text: &str) -> Result<(), Error> {
    let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '/' | '%' | '?' | '#' | '\\');
    if text.is_empty() || text == "." || text == ".." || text.len() > 253 || text.contains(odd) {
        return Err(Error::Invalid { step: step.to_owned(), why: format!("{what} {text:?} is not a Kubernetes name") });
    }
    Ok(())
}

fn silence() -> String {
    format!("no answer within {} s", DEADLINE.as_secs())
}

fn nothing() -> Reference {
    Reference { api_version: String::new(), kind: String::new(), namespace: None, name: String::new() }
}

/// rustls wants one provider for the process; whoever comes first installs the same.
fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client for the command line: `kubeconfig`, else `$KUBECONFIG` or `~/.kube/config`. It is the user's own, so it may run programs and read files.
pub async fn client(kubeconfig: Option<PathBuf>) -> Result<kube::Client, Error> {
    install_crypto();
    let read = match &kubeconfig {
        Some(path) => kube::config::Kubeconfig::read_from(path),
        None => kube::config::Kubeconfig::read(),
    };
    let place = kubeconfig.map_or_else(|| "$KUBECONFIG or ~/.kube/config".to_owned(), |p| p.display().to_string());
    let read = read.map_err(|_| refuse(&place, "it cannot be read as a kubeconfig"))?;
    let config = kube::Config::from_custom_kubeconfig(read, &kube::config::KubeConfigOptions::default()).await;
    let mut config = config.map_err(|e| refuse(&place, &e.to_string()))?;
    config.connect_timeout = Some(Duration::from_secs(3));
    config.proxy_url = None;
    kube::Client::try_from(config).map_err(|e| refuse(&place, &e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_name_cannot_lead_to_another_url() {
        for bad in ["", ".", "..", "a/b", "a%2fb", "a?x=1", "a#b", "a b", "ä", "a\nb", "../../secrets"] {
            assert!(segment("get", "name", bad).is_err(), "{bad:?}");
        }
        for good in ["web", "system:node", "web-1.example.com"] {
            segment("get", "name", good).expect(good);
        }
    }
}

//! The REST API that speaks the Kubernetes API conventions.
//!
//! A request goes one way: `serve` (TLS) → `router` (`auth`: who is it, and may they; find the kind) → `resources` (one module for each verb) → the store. What
//! the kinds are comes from the `registry`, what their objects look like from `schema`; the handlers translate and decide nothing. No kind of
//! a plugin is named here: what the host itself serves is described by the files in `builtin/`, by the same means as everything else.

mod accept;
mod auth;
mod blobs;
mod body;
mod clock;
mod connections;
mod definitions;
mod discovery;
mod insight;
mod jsonpath;
mod kubeconfig;
mod managed;
mod meters;
mod openapi;
mod patch;
pub mod pki;
mod protobuf;
mod query;
mod references;
mod registry;
mod resources;
mod router;
mod schema;
mod seen;
mod selector;
mod serve;
mod status;
mod strict;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use auth::TokenKeys;
pub use definitions::Specs;
pub use insight::{Insight, Placed, Problem, Reference};
pub use kubeconfig::kubeconfig;
pub use meters::describe_meters;
pub use serve::{Served, serve};

/// What keeps a CustomResourceDefinition from being served, one sentence each with the field; empty when nothing does.
pub fn definition_errors(definition: &serde_json::Value) -> Vec<String> {
    registry::check_crd(definition).iter().map(ToString::to_string).collect()
}

/// Who tokens are from unless something else is configured.
pub const ISSUER: &str = "https://threeport.default.svc";

/// The kinds that are served without a definition: group, kind, and whether they lie in namespaces.
pub fn builtin_kinds() -> Vec<(String, String, bool)> {
    let kinds = registry::Registry::new().kinds();
    kinds.all().map(|kind| (kind.resource.group.to_string(), kind.kind.to_string(), kind.namespaced)).collect()
}

/// How to serve.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The bearer token of the administrator, who may do everything.
    pub token: String,
    /// What the tokens of ServiceAccounts are signed with.
    pub token_keys: Arc<TokenKeys>,
    /// Who these tokens say that they are from: a URL. Those of another issuer are not accepted.
    pub issuer: String,
    /// Certificate and key.
    pub tls: Tls,
    /// Bytes of an uploaded blob.
    pub blob_limit: u64,
    /// What clients may take up.
    pub limits: Limits,
    /// What `/metrics` answers; None: there is no such path.
    pub metrics: Option<Metrics>,
    /// Tells what only the controller knows; None: nothing is ever on a target.
    pub insight: Option<Arc<dyn Insight>>,
}

/// What clients may take up, who they are not being known yet.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. Whoever comes beyond that is told to try again.
    pub connections: usize,
    /// How long a client may take for the head of a request.
    pub headers: Duration,
    /// How long it may take for the body, beyond a second for each 16 KiB.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4000, headers: Duration::from_secs(30), body: Duration::from_secs(60) }
    }
}

/// Says the present state of all meters in Prometheus' text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

impl Config {
    /// A configuration.
    pub fn new(listen: SocketAddr, token: impl Into<String>, tls: Tls, token_keys: TokenKeys) -> Self {
        let (token, issuer) = (token.into(), ISSUER.to_owned());
        Self {
            listen,
            token,
            token_keys: Arc::new(token_keys),
            issuer,
            tls,
            blob_limit: 64 << 20,
            limits: Limits::default(),
            metrics: None,
            insight: None,
        }
    }
}

/// What the server presents to clients; see [`pki`].
#[derive(Clone)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub cert_pem: String,
    /// Private key, PEM.
    pub key_pem: String,
    /// Certificate of the authority that clients trust, PEM.
    pub ca_pem: String,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Choose another address or port, or stop who has it.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Repair or remove the named file.
    #[error("certificate: {0}")]
    Certificate(String),
    /// Repair or remove the named file.
    #[error("keys of ServiceAccount tokens: {0}")]
    Keys(String),
    /// The store refused; it says why.
    #[error(transparent)]
    Store(#[from] threeport_store::Error),
}

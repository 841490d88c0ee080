//! The way to a target: the object that publishes a connection, its Secret, a client.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use threeport_kube::{Circuit, Error as TargetError, Target};
use threeport_store::{Key, Resource, Store};
use tokio::sync::Notify;

use crate::carried::{Carried, Link, target_ref};
use crate::identities::{Acting, Identities, identity};
use crate::kinds::Kinds;
use crate::redact::digest;
use crate::scope::Scope;
use crate::tenants::{Access, Isolation};
use crate::trouble::{Trouble, unreachable};

/// Clients that nobody asked for so long are dropped.
const UNUSED: Duration = Duration::from_secs(600);
/// All connections of this host, by the digest of their kubeconfig: whoever changes the Secret gets a new one.
pub(crate) struct Targets {
    store: Store,
    kinds: Arc<Kinds>,
    pause: Duration,
    clients: Mutex<HashMap<String, Client>>,
    /// Told when one does not answer and is left alone.
    pub(crate) given_up: Arc<Notify>,
    pub(crate) identities: Identities,
}

struct Client {
    target: Target,
    used: Instant,
    /// The objects that publish this connection.
    names: BTreeSet<String>,
}

/// A target that may be tried.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) target: Target,
    /// As it was given: for what the host does for itself.
    pub(crate) admin: Target,
    acting: Acting,
}

impl Connected {
    /// Makes sure of a namespace that something is to be applied in. True: it was made now.
    pub(crate) async fn prepare(&self, namespace: &str) -> Result<bool, TargetError> {
        self.acting.prepare(&self.admin, namespace).await
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NoConnection {
    /// Nobody has published one yet.
    NotConnected(String),
    /// It did not answer a moment ago.
    Unreachable(String),
    /// What is published cannot be used.
    Unusable(String),
    /// It answers, and does not let an identity be made.
    Refused { code: &'static str, trouble: Box<Trouble> },
    /// The target cannot enforce what it has to.
    NotIsolated(String),
    /// The database failed.
    Store(String),
}

impl NoConnection {
    pub(crate) fn of(error: TargetError) -> Self {
        if unreachable(&error) {
            return Self::Unreachable(error.to_string());
        }
        Self::Refused { code: error.reason(), trouble: Box::new(Trouble::target(&error)) }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotConnected(_) => "NotConnected",
            Self::Unreachable(_) => "Unreachable",
            Self::Unusable(_) => "InvalidKubeconfig",
            Self::Refused { code, .. } => code,
            Self::NotIsolated(_) => "IsolationNotPossible",
            Self::Store(_) => "StoreFailed",
        }
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            Self::NotConnected(message)
            | Self::Unreachable(message)
            | Self::Unusable(message)
            | Self::NotIsolated(message)
            | Self::Store(message) => message,
            Self::Refused { trouble, .. } => &trouble.message,
        }
    }

    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::NotConnected(message) => Trouble::waiting("WaitingForTarget", message),
            Self::Unreachable(message) => Trouble::unknown("ClusterUnreachable", message),
            Self::Unusable(message) => Trouble::stalled("InvalidKubeconfig", message),
            Self::Refused { trouble, .. } => (**trouble).clone(),
            Self::NotIsolated(message) => Trouble::stalled("IsolationNotPossible", message),
            Self::Store(message) => Trouble::again("StoreFailed", message),
        }
    }
}

impl Targets {
    pub(crate) fn new(store: Store, kinds: Arc<Kinds>, pause: Duration) -> Self {
        Self {
            store,
            kinds,
            pause,
            clients: Mutex::default(),
            given_up: Arc::default(),
            identities: Identities::default(),
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<String, Client>> {
        self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The target of that name, as the identity of the run's plugin and tenant. `own` is the connection of the object at hand, if the name is its own.
    pub(crate) async fn open(&self, name: &str, own: Option<&Link>, scope: &Scope) -> Result<Connected, NoConnection> {
        let link = match own {
            Some(link) => link.clone(),
            None => self.published(name).await?,
        };
        let (admin, digest) = self.given(name, &link).await?;
        let identity = identity(name, &self.uid(name).await?, scope);
        let (Some(identity), Some((access, _))) = (identity, scope.place(name)) else {
            // It was published a moment ago: this run does not know yet what may be done there.
            let message = format!("the target {name} has only just published its connection; it is looked at again");
            return Err(NoConnection::NotConnected(message));
        };
        let creates = if access.everything { Vec::new() } else { access.namespaces.clone() };
        let acting = self.identities.acting(&admin, &digest, identity, creates).await.map_err(NoConnection::of)?;
        if let Some(why) = acting.fallback.as_ref().filter(|_| link.options.isolation == Isolation::Required) {
            return Err(NoConnection::NotIsolated(format!(
                "the target {name} is to be used with isolation Required, and its kubeconfig may not make ServiceAccounts and roles: {why}; give it a \
                 kubeconfig that may, or say isolation: Preferred"
            )));
        }
        Ok(Connected { target: acting.target.clone(), admin, acting })
    }

    /// The connection of a target as it was given, for what the host does for itself.
    pub(crate) async fn given(&self, name: &str, link: &Link) -> Result<(Target, String), NoConnection> {
        let kubeconfig = self.secret(name, link).await?;
        let digest = digest(kubeconfig.as_bytes());
        let now = Instant::now();
        let mut clients = self.clients();
        clients.retain(|_, client| now - client.used < UNUSED);
        if let Some(client) = clients.get_mut(&digest) {
            client.used = now;
            if !client.names.contains(name) {
                client.names.insert(name.to_owned());
            }
            return match client.target.left_alone() {
                Some(why) => Err(NoConnection::Unreachable(why.to_string())),
                None => Ok((client.target.clone(), digest)),
            };
        }
        let target = Target::connect(&kubeconfig).map_err(|error| NoConnection::Unusable(error.to_string()))?;
        target.guard(self.pause, self.given_up.clone());
        let names = BTreeSet::from([name.to_owned()]);
        clients.insert(digest.clone(), Client { target: target.clone(), used: now, names });
        Ok((target, digest))
    }

    /// Notes what a target answered.
    pub(crate) fn note<T>(&self, connected: &Connected, answer: &Result<T, TargetError>) {
        if let Err(TargetError::Forbidden { .. } | TargetError::Unauthorized { .. }) = answer {
            connected.acting.doubt();
        }
    }

    /// How many connections there are, by whether anything is sent there.
    pub(crate) fn circuits(&self) -> HashMap<Circuit, usize> {
        let mut counts = HashMap::new();
        self.clients().values().for_each(|client| *counts.entry(client.target.circuit()).or_default() += 1);
        counts
    }

    /// When to look whether one that is left alone answers again.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        self.clients().values().filter_map(|client| client.target.probe_at()).min()
    }

    /// Those for which it is time to, and the digests of their kubeconfigs.
    pub(crate) fn to_probe(&self) -> Vec<(Target, String)> {
        let now = Instant::now();
        let clients = self.clients();
        let due = clients.iter().filter(|(_, client)| client.target.probe_at().is_some_and(|at| at <= now));
        due.map(|(digest, client)| (client.target.clone(), digest.clone())).collect()
    }

    /// The names of the objects that publish a connection.
    pub(crate) fn names(&self, digest: &str) -> BTreeSet<String> {
        self.clients().get(digest).map(|client| client.names.clone()).unwrap_or_default()
    }

    /// uid of the object that is the target.
    pub(crate) async fn uid(&self, name: &str) -> Result<String, NoConnection> {
        let gone = || NoConnection::NotConnected(format!("the target {name} does not exist; create it"));
        let key = target_ref(name).and_then(|target| self.kinds.key(&target)).ok_or_else(gone)?;
        let object = self.store.get(&key).await.map_err(store_failed)?;
        Ok(object.ok_or_else(gone)?.uid.to_string())
    }

    /// What objects of a namespace may do on a target; None before it has published a connection.
    pub(crate) async fn access(&self, name: &str, tenant: Option<&str>) -> Result<Option<Access>, NoConnection> {
        let link = match self.published(name).await {
            Ok(link) => link,
            Err(error @ NoConnection::Store(_)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let Some(tenant) = tenant else { return Ok(Some(Access::everything(Vec::new()))) };
        let home = target_ref(name).and_then(|target| target.namespace);
        Ok(Some(Access::of(&link.options, tenant, home.as_deref())))
    }

    pub(crate) async fn published(&self, name: &str) -> Result<Link, NoConnection> {
        let not_yet = |why: &str| NoConnection::NotConnected(format!("the target {name} {why}"));
        let key = target_ref(name)
            .and_then(|target| self.kinds.key(&target))
            .ok_or_else(|| not_yet("is of a kind that no plugin serves"))?;
        let object = self.store.get(&key).await.map_err(store_failed)?;
        if object.is_none() {
            return Err(not_yet("does not exist; create it"));
        }
        let carried = self.store.carried(&key).await.map_err(store_failed)?;
        Carried::read(&carried)
            .connection
            .ok_or_else(|| not_yet("has not published a connection yet; it is waited for"))
    }

    async fn secret(&self, name: &str, link: &Link) -> Result<String, NoConnection> {
        let place = format!("Secret {}/{}", link.namespace, link.secret);
        let key = Key {
            resource: Resource::new("", "secrets"),
            namespace: Some(link.namespace.as_str().into()),
            name: link.secret.as_str().into(),
        };
        let Some(secret) = self.store.get(&key).await.map_err(store_failed)? else {
            return Err(NoConnection::NotConnected(format!(
                "the connection of target {name} is in {place}, which does not exist; create it"
            )));
        };
        let secret = secret.value();
        let Some(encoded) = secret["data"].get(&link.key).and_then(|value| value.as_str()) else {
            return Err(NoConnection::NotConnected(format!(
                "{place} has no key {:?}; put the kubeconfig of target {name} there",
                link.key
            )));
        };
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| NoConnection::Unusable(format!("{place}: key {:?} is not base64", link.key)))?;
        String::from_utf8(bytes).map_err(|_| NoConnection::Unusable(format!("{place}: key {:?} is not text", link.key)))
    }
}

fn store_failed(error: threeport_store::Error) -> NoConnection {
    NoConnection::Store(format!("the host's database failed: {error}; it is tried again"))
}

//! The identities that this host uses on targets: one for each target, plugin and tenant.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use threeport_kube::{Error as TargetError, Established, Identity, Target};

use crate::permissions::permissions;
use crate::redact::digest;
use crate::scope::Scope;

/// Kinds that a target did not serve are looked for again so much later.
const UNSERVED: Duration = Duration::from_secs(10);
/// Credentials that may not make identities are tried again so much later.
const FALLBACK: Duration = Duration::from_secs(300);

/// So long a failure is an answer to those who wait.
const FAILED: Duration = Duration::from_secs(1);

/// All of this host, by name. Whoever loses them makes them anew.
#[derive(Default)]
pub(crate) struct Identities {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    /// By uid of the target object: whether identities are used there, or why not.
    isolation: Mutex<HashMap<String, Result<(), String>>>,
}

/// One identity. Its lock is held while it is made: others of the same tenant wait instead of making it, too.
#[derive(Default)]
struct Slot {
    state: tokio::sync::Mutex<State>,
    /// The target refused it something: what is there may not be what should be.
    stale: AtomicBool,
}

#[derive(Default)]
struct State {
    admin: String,
    wanted: Option<Identity>,
    made: Option<Made>,
    checked: Option<Instant>,
    /// It could not be made a moment ago: those who waited meanwhile do not try it one after the other.
    failed: Option<(Instant, TargetError)>,
    /// Namespaces known to be there, where there is no identity.
    namespaces: BTreeSet<String>,
}

enum Made {
    Identity(Established),
    /// The credentials may not make one.
    Fallback(String),
}

/// Who acts on a target for one run.
#[derive(Clone)]
pub(crate) struct Acting {
    pub(crate) target: Target,
    /// Why it is the connection itself and no identity.
    pub(crate) fallback: Option<String>,
    identity: Identity,
    slot: Arc<Slot>,
    /// Namespaces that may be made.
    creates: Vec<String>,
}

/// The identity for a run's plugin and tenant on a target; None where nothing is known of the target yet.
pub(crate) fn identity(name: &str, target_uid: &str, scope: &Scope) -> Option<Identity> {
    let (access, grants) = scope.place(name)?;
    let (plugin, tenant) = (scope.plugin(), scope.namespace().unwrap_or_default());
    let own = if name == scope.own() { "own" } else { "" };
    let hash = digest(format!("{target_uid}/{plugin}/{tenant}/{own}").as_bytes());
    let short = |text: &str| -> String {
        let plain = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        plain.take(20).collect::<String>().trim_matches('-').to_owned()
    };
    let words = ["threeport", &short(plugin), &short(tenant), &hash["sha256:".len()..][..10]];
    Some(Identity {
        name: words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-"),
        target_uid: target_uid.to_owned(),
        purpose: format!("plugin {plugin} for objects in namespace {tenant:?} on target {name}"),
        permissions: permissions(grants, access),
    })
}

impl Identities {
    /// Who is to act on a target: the identity, made or renewed if need be, or the connection itself where it may make none.
    pub(crate) async fn acting(
        &self,
        admin: &Target,
        admin_digest: &str,
        identity: Identity,
        creates: Vec<String>,
    ) -> Result<Acting, TargetError> {
        let slot = lock(&self.slots).entry(identity.name.clone()).or_default().clone();
        let mut state = slot.state.lock().await;
        let stale = slot.stale.swap(false, Ordering::AcqRel);
        if (stale || !state.is_good(admin_digest, &identity))
            && let Err(error) = state.make(admin, admin_digest, &identity).await
        {
            slot.stale.store(true, Ordering::Release);
            return Err(error);
        }
        let (target, fallback) = match &mut state.made {
            Some(Made::Identity(made)) => {
                made.renew(admin, &identity.name).await?;
                (made.target.clone(), None)
            }
            Some(Made::Fallback(why)) => (admin.clone(), Some(why.clone())),
            None => (admin.clone(), Some("it was not made".to_owned())),
        };
        let isolation = fallback.clone().map_or(Ok(()), Err);
        lock(&self.isolation).insert(identity.target_uid.clone(), isolation);
        drop(state);
        Ok(Acting { target, fallback, identity, slot, creates })
    }

    /// Whether identities are used on a target that this host has opened.
    pub(crate) fn isolation(&self, target_uid: &str) -> Option<Result<(), String>> {
        lock(&self.isolation).get(target_uid).cloned()
    }

    /// The identity is gone.
    pub(crate) fn forget(&self, name: &str) {
        lock(&self.slots).remove(name);
    }

    /// The target is gone.
    pub(crate) fn forget_target(&self, target_uid: &str) {
        lock(&self.isolation).remove(target_uid);
    }
}

impl State {
    fn is_good(&self, admin: &str, identity: &Identity) -> bool {
        let age = self.checked.map_or(Duration::MAX, |checked| checked.elapsed());
        self.admin == admin
            && self.wanted.as_ref() == Some(identity)
            && match &self.made {
                Some(Made::Identity(made)) => !made.unserved || age < UNSERVED,
                Some(Made::Fallback(_)) => age < FALLBACK,
                None => false,
            }
    }

    async fn make(&mut self, admin: &Target, admin_digest: &str, identity: &Identity) -> Result<(), TargetError> {
        if let Some((_, error)) = self.failed.as_ref().filter(|(at, _)| at.elapsed() < FAILED) {
            return Err(error.clone());
        }
        let done = match &mut self.made {
            // The same client goes on, so that its watches do.
            Some(Made::Identity(made)) if self.admin == admin_digest => made.refresh(admin, identity).await,
            _ => admin.establish(identity).await.map(|made| self.made = Some(Made::Identity(made))),
        };
        match done {
            Ok(()) => {}
            Err(TargetError::Forbidden { why, .. }) => self.made = Some(Made::Fallback(why)),
            Err(error) => {
                self.failed = Some((Instant::now(), error.clone()));
                return Err(error);
            }
        }
        self.failed = None;
        self.admin = admin_digest.to_owned();
        self.wanted = Some(identity.clone());
        self.checked = Some(Instant::now());
        self.namespaces.clear();
        Ok(())
    }
}

impl Acting {
    /// Makes a namespace that the tenant may use if it is not there, and has the identity's rights in it.
    pub(crate) async fn prepare(&self, admin: &Target, namespace: &str) -> Result<bool, TargetError> {
        let mut state = self.slot.state.lock().await;
        let known = match &state.made {
            Some(Made::Identity(made)) => made.namespaces.contains(namespace),
            _ => state.namespaces.contains(namespace),
        };
        if known || !self.creates.iter().any(|name| name == namespace) {
            return Ok(false);
        }
        let made_now = match admin.ensure_namespace(namespace, Some(&self.identity.target_uid), &self.purpose()).await {
            // Where it may not even look, the apply itself tells what is missing.
            Err(TargetError::Forbidden { .. }) => return Ok(false),
            made => made?,
        };
        if let Some(Made::Identity(made)) = &mut state.made {
            made.refresh(admin, &self.identity).await?;
        }
        state.namespaces.insert(namespace.to_owned());
        Ok(made_now)
    }

    fn purpose(&self) -> String {
        format!("made for {}", self.identity.purpose)
    }

    /// The target refused it something that it should be allowed.
    pub(crate) fn doubt(&self) {
        self.slot.stale.store(true, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

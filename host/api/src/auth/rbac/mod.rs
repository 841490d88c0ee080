//! Who may do what, from the stored roles and bindings. Nothing is read for a request: an index in memory follows the store.

mod check;
mod defaults;
mod escalation;
mod follow;
mod gather;
mod index;
mod kinds;
mod rule;
mod selector;
mod verdict;

use std::sync::{PoisonError, RwLock};

use k8s_openapi::api::rbac::v1::PolicyRule;
use threeport_store::{Key, Object};
use tokio::sync::watch;

pub(crate) use check::{check, complete, names_are_segments, path_segment};
pub(crate) use follow::{Rights, collections};
pub(super) use rule::quoted;
pub(crate) use verdict::Verdict;

use self::index::Index;
use super::attributes::Attributes;
use super::user::User;

/// Group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
const ROLES: &str = "roles";
const CLUSTER_ROLES: &str = "clusterroles";
const ROLE_BINDINGS: &str = "rolebindings";
const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings";
const PLURALS: [&str; 4] = [CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, ROLES, ROLE_BINDINGS];

/// Roles and bindings as they are.
#[derive(Default)]
pub(crate) struct Rbac {
    index: RwLock<Index>,
    /// Told when it has changed.
    changed: watch::Sender<()>,
}

impl Rbac {
    /// Whether a user may do something, and why.
    pub(crate) fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Verdict {
        if user.is_superuser() {
            return Verdict::Superuser;
        }
        self.read().decide(user, attributes)
    }

    /// All rules that a user has in a namespace, and what is wrong with its bindings.
    pub(crate) fn rules_of(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        self.read().rules_of(user, namespace)
    }

    /// Hears when rights may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// An object of any kind was written: what its user does next is judged by it.
    pub(crate) fn written(&self, object: &Object) {
        if &*object.key.resource.group == GROUP {
            self.change(|index| index.put(object));
        }
    }

    /// An object of any kind was removed.
    pub(crate) fn removed(&self, key: &Key, version: u64) {
        if &*key.resource.group == GROUP {
            self.change(|index| index.remove(key, version));
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        let changed = change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        changed
    }
}

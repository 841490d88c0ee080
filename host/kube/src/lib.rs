//! Target clusters: observe, apply, prune, health, drift watches.
//!
//! The only place that speaks to a target. It decides nothing: the controller says what is to be applied or removed and in which order, this crate
//! does one object at a time and tells truthfully what the target said. Also gives the command line its client.

mod apply;
mod breaker;
mod classify;
mod error;
mod health;
mod identity;
mod kubeconfig;
mod mark;
mod meters;
mod path;
mod rbac;
mod release;
mod remove;
mod rules;
mod selector;
mod target;
mod transport;
mod watch;
mod watcher;

use std::fmt;

use serde_json::Value;

pub use breaker::Circuit;
pub use error::{Class, Error, FieldOwner};
pub use health::{Health, State, health};
pub use identity::Established;
pub use kube;
pub use meters::describe_meters;
pub use path::{get_path, project};
pub use rbac::{Identity, Permission, Place};
pub use target::{Target, client};
pub use watch::{Ring, WatchScope, Watches};

/// On everything we apply: `app.kubernetes.io/managed-by=threeport`.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: uid of the owner.
pub const OWNER_UID: &str = "threeport.dev/owner-uid";
/// Annotation: the owner for people.
pub const OWNER: &str = "threeport.dev/owner";
/// Annotation: it was there before, made and managed by these.
pub const ADOPTED: &str = "threeport.dev/adopted";
/// Annotation: epoch of the run that last changed the object.
pub const EPOCH: &str = "threeport.dev/epoch";

/// Namespace of ours on targets: holds the identities that plans are carried out with.
pub const SYSTEM_NAMESPACE: &str = "threeport-system";

/// Names an object on a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `apps/v1`, `v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// None for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// metadata.name
    pub name: String,
}

impl Reference {
    /// The reference of a manifest or a live object; what is missing is an empty string, which no target accepts.
    pub fn of(object: &Value) -> Reference {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace =
            object.pointer("/metadata/namespace").and_then(Value::as_str).filter(|n| !n.is_empty()).map(str::to_owned);
        Reference { api_version: text("/apiVersion"), kind: text("/kind"), namespace, name: text("/metadata/name") }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {}/{}", self.kind, namespace, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Who applies: goes into labels, annotations and the field manager.
#[derive(Clone, Debug)]
pub struct Owner {
    /// uid of the control-plane object: label `threeport.dev/owner-uid`, and with it the field manager `threeport-<uid>`.
    pub uid: String,
    /// `kind.group/namespace/name` for people: annotation `threeport.dev/owner`.
    pub name: String,
    /// Of the run: annotation `threeport.dev/epoch`. An apply over a newer one is refused with [`Error::Fenced`].
    pub epoch: u64,
}

/// Epoch of the run of this owner that last changed a live object; 0 when none did.
pub fn epoch_on(live: &Value, owner_uid: &str) -> u64 {
    mark::epoch(live, owner_uid)
}

/// Group of an apiVersion; empty for core.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// How to apply one manifest.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions {
    /// Take over an object that exists and has no owner of ours. What it was managed by is written down on it ([`ADOPTED`]).
    pub adopt: bool,
    /// Other owners may contribute: no ownership check, no forcing.
    pub shared: bool,
    /// A run with this epoch may still be about to write, though its lease is over. An object that it could write over is stamped with ours even if it is as
    /// wanted: what that run has read is then out of date, and the target refuses it. 0: there is none.
    pub newer_than: u64,
    /// It was not there when it was last looked for, or never before: it is created without another look. Where that fails, it is looked at as ever.
    pub absent: bool,
}

/// What an apply did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The live object after it.
    pub live: Value,
    /// False when the target's resourceVersion did not move.
    pub changed: bool,
    /// It was there before us, and was taken over: now or by an earlier apply.
    pub adopted: bool,
}

/// What a removal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is not there (any more).
    Gone,
    /// Deletion is asked for; it is still terminating.
    Terminating,
    /// What is there under that name does not carry our mark: left alone.
    NotOurs,
    /// Our part of it is gone; it stays for the others that share it.
    Shared,
}

//! Shared watches.
use std::sync::Arc;

use crate::Target;

/// What to watch on a target, and which changes matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WatchScope {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// None: all namespaces, or a cluster-scoped kind.
    pub namespace: Option<String>,
    /// Label selector.
    pub selector: Option<String>,
    /// JSON pointers or dotted paths: only a change of one of them rings. Empty: any change.
    pub fields: Vec<String>,
}

impl WatchScope {
    /// Drift: everything of that kind that was applied by us. An event rings the owner named on the object.
    pub fn owned(api_version: &str, kind: &str) -> WatchScope {
        WatchScope {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: None,
            selector: Some(format!("{}=threeport", crate::MANAGED_BY)),
            fields: Vec::new(),
        }
    }
}

/// All watches of this host.
pub struct Watches {
    ring: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Watches {
    /// `ring` is called with the uid of an owner or a subscriber; it must not block.
    pub fn new(ring: Arc<dyn Fn(&str) + Send + Sync>) -> Watches {
        Watches { ring }
    }

    /// Tells the connection of a target; another one than before restarts its watches.
    pub fn set_target(&self, target_id: &str, target: &Target) {
        let _ = (target_id, target, &self.ring);
    }

    /// One more scope for a subscriber, on top of what it has.
    pub fn ensure(&self, subscriber_uid: &str, target_id: &str, target: &Target, scope: WatchScope) {
        let _ = (subscriber_uid, target_id, target, scope);
    }

    /// Everything a subscriber needs from now on; what nobody needs any more ends. A target that was not told yet is waited for.
    pub fn replace(&self, subscriber_uid: &str, scopes: Vec<(String, WatchScope)>) {
        let _ = (subscriber_uid, scopes);
    }

    /// The target is gone: its watches end.
    pub fn forget_target(&self, target_id: &str) {
        let _ = target_id;
    }
}

//! Who watches, and whether they still may.
//!
//! Kubernetes asks when a watch begins and never again. Here namespaces are tenants, and a watch may run for as long as its client says: it ends when
//! the right to it does.

use std::sync::Arc;

use axum::http::HeaderMap;
use tokio::sync::watch;

use crate::auth::{Attributes, Resource, User, selected_name};
use crate::registry::Kind;
use crate::router::{App, Call};

/// Somebody who watches.
pub(super) struct Watcher {
    app: Arc<App>,
    user: Arc<User>,
    headers: HeaderMap,
    kind: Arc<Kind>,
    namespace: String,
    /// Of the one object that is watched; empty for all.
    name: String,
    rights: watch::Receiver<()>,
}

impl Watcher {
    /// Who makes this call, which was granted.
    pub(super) fn of(app: &Arc<App>, call: &Call) -> Self {
        Self {
            app: app.clone(),
            user: call.user.clone(),
            headers: call.headers.clone(),
            kind: call.kind.clone(),
            namespace: call.namespace.clone().unwrap_or_default(),
            name: call.query.get("fieldSelector").and_then(selected_name).unwrap_or_default().to_owned(),
            rights: app.auth.rbac().changes(),
        }
    }

    /// Returns when they may watch no more.
    pub(super) async fn refused(&mut self) {
        while self.may() {
            if self.rights.changed().await.is_err() {
                // Nobody changes rights any more.
                return std::future::pending().await;
            }
        }
    }

    fn may(&self) -> bool {
        let resource = Resource {
            group: &self.kind.resource.group,
            version: &self.kind.version,
            resource: &self.kind.resource.plural,
            namespace: &self.namespace,
            name: &self.name,
            ..Resource::default()
        };
        let rbac = self.app.auth.rbac();
        rbac.decide(&self.user, &Attributes::on("watch", resource)).allowed()
    }

    /// Whether they are still who they said: an account or its token may be gone.
    pub(super) async fn is_known(&self) -> bool {
        self.app.auth.identify(&self.app.store, &self.headers).await.is_ok()
    }
}

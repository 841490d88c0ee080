//! Who did what: one line for each write, under the target `audit`. Never what was sent.

use std::sync::Arc;

use axum::http::{Method, StatusCode};

use super::Identity;
use super::user::User;

/// What is known of a request while it goes its way.
pub(crate) struct Trail {
    method: Method,
    path: String,
    user: Option<Arc<User>>,
    by: Option<Arc<User>>,
}

/// Name of the object that a response is about: a creation's path does not say it.
#[derive(Clone)]
pub(crate) struct Named(pub Arc<str>);

impl Trail {
    /// Begins; None for what only reads, or when nobody listens.
    pub(crate) fn start(method: &Method, path: &str) -> Option<Self> {
        let reads = *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS;
        if reads || !tracing::enabled!(target: "audit", tracing::Level::INFO) {
            return None;
        }
        Some(Self { method: method.clone(), path: path.to_owned(), user: None, by: None })
    }

    /// It is this user's.
    pub(crate) fn of(&mut self, identity: &Identity) {
        self.user = Some(identity.user.clone());
        self.by = identity.by.clone();
    }

    /// It was answered.
    pub(crate) fn finish(self, code: StatusCode, named: Option<&Named>) {
        let name = |user: &Option<Arc<User>>| user.as_ref().map(|user| user.name.clone()).unwrap_or_default();
        let mut object = self.path;
        if let Some(Named(name)) = named {
            object.push('/');
            object.push_str(name);
        }
        tracing::info!(
            target: "audit",
            user = name(&self.user),
            impersonated_by = self.by.is_some().then(|| name(&self.by)),
            verb = %self.method,
            object,
            code = code.as_u16(),
            "write"
        );
    }
}

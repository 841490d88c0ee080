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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(text)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_leaves_a_line_with_who_what_and_how_it_went() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            assert!(Trail::start(&Method::GET, "/api/v1/secrets").is_none());
            let mut trail = Trail::start(&Method::POST, "/api/v1/namespaces/a/secrets").expect("a write");
            let alice = User { name: "alice".into(), ..User::default() };
            trail.of(&Identity { user: Arc::new(alice), by: Some(Arc::new(User::administrator())) });
            trail.finish(StatusCode::CREATED, Some(&Named("s".into())));
        });
        let text = String::from_utf8(log.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("text");
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("one line of JSON");
        let fields = ["target", "user", "impersonated_by", "verb", "object"]
            .map(|field| line[field].as_str().unwrap_or_default());
        assert_eq!(fields, ["audit", "alice", "threeport-admin", "POST", "/api/v1/namespaces/a/secrets/s"]);
        assert_eq!(line["code"], 201);
    }
}

//! What a plugin may read while it runs: targets and other objects, each call checked against the run's scope.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use threeport_kube::{Error as TargetError, Reference, get_path};
use threeport_store::{ListQuery, Scope as StoreScope, Store};
use threeport_wasm::{Capabilities, Listing, Object, ObjectRef, Page, Problem, Query, Verb};

use crate::carried::{Link, problem};
use crate::kinds::Kinds;
use crate::merged::Specs;
use crate::redact::Redactor;
use crate::request::object;
use crate::scope::Scope;
use crate::targets::{Connected, Targets};

/// Largest page of a list.
const PAGE: u32 = 500;
/// Bytes of a page of our own objects; it has one object at least.
const PAGE_BYTES: usize = 4 << 20;

/// The reading side of one run.
pub(crate) struct Reader {
    pub(crate) store: Store,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) specs: Specs,
    pub(crate) targets: Arc<Targets>,
    pub(crate) scope: Scope,
    pub(crate) redactor: Redactor,
    /// Connection of the object itself, from the run before.
    pub(crate) own: Option<Link>,
    /// For log lines.
    pub(crate) object: String,
    pub(crate) handles: Mutex<HashMap<u32, (String, Connected)>>,
}

fn denied(message: String) -> Problem {
    problem("Denied", message)
}

fn refused(error: &TargetError) -> Problem {
    let mut problem = problem(error.reason(), error.to_string());
    problem.retry_after_ms = error.retry_after().and_then(|after| u64::try_from(after.as_millis()).ok());
    problem
}

impl Reader {
    fn handle(&self, cluster: u32) -> Result<(String, Connected), Problem> {
        let handles = self.handles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        handles
            .get(&cluster)
            .cloned()
            .ok_or_else(|| problem("NotConnected", format!("there is no open handle {cluster}")))
    }

    /// An object of this control plane.
    async fn own(&self, stored: &threeport_store::Object) -> Result<Object, Problem> {
        let shown = self.specs.shown(stored).await.map_err(|error| problem("StoreFailed", error.to_string()))?;
        Ok(object(shown, &self.redactor))
    }

    fn noted<T>(&self, connected: &Connected, answer: Result<T, TargetError>) -> Result<T, Problem> {
        self.targets.note(connected, &answer);
        answer.map_err(|error| refused(&error))
    }

    fn allows(
        &self,
        verb: Verb,
        target: &str,
        version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<(), Problem> {
        self.scope
            .allows(verb, target, version, kind, namespace, name)
            .map_err(|why| denied(format!("{verb} {kind}: {why}")))
    }
}

#[async_trait]
impl Capabilities for Reader {
    async fn open(&self, target: ObjectRef) -> Result<u32, Problem> {
        let name = self.scope.target(&target).map_err(denied)?;
        let own = if name == self.scope.own() {
            match &self.own {
                Some(link) => Some(link),
                None => {
                    return Err(problem(
                        "NotConnected",
                        "the object has not published a connection yet; it can be opened in the run after that",
                    ));
                }
            }
        } else {
            None
        };
        let connected =
            self.targets.open(&name, own, &self.scope).await.map_err(|none| problem(none.code(), none.message()))?;
        let mut handles = self.handles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = u32::try_from(handles.len()).unwrap_or(u32::MAX) + 1;
        handles.insert(number, (name, connected));
        Ok(number)
    }

    async fn get(&self, cluster: u32, wanted: ObjectRef, fields: Vec<String>) -> Result<Option<Object>, Problem> {
        let (target, connected) = self.handle(cluster)?;
        let namespace = wanted.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        self.allows(Verb::Get, &target, &wanted.api_version, &wanted.kind, namespace, Some(&wanted.name))?;
        let reference = Reference {
            api_version: wanted.api_version.clone(),
            kind: wanted.kind.clone(),
            namespace: namespace.map(str::to_owned),
            name: wanted.name.clone(),
        };
        let live = self.noted(&connected, connected.target.get(&reference).await)?;
        Ok(live.map(|live| shown(live, &wanted.api_version, &wanted.kind, &fields, &self.redactor)))
    }

    async fn list(&self, cluster: u32, query: Query) -> Result<Page, Problem> {
        let (target, connected) = self.handle(cluster)?;
        let namespace = query.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        self.allows(Verb::List, &target, &query.api_version, &query.kind, namespace, None)?;
        let limit = if query.limit == 0 { PAGE } else { query.limit.min(PAGE) };
        let (labels, token) = (query.labels.as_deref(), query.token.as_deref());
        let answer = connected.target.list(&query.api_version, &query.kind, namespace, labels, limit, token).await;
        let (items, token) = self.noted(&connected, answer)?;
        let items = items
            .into_iter()
            .map(|live| shown(live, &query.api_version, &query.kind, &query.fields, &self.redactor))
            .collect();
        Ok(Page { items, token })
    }

    async fn has_kind(&self, cluster: u32, api_version: String, kind: String) -> Result<bool, Problem> {
        let (_, connected) = self.handle(cluster)?;
        self.noted(&connected, connected.target.has_kind(&api_version, &kind).await)
    }

    async fn version(&self, cluster: u32) -> Result<String, Problem> {
        let (_, connected) = self.handle(cluster)?;
        self.noted(&connected, connected.target.version().await)
    }

    async fn state_get(&self, wanted: ObjectRef) -> Result<Option<Object>, Problem> {
        let namespace = wanted.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        self.scope.allows_state(Verb::Get, &wanted.api_version, &wanted.kind, namespace).map_err(denied)?;
        let Some(key) = self.kinds.key(&wanted) else { return Ok(None) };
        let stored = self.store.get(&key).await.map_err(|error| problem("StoreFailed", error.to_string()))?;
        match stored {
            Some(stored) => Ok(Some(self.own(&stored).await?)),
            None => Ok(None),
        }
    }

    async fn state_list(
        &self,
        api_version: String,
        kind: String,
        namespace: Option<String>,
        labels: Option<String>,
        limit: u32,
        token: Option<String>,
    ) -> Result<Listing, Problem> {
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        self.scope.allows_state(Verb::List, &api_version, &kind, namespace.as_deref()).map_err(denied)?;
        if labels.is_some() {
            return Err(problem(
                "NotSupported",
                "this version of Threeport lists its own objects without a label selector only",
            ));
        }
        let Some((resource, _)) = self.kinds.resolve(&api_version, &kind) else {
            return Ok(Listing { items: Vec::new(), token: None });
        };
        let after = token.as_deref().map(|token| match token.split_once('/') {
            Some((namespace, name)) => {
                (Some(namespace.into()).filter(|namespace: &Arc<str>| !namespace.is_empty()), name.into())
            }
            None => (None, token.into()),
        });
        let limit = if limit == 0 { PAGE } else { limit.min(PAGE) };
        let query = ListQuery {
            scope: StoreScope { resource, namespace: namespace.map(Into::into) },
            limit: Some(limit as usize),
            after,
            at: None,
        };
        let list = self.store.list(query).await.map_err(|error| problem("StoreFailed", error.to_string()))?;
        let items = &list.items[..fitting(list.items.iter().map(|stored| stored.body.len()))];
        let token = items
            .last()
            .filter(|_| list.remaining > 0 || items.len() < list.items.len())
            .map(|last| format!("{}/{}", last.key.namespace.as_deref().unwrap_or_default(), last.key.name));
        let mut shown = Vec::with_capacity(items.len());
        for stored in items {
            shown.push(self.own(stored).await?);
        }
        Ok(Listing { items: shown, token })
    }

    fn log(&self, level: &str, message: &str, fields: &[(String, String)]) {
        let fields = fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
        match level {
            "error" => tracing::error!(object = %self.object, fields, "plugin: {message}"),
            "warn" => tracing::warn!(object = %self.object, fields, "plugin: {message}"),
            "info" => tracing::info!(object = %self.object, fields, "plugin: {message}"),
            _ => tracing::debug!(object = %self.object, fields, "plugin: {message}"),
        }
    }
}

/// How many of these sizes fit a page.
fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    let fits = sizes.take_while(|size| {
        let first = sum == 0;
        sum += size;
        first || sum <= PAGE_BYTES
    });
    fits.count()
}

/// A live object as the plugin asked for it: with these fields only, or whole.
fn shown(mut live: Value, api_version: &str, kind: &str, fields: &[String], redactor: &Redactor) -> Object {
    // Items of a list do not say what they are.
    if live.get("kind").is_none() {
        live["apiVersion"] = json!(api_version);
        live["kind"] = json!(kind);
    }
    let whole = object(live, redactor);
    if fields.is_empty() {
        return whole;
    }
    let body: Value = serde_json::from_str(&whole.body).unwrap_or_default();
    let mut metadata = Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "generation"] {
        if let Some(value) = body["metadata"].get(name) {
            metadata.insert(name.to_owned(), value.clone());
        }
    }
    let mut picked = json!({"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata});
    for field in fields {
        if let Some(value) = get_path(&body, field) {
            let steps: Vec<&str> =
                field.trim_start_matches('/').split(if field.starts_with('/') { '/' } else { '.' }).collect();
            place(&mut picked, &steps, value.clone());
        }
    }
    Object { body: picked.to_string(), ..whole }
}

/// Puts a value at a path of map keys; a step into a list keeps the rest of the path as one key's worth of value.
fn place(into: &mut Value, steps: &[&str], value: Value) {
    match steps {
        [] => *into = value,
        [step, rest @ ..] => {
            if !into.is_object() {
                *into = json!({});
            }
            let key = step.replace("~1", "/").replace("~0", "~");
            place(&mut into[key], rest, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_it_is_too_large() {
        assert_eq!(fitting([1, 2, 3].into_iter()), 3);
        assert_eq!(fitting([PAGE_BYTES - 1, 1, 1].into_iter()), 2);
        assert_eq!((fitting([2 * PAGE_BYTES, 1].into_iter()), fitting(std::iter::empty())), (1, 0));
    }

    #[test]
    fn only_the_asked_fields_are_shown_and_the_identity() {
        let live = json!({"metadata": {"name": "a", "uid": "u", "labels": {"a/b": "c"}}, "spec": {"x": 1, "y": 2}, "status": {"phase": "Up"}});
        let fields = [
            "spec.x".to_owned(),
            "/status/phase".to_owned(),
            "/metadata/labels/a~1b".to_owned(),
            "spec.absent".to_owned(),
        ];
        let seen = shown(live, "example.org/v1", "Kite", &fields, &Redactor::new(&[7; 32]));
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        assert_eq!(
            body,
            json!({"apiVersion": "example.org/v1", "kind": "Kite", "metadata": {"name": "a", "uid": "u", "labels": {"a/b": "c"}},
                "spec": {"x": 1}, "status": {"phase": "Up"}})
        );
        assert_eq!((seen.ref_.kind.as_str(), seen.uid.as_str()), ("Kite", "u"));
    }
}

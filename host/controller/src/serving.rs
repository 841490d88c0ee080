//! Which plugins are loaded, which serve, and what they were granted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, join_all};
use serde_json::{Value, json};
use threeport_store::{ListQuery, ReferenceRule, Scope, Store};
use threeport_wasm::{Grant, Grants, Plugin, Registry, Runtime};

use crate::kinds::{BadDefinition, Kind, Kinds, plugins};

/// The plugins of this host.
pub(crate) struct Serving {
    pub(crate) runtime: Runtime,
    pub(crate) registry: Registry,
    approved: Mutex<HashMap<String, Arc<Grants>>>,
    /// Components that are being loaded, by digest.
    jobs: Mutex<HashMap<String, Job>>,
    /// What is loaded and not yet, or no more, in the registry: nobody loads it again while somebody has it.
    recent: Mutex<HashMap<String, Weak<Plugin>>>,
}

/// Loading a component, for everybody who waits for it.
pub(crate) type Job = Shared<BoxFuture<'static, Result<Arc<Plugin>, NotLoaded>>>;

/// Why a component is not at hand.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NotLoaded {
    #[error("the component is still being compiled")]
    Pending(Job),
    #[error("the component {0} is not stored here; push it again with `threeport plugin push`")]
    Missing(String),
    #[error(transparent)]
    Unusable(#[from] threeport_wasm::LoadError),
    #[error("the host's database failed: {0}; it is tried again")]
    Store(String),
}

impl Serving {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            registry: Registry::new(),
            approved: Mutex::default(),
            jobs: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The plugin that serves under this name, and what it was granted.
    pub(crate) fn get(&self, name: &str) -> Option<(Arc<Plugin>, Arc<Grants>)> {
        let plugin = self.registry.serving(name)?;
        let approved = self.approved.lock().unwrap_or_else(PoisonError::into_inner);
        Some((plugin, approved.get(name).cloned().unwrap_or_default()))
    }

    /// From now on runs of this plugin have these grants: more or fewer.
    pub(crate) fn approve(&self, name: &str, grants: Grants) {
        self.approved.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::new(grants));
    }

    /// Stops serving.
    pub(crate) fn remove(&self, name: &str) {
        self.registry.remove(name);
        self.approved.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// A component by digest: loaded already, compiled before, or from its blob. Compiling goes on when `patience` is over: ask again.
    pub(crate) async fn load(
        &self,
        store: &Store,
        name: &str,
        digest: &str,
        patience: Duration,
    ) -> Result<Arc<Plugin>, NotLoaded> {
        if let Some(plugin) = self.at_hand(name, digest) {
            return Ok(plugin);
        }
        let job = self.job(store, digest);
        match tokio::time::timeout(patience, job.clone()).await {
            Ok(done) => {
                if let Ok(plugin) = &done {
                    let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                    recent.retain(|_, plugin| plugin.strong_count() > 0);
                    recent.insert(digest.to_owned(), Arc::downgrade(plugin));
                }
                self.jobs().remove(digest);
                done
            }
            Err(_elapsed) => Err(NotLoaded::Pending(job)),
        }
    }

    fn at_hand(&self, name: &str, digest: &str) -> Option<Arc<Plugin>> {
        let recent = || self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(digest).and_then(Weak::upgrade);
        self.registry.find_loaded(name, digest).or_else(recent)
    }

    /// Begins to load a component that will be asked for.
    pub(crate) fn prepare(&self, store: &Store, name: &str, digest: &str) {
        if self.at_hand(name, digest).is_none() {
            drop(self.job(store, digest));
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that loads this component, started if there is none.
    fn job(&self, store: &Store, digest: &str) -> Job {
        let mut jobs = self.jobs();
        // What ended and nobody came back for.
        jobs.retain(|other, job| other == digest || job.peek().is_none());
        let start = || {
            let (runtime, store, digest) = (self.runtime.clone(), store.clone(), digest.to_owned());
            let job = async move { fetch(&runtime, &store, &digest).await }.boxed().shared();
            // Of its own, so that it goes on without us.
            tokio::spawn(job.clone());
            job
        };
        jobs.entry(digest.to_owned()).or_insert_with(start).clone()
    }

    /// Loads what served when this host, or another, was last here. What does not load is said by the Plugin's own run.
    pub(crate) async fn restore(&self, store: &Store, kinds: &Kinds) -> Result<(), threeport_store::Error> {
        let scope = Scope { resource: plugins(), namespace: None };
        let stored = store.list(ListQuery { scope, limit: None, after: None, at: None }).await?;
        // Together: one that has to be compiled again takes its time.
        let all = stored.items.iter().map(|object| self.restore_one(store, kinds, &object.key.name, object.value()));
        join_all(all).await;
        Ok(())
    }

    async fn restore_one(&self, store: &Store, kinds: &Kinds, name: &str, body: Value) {
        let Some(digest) = body.pointer("/status/digest").and_then(Value::as_str) else { return };
        if let Ok(grants) = Grants::parse(&approved(&body)) {
            self.approve(name, grants);
        }
        match fetch(&self.runtime, store, digest).await {
            Ok(plugin) => match kinds_of(&plugin, name) {
                Ok(served) => {
                    kinds.install(name, &served);
                    self.registry.install(name, plugin);
                    self.remember(name, digest, &body).await;
                    tracing::info!(plugin = name, digest, "serving");
                }
                Err(bad) => tracing::warn!(plugin = name, digest, "does not serve: {bad}"),
            },
            Err(error) => tracing::warn!(plugin = name, digest, "does not load: {error}"),
        }
    }

    /// Loads what served before, as far as it is compiled: going back to it is a pointer then. The rest is loaded when it is asked for.
    async fn remember(&self, name: &str, serving: &str, body: &Value) {
        let mut previous = Vec::new();
        for digest in history(body).filter(|digest| *digest != serving) {
            if let Ok(Some(plugin)) = self.runtime.load_compiled(digest).await {
                previous.push(Arc::new(plugin));
            }
        }
        self.registry.remember(name, previous);
    }
}

async fn fetch(runtime: &Runtime, store: &Store, digest: &str) -> Result<Arc<Plugin>, NotLoaded> {
    if let Some(plugin) = runtime.load_compiled(digest).await? {
        return Ok(Arc::new(plugin));
    }
    let stored = store.get_blob(digest).await.map_err(|error| NotLoaded::Store(error.to_string()))?;
    let bytes = stored.ok_or_else(|| NotLoaded::Missing(digest.to_owned()))?;
    Ok(Arc::new(runtime.load(bytes).await?))
}

/// Digests of the versions that served, newest first.
pub(crate) fn history(body: &Value) -> impl Iterator<Item = &str> {
    body.pointer("/status/history").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// `spec.grants` of a Plugin, as the contract has grants.
pub(crate) fn approved(body: &Value) -> Vec<Grant> {
    let grants = body.pointer("/spec/grants").and_then(Value::as_array);
    grants
        .into_iter()
        .flatten()
        .map(|grant| Grant {
            capability: grant["capability"].as_str().unwrap_or_default().to_owned(),
            rules: grant.get("rules").unwrap_or(&json!([])).to_string(),
        })
        .collect()
}

/// What a component asks for, as `spec.grants` would say it.
pub(crate) fn requested(plugin: &Plugin) -> Value {
    let grants = plugin.descriptor.grants.iter().map(|grant| {
        let rules: Value = serde_json::from_str(&grant.rules).unwrap_or_default();
        json!({"capability": grant.capability, "rules": rules})
    });
    Value::Array(grants.collect())
}

/// The kinds that a component serves.
pub(crate) fn kinds_of(plugin: &Plugin, name: &str) -> Result<Vec<Kind>, BadDefinition> {
    plugin
        .descriptor
        .kinds
        .iter()
        .map(|crd| {
            let crd: Value = serde_json::from_str(crd).map_err(|error| BadDefinition(error.to_string()))?;
            Kind::read(&crd, name, references_of(plugin, &crd))
        })
        .collect()
}

/// The rules for references of one of its kinds.
pub(crate) fn references_of(plugin: &Plugin, crd: &Value) -> Vec<ReferenceRule> {
    let kind = crd.pointer("/spec/names/kind").and_then(Value::as_str).unwrap_or_default();
    let rules = plugin.descriptor.references.iter().filter(|reference| reference.kind == kind);
    rules
        .map(|reference| ReferenceRule {
            kind: reference.kind.clone(),
            field: reference.field.clone(),
            to_api_version: reference.to_api_version.clone(),
            to_kinds: reference.to_kinds.clone(),
            cross_namespace: reference.cross_namespace,
            role: reference.role.clone(),
        })
        .collect()
}

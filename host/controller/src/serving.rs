//! Which plugins are loaded, which serve, and what they were granted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use threeport_store::{ListQuery, Scope, Store};
use threeport_wasm::{Grant, Grants, Plugin, Registry, Runtime};

use crate::kinds::{BadDefinition, Kind, Kinds, ReferenceRule, plugins};

/// The plugins of this host.
pub(crate) struct Serving {
    pub(crate) runtime: Runtime,
    pub(crate) registry: Registry,
    approved: Mutex<HashMap<String, Arc<Grants>>>,
}

/// Why a component is not at hand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLoaded {
    #[error("the component {0} is not stored here; push it again with `threeport plugin push`")]
    Missing(String),
    #[error(transparent)]
    Unusable(#[from] threeport_wasm::LoadError),
    #[error(transparent)]
    Store(#[from] threeport_store::Error),
}

impl Serving {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { runtime, registry: Registry::new(), approved: Mutex::default() }
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

    /// A component by digest: loaded already, or from its blob.
    pub(crate) async fn load(&self, store: &Store, name: &str, digest: &str) -> Result<Arc<Plugin>, NotLoaded> {
        if let Some(plugin) = self.registry.find_loaded(name, digest) {
            return Ok(plugin);
        }
        let bytes = store.get_blob(digest).await?.ok_or_else(|| NotLoaded::Missing(digest.to_owned()))?;
        Ok(Arc::new(self.runtime.load(bytes).await?))
    }

    /// Loads what served when this host, or another, was last here. What does not load is said by the Plugin's own run.
    pub(crate) async fn restore(&self, store: &Store, kinds: &Kinds) -> Result<(), threeport_store::Error> {
        let scope = Scope { resource: plugins(), namespace: None };
        for object in store.list(ListQuery { scope, limit: None, after: None, at: None }).await?.items {
            let (name, body) = (object.key.name.to_string(), object.value());
            let Some(digest) = body.pointer("/status/digest").and_then(Value::as_str) else { continue };
            if let Ok(grants) = Grants::parse(&approved(&body)) {
                self.approve(&name, grants);
            }
            match self.load(store, &name, digest).await {
                Ok(plugin) => match kinds_of(&plugin, &name) {
                    Ok(served) => {
                        kinds.install(&name, &served);
                        self.registry.install(&name, plugin);
                        tracing::info!(plugin = name, digest, "serving");
                    }
                    Err(bad) => tracing::warn!(plugin = name, digest, "does not serve: {bad}"),
                },
                Err(error) => tracing::warn!(plugin = name, digest, "does not load: {error}"),
            }
        }
        Ok(())
    }
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

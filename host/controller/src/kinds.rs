//! Which kinds there are, who reconciles them and what they refer to: learnt from plugins, never written down here (law 4).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;
use threeport_kube::group;
use threeport_store::{Key, ReferenceRule, Resource};
use threeport_wasm::ObjectRef;

/// Annotation of a CustomResourceDefinition: the Plugin that reconciles its kind.
pub const PLUGIN_ANNOTATION: &str = "threeport.dev/plugin";
/// Annotation of a CustomResourceDefinition: [`ReferenceRule`]s as a JSON array.
pub const REFERENCES_ANNOTATION: &str = "threeport.dev/references";

/// API group of the host's own kinds.
pub(crate) const HOST_GROUP: &str = "threeport.dev";

/// A kind that a plugin reconciles.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    /// Name of the Plugin object.
    pub(crate) plugin: Arc<str>,
    /// Its collection.
    pub(crate) resource: Resource,
    /// apiVersion of the stored version.
    pub(crate) api_version: String,
    /// The kind.
    pub(crate) kind: String,
    /// False for cluster-scoped kinds.
    pub(crate) namespaced: bool,
    /// Fields that name others.
    pub(crate) references: Vec<ReferenceRule>,
}

/// What reading a CustomResourceDefinition can find wrong.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub(crate) struct BadDefinition(pub(crate) String);

impl Kind {
    /// Reads the definition's names and stored version.
    pub(crate) fn read(crd: &Value, plugin: &str, references: Vec<ReferenceRule>) -> Result<Self, BadDefinition> {
        let text = |pointer: &str| {
            crd.pointer(pointer)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| BadDefinition(format!("{} has no {pointer}", crd["metadata"]["name"])))
        };
        let (group, plural, kind) = (text("/spec/group")?, text("/spec/names/plural")?, text("/spec/names/kind")?);
        let version = crd
            .pointer("/spec/versions")
            .and_then(Value::as_array)
            .and_then(|versions| versions.iter().find(|version| version["storage"] == true))
            .and_then(|version| version["name"].as_str())
            .ok_or_else(|| BadDefinition(format!("{kind} has no version with storage: true")))?;
        // The other scope is called like a kind of a plugin; the API server refuses what is neither.
        let namespaced = text("/spec/scope")? == "Namespaced";
        Ok(Self {
            plugin: plugin.into(),
            resource: Resource::new(group, plural),
            api_version: format!("{group}/{version}"),
            kind: kind.to_owned(),
            namespaced,
            references,
        })
    }
}

/// The kinds that are served now. Read by every run, replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    map: ArcSwap<HashMap<Resource, Arc<Kind>>>,
}

impl Kinds {
    /// The kind of a collection.
    pub(crate) fn get(&self, resource: &Resource) -> Option<Arc<Kind>> {
        self.map.load().get(resource).cloned()
    }

    /// All kinds of a plugin.
    pub(crate) fn of_plugin(&self, plugin: &str) -> Vec<Arc<Kind>> {
        self.map.load().values().filter(|kind| &*kind.plugin == plugin).cloned().collect()
    }

    /// All kinds.
    pub(crate) fn all(&self) -> Vec<Arc<Kind>> {
        self.map.load().values().cloned().collect()
    }

    /// Replaces all kinds of a plugin.
    pub(crate) fn install(&self, plugin: &str, kinds: &[Kind]) {
        self.map.rcu(|map| {
            let mut map: HashMap<_, _> = map.as_ref().clone();
            map.retain(|_, kind| &*kind.plugin != plugin);
            map.extend(kinds.iter().map(|kind| (kind.resource.clone(), Arc::new(kind.clone()))));
            map
        });
    }

    /// Collection and scope of an apiVersion and kind: the host's own, or a plugin's.
    pub(crate) fn resolve(&self, api_version: &str, kind: &str) -> Option<(Resource, bool)> {
        self.lookup(group(api_version), kind)
    }

    /// The same by group.
    pub(crate) fn lookup(&self, group: &str, kind: &str) -> Option<(Resource, bool)> {
        if let Some((plural, namespaced)) = built_in(group, kind) {
            return Some((Resource::new(group, plural), namespaced));
        }
        let map = self.map.load();
        let known = map.values().find(|known| &*known.resource.group == group && known.kind == kind)?;
        Some((known.resource.clone(), known.namespaced))
    }

    /// Where the object that a reference names is stored.
    pub(crate) fn key(&self, reference: &ObjectRef) -> Option<Key> {
        let (resource, namespaced) = self.resolve(&reference.api_version, &reference.kind)?;
        let namespace = if namespaced { Some(reference.namespace.as_deref()?.into()) } else { None };
        Some(Key { resource, namespace, name: reference.name.as_str().into() })
    }
}

/// The host's own kinds: plural and whether they are namespaced.
fn built_in(group: &str, kind: &str) -> Option<(&'static str, bool)> {
    Some(match (group, kind) {
        ("", "Namespace") => ("namespaces", false),
        ("", "Secret") => ("secrets", true),
        ("", "ConfigMap") => ("configmaps", true),
        ("", "Event") => ("events", true),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => ("customresourcedefinitions", false),
        (HOST_GROUP, "Plugin") => ("plugins", false),
        (HOST_GROUP, "Definition") => ("definitions", true),
        (HOST_GROUP, "DefinitionRevision") => ("definitionrevisions", true),
        _ => return None,
    })
}

/// The collection of Definitions.
pub(crate) fn reusables() -> Resource {
    Resource::new(HOST_GROUP, "definitions")
}

/// The collection of Plugin objects.
pub(crate) fn plugins() -> Resource {
    Resource::new(HOST_GROUP, "plugins")
}

/// The collection of CustomResourceDefinitions.
pub(crate) fn definitions() -> Resource {
    Resource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd() -> Value {
        json!({"metadata": {"name": "kites.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"plural": "kites", "kind": "Kite"},
            "versions": [{"name": "v1alpha1", "storage": false}, {"name": "v1", "storage": true}]}})
    }

    #[test]
    fn a_definition_gives_collection_and_stored_version() {
        let kind = Kind::read(&crd(), "toys", Vec::new()).unwrap();
        assert_eq!(
            (kind.api_version.as_str(), kind.resource.to_string()),
            ("example.org/v1", "kites.example.org".into())
        );
        let mut bad = crd();
        bad["spec"]["versions"][1]["storage"] = json!(false);
        assert!(Kind::read(&bad, "toys", Vec::new()).unwrap_err().to_string().contains("storage"));
    }

    #[test]
    fn installing_a_plugin_again_forgets_kinds_it_dropped() {
        let kinds = Kinds::default();
        kinds.install("toys", &[Kind::read(&crd(), "toys", Vec::new()).unwrap()]);
        let reference = ObjectRef {
            api_version: "example.org/v1".into(),
            kind: "Kite".into(),
            namespace: Some("a".into()),
            name: "red".into(),
        };
        assert_eq!(kinds.key(&reference).unwrap().to_string(), "kites.example.org \"a/red\"");
        kinds.install("toys", &[]);
        assert!(kinds.key(&reference).is_none());
    }
}

//! Which kinds there are, who reconciles them and what they refer to: learnt from plugins, never written down here (law 4).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;
use threeport_kube::group;
use threeport_store::{Key, ListQuery, ReferenceRule, Resource, Scope, Store};
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
    /// Kinds that no plugin serves but references name: collection and scope by group and kind.
    others: ArcSwap<HashMap<(String, String), (Resource, bool)>>,
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
        if let Some(known) = map.values().find(|known| &*known.resource.group == group && known.kind == kind) {
            return Some((known.resource.clone(), known.namespaced));
        }
        self.others.load().get(&(group.to_owned(), kind.to_owned())).cloned()
    }

    /// Looks up the kinds that these rules name and no plugin serves: those of users' CustomResourceDefinitions.
    pub(crate) async fn learn(&self, store: &Store, rules: &[ReferenceRule]) -> Result<(), threeport_store::Error> {
        let named = rules.iter().flat_map(|rule| rule.to_kinds.iter().map(move |kind| (rule.group(), kind)));
        let unknown: Vec<_> = named.filter(|(group, kind)| self.lookup(group, kind).is_none()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let scope = Scope { resource: definitions(), namespace: None };
        let mut others = HashMap::new();
        for stored in store.list(ListQuery { scope, limit: None, after: None, at: None }).await?.items {
            let (group, body) = (stored.key.name.split_once('.').map_or("", |(_, group)| group), stored.body.clone());
            if !unknown.iter().any(|(wanted, _)| *wanted == group) {
                continue;
            }
            let spec = serde_json::from_slice::<Value>(&body).unwrap_or_default()["spec"].take();
            let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let resource = Resource::new(text("/group"), text("/names/plural"));
            others.insert(
                (text("/group").to_owned(), text("/names/kind").to_owned()),
                (resource, text("/scope") == "Namespaced"),
            );
        }
        if !others.is_empty() {
            self.others.rcu(|known| {
                let mut all: HashMap<_, _> = known.as_ref().clone();
                all.extend(others.clone());
                all
            });
        }
        Ok(())
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
        ("", "ServiceAccount") => ("serviceaccounts", true),
        ("coordination.k8s.io", "Lease") => ("leases", true),
        ("rbac.authorization.k8s.io", "Role") => ("roles", true),
        ("rbac.authorization.k8s.io", "RoleBinding") => ("rolebindings", true),
        ("rbac.authorization.k8s.io", "ClusterRole") => ("clusterroles", false),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => ("clusterrolebindings", false),
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

    #[tokio::test]
    async fn a_kind_that_only_a_user_defined_is_found_when_a_rule_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = threeport_store::Config::new(dir.path().join("db"), threeport_store::Key32::generate());
        let store = Store::open(config).await.unwrap();
        let kinds = Kinds::default();
        let rule = ReferenceRule {
            kind: "Hand".into(),
            field: "spec.ox".into(),
            to_api_version: "example.org/v1".into(),
            to_kinds: vec!["Ox".into()],
            cross_namespace: false,
            role: "requires".into(),
        };
        kinds.learn(&store, std::slice::from_ref(&rule)).await.unwrap();
        assert_eq!(kinds.lookup("example.org", "Ox"), None);
        let body = json!({"metadata": {"name": "oxen.example.org", "uid": "u"}, "spec": {"group": "example.org", "scope": "Cluster",
            "names": {"plural": "oxen", "kind": "Ox"}}});
        let key = Key { resource: definitions(), namespace: None, name: "oxen.example.org".into() };
        let precondition = threeport_store::Precondition::Absent;
        let put = threeport_store::Op::Put { key, body, precondition, edges: None, wake: None };
        store.write(vec![put]).await.unwrap();
        kinds.learn(&store, std::slice::from_ref(&rule)).await.unwrap();
        assert_eq!(kinds.lookup("example.org", "Ox"), Some((Resource::new("example.org", "oxen"), false)));
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

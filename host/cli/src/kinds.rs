//! Which types the server has, and which of them somebody means.

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use serde_json::Value;
use threeport_kube::kube;

use crate::connect::{Server, encode};

/// A type of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    singular: String,
    short: Vec<String>,
    categories: Vec<String>,
    pub(crate) namespaced: bool,
    verbs: Vec<String>,
}

/// All types, the core group first, each in its group's preferred version before others.
pub(crate) struct Kinds(Vec<Kind>);

impl Kind {
    /// A cluster-scoped type that every server has.
    pub(crate) fn new(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short: Vec::new(),
            categories: Vec::new(),
            namespaced: false,
            verbs: Vec::new(),
        }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `workload.threeport.dev/web`, as kubectl names objects.
    pub(crate) fn object(&self, name: &str) -> String {
        format!("{}/{name}", self.qualified())
    }

    /// `workload.threeport.dev`
    pub(crate) fn qualified(&self) -> String {
        let singular = if self.singular.is_empty() { self.kind.to_lowercase() } else { self.singular.clone() };
        if self.group.is_empty() { singular } else { format!("{singular}.{}", self.group) }
    }

    /// Path of the collection; None: of all namespaces.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let base = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{base}/namespaces/{}/{}", encode(namespace), self.plural),
            None => format!("{base}/{}", self.plural),
        }
    }

    /// Path of an object.
    pub(crate) fn path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), encode(name))
    }

    fn is_called(&self, name: &str) -> bool {
        self.plural == name
            || self.singular == name
            || self.kind.to_lowercase() == name
            || self.short.iter().any(|short| short == name)
    }

    fn read(group: &str, version: &str, resource: &Value) -> Option<Self> {
        let list = |key: &str| -> Vec<String> {
            let items = resource[key].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: resource["kind"].as_str()?.to_owned(),
            plural: plural.to_owned(),
            singular: resource["singularName"].as_str().unwrap_or_default().to_owned(),
            short: list("shortNames"),
            categories: list("categories"),
            namespaced: resource["namespaced"].as_bool().unwrap_or_default(),
            verbs: list("verbs"),
        })
    }
}

impl Kinds {
    /// Asks the server.
    pub(crate) async fn of(server: &Server) -> Result<Self> {
        let groups = server.get("/apis").await.map_err(anyhow::Error::from)?;
        let mut wanted = vec![(String::new(), "v1".to_owned(), "/api/v1".to_owned())];
        for group in groups["groups"].as_array().into_iter().flatten() {
            let name = group["name"].as_str().unwrap_or_default();
            let preferred = group["preferredVersion"]["version"].as_str().unwrap_or_default();
            let versions = group["versions"].as_array().into_iter().flatten().filter_map(|v| v["version"].as_str());
            let mut versions: Vec<&str> = versions.collect();
            versions.sort_by_key(|version| *version != preferred);
            for version in versions {
                wanted.push((name.to_owned(), version.to_owned(), format!("/apis/{name}/{version}")));
            }
        }
        let ask = wanted.iter().map(|(group, version, path)| async move {
            match server.get(path).await {
                Ok(list) => {
                    let resources = list["resources"].as_array().into_iter().flatten();
                    Ok(resources.filter_map(|resource| Kind::read(group, version, resource)).collect::<Vec<_>>())
                }
                // The group was removed meanwhile.
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        });
        let lists: Vec<Vec<Kind>> = try_join_all(ask).await.context("ask the server for its types")?;
        Ok(Self(lists.into_iter().flatten().collect()))
    }

    /// The type that is meant by `plural`, `singular`, `short`, `Kind`, each also with `.group` or `.version.group`.
    pub(crate) fn named(&self, name: &str) -> Option<&Kind> {
        let lower = name.to_lowercase();
        if let Some(kind) = self.0.iter().find(|kind| kind.is_called(&lower)) {
            return Some(kind);
        }
        let (name, rest) = lower.split_once('.')?;
        let fits = |kind: &&Kind| kind.is_called(name) && !kind.group.is_empty();
        self.0
            .iter()
            .filter(fits)
            .find(|kind| kind.group == rest)
            .or_else(|| self.0.iter().filter(fits).find(|kind| format!("{}.{}", kind.version, kind.group) == rest))
    }

    /// The types that are meant by a comma-separated list of types and categories.
    pub(crate) fn meant(&self, list: &str) -> Result<Vec<&Kind>> {
        let mut found: Vec<&Kind> = Vec::new();
        for name in list.split(',').filter(|name| !name.is_empty()) {
            let kinds: Vec<&Kind> = match self.named(name) {
                Some(kind) => vec![kind],
                None => self.category(name),
            };
            if kinds.is_empty() {
                bail!("the server doesn't have a resource type {name:?}");
            }
            for kind in kinds {
                if !found.contains(&kind) {
                    found.push(kind);
                }
            }
        }
        if found.is_empty() {
            bail!("You must specify the type of resource to get.");
        }
        Ok(found)
    }

    fn category(&self, name: &str) -> Vec<&Kind> {
        let mut found: Vec<&Kind> = Vec::new();
        for kind in self.0.iter().filter(|kind| kind.categories.iter().any(|category| category == name)) {
            let listed = found.iter().any(|other| other.group == kind.group && other.plural == kind.plural);
            if !listed && kind.verbs.iter().any(|verb| verb == "list") {
                found.push(kind);
            }
        }
        found
    }

    /// The type of an apiVersion and kind.
    pub(crate) fn of_object(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.0.iter().find(|known| known.kind == kind && known.api_version() == api_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kinds() -> Kinds {
        let kind = |group: &str, version: &str, plural: &str, singular: &str, kind: &str, short: &str| {
            let resource = json!({"name": plural, "singularName": singular, "kind": kind, "namespaced": true,
                "shortNames": [short], "categories": ["all"], "verbs": ["get", "list"]});
            Kind::read(group, version, &resource).expect("a kind")
        };
        Kinds(vec![
            kind("", "v1", "events", "event", "Event", "ev"),
            kind("events.k8s.io", "v1", "events", "event", "Event", "ev"),
            kind("example.com", "v1", "widgets", "widget", "Widget", "wd"),
            kind("example.com", "v1beta1", "widgets", "widget", "Widget", "wd"),
        ])
    }

    #[test]
    fn types_are_found_by_every_name_that_they_have() {
        let kinds = kinds();
        for name in ["widgets", "widget", "Widget", "wd", "widgets.example.com", "widget.v1.example.com", "WD"] {
            assert_eq!(kinds.named(name).map(Kind::api_version).as_deref(), Some("example.com/v1"), "{name}");
        }
        assert_eq!(kinds.named("wd.v1beta1.example.com").expect("it").version, "v1beta1");
        assert_eq!(kinds.named("events.events.k8s.io").expect("it").group, "events.k8s.io");
        assert_eq!(kinds.named("ev").expect("it").group, "");
        assert!(kinds.named("gadget").is_none());
    }

    #[test]
    fn lists_and_categories_name_each_type_once() {
        let kinds = kinds();
        assert_eq!(kinds.meant("wd,widgets,events").expect("two").len(), 2);
        assert_eq!(kinds.meant("all").expect("three").len(), 3);
        let error = kinds.meant("wd,gadgets").expect_err("unknown").to_string();
        assert_eq!(error, "the server doesn't have a resource type \"gadgets\"");
    }

    #[test]
    fn objects_are_named_and_found_as_by_kubectl() {
        let kinds = kinds();
        let widget = kinds.named("wd").expect("it");
        assert_eq!(widget.object("a"), "widget.example.com/a");
        assert_eq!(widget.path("ns", "a"), "/apis/example.com/v1/namespaces/ns/widgets/a");
        assert_eq!(widget.collection(None), "/apis/example.com/v1/widgets");
    }
}

//! Which kinds are served: the built-in ones and those of the CustomResourceDefinitions in the store.
//!
//! A [`Kinds`] is immutable; a change makes a new one and swaps it in. So a request sees one consistent picture, and what is derived from
//! it (discovery, OpenAPI) is computed once for each picture.

mod builtin;
mod check;
mod crd;
mod establish;
mod follow;
mod kind;
mod scale;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use threeport_store::Object;

pub(crate) use builtin::metadata;
pub(crate) use check::check as check_crd;
pub(crate) use crd::{PLUGIN, kinds as read_crd};
pub(crate) use establish::{Taken, establish, fill_in, is_established};
pub(crate) use follow::follow;
pub(crate) use kind::{Column, ColumnPath, Kind};
pub(crate) use scale::Scale;

use crate::openapi::Documents;
use crate::openapi::v2::Document;

/// Group of CustomResourceDefinitions.
pub(crate) const CRD_GROUP: &str = "apiextensions.k8s.io";
/// Plural of CustomResourceDefinitions.
pub(crate) const CRD_PLURAL: &str = "customresourcedefinitions";
/// Our own group.
pub(crate) const OWN_GROUP: &str = "threeport.dev";

/// Kinds of one version by their plural.
type Plurals = BTreeMap<Arc<str>, Arc<Kind>>;

/// One picture of what is served.
pub(crate) struct Kinds {
    /// group -> version -> plural. Ordered, so that discovery is stable.
    groups: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Plurals>>,
    /// OpenAPI documents, made when first asked for.
    pub documents: OnceLock<Documents>,
    /// The same in one, as OpenAPI v2.
    pub swagger: OnceLock<Document>,
}

impl Kinds {
    fn build<'a>(kinds: impl Iterator<Item = &'a Arc<Kind>>) -> Self {
        let mut groups: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Plurals>> = BTreeMap::new();
        for kind in kinds {
            let versions = groups.entry(kind.resource.group.clone()).or_default();
            let plurals = versions.entry(kind.version.clone()).or_default();
            plurals.insert(kind.resource.plural.clone(), kind.clone());
        }
        Self { groups, documents: OnceLock::new(), swagger: OnceLock::new() }
    }

    /// A kind by its path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.groups.get(group)?.get(version)?.get(plural)
    }

    /// A kind by group and name, in any version.
    pub(crate) fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.groups.get(group)?.values().flat_map(BTreeMap::values).find(|k| &*k.kind == kind)
    }

    /// The groups with their versions, core (`""`) first; the preferred version first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Arc<str>, Vec<&Arc<str>>)> {
        self.groups.iter().map(|(group, versions)| {
            let mut versions: Vec<_> = versions.keys().collect();
            versions.sort_by(|a, b| priority(b).cmp(&priority(a)).then_with(|| a.cmp(b)));
            (group, versions)
        })
    }

    /// The kinds of one group and version.
    pub(crate) fn of(&self, group: &str, version: &str) -> Option<impl Iterator<Item = &Arc<Kind>>> {
        Some(self.groups.get(group)?.get(version)?.values())
    }

    /// Every kind in every served version.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.groups.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values)
    }
}

/// Kubernetes' order of versions: v2 before v1 before v1beta2 before v1alpha1 before anything else.
fn priority(version: &str) -> (u8, u32, u32) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u32 = rest[..digits].parse().ok()?;
        let stage = &rest[digits..];
        if stage.is_empty() {
            return Some((3, major, 0));
        }
        let (rank, minor) = match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
            (Some(minor), _) => (2, minor),
            (_, Some(minor)) => (1, minor),
            _ => return None,
        };
        Some((rank, major, minor.parse().ok()?))
    };
    parse().unwrap_or((0, 0, 0))
}

/// What is served, kept current.
pub(crate) struct Registry {
    current: ArcSwap<Kinds>,
    defined: Mutex<Defined>,
}

/// The source of the picture.
struct Defined {
    builtin: Vec<Arc<Kind>>,
    /// By name of the CustomResourceDefinition: the resourceVersion it was read at, and its kinds (none after removal).
    custom: HashMap<Arc<str>, (u64, Vec<Arc<Kind>>)>,
}

impl Registry {
    /// The built-in kinds alone.
    pub(crate) fn new() -> Self {
        let builtin = builtin::kinds();
        let kinds = Kinds::build(builtin.iter());
        Self { current: ArcSwap::from_pointee(kinds), defined: Mutex::new(Defined { builtin, custom: HashMap::new() }) }
    }

    /// The present picture.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        self.current.load_full()
    }

    /// A kind by its path, as of now.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.current.load().find(group, version, plural).cloned()
    }

    /// Names of the CustomResourceDefinitions that serve something.
    pub(crate) fn defined_names(&self) -> Vec<Arc<str>> {
        let defined = self.defined.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        defined.custom.iter().filter(|(_, (_, kinds))| !kinds.is_empty()).map(|(name, _)| name.clone()).collect()
    }

    /// Names that kinds of a group have, apart from those of one CustomResourceDefinition.
    pub(crate) fn taken(&self, group: &str, except: &str) -> Taken {
        let mut taken = Taken::default();
        let defined = self.defined.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let others = defined.custom.iter().filter(|(name, _)| &***name != except).flat_map(|(_, (_, kinds))| kinds);
        for kind in others.chain(&defined.builtin).filter(|kind| &*kind.resource.group == group) {
            taken.add(kind);
        }
        taken
    }

    /// Serves a CustomResourceDefinition as it is in `object`, if its names are its own. What is older than what is served changes nothing.
    pub(crate) fn put(&self, object: &Object) {
        let definition = object.value();
        if !is_established(&definition) {
            return self.set(&object.key.name, object.resource_version, Vec::new());
        }
        match crd::kinds(&definition) {
            Ok(kinds) => self.set(&object.key.name, object.resource_version, kinds),
            // It was accepted by a version of this program that knew more, or written past the API.
            Err(errors) => {
                tracing::warn!(crd = %object.key.name, ?errors, "a stored CustomResourceDefinition is not served")
            }
        }
    }

    /// Stops serving one.
    pub(crate) fn remove(&self, name: &Arc<str>, resource_version: u64) {
        self.set(name, resource_version, Vec::new());
    }

    fn set(&self, name: &Arc<str>, resource_version: u64, kinds: Vec<Kind>) {
        let mut defined = self.defined.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = defined.custom.get(name);
        if known.is_some_and(|(known, _)| *known >= resource_version) {
            return;
        }
        let known: &[Arc<Kind>] = known.map_or(&[], |(_, kinds)| kinds);
        let dated = |mut kind: Kind| {
            // Objects that fit the schema as it was fit it still.
            let before = known.iter().find(|before| before.version == kind.version && before.source == kind.source);
            kind.since = before.map_or(resource_version, |before| before.since);
            Arc::new(kind)
        };
        let kinds = kinds.into_iter().map(dated).collect();
        defined.custom.insert(name.clone(), (resource_version, kinds));
        let custom = defined.custom.values().flat_map(|(_, kinds)| kinds);
        // Built-in kinds last: no definition can take their place.
        self.current.store(Arc::new(Kinds::build(custom.chain(&defined.builtin))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_version_comes_first() {
        let mut versions = vec!["v1alpha1", "v2", "foo", "v1", "v1beta2", "v10"];
        versions.sort_by_key(|v| std::cmp::Reverse(priority(v)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1alpha1", "foo"]);
    }

    #[test]
    fn every_builtin_kind_compiles_and_has_a_schema() {
        let registry = Registry::new();
        let kinds = registry.kinds();
        for (group, version, plural) in [
            ("", "v1", "namespaces"),
            ("", "v1", "secrets"),
            ("", "v1", "configmaps"),
            ("", "v1", "events"),
            ("events.k8s.io", "v1", "events"),
            (CRD_GROUP, "v1", CRD_PLURAL),
            (OWN_GROUP, "v1", "plugins"),
            ("", "v1", "serviceaccounts"),
            ("coordination.k8s.io", "v1", "leases"),
            ("rbac.authorization.k8s.io", "v1", "clusterrolebindings"),
            ("authentication.k8s.io", "v1", "tokenreviews"),
            (OWN_GROUP, "v1", "definitions"),
            (OWN_GROUP, "v1", "definitionrevisions"),
        ] {
            let kind = kinds.find(group, version, plural).expect(plural);
            assert!(kind.builtin, "{plural}");
            assert!(kind.schema.properties.contains_key("metadata"), "{plural}");
        }
    }
}

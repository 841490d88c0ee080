//! What the namespaces of this control plane may use on a target: published by the target's plugin, as the option `tenants` of its connection.
//!
//! ```yaml
//! tenants:
//! - namespace: shop                  # of this control plane; `*` is every one that has no entry of its own
//!   namespaces: [shop, shop-db]      # of the target; left out: the one of the same name; `*`: all
//!   clusterScoped:                   # what has no namespace; nothing where it is left out
//!   - {apiGroups: [storage.k8s.io], kinds: [StorageClass], verbs: [get, list, watch]}
//! ```
//!
//! Without an entry, the namespace that the target object is in may use the one of the same name, and no other may use anything.

use serde::{Deserialize, Serialize};
use threeport_wasm::{Verb, lists};

/// Namespace of ours on targets. Nobody's plan reaches into it: it holds the identities that plans are carried out with.
pub(crate) use threeport_kube::SYSTEM_NAMESPACE;

/// Most entries, and most items of each list in one.
const MOST: usize = 1000;

/// Options of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Options {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tenants: Vec<Tenant>,
    #[serde(skip_serializing_if = "Isolation::is_preferred")]
    pub(crate) isolation: Isolation,
}

/// Whether the target has to enforce, too, what the host checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Isolation {
    /// Where the credentials of the connection may not make identities, they are used themselves, and a condition says so.
    #[default]
    Preferred,
    /// Where they may not, nothing is done.
    Required,
}

impl Isolation {
    fn is_preferred(&self) -> bool {
        *self == Self::Preferred
    }
}

/// What one namespace of this control plane may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tenant {
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespaces: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cluster_scoped: Vec<ClusterRule>,
}

/// Kinds without a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClusterRule {
    pub(crate) api_groups: Vec<String>,
    pub(crate) kinds: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) names: Option<Vec<String>>,
    #[serde(default = "reading")]
    pub(crate) verbs: Vec<Verb>,
}

fn reading() -> Vec<Verb> {
    vec![Verb::Get, Verb::List, Verb::Watch]
}

impl Options {
    /// Reads what a plan says.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        if matches!(json.trim(), "" | "null") {
            return Ok(Self::default());
        }
        let options: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if options.tenants.len() > MOST {
            return Err(format!("tenants has {} entries, at most {MOST} are taken", options.tenants.len()));
        }
        for (index, tenant) in options.tenants.iter().enumerate() {
            let at = |what: String| Err(format!("tenants[{index}]: {what}"));
            if options.tenants[..index].iter().any(|other| other.namespace == tenant.namespace) {
                return at(format!("namespace {:?} has an entry already", tenant.namespace));
            }
            let namespaces = tenant.namespaces.as_deref().unwrap_or_default();
            if namespaces.len() > MOST || tenant.cluster_scoped.len() > MOST {
                return at(format!("a list is longer than {MOST}"));
            }
            for namespace in namespaces.iter().chain([&tenant.namespace]) {
                if namespace != "*" && !crate::names::is_label(namespace) {
                    return at(format!("{namespace:?} is no name of a namespace"));
                }
            }
            if namespaces.iter().any(|namespace| namespace == SYSTEM_NAMESPACE) {
                return at(format!("namespace {SYSTEM_NAMESPACE:?} is not for tenants"));
            }
            let empty =
                |rule: &ClusterRule| rule.api_groups.is_empty() || rule.kinds.is_empty() || rule.verbs.is_empty();
            if tenant.cluster_scoped.iter().any(empty) {
                return at("a rule of clusterScoped needs apiGroups, kinds and verbs".to_owned());
            }
        }
        Ok(options)
    }
}

/// What the objects of one namespace may do on one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Namespaces of the target; `*`: all.
    pub(crate) namespaces: Vec<String>,
    pub(crate) cluster_scoped: Vec<ClusterRule>,
    /// As far as the plugin's grant goes: for the target object itself, and for objects without a namespace, which only operators make.
    pub(crate) everything: bool,
    /// For messages: who asks, and what says so.
    tenant: String,
    rule: String,
}

impl Access {
    /// Whatever the grant allows; rules of it that name no namespace are good for `namespaces`.
    pub(crate) fn everything(namespaces: Vec<String>) -> Self {
        Self { namespaces, cluster_scoped: Vec::new(), everything: true, tenant: String::new(), rule: String::new() }
    }

    /// What `tenant` may do on a target whose object is in the namespace `home`.
    pub(crate) fn of(options: &Options, tenant: &str, home: Option<&str>) -> Self {
        let entry = |name: &str| options.tenants.iter().find(|entry| entry.namespace == name);
        let Some(entry) = entry(tenant).or_else(|| entry("*")) else {
            let own = home == Some(tenant) && tenant != SYSTEM_NAMESPACE;
            let rule = if own {
                "the target's tenants have no entry for it, so it may use the namespace of the same name"
            } else {
                "the target's tenants have no entry for it, so it may use nothing there"
            };
            return Self {
                namespaces: if own { vec![tenant.to_owned()] } else { Vec::new() },
                cluster_scoped: Vec::new(),
                everything: false,
                tenant: tenant.to_owned(),
                rule: rule.to_owned(),
            };
        };
        // Whoever may make a namespace here must not get one of Kubernetes' own there by its name.
        let reserved = tenant == SYSTEM_NAMESPACE || (entry.namespace == "*" && tenant.starts_with("kube-"));
        let same_name = || if reserved { Vec::new() } else { vec![tenant.to_owned()] };
        Self {
            namespaces: entry.namespaces.clone().unwrap_or_else(same_name),
            cluster_scoped: entry.cluster_scoped.clone(),
            everything: false,
            tenant: tenant.to_owned(),
            rule: format!("the target's tenants say {}", serde_json::to_string(entry).unwrap_or_default()),
        }
    }

    /// Whether something may be touched. `namespace` is None for what has none and for all of them, `name` is None for lists.
    pub(crate) fn allows(
        &self,
        verb: Verb,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<(), String> {
        let is_namespace = api_version == "v1" && kind == "Namespace";
        let place = if is_namespace && namespace.is_none() { name } else { namespace };
        if place == Some(SYSTEM_NAMESPACE) {
            return Err(format!(
                "nobody's plan may touch namespace {SYSTEM_NAMESPACE:?}, where Threeport keeps its own"
            ));
        }
        if self.everything {
            return Ok(());
        }
        let denied = |what: String| {
            Err(format!("objects in namespace {:?} may not use {what} on the target: {}", self.tenant, self.rule))
        };
        match place {
            Some(place) if self.has(place, is_namespace) => Ok(()),
            Some(place) if !is_namespace => denied(format!("namespace {place:?}")),
            _ if self.rules(verb, api_version, kind, name) => Ok(()),
            Some(place) => denied(format!("Namespace {place:?}")),
            None if matches!(verb, Verb::List | Verb::Watch) && self.all() => Ok(()),
            None if name.is_none() => denied(format!("{kind} of all namespaces, or without one,")),
            None => denied(format!("the cluster-scoped {kind}")),
        }
    }

    /// Whether that namespace is among them. To touch the Namespace itself it has to be named.
    fn has(&self, namespace: &str, itself: bool) -> bool {
        self.namespaces.iter().any(|mine| mine == namespace) || (!itself && self.all())
    }

    fn all(&self) -> bool {
        lists(&self.namespaces, "*")
    }

    fn rules(&self, verb: Verb, api_version: &str, kind: &str, name: Option<&str>) -> bool {
        self.cluster_scoped.iter().any(|rule| {
            lists(&rule.api_groups, threeport_kube::group(api_version))
                && lists(&rule.kinds, kind)
                && rule.verbs.contains(&verb)
                && rule.names.as_ref().is_none_or(|names| name.is_some_and(|name| lists(names, name)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(tenants: &str) -> Options {
        Options::parse(&format!(r#"{{"tenants": {tenants}}}"#)).unwrap()
    }

    fn may(access: &Access, kind: &str, namespace: Option<&str>) -> bool {
        access.allows(Verb::Apply, "v1", kind, namespace, Some("x")).is_ok()
    }

    #[test]
    fn without_an_entry_the_targets_own_namespace_has_its_own_and_no_other_has_any() {
        let own = Access::of(&Options::default(), "shop", Some("shop"));
        assert!(may(&own, "ConfigMap", Some("shop")) && !may(&own, "ConfigMap", Some("bank")));
        assert!(!may(&own, "ConfigMap", None), "cluster-scoped, or all namespaces");
        let namespace = |access: &Access, name| access.allows(Verb::Apply, "v1", "Namespace", None, Some(name));
        assert!(namespace(&own, "shop").is_ok() && namespace(&own, "bank").is_err());
        assert!(own.allows(Verb::List, "v1", "Pod", None, None).is_err());
        let other = Access::of(&Options::default(), "bank", Some("shop"));
        let why = other.allows(Verb::Get, "v1", "ConfigMap", Some("bank"), Some("x")).unwrap_err();
        assert!(why.contains("bank") && why.contains("no entry"), "{why}");
        assert!(!may(
            &Access::of(&Options::default(), SYSTEM_NAMESPACE, Some(SYSTEM_NAMESPACE)),
            "Pod",
            Some(SYSTEM_NAMESPACE)
        ));
    }

    #[test]
    fn an_entry_says_which_namespaces_and_which_kinds_without_one() {
        let options = options(
            r#"[{"namespace": "shop", "namespaces": ["a", "b"], "clusterScoped": [{"apiGroups": ["storage.k8s.io"], "kinds": ["StorageClass"]}]},
                {"namespace": "*"}, {"namespace": "none", "namespaces": []}, {"namespace": "root", "namespaces": ["*"]}]"#,
        );
        let shop = Access::of(&options, "shop", Some("infra"));
        assert!(may(&shop, "Pod", Some("a")) && may(&shop, "Pod", Some("b")) && !may(&shop, "Pod", Some("shop")));
        let class = |verb| shop.allows(verb, "storage.k8s.io/v1", "StorageClass", None, None);
        assert!(class(Verb::List).is_ok());
        let why = class(Verb::Apply).unwrap_err();
        assert!(why.contains("StorageClass") && why.contains(r#""namespaces":["a","b"]"#), "{why}");
        let bank = Access::of(&options, "bank", Some("infra"));
        assert!(may(&bank, "Pod", Some("bank")) && !may(&bank, "Pod", Some("a")));
        assert!(!may(&Access::of(&options, "kube-system", Some("infra")), "Pod", Some("kube-system")));
        assert!(!may(&Access::of(&options, "none", Some("none")), "Pod", Some("none")));
        let root = Access::of(&options, "root", None);
        assert!(may(&root, "Pod", Some("anywhere")) && root.allows(Verb::List, "v1", "Pod", None, None).is_ok());
        assert!(!may(&root, "Node", None) && !may(&root, "Pod", Some(SYSTEM_NAMESPACE)));
        assert!(root.allows(Verb::Delete, "v1", "Namespace", None, Some("kube-system")).is_err());
    }

    #[test]
    fn the_target_object_itself_may_what_its_grant_says_but_for_our_own_namespace() {
        let own = Access::everything(vec!["home".into()]);
        assert!(may(&own, "Node", None) && may(&own, "Pod", Some("kube-system")));
        assert!(!may(&own, "Pod", Some(SYSTEM_NAMESPACE)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_place() {
        for (bad, why) in [
            (r#"[{"namespace": "a"}, {"namespace": "a"}]"#, "tenants[1]"),
            (r#"[{"namespace": "A"}]"#, "name of a namespace"),
            (r#"[{"namespace": "a", "namespaces": ["threeport-system"]}]"#, "not for tenants"),
            (r#"[{"namespace": "a", "names": []}]"#, "names"),
            (r#"[{"namespace": "a", "clusterScoped": [{"apiGroups": [], "kinds": ["x"]}]}]"#, "clusterScoped"),
        ] {
            let error = Options::parse(&format!(r#"{{"tenants": {bad}}}"#)).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(Options::parse(r#"{"isolation": "None"}"#).is_err());
        assert_eq!(Options::parse("{}").unwrap(), Options::default());
    }
}

//! A plugin's grants and a tenant's access as what an identity may do on the target: the same rule as the host's own check, in the target's words.

use std::collections::BTreeSet;

use threeport_kube::{Permission, Place};
use threeport_wasm::{Grants, KubernetesRule, Verb, lists};

use crate::tenants::{Access, SYSTEM_NAMESPACE};

/// What objects with this access may do through a plugin with these grants (those on the target, told the tenant's namespaces).
pub(crate) fn permissions(grants: &Grants, access: &Access) -> Vec<Permission> {
    let mut all = Vec::new();
    for rule in &grants.kubernetes {
        let names = rule.names.clone().filter(|names| !lists(names, "*"));
        let namespaces = rule.namespaces.as_deref().unwrap_or_default();
        let (groups, kinds) = (rule.api_groups.clone(), rule.kinds.clone());
        let verbs = verbs(&rule.verbs, names.is_some());
        let allowed = if access.everything { namespaces.to_vec() } else { common(namespaces, &access.namespaces) };
        let place = if lists(&allowed, "*") {
            Place::AllNamespaces
        } else {
            Place::Namespaces(allowed.into_iter().filter(|name| name != SYSTEM_NAMESPACE).collect())
        };
        all.push(Permission { groups, kinds, verbs, names, place });
        // What has no namespace is granted only with all namespaces.
        if lists(namespaces, "*") {
            all.extend(cluster_scoped(rule, access));
        }
    }
    let useless = |permission: &Permission| {
        permission.verbs.is_empty()
            || permission.groups.is_empty()
            || permission.kinds.is_empty()
            || permission.names.as_ref().is_some_and(Vec::is_empty)
            || permission.place == Place::Namespaces(Vec::new())
    };
    all.retain(|permission| !useless(permission));
    all
}

fn cluster_scoped(rule: &KubernetesRule, access: &Access) -> Vec<Permission> {
    let place = Place::Cluster;
    let names = rule.names.clone().filter(|names| !lists(names, "*"));
    if access.everything {
        let verbs = verbs(&rule.verbs, names.is_some());
        return vec![Permission { groups: rule.api_groups.clone(), kinds: rule.kinds.clone(), verbs, names, place }];
    }
    let mut all: Vec<Permission> = access
        .cluster_scoped
        .iter()
        .map(|allowed| {
            let names = match (names.as_deref(), allowed.names.as_deref().filter(|names| !lists(names, "*"))) {
                (Some(mine), Some(theirs)) => Some(common(mine, theirs)),
                (one, other) => one.or(other).map(<[String]>::to_vec),
            };
            let both: Vec<Verb> = rule.verbs.iter().copied().filter(|verb| allowed.verbs.contains(verb)).collect();
            Permission {
                groups: common(&rule.api_groups, &allowed.api_groups),
                kinds: common(&rule.kinds, &allowed.kinds),
                verbs: verbs(&both, names.is_some()),
                names,
                place: place.clone(),
            }
        })
        .collect();
    if lists(&rule.api_groups, "") && lists(&rule.kinds, "Namespace") {
        let named: Vec<String> = access.namespaces.iter().filter(|name| *name != "*").cloned().collect();
        let named = names.as_deref().map_or_else(|| named.clone(), |names| common(names, &named));
        all.push(Permission {
            groups: vec![String::new()],
            kinds: vec!["Namespace".to_owned()],
            verbs: verbs(&rule.verbs, true),
            names: Some(named),
            place,
        });
    }
    all
}

/// What is in both, where `*` is everything.
fn common(one: &[String], other: &[String]) -> Vec<String> {
    match (lists(one, "*"), lists(other, "*")) {
        (true, _) => other.to_vec(),
        (_, true) => one.to_vec(),
        _ => one.iter().filter(|item| other.contains(item)).cloned().collect(),
    }
}

/// Verbs of Kubernetes. Of names alone there is no list and no watch, as in the host's own check.
fn verbs(verbs: &[Verb], named: bool) -> Vec<String> {
    let words = verbs.iter().flat_map(|verb| match verb {
        Verb::Get => &["get"][..],
        Verb::List if named => &[],
        Verb::List => &["list"],
        Verb::Watch if named => &[],
        // A watch begins with a list.
        Verb::Watch => &["list", "watch"],
        // It is read before it is written, and a patch of what is not there creates it.
        Verb::Apply => &["get", "create", "patch"],
        Verb::Delete => &["get", "delete"],
    });
    // Sets of words in an order of their own: equal rights are equal.
    words.collect::<BTreeSet<_>>().into_iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::Options;
    use threeport_wasm::Grant;

    fn of(rules: &str, tenants: &str) -> Vec<Permission> {
        let grants = Grants::parse(&[Grant { capability: "kubernetes".into(), rules: rules.into() }]).unwrap();
        let options = Options::parse(&format!(r#"{{"tenants": {tenants}}}"#)).unwrap();
        let access = Access::of(&options, "shop", Some("shop"));
        permissions(&grants.within(&access.namespaces), &access)
    }

    fn shown(permissions: &[Permission]) -> Vec<String> {
        let show = |it: &Permission| {
            let names = it.names.as_ref().map(|names| format!(" named {}", names.join(","))).unwrap_or_default();
            let place = match &it.place {
                Place::Namespaces(names) => format!("in {}", names.join(",")),
                Place::AllNamespaces => "in all".to_owned(),
                Place::Cluster => "without".to_owned(),
            };
            format!("{} {}{names} {place}", it.verbs.join(","), it.kinds.join(","))
        };
        permissions.iter().map(show).collect()
    }

    #[test]
    fn a_tenant_gets_its_namespaces_and_what_its_entry_says_however_wide_the_grant() {
        let tenant = r#"[{"apiGroups":["apps"],"kinds":["Deployment"],"verbs":["apply","delete"]}]"#;
        assert_eq!(shown(&of(tenant, "[]")), ["create,delete,get,patch Deployment in shop"]);
        let wide = r#"[{"apiGroups":["*"],"kinds":["*"],"verbs":["get","list","apply"],"namespaces":["*"]}]"#;
        assert_eq!(
            shown(&of(wide, "[]")),
            ["create,get,list,patch * in shop", "create,get,patch Namespace named shop without"]
        );
        let entry = r#"[{"namespace":"shop","namespaces":["a","b"],"clusterScoped":[{"apiGroups":["storage.k8s.io"],"kinds":["StorageClass"]}]}]"#;
        assert_eq!(
            shown(&of(wide, entry)),
            [
                "create,get,list,patch * in a,b",
                "get,list StorageClass without",
                "create,get,patch Namespace named a,b without"
            ]
        );
        let elsewhere = r#"[{"apiGroups":[""],"kinds":["Pod"],"verbs":["list"],"namespaces":["kube-system"]}]"#;
        assert!(of(elsewhere, "[]").is_empty());
        assert_eq!(shown(&of(elsewhere, r#"[{"namespace":"shop","namespaces":["*"]}]"#)), ["list Pod in kube-system"]);
    }

    #[test]
    fn a_target_itself_gets_what_is_granted() {
        let rules = r#"[{"apiGroups":[""],"kinds":["Node"],"verbs":["get","list","watch"],"namespaces":["*"]}]"#;
        let grants = Grants::parse(&[Grant { capability: "kubernetes".into(), rules: rules.into() }]).unwrap();
        let access = Access::everything(vec!["shop".into()]);
        let all = permissions(&grants.within(&access.namespaces), &access);
        assert_eq!(shown(&all), ["get,list,watch Node in all", "get,list,watch Node without"]);
    }

    #[test]
    fn names_narrow_and_leave_no_lists() {
        let rules = r#"[{"apiGroups":[""],"kinds":["Secret"],"verbs":["get","list","watch"],"names":["one"]}]"#;
        assert_eq!(shown(&of(rules, "[]")), ["get Secret named one in shop"]);
    }
}

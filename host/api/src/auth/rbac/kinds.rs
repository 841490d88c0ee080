//! Roles for the kinds that plugins serve: one for reading and one for writing in each group, gathered into `view`, `edit` and `admin`. They
//! follow the CustomResourceDefinitions, so that a tenant may use a kind from the moment it is served.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{CLUSTER_ROLES, GROUP};
use crate::registry::{PLUGIN, is_established};

/// Label of the roles that come and go with the kinds of a group.
pub(super) const KINDS_OF: &str = "threeport.dev/kinds-of";
/// What Threeport says about an object, readable with the object.
const READABLE: [&str; 5] = ["plan", "replay", "runs", "tree", "why"];

/// Namespaced kinds of plugins: by the definition's name, group and plural.
pub(super) type Served = BTreeMap<String, (String, String)>;

/// Group and plural, if tenants are to use it: a plugin serves it, its names are its own, and its objects live in namespaces.
pub(super) fn served(definition: &Value) -> Option<(String, String)> {
    let spec = &definition["spec"];
    let plugin = definition.pointer("/metadata/annotations")?.get(PLUGIN)?.as_str()?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let known = (text(&spec["group"])?, text(&spec["names"]["plural"])?);
    (!plugin.is_empty() && spec["scope"] == "Namespaced" && is_established(definition)).then_some(known)
}

/// The roles for these kinds, by name.
pub(super) fn roles(served: &Served) -> BTreeMap<String, Value> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (group, plural) in served.values() {
        groups.entry(group).or_default().push(plural);
    }
    let mut roles = BTreeMap::new();
    for (group, mut plurals) in groups {
        plurals.sort_unstable();
        let below = |subresources: &[&str]| -> Vec<String> {
            plurals.iter().flat_map(|plural| subresources.iter().map(move |s| format!("{plural}/{s}"))).collect()
        };
        let mut readable = below(&["scale", "status"]);
        readable.extend(below(&READABLE));
        let view = json!([
            {"apiGroups": [group], "resources": plurals, "verbs": ["get", "list", "watch"]},
            {"apiGroups": [group], "resources": readable, "verbs": ["get"]},
        ]);
        let edit = json!([
            {"apiGroups": [group], "resources": plurals, "verbs": ["create", "delete", "deletecollection", "patch", "update"]},
            {"apiGroups": [group], "resources": below(&["scale"]), "verbs": ["patch", "update"]},
            {"apiGroups": [group], "resources": below(&["plan", "replay"]), "verbs": ["create"]},
        ]);
        for (what, rules) in [("view", view), ("edit", edit)] {
            let name = format!("threeport:kinds:{group}:{what}");
            let labels = json!({format!("{GROUP}/aggregate-to-{what}"): "true", KINDS_OF: group});
            let body = json!({
                "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": {"name": name, "labels": labels}, "rules": rules,
            });
            roles.insert(name, body);
        }
    }
    roles
}

/// Whether a stored role is one of these.
pub(super) fn is_ours(object: &threeport_store::Object) -> bool {
    &*object.key.resource.plural == CLUSTER_ROLES
        && object.key.name.starts_with("threeport:kinds:")
        && object.value()["metadata"]["labels"][KINDS_OF].is_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_plugins_make_roles_for_their_group() {
        let definition = |scope: &str, plugin: Option<&str>, established: &str| {
            let mut definition = json!({"spec": {"group": "g.io", "names": {"plural": "ws"}, "scope": scope}});
            definition["status"]["conditions"] = json!([{"type": "Established", "status": established}]);
            if let Some(plugin) = plugin {
                definition["metadata"] = json!({"annotations": {PLUGIN: plugin}});
            }
            served(&definition)
        };
        assert_eq!(definition("Namespaced", None, "True"), None, "a user's own kind: their roles say who uses it");
        assert_eq!(definition("Cluster", Some("p"), "True"), None, "not a tenant's");
        assert_eq!(definition("Namespaced", Some("p"), "False"), None, "the names are another kind's");
        let served = Served::from([("ws.g.io".into(), definition("Namespaced", Some("p"), "True").expect("served"))]);
        let roles = roles(&served);
        assert_eq!(roles.keys().collect::<Vec<_>>(), ["threeport:kinds:g.io:edit", "threeport:kinds:g.io:view"]);
        let edit = &roles["threeport:kinds:g.io:edit"];
        assert_eq!(edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"], "true");
        assert_eq!(edit["rules"][0]["resources"], json!(["ws"]));
        assert_eq!(
            edit["rules"][1],
            json!({"apiGroups": ["g.io"], "resources": ["ws/scale"], "verbs": ["patch", "update"]})
        );
        assert!(
            roles["threeport:kinds:g.io:view"]["rules"][1].to_string().contains("ws/scale"),
            "kubectl scale reads it"
        );
        assert!(!edit.to_string().contains("ws/status"), "the status is the host's");
    }
}

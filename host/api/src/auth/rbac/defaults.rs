//! The roles and bindings that are there from the start, from `roles.yaml`.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;
use serde_json::{Value, json};

use super::rule;
use super::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP};

/// Annotation of an object that is put back; `"false"` keeps it as it is.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Label of what is there from the start.
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Defaults {
    cluster_roles: Vec<DefaultRole>,
    cluster_role_bindings: Vec<DefaultBinding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultRole {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    rules: Vec<PolicyRule>,
    /// Label of the roles that its rules are gathered from.
    gathers: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultBinding {
    name: String,
    role: String,
    groups: Vec<String>,
}

/// What is there from the start: plural, name, object without what the server sets.
pub(super) fn objects() -> Vec<(&'static str, String, Value)> {
    let defaults: Defaults =
        serde_yaml_ng::from_str(include_str!("roles.yaml")).expect("roles.yaml is a file of this program");
    let metadata = |name: &str, labels: &BTreeMap<String, String>| {
        let mut metadata =
            json!({"name": name, "labels": {BOOTSTRAPPING: "rbac-defaults"}, "annotations": {AUTOUPDATE: "true"}});
        for (key, value) in labels {
            metadata["labels"][key] = value.as_str().into();
        }
        metadata
    };
    let api_version = format!("{GROUP}/v1");
    let roles = defaults.cluster_roles.into_iter().map(|role| {
        let mut body = json!({
            "apiVersion": api_version, "kind": "ClusterRole", "metadata": metadata(&role.name, &role.labels), "rules": role.rules,
        });
        if let Some(label) = role.gathers {
            body["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        (CLUSTER_ROLES, role.name, body)
    });
    let bindings = defaults.cluster_role_bindings.into_iter().map(|binding| {
        let subjects: Vec<Value> =
            binding.groups.iter().map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group})).collect();
        let body = json!({
            "apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": metadata(&binding.name, &BTreeMap::new()),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": binding.role}, "subjects": subjects,
        });
        (CLUSTER_ROLE_BINDINGS, binding.name, body)
    });
    roles.chain(bindings).collect()
}

/// The stored object with what it lacks of the default, if it lacks something. Additions stay.
pub(super) fn mended(stored: &Value, default: &Value) -> Option<Value> {
    if stored["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let mut new = stored.clone();
    for part in ["labels", "annotations"] {
        for (key, value) in default["metadata"][part].as_object().into_iter().flatten() {
            if new["metadata"][part].get(key).is_none() {
                if !new["metadata"][part].is_object() {
                    new["metadata"][part] = json!({});
                }
                new["metadata"][part][key] = value.clone();
            }
        }
    }
    let aggregation = |object: &Value| object.get("aggregationRule").cloned();
    if let Some(gathers) = aggregation(default) {
        if aggregation(stored).is_none() {
            new["aggregationRule"] = gathers;
        }
    } else if default.get("rules").is_some() {
        let rules = |object: &Value| serde_json::from_value::<Vec<PolicyRule>>(object["rules"].clone());
        let (held, wanted) = (rules(stored).unwrap_or_default(), rules(default).unwrap_or_default());
        let missing = rule::missing(&held, &wanted);
        if !missing.is_empty() {
            new["rules"] = json!(held.into_iter().chain(missing).collect::<Vec<_>>());
        }
    }
    if let Some(subjects) = default["subjects"].as_array() {
        let mut all = stored["subjects"].as_array().cloned().unwrap_or_default();
        all.extend(subjects.iter().filter(|s| !stored["subjects"].as_array().is_some_and(|a| a.contains(s))).cloned());
        new["subjects"] = all.into();
    }
    (new != *stored).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_a_default_is_put_back_and_additions_stay() {
        let objects = objects();
        let find = |plural: &str, name: &str| {
            let found = objects.iter().find(|(p, n, _)| *p == plural && n == name);
            found.map(|(_, _, body)| body.clone()).expect(name)
        };
        for (_, name, body) in &objects {
            assert_eq!(mended(body, body), None, "{name}");
        }
        let default = find(CLUSTER_ROLES, "system:basic-user");
        let mut stored = default.clone();
        stored["rules"] = json!([default["rules"][1], {"apiGroups": ["g"], "resources": ["r"], "verbs": ["get"]}]);
        let new = mended(&stored, &default).expect("mended");
        assert_eq!(new["rules"].as_array().map(Vec::len), Some(4), "{new}");
        stored["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(mended(&stored, &default), None);
        let default = find(CLUSTER_ROLE_BINDINGS, "system:discovery");
        let mut stored = default.clone();
        stored["subjects"] = json!([{"kind": "User", "name": "a", "apiGroup": GROUP}]);
        assert_eq!(mended(&stored, &default).expect("mended")["subjects"].as_array().map(Vec::len), Some(2));
        let default = find(CLUSTER_ROLES, "edit");
        let mut stored = default.clone();
        stored["rules"] = json!([{"apiGroups": ["g"], "resources": ["r"], "verbs": ["get"]}]);
        assert_eq!(mended(&stored, &default), None, "gathered rules are not the default's matter");
    }
}

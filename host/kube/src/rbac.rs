//! What an identity may do on a target, as the objects that say so there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::SYSTEM_NAMESPACE;

/// Label: the identity that an object is for.
pub(crate) const IDENTITY: &str = "threeport.dev/identity";
/// Label: uid of the object of the control plane that is the target.
pub(crate) const TARGET_UID: &str = "threeport.dev/target-uid";
/// Annotation: for people.
pub(crate) const PURPOSE: &str = "threeport.dev/purpose";

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Somebody that plans are carried out as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of its ServiceAccount in [`SYSTEM_NAMESPACE`] and of its roles.
    pub name: String,
    /// uid of the object of the control plane that is the target: [`crate::Target::uproot`] finds by it what was made.
    pub target_uid: String,
    /// For people.
    pub purpose: String,
    /// All that it may.
    pub permissions: Vec<Permission>,
}

/// Something that an identity may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// API groups; `*`: all.
    pub groups: Vec<String>,
    /// Kinds; `*`: all.
    pub kinds: Vec<String>,
    /// Verbs of the Kubernetes API.
    pub verbs: Vec<String>,
    /// None: every name.
    pub names: Option<Vec<String>>,
    /// Where.
    pub place: Place,
}

/// Where something may be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Namespaced kinds, in these.
    Namespaces(Vec<String>),
    /// Namespaced kinds, in all.
    AllNamespaces,
    /// Kinds without a namespace.
    Cluster,
}

/// A permission whose kinds are known by the names that the target has for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) group: String,
    pub(crate) resources: Vec<String>,
    pub(crate) verbs: Vec<String>,
    pub(crate) names: Option<Vec<String>>,
}

impl Rule {
    fn write(&self) -> Value {
        let mut rule = json!({"apiGroups": [self.group], "resources": self.resources, "verbs": self.verbs});
        if let Some(names) = &self.names {
            rule["resourceNames"] = json!(names);
        }
        rule
    }
}

/// The rules of an identity by where they hold: in a namespace, or (None) in the whole cluster.
pub(crate) type Rules = BTreeMap<Option<String>, Vec<Rule>>;

impl Identity {
    fn metadata(&self, namespace: Option<&str>) -> Value {
        let mut metadata = json!({
            "name": self.name,
            "labels": {crate::MANAGED_BY: "threeport", IDENTITY: self.name, TARGET_UID: self.target_uid},
            "annotations": {PURPOSE: self.purpose},
        });
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        metadata
    }

    /// The ServiceAccount; its token is never put into a pod.
    pub(crate) fn account(&self) -> Value {
        let metadata = self.metadata(Some(SYSTEM_NAMESPACE));
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": false})
    }

    /// Role and binding for a namespace, or for the whole cluster.
    pub(crate) fn role(&self, namespace: Option<&str>, rules: &[Rule]) -> [Value; 2] {
        let (role, binding) =
            if namespace.is_some() { ("Role", "RoleBinding") } else { ("ClusterRole", "ClusterRoleBinding") };
        let rules: Vec<Value> = rules.iter().map(Rule::write).collect();
        let metadata = self.metadata(namespace);
        let subject = json!({"kind": "ServiceAccount", "namespace": SYSTEM_NAMESPACE, "name": self.name});
        let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": self.name});
        [
            json!({"apiVersion": RBAC, "kind": role, "metadata": metadata, "rules": rules}),
            json!({"apiVersion": RBAC, "kind": binding, "metadata": metadata, "roleRef": role_ref, "subjects": [subject]}),
        ]
    }
}

/// A namespace that is made for a tenant, or ours.
pub(crate) fn namespace(name: &str, target_uid: Option<&str>, purpose: &str) -> Value {
    let mut labels = json!({crate::MANAGED_BY: "threeport"});
    if let Some(uid) = target_uid {
        labels[TARGET_UID] = json!(uid);
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": {PURPOSE: purpose}}})
}

/// The kinds of objects that identities are made of.
pub(crate) const PARTS: [(&str, &str); 5] = [
    (RBAC, "ClusterRoleBinding"),
    (RBAC, "RoleBinding"),
    (RBAC, "ClusterRole"),
    (RBAC, "Role"),
    ("v1", "ServiceAccount"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_say_what_is_allowed_and_no_more() {
        let identity = Identity {
            name: "tp-a".into(),
            target_uid: "u".into(),
            purpose: "plugin web for namespace shop".into(),
            permissions: Vec::new(),
        };
        let rule = Rule {
            group: "apps".into(),
            resources: vec!["deployments".into()],
            verbs: vec!["get".into()],
            names: None,
        };
        let [role, binding] = identity.role(Some("shop"), std::slice::from_ref(&rule));
        assert_eq!(role["rules"], json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]));
        assert_eq!((&role["kind"], &role["metadata"]["namespace"]), (&json!("Role"), &json!("shop")));
        assert_eq!(binding["roleRef"]["kind"], "Role");
        assert_eq!(binding["subjects"][0]["namespace"], SYSTEM_NAMESPACE);
        let named = Rule { names: Some(vec!["x".into()]), ..rule };
        let [role, binding] = identity.role(None, &[named]);
        assert_eq!(role["rules"][0]["resourceNames"], json!(["x"]));
        assert_eq!((&role["kind"], &binding["roleRef"]["kind"]), (&json!("ClusterRole"), &json!("ClusterRole")));
        assert_eq!(identity.account()["automountServiceAccountToken"], false);
    }
}

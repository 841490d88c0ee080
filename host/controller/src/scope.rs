//! What one run may touch: the plugin's approved grants AND what the object's namespace may do on a target.

use std::collections::BTreeSet;

use threeport_wasm::{Grants, ObjectRef, Verb};

use crate::carried::target_name;

/// The limits of one run.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The Plugin that is to be named where a grant is missing.
    plugin: String,
    grants: Grants,
    /// Namespace of the object; None for cluster-scoped objects, which only operators make.
    namespace: Option<String>,
    /// Name of the target that the object itself is, if it ever publishes a connection.
    own: String,
    /// Targets that the object refers to.
    targets: BTreeSet<String>,
}

impl Scope {
    pub(crate) fn new(plugin: &str, approved: &Grants, namespace: Option<&str>, own: String) -> Self {
        let tenant: Vec<&str> = namespace.into_iter().collect();
        Self {
            plugin: plugin.to_owned(),
            grants: approved.within(&tenant),
            namespace: namespace.map(str::to_owned),
            own,
            targets: BTreeSet::new(),
        }
    }

    /// Adds a target that the object refers to.
    pub(crate) fn refer(&mut self, target: &ObjectRef) {
        self.targets.insert(target_name(target));
    }

    /// The object's own target.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    /// The target that a plugin means, if the object may use it.
    pub(crate) fn target(&self, asked: &ObjectRef) -> Result<String, String> {
        let mut asked = asked.clone();
        if asked.namespace.as_deref().is_none_or(str::is_empty) {
            asked.namespace = None;
            if self.allowed(&target_name(&asked)) {
                return Ok(target_name(&asked));
            }
            asked.namespace.clone_from(&self.namespace);
        }
        let name = target_name(&asked);
        if self.allowed(&name) {
            return Ok(name);
        }
        Err(format!(
            "the object has no reference with the role target to {} {}/{}",
            asked.kind,
            asked.namespace.as_deref().unwrap_or_default(),
            asked.name
        ))
    }

    /// Whether the object has to do with the target of that name now.
    pub(crate) fn allowed(&self, name: &str) -> bool {
        name == self.own || self.targets.contains(name)
    }

    /// Whether an object on a target may be touched. `namespace` is None for what has none and for all of them, `name` is None for lists.
    pub(crate) fn allows(
        &self,
        verb: Verb,
        target: &str,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<(), String> {
        let place = target.rsplit('/').next().unwrap_or_default();
        self.grants
            .on_target(place)
            .allows_kubernetes(verb, api_version, kind, namespace, name)
            .map_err(|missing| self.lacks(&missing))?;
        if target == self.own || verb == Verb::Get || verb == Verb::List || verb == Verb::Watch {
            // Reading beyond the tenant's namespaces is what a grant with namespaces of its own says.
            return Ok(());
        }
        let Some(tenant) = self.namespace.as_deref() else { return Ok(()) };
        let touched = match namespace {
            Some(namespace) => Some(namespace),
            None if api_version == "v1" && kind == "Namespace" => name,
            None => None,
        };
        match touched {
            Some(namespace) if namespace != tenant => Err(format!(
                "objects in namespace {tenant:?} may only use the namespace of the same name on a target, not {namespace:?}"
            )),
            _ => Ok(()),
        }
    }

    /// Whether an object of this control plane may be read.
    pub(crate) fn allows_state(
        &self,
        verb: Verb,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<(), String> {
        self.grants.allows_state(verb, api_version, kind, namespace).map_err(|missing| self.lacks(&missing))
    }

    fn lacks(&self, missing: &str) -> String {
        format!(
            "plugin {:?} has no grant for this; to allow it, add to spec.grants of the Plugin: {missing}",
            self.plugin
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use threeport_wasm::Grant;

    pub(crate) const OWN: &str = "example.org/v1/Place/home/own";

    pub(crate) fn place(name: &str) -> ObjectRef {
        ObjectRef {
            api_version: "example.org/v1".into(),
            kind: "Place".into(),
            namespace: Some("home".into()),
            name: name.into(),
        }
    }

    /// Deployments and ConfigMaps in the tenant's namespace, Namespaces, and everything readable.
    pub(crate) fn scope() -> Scope {
        let rules = r#"[{"apiGroups":["apps",""],"kinds":["Deployment","ConfigMap"],"verbs":["apply","delete"]},
            {"apiGroups":["apps"],"kinds":["StatefulSet"],"verbs":["apply"],"namespaces":["*"]},
            {"apiGroups":[""],"kinds":["Namespace"],"verbs":["apply"],"namespaces":["*"]}]"#;
        let grants = Grants::parse(&[Grant { capability: "kubernetes".into(), rules: rules.into() }]).unwrap();
        let mut scope = Scope::new("toys", &grants, Some("home"), OWN.into());
        scope.refer(&place("there"));
        scope
    }

    fn apply(target: &str, kind: &str, version: &str, namespace: Option<&str>) -> Result<(), String> {
        scope().allows(Verb::Apply, target, version, kind, namespace, Some("x"))
    }

    #[test]
    fn only_targets_that_the_object_refers_to_are_opened() {
        let scope = scope();
        let short = ObjectRef { namespace: None, ..place("there") };
        assert_eq!(scope.target(&short).unwrap(), "example.org/v1/Place/home/there");
        assert!(scope.target(&place("own")).is_ok());
        assert!(scope.target(&place("elsewhere")).unwrap_err().contains("elsewhere"));
    }

    #[test]
    fn a_tenant_stays_in_its_namespace_even_where_the_grant_is_wider() {
        let there = "example.org/v1/Place/home/there";
        assert!(apply(there, "Deployment", "apps/v1", Some("home")).is_ok());
        assert!(apply(there, "StatefulSet", "apps/v1", Some("home")).is_ok());
        assert!(apply(there, "StatefulSet", "apps/v1", Some("other")).unwrap_err().contains("home"));
        assert!(apply(OWN, "StatefulSet", "apps/v1", Some("other")).is_ok(), "a target's own object is not a tenant");
    }

    #[test]
    fn what_is_not_granted_is_denied_with_the_grant_to_add() {
        let there = "example.org/v1/Place/home/there";
        let denied = apply(there, "Secret", "v1", Some("home")).unwrap_err();
        assert!(denied.contains("Secret") && denied.contains("toys"), "{denied}");
        assert!(apply(there, "ClusterRole", "rbac.authorization.k8s.io/v1", None).is_err());
        assert!(apply(there, "Namespace", "v1", None).is_err(), "x is not the tenant's namespace");
        assert!(scope().allows(Verb::Apply, there, "v1", "Namespace", None, Some("home")).is_ok());
    }
}

//! What one run may touch: the plugin's approved grants AND what the object's namespace may do on a target.

use std::collections::{BTreeSet, HashMap};

use threeport_wasm::{Grants, ObjectRef, Verb};

use crate::carried::target_name;
use crate::tenants::Access;

/// The limits of one run.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The Plugin that is to be named where a grant is missing.
    plugin: String,
    approved: Grants,
    /// The grants within this control plane.
    state: Grants,
    /// Namespace of the object; None for cluster-scoped objects, which only operators make.
    namespace: Option<String>,
    /// Name of the target that the object itself is, if it ever publishes a connection.
    own: String,
    /// Targets that the object refers to.
    targets: BTreeSet<String>,
    /// By target: what the namespace may do there, and the grants there. Of a target that is not among them it is not known yet.
    places: HashMap<String, (Access, Grants)>,
}

impl Scope {
    pub(crate) fn new(plugin: &str, approved: &Grants, namespace: Option<&str>, own: String) -> Self {
        let tenant: Vec<String> = namespace.into_iter().map(str::to_owned).collect();
        let mut scope = Self {
            plugin: plugin.to_owned(),
            approved: approved.clone(),
            state: approved.within(&tenant),
            namespace: namespace.map(str::to_owned),
            own: own.clone(),
            targets: BTreeSet::new(),
            places: HashMap::new(),
        };
        scope.may(own, Access::everything(tenant));
        scope
    }

    /// Adds a target that the object refers to.
    pub(crate) fn refer(&mut self, target: &ObjectRef) {
        self.targets.insert(target_name(target));
    }

    /// Adds what the object's namespace may do on a target.
    pub(crate) fn may(&mut self, target: String, access: Access) {
        let place = target.rsplit('/').next().unwrap_or_default();
        let grants = self.approved.on_target(place).within(&access.namespaces);
        self.places.insert(target, (access, grants));
    }

    /// What is known of a target: what the namespace may do there, and the grants there.
    pub(crate) fn place(&self, target: &str) -> Option<&(Access, Grants)> {
        self.places.get(target)
    }

    /// The plugin whose run it is.
    pub(crate) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Namespace of the object.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
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
        // What is not known yet is not opened either: nothing is sent there.
        let Some((access, grants)) = self.place(target) else { return Ok(()) };
        access.allows(verb, api_version, kind, namespace, name)?;
        grants.allows_kubernetes(verb, api_version, kind, namespace, name).map_err(|missing| self.lacks(&missing))
    }

    /// Whether an object of this control plane may be read.
    pub(crate) fn allows_state(
        &self,
        verb: Verb,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<(), String> {
        self.state.allows_state(verb, api_version, kind, namespace).map_err(|missing| self.lacks(&missing))
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
    use crate::tenants::Options;
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
        scope.may(target_name(&place("there")), Access::of(&Options::default(), "home", Some("home")));
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

    #[test]
    fn a_grant_without_namespaces_is_good_for_those_that_the_tenant_has_on_the_target() {
        let there = "example.org/v1/Place/home/there";
        let mut scope = scope();
        let options = Options::parse(r#"{"tenants": [{"namespace": "home", "namespaces": ["one", "two"]}]}"#).unwrap();
        scope.may(there.into(), Access::of(&options, "home", Some("home")));
        let apply = |namespace| scope.allows(Verb::Apply, there, "apps/v1", "Deployment", Some(namespace), Some("x"));
        assert!(apply("one").is_ok() && apply("two").is_ok() && apply("home").is_err());
    }
}

//! The stored roles and bindings, arranged for the question "may this user do that?".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use serde::de::DeserializeOwned;
use threeport_store::{Key, Object};

use super::rule::allows;
use super::verdict::{Granted, Verdict};
use super::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES};
use crate::auth::attributes::Attributes;
use crate::auth::user::{User, service_account_name};

pub(super) type Name = Arc<str>;
/// None: everywhere.
pub(super) type Namespace = Option<Arc<str>>;

/// One binding of either kind.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) namespace: Namespace,
    pub(super) name: Name,
    pub(super) role: RoleRef,
    pub(super) subjects: Vec<Subject>,
}

/// A user's bindings by namespace and name.
type Bound = HashMap<Namespace, BTreeMap<Name, Arc<Binding>>>;

/// Roles and bindings.
#[derive(Default)]
pub(super) struct Index {
    roles: HashMap<(Namespace, Name), Arc<Vec<PolicyRule>>>,
    /// The whole ClusterRoles, for those that are gathered from others.
    pub(super) cluster_roles: BTreeMap<Name, Arc<ClusterRole>>,
    bindings: HashMap<(Namespace, Name), Arc<Binding>>,
    users: HashMap<String, Bound>,
    groups: HashMap<String, Bound>,
    /// At which version an object was taken in or removed: what is older changes nothing.
    versions: HashMap<Key, u64>,
    /// What was removed, by when: known until nothing older can come any more.
    removed: BTreeMap<u64, Vec<Key>>,
    /// Everything up to here was taken in: what is not known and not newer was removed meanwhile.
    settled: u64,
}

impl Index {
    /// Takes in an object as it is, unless a later one is known. Answers whether a ClusterRole changed.
    pub(super) fn put(&mut self, object: &Object) -> bool {
        self.newer(&object.key, object.resource_version) && self.take(object)
    }

    fn take(&mut self, object: &Object) -> bool {
        let at = (object.key.namespace.clone(), object.key.name.clone());
        match &*object.key.resource.plural {
            ROLES => {
                let rules = read::<Role>(object).and_then(|role| role.rules);
                self.roles.insert(at, Arc::new(rules.unwrap_or_default()));
            }
            CLUSTER_ROLES => {
                let role = read::<ClusterRole>(object).unwrap_or_default();
                self.roles.insert(at, Arc::new(role.rules.clone().unwrap_or_default()));
                self.cluster_roles.insert(object.key.name.clone(), Arc::new(role));
                return true;
            }
            ROLE_BINDINGS => {
                let read = read::<RoleBinding>(object).map(|b| (b.role_ref, b.subjects));
                self.bind(at, read);
            }
            CLUSTER_ROLE_BINDINGS => {
                let read = read::<ClusterRoleBinding>(object).map(|b| (b.role_ref, b.subjects));
                self.bind(at, read);
            }
            _ => {}
        }
        false
    }

    /// Forgets an object that was removed at this version. Answers whether it was a ClusterRole.
    pub(super) fn remove(&mut self, key: &Key, version: u64) -> bool {
        if !self.newer(key, version) {
            return false;
        }
        self.removed.entry(version).or_default().push(key.clone());
        let at = (key.namespace.clone(), key.name.clone());
        match &*key.resource.plural {
            ROLES => drop(self.roles.remove(&at)),
            CLUSTER_ROLES => {
                self.roles.remove(&at);
                self.cluster_roles.remove(&key.name);
                return true;
            }
            ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS => self.unbind(&at),
            _ => {}
        }
        false
    }

    /// What is there is exactly this, as of `version`: the rest is gone.
    pub(super) fn replace(&mut self, objects: &[Object], version: u64) {
        let there: std::collections::HashSet<&Key> = objects.iter().map(|object| &object.key).collect();
        let gone: Vec<Key> = self.versions.keys().filter(|key| !there.contains(key)).cloned().collect();
        for key in gone {
            self.remove(&key, version);
        }
        for object in objects {
            // A list says what is there, however old it is.
            if self.newest(&object.key, object.resource_version) {
                self.take(object);
            }
        }
        self.settled(version);
    }

    /// Everything up to `version` was taken in: what is gone needs no mark any more.
    pub(super) fn settled(&mut self, version: u64) {
        self.settled = self.settled.max(version);
        while let Some(oldest) = self.removed.first_entry().filter(|oldest| *oldest.key() <= self.settled) {
            let (at, keys) = oldest.remove_entry();
            for key in keys {
                // Unless it was made again.
                if self.versions.get(&key) == Some(&at) {
                    self.versions.remove(&key);
                }
            }
        }
    }

    /// Whether it is news, and then notes it.
    fn newer(&mut self, key: &Key, version: u64) -> bool {
        let late = version <= self.settled && !self.versions.contains_key(key);
        !late && self.newest(key, version)
    }

    fn newest(&mut self, key: &Key, version: u64) -> bool {
        if &*key.resource.group != GROUP || self.versions.get(key).is_some_and(|known| *known >= version) {
            return false;
        }
        self.versions.insert(key.clone(), version);
        true
    }

    fn bind(&mut self, at: (Namespace, Name), read: Option<(RoleRef, Option<Vec<Subject>>)>) {
        self.unbind(&at);
        let Some((role, subjects)) = read else { return };
        let (namespace, name) = at.clone();
        let binding = Arc::new(Binding { namespace, name, role, subjects: subjects.unwrap_or_default() });
        for subject in &binding.subjects {
            if let Some((map, subject)) = self.place(subject, &at.0) {
                let bound = map.entry(subject).or_default().entry(at.0.clone()).or_default();
                bound.insert(at.1.clone(), binding.clone());
            }
        }
        self.bindings.insert(at, binding);
    }

    fn unbind(&mut self, at: &(Namespace, Name)) {
        let Some(binding) = self.bindings.remove(at) else { return };
        for subject in &binding.subjects {
            let Some((map, subject)) = self.place(subject, &at.0) else { continue };
            let Some(bound) = map.get_mut(&subject) else { continue };
            if let Some(names) = bound.get_mut(&at.0) {
                names.remove(&at.1);
                if names.is_empty() {
                    bound.remove(&at.0);
                }
            }
            if bound.is_empty() {
                map.remove(&subject);
            }
        }
    }

    /// Where the bindings of a subject are.
    fn place(&mut self, subject: &Subject, namespace: &Namespace) -> Option<(&mut HashMap<String, Bound>, String)> {
        match subject.kind.as_str() {
            "User" => Some((&mut self.users, subject.name.clone())),
            "Group" => Some((&mut self.groups, subject.name.clone())),
            "ServiceAccount" => {
                let own = subject.namespace.as_deref().filter(|own| !own.is_empty()).or(namespace.as_deref())?;
                Some((&mut self.users, service_account_name(own, &subject.name)))
            }
            _ => None,
        }
    }

    /// A user's bindings, those that hold everywhere first.
    fn bindings_of<'a>(&'a self, user: &User, namespace: &str) -> Vec<&'a Arc<Binding>> {
        let inside = (!namespace.is_empty()).then(|| Some(Arc::from(namespace)));
        let mut found: Vec<&Arc<Binding>> = Vec::new();
        for place in std::iter::once(None).chain(inside) {
            let of_groups = user.groups.iter().filter_map(|group| self.groups.get(group));
            for bound in self.users.get(&user.name).into_iter().chain(of_groups) {
                for binding in bound.get(&place).into_iter().flat_map(BTreeMap::values) {
                    if !found.iter().any(|known| Arc::ptr_eq(known, binding)) {
                        found.push(binding);
                    }
                }
            }
        }
        found
    }

    /// The rules of a role that a binding in `namespace` gives.
    pub(super) fn rules(&self, role: &RoleRef, namespace: &str) -> Result<&Arc<Vec<PolicyRule>>, String> {
        let (place, plural) = match role.kind.as_str() {
            "Role" => (Some(Arc::from(namespace)), "role"),
            "ClusterRole" => (None, "clusterrole"),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        self.roles
            .get(&(place, role.name.as_str().into()))
            .ok_or_else(|| format!("{plural}.{GROUP} {:?} not found", role.name))
    }

    /// Whether a user may do something.
    pub(super) fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Verdict {
        if user.is_superuser() {
            return Verdict::Superuser;
        }
        let mut wrong = Vec::new();
        for binding in self.bindings_of(user, attributes.namespace()) {
            match self.rules(&binding.role, binding.namespace.as_deref().unwrap_or_default()) {
                Ok(rules) if rules.iter().any(|rule| allows(rule, attributes)) => {
                    let subject = binding.subjects.iter().position(|s| is(s, user, &binding.namespace)).unwrap_or(0);
                    return Verdict::Granted(Granted { binding: binding.clone(), subject });
                }
                Ok(_) => {}
                Err(error) => wrong.push(error),
            }
        }
        Verdict::Refused(wrong)
    }

    /// All rules that a user has in a namespace, and what is wrong with its bindings.
    pub(super) fn rules_of(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let (mut rules, mut wrong) = (Vec::new(), Vec::new());
        for binding in self.bindings_of(user, namespace) {
            match self.rules(&binding.role, binding.namespace.as_deref().unwrap_or_default()) {
                Ok(found) => rules.extend(found.iter().cloned()),
                Err(error) => wrong.push(error),
            }
        }
        (rules, wrong)
    }
}

fn is(subject: &Subject, user: &User, namespace: &Namespace) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == user.name,
        "Group" => user.groups.contains(&subject.name),
        _ => {
            let own = subject.namespace.as_deref().filter(|own| !own.is_empty()).or(namespace.as_deref());
            own.is_some_and(|own| service_account_name(own, &subject.name) == user.name)
        }
    }
}

/// What cannot be read grants nothing.
fn read<T: DeserializeOwned>(object: &Object) -> Option<T> {
    match serde_json::from_slice(&object.body) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::warn!(object = %object.key, %error, "it cannot be read and grants nothing");
            None
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::auth::attributes::Resource;
    use serde_json::{Value, json};
    use threeport_store::Resource as Collection;

    pub(in crate::auth::rbac) fn object(
        plural: &str,
        namespace: Option<&str>,
        name: &str,
        version: u64,
        mut body: Value,
    ) -> Object {
        let kind = match plural {
            ROLES => "Role",
            CLUSTER_ROLES => "ClusterRole",
            ROLE_BINDINGS => "RoleBinding",
            _ => "ClusterRoleBinding",
        };
        body["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        body["kind"] = kind.into();
        body["metadata"]["name"] = name.into();
        let key =
            Key { resource: Collection::new(GROUP, plural), namespace: namespace.map(Into::into), name: name.into() };
        Object { key, uid: name.into(), resource_version: version, body: body.to_string().into() }
    }

    pub(in crate::auth::rbac) fn rules(resource: &str) -> Value {
        json!({"rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]})
    }

    fn binds(kind: &str, role: &str, subjects: Value) -> Value {
        json!({"roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}, "subjects": subjects})
    }

    fn user(name: &str, groups: &[&str]) -> User {
        User { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() }
    }

    fn robot(namespace: &str) -> User {
        user(&service_account_name(namespace, "robot"), &[])
    }

    fn may(index: &Index, user: &User, resource: &str, namespace: &str) -> bool {
        let at = Resource { resource, namespace, name: "x", ..Resource::default() };
        index.decide(user, &Attributes::on("get", at)).allowed()
    }

    #[test]
    fn bindings_give_their_roles_to_their_subjects_where_they_hold() {
        let mut index = Index::default();
        for object in [
            object(CLUSTER_ROLES, None, "pods", 1, rules("pods")),
            object(ROLES, Some("a"), "maps", 2, rules("maps")),
            object(ROLES, Some("b"), "maps", 3, rules("other")),
            object(
                CLUSTER_ROLE_BINDINGS,
                None,
                "x",
                4,
                binds(
                    "ClusterRole",
                    "pods",
                    json!([{"kind": "User", "name": "everywhere"}, {"kind": "ServiceAccount", "name": "robot", "namespace": "a"}, {"kind": "ServiceAccount", "name": "robot"}]),
                ),
            ),
            object(
                ROLE_BINDINGS,
                Some("a"),
                "y",
                5,
                binds("ClusterRole", "pods", json!([{"kind": "Group", "name": "devs"}])),
            ),
            object(
                ROLE_BINDINGS,
                Some("a"),
                "z",
                6,
                binds(
                    "Role",
                    "maps",
                    json!([{"kind": "User", "name": "alice"}, {"kind": "ServiceAccount", "name": "robot"}]),
                ),
            ),
        ] {
            index.put(&object);
        }
        let cases = [
            (user("everywhere", &[]), "pods", "", true),
            (user("everywhere", &[]), "pods", "b", true),
            (user("everywhere", &[]), "maps", "a", false),
            (user("carol", &["devs"]), "pods", "a", true),
            (user("carol", &["devs"]), "pods", "b", false),
            (user("carol", &["devs"]), "pods", "", false),
            (user("devs", &[]), "pods", "a", false),
            (user("alice", &[]), "maps", "a", true),
            (user("alice", &[]), "other", "b", false),
            (robot("a"), "maps", "a", true),
            (robot("a"), "pods", "b", true),
            (robot("b"), "pods", "b", false),
            (robot("b"), "maps", "a", false),
            (user("root", &["system:masters"]), "anything", "a", true),
            (user("", &[]), "pods", "a", false),
        ];
        for (user, resource, namespace, expected) in cases {
            assert_eq!(may(&index, &user, resource, namespace), expected, "{user:?} {resource} in {namespace:?}");
        }
    }

    #[test]
    fn what_is_older_changes_nothing_and_what_is_gone_grants_nothing() {
        let mut index = Index::default();
        let alice = user("alice", &[]);
        let role = |version, resource| object(ROLES, Some("a"), "r", version, rules(resource));
        let binding =
            object(ROLE_BINDINGS, Some("a"), "b", 2, binds("Role", "r", json!([{"kind": "User", "name": "alice"}])));
        index.put(&binding);
        let at = Resource { resource: "pods", namespace: "a", ..Resource::default() };
        let verdict = index.decide(&alice, &Attributes::on("get", at));
        assert_eq!(verdict.reason(), "RBAC: role.rbac.authorization.k8s.io \"r\" not found");
        index.put(&role(5, "pods"));
        index.put(&role(3, "maps"));
        assert!(may(&index, &alice, "pods", "a") && !may(&index, &alice, "maps", "a"));
        index.remove(&binding.key, 7);
        index.put(&binding);
        assert!(!may(&index, &alice, "pods", "a"), "it was removed after that");
        index.settled(7);
        index.put(&object(
            ROLE_BINDINGS,
            Some("a"),
            "b",
            8,
            binds("Role", "r", json!([{"kind": "User", "name": "alice"}])),
        ));
        assert!(may(&index, &alice, "pods", "a"), "it was made again");
        index.replace(&[role(5, "pods")], 9);
        assert!(!may(&index, &alice, "pods", "a"), "the binding is not there any more");
        assert!(index.users.is_empty() && index.bindings.is_empty());
    }

    #[test]
    fn what_comes_late_does_not_come_back() {
        let mut index = Index::default();
        let role = |name, version| object(ROLES, Some("a"), name, version, rules("pods"));
        let there = |index: &Index, name: &str| index.roles.contains_key(&(Some("a".into()), name.into()));
        index.put(&role("stays", 3));
        index.remove(&role("gone", 10).key, 11);
        index.settled(11);
        assert!(index.removed.is_empty() && index.versions.len() == 1, "what is gone is not marked any more");
        index.put(&role("gone", 10));
        assert!(!there(&index, "gone"), "written before it was removed, told afterwards");
        index.put(&role("stays", 4));
        assert_eq!(index.versions.get(&role("stays", 4).key), Some(&4));
        index.put(&role("gone", 12));
        assert!(there(&index, "gone"), "made again");
        index.remove(&role("gone", 12).key, 13);
        index.put(&role("gone", 14));
        index.settled(14);
        assert!(there(&index, "gone") && index.versions.len() == 2 && index.removed.is_empty());
        index.replace(&[role("missed", 9), role("stays", 4)], 15);
        assert!(there(&index, "missed") && there(&index, "stays") && !there(&index, "gone"), "a list is believed");
        index.put(&role("gone", 14));
        assert!(!there(&index, "gone"), "older than the list that it is not in");
    }
}

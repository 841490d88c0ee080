//! ClusterRoles that are gathered from others (`aggregationRule`): which of them do not say yet what they should.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::index::{Index, Name};
use super::selector::selects;

impl Index {
    /// The first ClusterRole that is gathered from others and does not say what they say, with what it should say. Only the first: what others
    /// should say may follow from it, and two that gather each other would swap their rules for ever.
    pub(super) fn ungathered(&self) -> Option<(Name, Vec<PolicyRule>)> {
        self.gathering().find_map(|(name, selectors)| {
            let mut rules: Vec<PolicyRule> = Vec::new();
            for (other, source) in &self.cluster_roles {
                if other != name && selectors.iter().any(|selector| selects(selector, source)) {
                    for rule in list_rules(source) {
                        if !rules.contains(rule) {
                            rules.push(rule.clone());
                        }
                    }
                }
            }
            // In which order they are said, and how often, makes no difference.
            let says = self.cluster_roles.get(name).map_or(&[][..], |role| list_rules(role));
            let same = says.iter().all(|rule| rules.contains(rule)) && rules.iter().all(|rule| says.contains(rule));
            (!same).then(|| (name.clone(), rules))
        })
    }

    /// In how many writes every ClusterRole should be gathered.
    pub(super) fn rounds(&self) -> usize {
        (self.gathering().count() + 1).pow(2)
    }

    fn gathering(&self) -> impl Iterator<Item = (&Name, &Vec<LabelSelector>)> {
        self.cluster_roles
            .iter()
            .filter_map(|(name, role)| Some((name, role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?)))
    }
}

fn list_rules(role: &ClusterRole) -> &[PolicyRule] {
    role.rules.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rbac::CLUSTER_ROLES;
    use crate::auth::rbac::index::tests::{object, rules};
    use serde_json::{Value, json};

    #[test]
    fn roles_that_gather_each_other_come_to_rest() {
        let mut index = Index::default();
        let gathers = |labels: &[&str], mut body: Value, into: &str| {
            let selectors: Vec<Value> = labels.iter().map(|l| json!({"matchLabels": {"to": l}})).collect();
            if !selectors.is_empty() {
                body["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
            }
            body["metadata"]["labels"]["to"] = into.into();
            body
        };
        for (version, name, body) in [
            (1, "a", gathers(&["a"], rules("x"), "b")),
            (2, "b", gathers(&["b"], rules("y"), "a")),
            (3, "d", gathers(&[], rules("d"), "a")),
            (4, "e", gathers(&[], rules("e"), "b")),
        ] {
            index.put(&object(CLUSTER_ROLES, None, name, version, body));
        }
        let mut version = 5;
        let rounds = index.rounds();
        while let Some((name, rules)) = index.ungathered() {
            let mut role = ClusterRole::clone(&index.cluster_roles[&name]);
            // However it was written before.
            role.rules = Some(rules.iter().rev().chain(&rules[..1]).cloned().collect());
            index.put(&object(CLUSTER_ROLES, None, &name, version, json!(role)));
            version += 1;
            assert!(version < 5 + u64::try_from(rounds).unwrap(), "they do not come to rest");
        }
        let says = |name: &str| {
            let rules = list_rules(&index.cluster_roles[name]).iter();
            rules.flat_map(|rule| rule.resources.clone().unwrap_or_default()).collect::<std::collections::BTreeSet<_>>()
        };
        for name in ["a", "b"] {
            assert!(["d", "e"].iter().all(|of| says(name).contains(*of)), "{name}: {:?}", says(name));
        }
    }
}

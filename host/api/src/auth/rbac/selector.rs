//! Label selectors of aggregation rules.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether a selector chooses a role. An empty one chooses all of them; one that cannot be understood, none.
pub(super) fn selects(selector: &LabelSelector, role: &ClusterRole) -> bool {
    let none = BTreeMap::new();
    let labels = role.metadata.labels.as_ref().unwrap_or(&none);
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let fits = selector.match_expressions.iter().flatten().all(|wanted| {
        let value = labels.get(&wanted.key);
        let listed = || value.is_some_and(|value| wanted.values.iter().flatten().any(|v| v == value));
        match wanted.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    equal && fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_compared_as_kubernetes_does() {
        let role: ClusterRole = serde_json::from_value(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"labels": {"a": "1"}},
        }))
        .expect("a role");
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "2"}}), false),
            (json!({"matchLabels": {"a": "1", "b": "1"}}), false),
            (expression("a", "In", &["1", "2"]), true),
            (expression("a", "NotIn", &["1"]), false),
            (expression("b", "NotIn", &["1"]), true),
            (expression("a", "Exists", &[]), true),
            (expression("a", "DoesNotExist", &[]), false),
            (expression("a", "Gt", &["0"]), false),
        ];
        for (selector, expected) in cases {
            let read: LabelSelector = serde_json::from_value(selector.clone()).expect("a selector");
            assert_eq!(selects(&read, &role), expected, "{selector}");
        }
    }
}

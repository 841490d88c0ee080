//! What the schemas of roles and bindings cannot say, worded as in Kubernetes.

use serde_json::{Value, json};

use super::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES};
use crate::registry::Kind;
use crate::schema::{ErrorKind, FieldError, is_dns_subdomain};

/// Completes a binding: the groups that Kubernetes fills in.
pub(crate) fn complete(kind: &Kind, body: &mut Value) {
    if !kind.builtin || &*kind.resource.group != GROUP {
        return;
    }
    if matches!(&*kind.resource.plural, ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS) && body.get("roleRef").is_none() {
        body["roleRef"] = json!({"apiGroup": GROUP});
    }
    for subject in body.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        let group = subject["apiGroup"].as_str().unwrap_or_default();
        if group.is_empty() && subject.is_object() && matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            subject["apiGroup"] = GROUP.into();
        }
    }
}

/// Checks a role or binding; nothing for other kinds.
pub(crate) fn check(kind: &Kind, body: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !kind.builtin || &*kind.resource.group != GROUP {
        return errors;
    }
    match &*kind.resource.plural {
        plural @ (ROLES | CLUSTER_ROLES) => role(plural == ROLES, body, &mut errors),
        plural @ (ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS) => {
            binding(plural == ROLE_BINDINGS, body, &mut errors);
            let role = &body["roleRef"];
            if old.is_some_and(|old| old["roleRef"] != *role) {
                // Kubernetes names the fields as its program does.
                let told = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
                errors.push(FieldError::invalid("roleRef", &told, "cannot change roleRef"));
            }
        }
        _ => {}
    }
    errors
}

fn role(namespaced: bool, body: &Value, errors: &mut Vec<FieldError>) {
    let rules = body["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        let at = |field: &str| format!("rules[{index}].{field}");
        let empty = |field: &str| rule[field].as_array().is_none_or(Vec::is_empty);
        if empty("verbs") {
            errors.push(FieldError::required(at("verbs"), "verbs must contain at least one value"));
        }
        if !empty("nonResourceURLs") {
            let mut wrong =
                |why: &str| errors.push(FieldError::invalid(at("nonResourceURLs"), &rule["nonResourceURLs"], why));
            if namespaced {
                wrong("namespaced rules cannot apply to non-resource URLs");
            }
            if !(empty("apiGroups") && empty("resources") && empty("resourceNames")) {
                wrong("rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if empty("apiGroups") {
            errors.push(FieldError::required(at("apiGroups"), "resource rules must supply at least one api group"));
        }
        if empty("resources") {
            errors.push(FieldError::required(at("resources"), "resource rules must supply at least one resource"));
        }
    }
    aggregation(&body["aggregationRule"], errors);
}

fn aggregation(rule: &Value, errors: &mut Vec<FieldError>) {
    const AT: &str = "aggregationRule.clusterRoleSelectors";
    if !rule.is_object() {
        return;
    }
    let selectors = rule["clusterRoleSelectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(AT, detail));
    }
    for (index, selector) in selectors.iter().enumerate() {
        let before = errors.len();
        for (number, wanted) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
            let at = format!("{AT}[{index}].matchExpressions[{number}]");
            let values = wanted["values"].as_array().is_some_and(|values| !values.is_empty());
            match (wanted["operator"].as_str().unwrap_or_default(), values) {
                ("In" | "NotIn", false) => {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.push(FieldError::required(format!("{at}.values"), detail));
                }
                ("Exists" | "DoesNotExist", true) => {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.push(FieldError::forbidden(format!("{at}.values"), detail));
                }
                ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
                (other, _) => {
                    errors.push(FieldError::invalid(
                        format!("{at}.operator"),
                        &other.into(),
                        "not a valid selector operator",
                    ));
                }
            }
        }
        if errors.len() > before {
            errors.push(FieldError::invalid(format!("{AT}[{index}]"), &Value::Null, "invalid label selector."));
        }
    }
}

fn binding(namespaced: bool, body: &Value, errors: &mut Vec<FieldError>) {
    let role = &body["roleRef"];
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let group = text(role, "apiGroup");
    if group != GROUP {
        errors.push(unsupported("roleRef.apiGroup", &group, &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let kind = text(role, "kind");
    if !kinds.contains(&kind.as_str()) {
        errors.push(unsupported("roleRef.kind", &kind, kinds));
    }
    let name = text(role, "name");
    if name.is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    } else if let Some(why) = path_segment(&name) {
        errors.push(FieldError::invalid("roleRef.name", &name.into(), why));
    }
    for (index, subject) in body["subjects"].as_array().into_iter().flatten().enumerate() {
        let at = |field: &str| format!("subjects[{index}].{field}");
        let (kind, name, group) = (text(subject, "kind"), text(subject, "name"), text(subject, "apiGroup"));
        if name.is_empty() {
            errors.push(FieldError::required(at("name"), ""));
        }
        match kind.as_str() {
            "ServiceAccount" => {
                if !name.is_empty() && !is_dns_subdomain(&name) {
                    errors.push(FieldError::invalid(at("name"), &name.into(), crate::schema::names::SUBDOMAIN));
                }
                if !group.is_empty() {
                    errors.push(unsupported(&at("apiGroup"), &group, &[""]));
                }
                if !namespaced && text(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(at("namespace"), ""));
                }
            }
            "User" | "Group" if group == GROUP => {}
            "User" | "Group" => errors.push(unsupported(&at("apiGroup"), &group, &[GROUP])),
            _ => errors.push(unsupported(&at("kind"), &kind, &["ServiceAccount", "User", "Group"])),
        }
    }
}

fn unsupported(field: &str, value: &str, supported: &[&str]) -> FieldError {
    let supported: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
    let detail = format!("supported values: {}", supported.join(", "));
    FieldError::new(ErrorKind::NotSupported, field, Some(value.into()), detail)
}

/// Whether the objects of a kind are named as roles are.
pub(crate) fn names_are_segments(kind: &Kind) -> bool {
    kind.builtin && &*kind.resource.group == GROUP
}

/// What keeps a name from being a segment of a path: roles and bindings may be called anything else.
pub(crate) fn path_segment(name: &str) -> Option<String> {
    if matches!(name, "." | "..") {
        return Some(format!("may not be '{name}'"));
    }
    let found = ['/', '%'].into_iter().find(|c| name.contains(*c));
    found.map(|c| format!("may not contain '{c}'"))
}

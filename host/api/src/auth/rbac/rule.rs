//! What a rule allows, and whether rules hold as much as others.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::auth::attributes::{Attributes, Resource, Target};

/// A list of a rule: left out is empty.
pub(super) fn list(field: &Option<Vec<String>>) -> &[String] {
    field.as_deref().unwrap_or_default()
}

fn has(set: &[String], wanted: &str) -> bool {
    set.iter().any(|one| one == wanted)
}

fn has_or_all(set: &[String], wanted: &str) -> bool {
    set.iter().any(|one| one == "*" || one == wanted)
}

/// Whether a rule allows this.
pub(super) fn allows(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    has_or_all(&rule.verbs, &attributes.verb)
        && match &attributes.target {
            Target::Path(path) => list(&rule.non_resource_urls).iter().any(|url| covers_path(url, path)),
            Target::Resource(at) => {
                let names = list(&rule.resource_names);
                has_or_all(list(&rule.api_groups), at.group)
                    && list(&rule.resources).iter().any(|resource| matches(resource, at))
                    && (names.is_empty() || has(names, at.name))
            }
        }
}

fn matches(rule: &str, at: &Resource<'_>) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => at.subresource.is_empty() && rule == at.resource,
        Some((resource, subresource)) => {
            !at.subresource.is_empty() && subresource == at.subresource && (resource == "*" || resource == at.resource)
        }
    }
}

fn covers_path(owner: &str, path: &str) -> bool {
    owner == path || owner.ends_with('*') && path.starts_with(owner.trim_end_matches('*'))
}

/// What of `wanted` is not held: one verb on one resource each.
pub(super) fn missing(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let parts = wanted.iter().flat_map(parts);
    parts.filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// A rule as rules with one verb, one resource and one name each.
fn parts(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |text: &String| Some(vec![text.clone()]);
    let mut out = Vec::new();
    for group in list(&rule.api_groups) {
        for resource in list(&rule.resources) {
            for verb in &rule.verbs {
                let part = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                match list(&rule.resource_names) {
                    [] => out.push(part),
                    names => out.extend(names.iter().map(|n| PolicyRule { resource_names: one(n), ..part.clone() })),
                }
            }
        }
    }
    for url in list(&rule.non_resource_urls) {
        for verb in &rule.verbs {
            out.push(PolicyRule { non_resource_urls: one(url), verbs: vec![verb.clone()], ..PolicyRule::default() });
        }
    }
    out
}

/// Whether a rule allows all that one of the [`parts`] does.
fn covers(owner: &PolicyRule, part: &PolicyRule) -> bool {
    let resource = |path: &String| {
        let wide = || path.split_once('/').is_some_and(|(_, sub)| has(list(&owner.resources), &format!("*/{sub}")));
        has_or_all(list(&owner.resources), path) || wide()
    };
    let url = |path: &String| list(&owner.non_resource_urls).iter().any(|owner| covers_path(owner, path));
    let names = list(&owner.resource_names);
    let named = match list(&part.resource_names) {
        [] => names.is_empty(),
        wanted => names.is_empty() || wanted.iter().all(|name| has(names, name)),
    };
    part.verbs.iter().all(|verb| has_or_all(&owner.verbs, verb))
        && list(&part.api_groups).iter().all(|group| has_or_all(list(&owner.api_groups), group))
        && list(&part.resources).iter().all(resource)
        && list(&part.non_resource_urls).iter().all(url)
        && named
}

/// Rules for a person: those that differ by their verbs only as one, in order.
pub(super) fn describe(rules: Vec<PolicyRule>) -> String {
    let mut simple: BTreeMap<Vec<Vec<String>>, PolicyRule> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    for rule in rules {
        if !list(&rule.non_resource_urls).is_empty() {
            lines.insert(compact(&rule));
            continue;
        }
        let key = [&rule.api_groups, &rule.resources, &rule.resource_names].map(|f| list(f).to_vec()).to_vec();
        match simple.get_mut(&key) {
            Some(known) => known.verbs.extend(rule.verbs),
            None => drop(simple.insert(key, rule)),
        }
    }
    lines.extend(simple.values().map(compact));
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn compact(rule: &PolicyRule) -> String {
    let fields = [
        ("APIGroups", list(&rule.api_groups)),
        ("Resources", list(&rule.resources)),
        ("NonResourceURLs", list(&rule.non_resource_urls)),
        ("ResourceNames", list(&rule.resource_names)),
        ("Verbs", &rule.verbs),
    ];
    let said = fields.into_iter().filter(|(_, values)| !values.is_empty());
    let said: Vec<String> = said.map(|(name, values)| format!("{name}:{}", quoted(values))).collect();
    format!("{{{}}}", said.join(", "))
}

/// `["a" "b"]`, as Go prints it.
pub(crate) fn quoted(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rule(value: Value) -> PolicyRule {
        serde_json::from_value(value).expect("a rule")
    }

    #[test]
    fn a_rule_allows_what_it_says_and_nothing_else() {
        let at =
            |group, resource, subresource, name| Resource { group, resource, subresource, name, ..Resource::default() };
        let get_widgets = json!({"apiGroups": ["g"], "resources": ["widgets"], "verbs": ["get"]});
        let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
        let status = json!({"apiGroups": ["g"], "resources": ["*/status", "gadgets/log"], "verbs": ["get"]});
        let one =
            json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get", "create"]});
        let cases = [
            (&get_widgets, "get", at("g", "widgets", "", "x"), true),
            (&get_widgets, "list", at("g", "widgets", "", ""), false),
            (&get_widgets, "get", at("", "widgets", "", "x"), false),
            (&get_widgets, "get", at("g", "gadgets", "", "x"), false),
            (&get_widgets, "get", at("g", "widgets", "status", "x"), false),
            (&all, "deletecollection", at("any", "thing", "", ""), true),
            (&all, "create", at("any", "thing", "sub", "x"), true),
            (&status, "get", at("g", "widgets", "status", "x"), true),
            (&status, "get", at("g", "widgets", "plan", "x"), false),
            (&status, "get", at("g", "gadgets", "log", "x"), true),
            (&status, "get", at("g", "widgets", "", "x"), false),
            (&one, "get", at("", "secrets", "", "a"), true),
            (&one, "get", at("", "secrets", "", "b"), false),
            (&one, "create", at("", "secrets", "", ""), false),
        ];
        for (source, verb, at, expected) in cases {
            assert_eq!(allows(&rule(source.clone()), &Attributes::on(verb, at)), expected, "{source} {verb} {at:?}");
        }
    }

    #[test]
    fn paths_match_whole_or_by_their_beginning() {
        let rule = rule(json!({"nonResourceURLs": ["/metrics", "/openapi/*"], "verbs": ["get"]}));
        for (path, expected) in
            [("/metrics", true), ("/metrics/x", false), ("/openapi/v3", true), ("/openapi", false), ("/", false)]
        {
            let attributes = Attributes { verb: "get".into(), target: Target::Path(path.into()) };
            assert_eq!(allows(&rule, &attributes), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_held_is_said() {
        let held = [
            rule(json!({"apiGroups": ["g"], "resources": ["widgets", "*/status"], "verbs": ["get", "list"]})),
            rule(json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["*"]})),
            rule(json!({"nonResourceURLs": ["/a/*"], "verbs": ["get"]})),
        ];
        let cases = [
            (json!({"apiGroups": ["g"], "resources": ["widgets", "gadgets/status"], "verbs": ["get"]}), ""),
            (json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]}), ""),
            (json!({"nonResourceURLs": ["/a/b", "/a/*"], "verbs": ["get"]}), ""),
            (
                json!({"apiGroups": ["g"], "resources": ["widgets"], "verbs": ["get", "create", "delete"]}),
                r#"{APIGroups:["g"], Resources:["widgets"], Verbs:["create" "delete"]}"#,
            ),
            (
                json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#,
            ),
            (
                json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]}),
                r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}"#,
            ),
            (
                json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
                r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#,
            ),
            (json!({"nonResourceURLs": ["/*"], "verbs": ["get"]}), r#"{NonResourceURLs:["/*"], Verbs:["get"]}"#),
        ];
        for (wanted, expected) in cases {
            assert_eq!(describe(missing(&held, &[rule(wanted.clone())])), expected, "{wanted}");
        }
    }
}

//! What a plugin may touch.
//!
//! A grant is a Kubernetes PolicyRule plus namespaces, names and targets. It names **kinds** where a PolicyRule names resources: a plan and a
//! handle speak of `apiVersion` and `kind`, and a grant must be decidable before any target was asked what it calls its resources.
//!
//! ```yaml
//! - capability: kubernetes          # what a plan may apply and remove on targets, and what handles read there
//!   rules:
//!   - apiGroups: [apps]
//!     kinds: [Deployment]
//!     verbs: [get, list, watch, apply, delete]
//!   - apiGroups: [""]
//!     kinds: [Node]
//!     verbs: [get, list, watch]
//!     namespaces: ["*"]             # needed for what has no namespace, and for lists over all of them
//! - capability: state               # other objects of this control plane; reading only
//!   rules:
//!   - {apiGroups: [threeport.dev], kinds: [Cluster], verbs: [get, list]}
//! ```
//!
//! Without `namespaces` a rule is good for the namespaces of the object's own tenant, whichever those are on the target: the host says so with
//! [`Grants::within`] for each run. Without `names` or `targets` it is good for all of them. Everything else is denied.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Grant;

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read one.
    Get,
    /// Read many.
    List,
    /// Be rung when one changes.
    Watch,
    /// Have it applied.
    Apply,
    /// Have it removed.
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Apply => "apply",
            Self::Delete => "delete",
        })
    }
}

/// One rule of the capability `kubernetes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesRule {
    /// `""` is the core group, `*` every group.
    pub api_groups: Vec<String>,
    /// As manifests spell them; `*` is every kind.
    pub kinds: Vec<String>,
    /// At least one.
    pub verbs: Vec<Verb>,
    /// None: those of the object's tenant. `*`: all, and what has no namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// None: every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Names of target objects. None: every target that the object refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
}

/// One rule of the capability `state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateRule {
    /// `""` is the core group, `*` every group.
    pub api_groups: Vec<String>,
    /// As manifests spell them; `*` is every kind.
    pub kinds: Vec<String>,
    /// `get` and `list`.
    pub verbs: Vec<Verb>,
    /// None: the object's own. `*`: all, and what has no namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
}

/// Everything that a plugin has, or asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Of the capability `kubernetes`.
    pub kubernetes: Vec<KubernetesRule>,
    /// Of the capability `state`.
    pub state: Vec<StateRule>,
}

impl Grants {
    /// Reads grants as a descriptor or a Plugin object gives them.
    ///
    /// # Errors
    /// A sentence that names the grant and what is wrong with it.
    pub fn parse(grants: &[Grant]) -> Result<Self, String> {
        let mut all = Self::default();
        for (index, grant) in grants.iter().enumerate() {
            let at = |error: &dyn fmt::Display| format!("grants[{index}] ({}): {error}", grant.capability);
            match grant.capability.as_str() {
                "kubernetes" => {
                    let rules: Vec<KubernetesRule> = serde_json::from_str(&grant.rules).map_err(|error| at(&error))?;
                    for rule in &rules {
                        complete(&rule.api_groups, &rule.kinds, &rule.verbs).map_err(|error| at(&error))?;
                    }
                    all.kubernetes.extend(rules);
                }
                "state" => {
                    let rules: Vec<StateRule> = serde_json::from_str(&grant.rules).map_err(|error| at(&error))?;
                    for rule in &rules {
                        complete(&rule.api_groups, &rule.kinds, &rule.verbs).map_err(|error| at(&error))?;
                        if rule.verbs.iter().any(|verb| !matches!(verb, Verb::Get | Verb::List)) {
                            return Err(at(&"verbs of this capability are get and list"));
                        }
                    }
                    all.state.extend(rules);
                }
                _ => return Err(at(&"this host knows the capabilities kubernetes and state")),
            }
        }
        Ok(all)
    }

    /// The grants of one run: rules without `namespaces` become good for these, the tenant's own.
    #[must_use]
    pub fn within<S: AsRef<str>>(&self, namespaces: &[S]) -> Self {
        let own: Vec<String> = namespaces.iter().map(|namespace| namespace.as_ref().to_owned()).collect();
        let mut grants = self.clone();
        for namespaces in grants.kubernetes.iter_mut().map(|rule| &mut rule.namespaces) {
            namespaces.get_or_insert_with(|| own.clone());
        }
        for namespaces in grants.state.iter_mut().map(|rule| &mut rule.namespaces) {
            namespaces.get_or_insert_with(|| own.clone());
        }
        grants
    }

    /// The grants on one target: rules for others are left out.
    #[must_use]
    pub fn on_target(&self, target: &str) -> Self {
        let mut grants = self.clone();
        grants.kubernetes.retain(|rule| rule.targets.as_ref().is_none_or(|targets| lists(targets, target)));
        grants
    }

    /// Whether a target's object may be touched so. `namespace` is None for what has none and for all of them, `name` is None for lists.
    ///
    /// # Errors
    /// The missing grant, as it would be written down.
    pub fn allows_kubernetes(
        &self,
        verb: Verb,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<(), String> {
        let group = group(api_version);
        let allowed = self.kubernetes.iter().any(|rule| {
            lists(&rule.api_groups, group)
                && lists(&rule.kinds, kind)
                && rule.verbs.contains(&verb)
                && in_scope(rule.namespaces.as_deref(), namespace)
                && rule.names.as_ref().is_none_or(|names| name.is_some_and(|name| lists(names, name)))
        });
        if allowed { Ok(()) } else { Err(missing("kubernetes", group, kind, verb, namespace)) }
    }

    /// Whether another object of this control plane may be read. `namespace` is None for what has none and for all of them.
    ///
    /// # Errors
    /// The missing grant, as it would be written down.
    pub fn allows_state(
        &self,
        verb: Verb,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<(), String> {
        let group = group(api_version);
        let allowed = self.state.iter().any(|rule| {
            lists(&rule.api_groups, group)
                && lists(&rule.kinds, kind)
                && rule.verbs.contains(&verb)
                && in_scope(rule.namespaces.as_deref(), namespace)
        });
        if allowed { Ok(()) } else { Err(missing("state", group, kind, verb, namespace)) }
    }

    /// Whether these grants hold everything that is asked for.
    ///
    /// # Errors
    /// What is missing, a grant for each kind, as they would be written down.
    pub fn covers(&self, requested: &Self) -> Result<(), Vec<String>> {
        let mut lacks = Vec::new();
        for rule in &requested.kubernetes {
            let held = |group: &str, kind: &str, verb| {
                self.kubernetes.iter().any(|mine| {
                    lists(&mine.api_groups, group)
                        && lists(&mine.kinds, kind)
                        && mine.verbs.contains(&verb)
                        && wide(mine.namespaces.as_deref(), rule.namespaces.as_deref(), false)
                        && wide(mine.names.as_deref(), rule.names.as_deref(), true)
                        && wide(mine.targets.as_deref(), rule.targets.as_deref(), true)
                })
            };
            let lacking = lacking(&rule.api_groups, &rule.kinds, &rule.verbs, held);
            lacks.extend(lacking.map(|(api_groups, kinds, verbs)| {
                written("kubernetes", &KubernetesRule { api_groups, kinds, verbs, ..rule.clone() })
            }));
        }
        for rule in &requested.state {
            let held = |group: &str, kind: &str, verb| {
                self.state.iter().any(|mine| {
                    lists(&mine.api_groups, group)
                        && lists(&mine.kinds, kind)
                        && mine.verbs.contains(&verb)
                        && wide(mine.namespaces.as_deref(), rule.namespaces.as_deref(), false)
                })
            };
            let lacking = lacking(&rule.api_groups, &rule.kinds, &rule.verbs, held);
            lacks.extend(lacking.map(|(api_groups, kinds, verbs)| {
                written("state", &StateRule { api_groups, kinds, verbs, ..rule.clone() })
            }));
        }
        if lacks.is_empty() { Ok(()) } else { Err(lacks) }
    }
}

/// What of a rule is not held: for each group and kind its verbs, in the shape of a rule.
fn lacking<'a>(
    groups: &'a [String],
    kinds: &'a [String],
    verbs: &'a [Verb],
    held: impl Fn(&str, &str, Verb) -> bool + 'a,
) -> impl Iterator<Item = (Vec<String>, Vec<String>, Vec<Verb>)> + 'a {
    let pairs = groups.iter().flat_map(move |group| kinds.iter().map(move |kind| (group, kind)));
    pairs.filter_map(move |(group, kind)| {
        let verbs: Vec<Verb> = verbs.iter().copied().filter(|verb| !held(group, kind, *verb)).collect();
        (!verbs.is_empty()).then(|| (vec![group.clone()], vec![kind.clone()], verbs))
    })
}

fn complete(groups: &[String], kinds: &[String], verbs: &[Verb]) -> Result<(), &'static str> {
    if groups.is_empty() || kinds.is_empty() || verbs.is_empty() {
        return Err("a rule needs apiGroups, kinds and verbs");
    }
    Ok(())
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether a list of a rule names a value. `*` in it is everything; `lists(list, "*")` asks for just that.
pub fn lists(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == "*" || item == value)
}

/// A rule that was not told the tenant's namespaces is good for none.
fn in_scope(rule: Option<&[String]>, namespace: Option<&str>) -> bool {
    let Some(rule) = rule else { return false };
    match namespace {
        Some(namespace) => lists(rule, namespace),
        None => lists(rule, "*"),
    }
}

/// Whether `mine` holds all of `theirs`. What leaving it out means differs: everything for names and targets, the tenant's own for namespaces.
fn wide(mine: Option<&[String]>, theirs: Option<&[String]>, absent_is_all: bool) -> bool {
    match (mine, theirs) {
        (None, None) => true,
        (None, Some(_)) => absent_is_all,
        (Some(mine), None) => lists(mine, "*"),
        (Some(mine), Some(theirs)) => theirs.iter().all(|item| lists(mine, item)),
    }
}

fn written(capability: &str, rule: &impl Serialize) -> String {
    let rule = serde_json::to_string(rule).unwrap_or_default();
    format!(r#"{{"capability":"{capability}","rules":[{rule}]}}"#)
}

fn missing(capability: &str, group: &str, kind: &str, verb: Verb, namespace: Option<&str>) -> String {
    let rule = KubernetesRule {
        api_groups: vec![group.to_owned()],
        kinds: vec![kind.to_owned()],
        verbs: vec![verb],
        namespaces: Some(vec![namespace.unwrap_or("*").to_owned()]),
        names: None,
        targets: None,
    };
    written(capability, &rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(rules: &str) -> Grants {
        Grants::parse(&[Grant { capability: "kubernetes".into(), rules: rules.into() }]).unwrap()
    }

    #[test]
    fn a_rule_without_namespaces_is_good_for_the_tenants_own() {
        let grants = grants(r#"[{"apiGroups":["apps"],"kinds":["Deployment"],"verbs":["apply"]}]"#);
        let allows = |grants: &Grants, namespace| {
            grants.allows_kubernetes(Verb::Apply, "apps/v1", "Deployment", namespace, Some("web"))
        };
        assert!(allows(&grants, Some("shop")).is_err(), "nobody said which namespaces are the tenant's");
        let grants = grants.within(&["shop"]);
        assert!(allows(&grants, Some("shop")).is_ok());
        assert!(allows(&grants, Some("kube-system")).is_err());
        assert!(allows(&grants, None).is_err(), "cluster-scoped, or all namespaces");
    }

    #[test]
    fn a_denial_is_the_missing_grant_as_it_is_written() {
        let missing =
            Grants::default().allows_kubernetes(Verb::Get, "v1", "Secret", Some("shop"), Some("x")).unwrap_err();
        assert_eq!(
            missing,
            r#"{"capability":"kubernetes","rules":[{"apiGroups":[""],"kinds":["Secret"],"verbs":["get"],"namespaces":["shop"]}]}"#
        );
        let value: serde_json::Value = serde_json::from_str(&missing).unwrap();
        let granted = grants(&value["rules"].to_string());
        assert!(granted.allows_kubernetes(Verb::Get, "v1", "Secret", Some("shop"), Some("x")).is_ok());
    }

    #[test]
    fn names_and_targets_narrow() {
        let grants = grants(
            r#"[{"apiGroups":[""],"kinds":["Node"],"verbs":["get","list"],"namespaces":["*"],"names":["one"],"targets":["prod"]}]"#,
        );
        let get = |grants: &Grants, name| grants.allows_kubernetes(Verb::Get, "v1", "Node", None, name).is_ok();
        assert!(get(&grants, Some("one")) && !get(&grants, Some("two")));
        assert!(!get(&grants, None), "a list is of every name");
        assert!(get(&grants.on_target("prod"), Some("one")) && !get(&grants.on_target("other"), Some("one")));
    }

    #[test]
    fn covering_is_decided_for_each_group_kind_and_verb() {
        let held = grants(
            r#"[{"apiGroups":["apps"],"kinds":["*"],"verbs":["get","apply"]},{"apiGroups":[""],"kinds":["Pod"],"verbs":["list"],"namespaces":["*"]}]"#,
        );
        let wanted = grants(
            r#"[{"apiGroups":["apps"],"kinds":["Deployment"],"verbs":["apply"]},{"apiGroups":[""],"kinds":["Pod"],"verbs":["list"]}]"#,
        );
        assert_eq!(held.covers(&wanted), Ok(()));
        assert_eq!(held.covers(&held), Ok(()));
        let lacks = wanted.covers(&held).unwrap_err();
        assert_eq!(lacks.len(), 2, "a grant for each kind: {lacks:?}");
        assert!(lacks[0].contains(r#""verbs":["get","apply"]"#), "{lacks:?}");
        assert!(
            lacks.iter().any(|grant| grant.contains(r#""kinds":["Pod"]"#) && grant.contains(r#""namespaces":["*"]"#))
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let parse = |capability: &str, rules: &str| {
            Grants::parse(&[Grant { capability: capability.into(), rules: rules.into() }])
        };
        assert!(parse("http", "[]").unwrap_err().contains("capabilities kubernetes and state"));
        assert!(parse("kubernetes", r#"[{"apiGroups":[""],"kinds":["Pod"],"verbs":["exec"]}]"#).is_err());
        assert!(parse("kubernetes", r#"[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]"#).is_err());
        assert!(parse("kubernetes", r#"[{"apiGroups":[],"kinds":["Pod"],"verbs":["get"]}]"#).is_err());
        assert!(parse("state", r#"[{"apiGroups":[""],"kinds":["Pod"],"verbs":["delete"]}]"#).is_err());
    }
}

//! What objects refer to, by the rules that a plugin declared for its kinds. Pure functions on JSON, used by `api` (edges of what a user writes) and
//! `controller` (what a plugin is told, edges of what a Definition says).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::types::{Edge, Key, Resource};

/// A field of a kind that names another object, as published on its CustomResourceDefinition; see `reference` in `wit/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceRule {
    /// The kind that has the field; other kinds of the plugin have other rules.
    pub kind: String,
    /// Path of the field, `spec.cluster`; `[]` after a name goes through a list.
    pub field: String,
    /// apiVersion of what it names.
    #[serde(alias = "to-api-version")]
    pub to_api_version: String,
    /// Kinds it may name; the first is meant where the field does not say.
    #[serde(alias = "to-kinds")]
    pub to_kinds: Vec<String>,
    /// Whether it may name something in another namespace.
    #[serde(default, alias = "cross-namespace")]
    pub cross_namespace: bool,
    /// `target`, `requires` or `uses`.
    pub role: String,
}

impl ReferenceRule {
    /// API group of what it names.
    pub fn group(&self) -> &str {
        self.to_api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }
}

/// An object that a field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The field, with the positions in lists: `spec.sources[0].ref`.
    pub field: String,
    /// The kind that is meant.
    pub kind: String,
    /// The namespace; None for what has none.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// A field that names an object as its rule does not allow.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {message}")]
pub struct BadReference {
    /// The part of the field that is wrong.
    pub field: String,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub message: String,
    /// The kind is not one of those that may be named.
    pub unsupported: bool,
}

/// Collection and scope (true: namespaced) of a group and kind; None while nobody serves it.
pub type Lookup<'a> = &'a dyn Fn(&str, &str) -> Option<(Resource, bool)>;

/// The objects that a rule's field names. A reference is a string (the name) or an object with `name` and, where they differ from the default, `kind`
/// and `namespace`. What names nothing refers to nothing: whether it may is for the schema to say.
pub fn named(object: &Value, rule: &ReferenceRule, lookup: Lookup<'_>) -> Vec<Result<Named, BadReference>> {
    let own = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let found = values(object, &rule.field).into_iter();
    found.filter_map(|(field, value)| read(rule, value, own, field, lookup).transpose()).collect()
}

/// The references of an object by all rules of its kind, and what is wrong with them.
pub fn edges(object: &Value, rules: &[ReferenceRule], lookup: Lookup<'_>) -> (Vec<Edge>, Vec<BadReference>) {
    let (mut edges, mut wrong) = (Vec::new(), Vec::new());
    for rule in rules {
        for found in named(object, rule, lookup) {
            match found {
                Ok(Named { field, kind, namespace, name }) => {
                    let resource = lookup(rule.group(), &kind).map(|(resource, _)| resource);
                    // Not served yet: it will most likely be called that.
                    let resource = resource.unwrap_or_else(|| Resource::new(rule.group(), plural(&kind)));
                    let to = Key { resource, namespace: namespace.map(Into::into), name: name.into() };
                    edges.push(Edge { to, role: rule.role.clone(), field });
                }
                Err(bad) => wrong.push(bad),
            }
        }
    }
    (edges, wrong)
}

/// What a kind's collection is called if nobody says otherwise, as Kubernetes' clients guess it.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

fn read(
    rule: &ReferenceRule,
    value: &Value,
    own: Option<&str>,
    field: String,
    lookup: Lookup<'_>,
) -> Result<Option<Named>, BadReference> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = match value {
        Value::String(name) if !name.is_empty() => name.as_str(),
        Value::Object(_) => match text("name") {
            Some(name) => name,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let Some(kind) = text("kind").or(rule.to_kinds.first().map(String::as_str)) else { return Ok(None) };
    if !rule.to_kinds.iter().any(|allowed| allowed == kind) {
        let allowed: Vec<String> = rule.to_kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
        return Err(BadReference {
            field: format!("{field}.kind"),
            value: kind.to_owned(),
            message: format!("supported values: {}", allowed.join(", ")),
            unsupported: true,
        });
    }
    let namespaced = lookup(rule.group(), kind).is_none_or(|(_, namespaced)| namespaced);
    let namespace = text("namespace").filter(|_| namespaced);
    if let Some(away) = namespace.filter(|namespace| !rule.cross_namespace && Some(*namespace) != own) {
        return Err(BadReference {
            field: format!("{field}.namespace"),
            value: away.to_owned(),
            message: format!(
                "must be the object's own namespace, not {away:?}: this reference may not cross namespaces"
            ),
            unsupported: false,
        });
    }
    let namespace = if namespaced { namespace.or(own).map(str::to_owned) } else { None };
    Ok(Some(Named { field, kind: kind.to_owned(), namespace, name: name.to_owned() }))
}

/// The values at a dotted path; `[]` or `[*]` goes into lists. A path that does not start at the object is one below its spec.
fn values<'a>(object: &'a Value, field: &str) -> Vec<(String, &'a Value)> {
    let field = field.trim_start_matches("$.").trim_start_matches('.');
    let first = field.split(['.', '[']).next().unwrap_or_default();
    let mut found = if ["spec", "metadata", "status"].contains(&first) {
        vec![(String::new(), object)]
    } else {
        object.get("spec").map(|spec| ("spec".to_owned(), spec)).into_iter().collect()
    };
    for step in field.split('.') {
        let (name, list) = match step.strip_suffix("[]").or_else(|| step.strip_suffix("[*]")) {
            Some(name) => (name, true),
            None => (step, false),
        };
        found = found
            .into_iter()
            .filter_map(|(path, value)| {
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                value.get(name).map(|value| (path, value))
            })
            .flat_map(|(path, value)| match value {
                Value::Array(items) if list => {
                    items.iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)).collect()
                }
                _ if list => Vec::new(),
                value => vec![(path, value)],
            })
            .collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(field: &str, cross_namespace: bool) -> ReferenceRule {
        ReferenceRule {
            kind: "Hand".into(),
            field: field.into(),
            to_api_version: "example.org/v1".into(),
            to_kinds: vec!["Kite".into(), "Balloon".into()],
            cross_namespace,
            role: "requires".into(),
        }
    }

    fn nobody(_: &str, _: &str) -> Option<(Resource, bool)> {
        None
    }

    fn names(spec: Value, field: &str, cross: bool) -> Result<Vec<String>, BadReference> {
        let object = json!({"metadata": {"namespace": "home"}, "spec": spec});
        named(&object, &rule(field, cross), &nobody)
            .into_iter()
            .map(|found| {
                found.map(|it| {
                    format!("{} {}/{}/{}", it.field, it.kind, it.namespace.as_deref().unwrap_or("-"), it.name)
                })
            })
            .collect()
    }

    #[test]
    fn a_string_and_an_object_both_name_something() {
        let spec = json!({"kite": "red", "other": {"name": "blue", "kind": "Balloon"}});
        assert_eq!(names(spec.clone(), "spec.kite", false).unwrap(), ["spec.kite Kite/home/red"]);
        assert_eq!(names(spec.clone(), "other", false).unwrap(), ["spec.other Balloon/home/blue"]);
        assert!(names(spec, "spec.absent", false).unwrap().is_empty());
    }

    #[test]
    fn lists_are_walked() {
        let spec = json!({"kites": [{"ref": "a"}, {"ref": {"name": "b"}}, {}]});
        for field in ["spec.kites[].ref", "kites[*].ref"] {
            let found = names(spec.clone(), field, false).unwrap();
            assert_eq!(found, ["spec.kites[0].ref Kite/home/a", "spec.kites[1].ref Kite/home/b"]);
        }
    }

    #[test]
    fn another_namespace_needs_a_rule_that_allows_it() {
        let spec = json!({"kite": {"name": "red", "namespace": "away"}});
        assert_eq!(names(spec.clone(), "spec.kite", true).unwrap(), ["spec.kite Kite/away/red"]);
        let bad = names(spec, "spec.kite", false).unwrap_err();
        assert!(bad.to_string().contains("away") && bad.field == "spec.kite.namespace", "{bad}");
    }

    #[test]
    fn what_names_nothing_refers_to_nothing_and_a_foreign_kind_is_refused() {
        let of = |value: Value| names(json!({"kite": value}), "spec.kite", true);
        for nothing in [json!(7), json!(""), json!(null), json!({"kind": "Kite"})] {
            assert!(of(nothing).unwrap().is_empty());
        }
        let bad = of(json!({"name": "a", "kind": "Stone"})).unwrap_err();
        assert!(bad.unsupported && bad.value == "Stone", "{bad:?}");
    }

    #[test]
    fn an_edge_leads_to_the_served_collection_or_to_what_it_will_most_likely_be_called() {
        let object = json!({"metadata": {"namespace": "home"}, "spec": {"kite": "red"}});
        let to = |lookup: Lookup<'_>| edges(&object, &[rule("kite", false)], lookup).0.remove(0).to.to_string();
        assert_eq!(to(&nobody), "kites.example.org \"home/red\"");
        assert_eq!((plural("Ingress"), plural("Proxy")), ("ingresses".into(), "proxies".into()));
        let served = |_: &str, _: &str| Some((Resource::new("example.org", "kytes"), false));
        assert_eq!(to(&served), "kytes.example.org \"red\"");
    }
}

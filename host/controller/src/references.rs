//! Finds what an object refers to, by the rules of its kind.

use serde_json::Value;
use threeport_wasm::ObjectRef;

use crate::kinds::{Kinds, ReferenceRule};

/// A field that names an object as its rule does not allow.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{field}: {message}")]
pub(crate) struct BadReference {
    pub(crate) field: String,
    pub(crate) message: String,
}

/// The objects that `rule`'s field names. An absent field names nothing.
///
/// A reference is a string (the name) or an object with `name` and, where they differ from the default, `kind` and `namespace`.
pub(crate) fn extract(
    object: &Value,
    rule: &ReferenceRule,
    namespace: Option<&str>,
    kinds: &Kinds,
) -> Result<Vec<ObjectRef>, BadReference> {
    let mut values = Vec::new();
    collect(object, &segments(&rule.field), &mut values);
    values.into_iter().filter_map(|value| read(value, rule, namespace, kinds).transpose()).collect()
}

/// `spec.a.b[]` as steps; a path that does not start at the object is one below its spec.
fn segments(field: &str) -> Vec<&str> {
    let field = field.trim_start_matches("$.").trim_start_matches('.');
    let mut steps = Vec::new();
    let first = field.split(['.', '[']).next().unwrap_or_default();
    if !["spec", "metadata", "status"].contains(&first) {
        steps.push("spec");
    }
    for part in field.split('.') {
        match part.strip_suffix("[]").or_else(|| part.strip_suffix("[*]")) {
            Some(name) => steps.extend([name, "[]"]),
            None => steps.push(part),
        }
    }
    steps
}

fn collect<'a>(value: &'a Value, steps: &[&str], found: &mut Vec<&'a Value>) {
    match steps.split_first() {
        None => found.push(value),
        Some((&"[]", rest)) => value.as_array().into_iter().flatten().for_each(|item| collect(item, rest, found)),
        Some((name, rest)) => {
            if let Some(inner) = value.get(name) {
                collect(inner, rest, found);
            }
        }
    }
}

fn read(
    value: &Value,
    rule: &ReferenceRule,
    namespace: Option<&str>,
    kinds: &Kinds,
) -> Result<Option<ObjectRef>, BadReference> {
    let bad = |message: String| BadReference { field: rule.field.clone(), message };
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // What names nothing refers to nothing; whether it may is for the schema to say.
    let name = match value {
        Value::String(name) if !name.is_empty() => name.as_str(),
        Value::Object(_) => match text("name") {
            Some(name) => name,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let default = rule.to_kinds.first().ok_or_else(|| bad("its rule names no kind".into()))?;
    let kind = text("kind").unwrap_or(default);
    if !rule.to_kinds.iter().any(|allowed| allowed == kind) {
        return Err(bad(format!("may not name a {kind}, only one of {}", rule.to_kinds.join(", "))));
    }
    let namespaced = kinds.resolve(&rule.to_api_version, kind).is_none_or(|(_, namespaced)| namespaced);
    let chosen = if namespaced { text("namespace").or(namespace) } else { None };
    if namespaced && chosen != namespace && !rule.cross_namespace {
        return Err(bad(format!("may not name something in namespace {:?}", chosen.unwrap_or_default())));
    }
    Ok(Some(ObjectRef {
        api_version: rule.to_api_version.clone(),
        kind: kind.to_owned(),
        namespace: chosen.map(str::to_owned),
        name: name.to_owned(),
    }))
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

    fn names(object: &Value, field: &str, cross: bool) -> Result<Vec<String>, BadReference> {
        let found = extract(object, &rule(field, cross), Some("home"), &Kinds::default())?;
        Ok(found
            .iter()
            .map(|it| format!("{}/{}/{}", it.kind, it.namespace.as_deref().unwrap_or("-"), it.name))
            .collect())
    }

    #[test]
    fn a_string_and_an_object_both_name_something() {
        let object = json!({"spec": {"kite": "red", "other": {"name": "blue", "kind": "Balloon"}}});
        assert_eq!(names(&object, "spec.kite", false).unwrap(), ["Kite/home/red"]);
        assert_eq!(names(&object, "other", false).unwrap(), ["Balloon/home/blue"]);
        assert!(names(&object, "spec.absent", false).unwrap().is_empty());
    }

    #[test]
    fn lists_are_walked() {
        let object = json!({"spec": {"kites": [{"ref": "a"}, {"ref": {"name": "b"}}, {}]}});
        assert_eq!(names(&object, "spec.kites[].ref", false).unwrap(), ["Kite/home/a", "Kite/home/b"]);
    }

    #[test]
    fn another_namespace_needs_a_rule_that_allows_it() {
        let object = json!({"spec": {"kite": {"name": "red", "namespace": "away"}}});
        assert_eq!(names(&object, "spec.kite", true).unwrap(), ["Kite/away/red"]);
        assert!(names(&object, "spec.kite", false).unwrap_err().to_string().contains("away"));
    }

    #[test]
    fn what_names_nothing_refers_to_nothing_and_a_foreign_kind_is_refused() {
        let of = |value: Value| names(&json!({"spec": {"kite": value}}), "spec.kite", true);
        for nothing in [json!(7), json!(""), json!(null), json!({"kind": "Kite"})] {
            assert!(of(nothing).unwrap().is_empty());
        }
        assert!(of(json!({"name": "a", "kind": "Stone"})).unwrap_err().to_string().contains("Stone"));
    }
}

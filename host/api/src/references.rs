//! Edges between objects, taken from the fields that a kind's plugin declared.

use serde_json::Value;
use threeport_store::{Edge, Key, Resource};

use crate::registry::{Kind, Kinds, Reference};
use crate::schema::FieldError;

/// The references of an object, and what is wrong with them.
pub(crate) fn edges(kinds: &Kinds, kind: &Kind, object: &Value) -> (Vec<Edge>, Vec<FieldError>) {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let (mut edges, mut errors) = (Vec::new(), Vec::new());
    for reference in &kind.references {
        for (path, value) in values(object, &reference.field) {
            match edge(kinds, reference, value, namespace, &path) {
                Ok(Some(edge)) => edges.push(edge),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
    }
    (edges, errors)
}

fn edge(
    kinds: &Kinds,
    reference: &Reference,
    value: &Value,
    own: Option<&str>,
    path: &str,
) -> Result<Option<Edge>, FieldError> {
    let (kind, name, namespace) = match value {
        Value::String(name) => (None, Some(name.as_str()), None),
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str).filter(|v| !v.is_empty());
            (text("kind"), text("name"), text("namespace"))
        }
        _ => (None, None, None),
    };
    let Some(name) = name.filter(|n| !n.is_empty()) else { return Ok(None) };
    let allowed = &reference.to_kinds;
    let kind = match kind {
        Some(kind) if allowed.iter().any(|k| k == kind) => kind,
        Some(kind) => {
            let detail = format!(
                "supported values: {}",
                allowed.iter().map(|k| format!("\"{k}\"")).collect::<Vec<_>>().join(", ")
            );
            return Err(FieldError::new(
                crate::schema::ErrorKind::NotSupported,
                format!("{path}.kind"),
                Some(kind.into()),
                detail,
            ));
        }
        None => match allowed.first() {
            Some(first) => first,
            None => return Ok(None),
        },
    };
    if let Some(namespace) = namespace
        && !reference.cross_namespace
        && Some(namespace) != own
    {
        let detail = "must be the object's own namespace: this reference may not cross namespaces";
        return Err(FieldError::invalid(format!("{path}.namespace"), &namespace.into(), detail));
    }
    let group = reference.to_api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let (resource, namespaced) = match kinds.by_kind(group, kind) {
        Some(kind) => (kind.resource.clone(), kind.namespaced),
        // Not served yet: it will most likely be called that.
        None => (Resource::new(group, format!("{}s", kind.to_lowercase())), true),
    };
    let namespace = if namespaced { namespace.or(own).map(Into::into) } else { None };
    let to = Key { resource, namespace, name: name.into() };
    Ok(Some(Edge { to, role: reference.role.clone(), field: path.to_owned() }))
}

/// The values at a dotted path; `[]` or `[*]` goes into lists. Paths start at the object or, if that finds nothing there, below `spec`.
fn values<'a>(object: &'a Value, field: &str) -> Vec<(String, &'a Value)> {
    let field = field.trim_start_matches("$.").trim_start_matches('.');
    let rooted = ["spec", "metadata", "status"].iter().any(|r| field.split(['.', '[']).next() == Some(r));
    let (mut found, steps) = if rooted {
        (vec![(String::new(), object)], field.split('.'))
    } else {
        (object.get("spec").map(|s| ("spec".to_owned(), s)).into_iter().collect(), field.split('.'))
    };
    for step in steps {
        let (name, list) = match step.strip_suffix("[]").or_else(|| step.strip_suffix("[*]")) {
            Some(name) => (name, true),
            None => (step, false),
        };
        found = found
            .into_iter()
            .filter_map(|(path, value)| {
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                value.get(name).map(|v| (path, v))
            })
            .flat_map(|(path, value)| match value {
                Value::Array(items) if list => {
                    items.iter().enumerate().map(|(i, v)| (format!("{path}[{i}]"), v)).collect()
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
    use crate::registry::Registry;
    use serde_json::json;

    #[test]
    fn values_are_found_in_fields_and_lists() {
        let object = json!({"spec": {"cluster": "a", "sources": [{"ref": {"name": "x"}}, {"ref": {"name": "y"}}, {}]}});
        let paths = |field: &str| values(&object, field).into_iter().map(|(p, _)| p).collect::<Vec<_>>();
        assert_eq!(paths("cluster"), ["spec.cluster"]);
        assert_eq!(paths("spec.cluster"), ["spec.cluster"]);
        assert_eq!(paths("spec.sources[].ref"), ["spec.sources[0].ref", "spec.sources[1].ref"]);
        assert_eq!(paths("spec.sources[*].ref.name"), ["spec.sources[0].ref.name", "spec.sources[1].ref.name"]);
        assert!(paths("spec.missing[].x").is_empty());
    }

    #[test]
    fn a_reference_becomes_an_edge_of_the_served_kind() {
        let reference: Reference = serde_json::from_value(json!({
            "kind": "Widget", "field": "spec.secret", "to-api-version": "v1", "to-kinds": ["Secret"], "role": "uses",
        }))
        .expect("a reference");
        let kinds = Registry::new().kinds();
        let edge = |value: Value| edge(&kinds, &reference, &value, Some("ns"), "spec.secret");
        let made = edge(json!("s")).expect("valid").expect("an edge");
        assert_eq!(made.to.to_string(), "secrets \"ns/s\"");
        assert_eq!(made.role, "uses");
        assert!(edge(json!({"name": "s", "namespace": "other"})).is_err(), "may not cross namespaces");
        assert!(edge(json!({"name": "s", "kind": "ConfigMap"})).is_err(), "another kind");
        assert_eq!(edge(json!({})).expect("valid"), None);
    }
}

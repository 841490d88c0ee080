//! Edges between objects, taken from the fields that a kind's plugin declared.

use serde_json::Value;
use threeport_store::{Edge, references};

use crate::registry::{Kind, Kinds};
use crate::schema::{ErrorKind, FieldError};

/// The references of an object, and what is wrong with them.
pub(crate) fn edges(kinds: &Kinds, kind: &Kind, object: &Value) -> (Vec<Edge>, Vec<FieldError>) {
    let lookup = |group: &str, kind: &str| {
        let kind = kinds.by_kind(group, kind)?;
        Some((kind.resource.clone(), kind.namespaced))
    };
    let (edges, wrong) = references::edges(object, &kind.references, &lookup);
    let errors = wrong.into_iter().map(|bad| {
        let kind = if bad.unsupported { ErrorKind::NotSupported } else { ErrorKind::Invalid };
        FieldError::new(kind, bad.field, Some(bad.value.into()), bad.message)
    });
    (edges, errors.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;
    use threeport_store::ReferenceRule;

    #[test]
    fn a_reference_becomes_an_edge_of_the_served_kind() {
        let registry = Registry::new().kinds();
        let rule = ReferenceRule {
            kind: "Widget".into(),
            field: "spec.secret".into(),
            to_api_version: "v1".into(),
            to_kinds: vec!["Secret".into()],
            cross_namespace: false,
            role: "uses".into(),
        };
        let lookup = |group: &str, kind: &str| {
            registry.by_kind(group, kind).map(|kind| (kind.resource.clone(), kind.namespaced))
        };
        let edges = |value: Value| {
            let object = json!({"metadata": {"namespace": "ns"}, "spec": {"secret": value}});
            references::edges(&object, std::slice::from_ref(&rule), &lookup)
        };
        let (made, wrong) = edges(json!("s"));
        assert_eq!((made[0].to.to_string().as_str(), made[0].role.as_str()), ("secrets \"ns/s\"", "uses"));
        assert!(wrong.is_empty());
        assert_eq!(edges(json!({"name": "s", "namespace": "other"})).1[0].field, "spec.secret.namespace");
        assert!(edges(json!({"name": "s", "kind": "ConfigMap"})).1[0].unsupported);
    }
}

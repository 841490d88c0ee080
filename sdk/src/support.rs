//! For first steps and for tests: what every kind has to say, said once.

use serde_json::{Value, json};

use crate::Resource;

/// The smallest CustomResourceDefinition of a kind: one namespaced version with a status of any form, whose spec has this schema. The plural is the
/// kind in lower case with an `s`. A kind that people use says more, in a file of its own: descriptions, columns, defaults, rules.
pub fn definition<R: Resource>(spec: &Value) -> Value {
    let (group, version) = R::API_VERSION.split_once('/').unwrap_or(("", R::API_VERSION));
    let singular = R::KIND.to_lowercase();
    let plural = format!("{singular}s");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": R::KIND, "listKind": format!("{}List", R::KIND), "plural": plural, "singular": singular},
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "spec": spec,
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                }},
            }],
        },
    })
}

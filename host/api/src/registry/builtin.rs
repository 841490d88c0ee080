//! The kinds of the host itself, from the files in `src/builtin/`: CustomResourceDefinitions like any other.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::kind::Kind;
use super::{CRD_GROUP, OWN_GROUP, crd};

const FILES: [(&str, &str); 6] = [
    ("namespace", include_str!("../builtin/namespace.yaml")),
    ("secret", include_str!("../builtin/secret.yaml")),
    ("configmap", include_str!("../builtin/configmap.yaml")),
    ("event", include_str!("../builtin/event.yaml")),
    ("customresourcedefinition", include_str!("../builtin/customresourcedefinition.yaml")),
    ("plugin", include_str!("../builtin/plugin.yaml")),
];

static METADATA: LazyLock<Value> = LazyLock::new(|| {
    serde_yaml_ng::from_str(include_str!("../builtin/metadata.yaml")).expect("metadata.yaml is a file of this program")
});

/// Schemas of `apiVersion`, `kind` and `metadata`.
pub(crate) fn metadata() -> &'static Value {
    &METADATA
}

/// The built-in kinds.
pub(super) fn kinds() -> Vec<Arc<Kind>> {
    let mut kinds = Vec::new();
    for (name, file) in FILES {
        let definition: Value = serde_yaml_ng::from_str(file).unwrap_or_else(|e| panic!("builtin/{name}.yaml: {e}"));
        let made = crd::kinds_with(&definition, true).unwrap_or_else(|e| panic!("builtin/{name}.yaml: {e:?}"));
        kinds.extend(made.into_iter().map(Arc::new));
    }
    debug_assert!(
        kinds.iter().any(|k| &*k.resource.group == CRD_GROUP) && kinds.iter().any(|k| &*k.resource.group == OWN_GROUP)
    );
    kinds
}

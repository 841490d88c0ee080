//! The kinds of the host itself, from the files in `src/builtin/`: CustomResourceDefinitions like any other.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::kind::Kind;
use super::{CRD_GROUP, OWN_GROUP, crd};

const FILES: [(&str, &str); 21] = [
    ("namespace", include_str!("../builtin/namespace.yaml")),
    ("secret", include_str!("../builtin/secret.yaml")),
    ("configmap", include_str!("../builtin/configmap.yaml")),
    ("event", include_str!("../builtin/event.yaml")),
    ("event_view", include_str!("../builtin/event_view.yaml")),
    ("customresourcedefinition", include_str!("../builtin/customresourcedefinition.yaml")),
    ("plugin", include_str!("../builtin/plugin.yaml")),
    ("serviceaccount", include_str!("../builtin/serviceaccount.yaml")),
    ("lease", include_str!("../builtin/lease.yaml")),
    ("role", include_str!("../builtin/role.yaml")),
    ("clusterrole", include_str!("../builtin/clusterrole.yaml")),
    ("rolebinding", include_str!("../builtin/rolebinding.yaml")),
    ("clusterrolebinding", include_str!("../builtin/clusterrolebinding.yaml")),
    ("tokenreview", include_str!("../builtin/tokenreview.yaml")),
    ("selfsubjectreview", include_str!("../builtin/selfsubjectreview.yaml")),
    ("subjectaccessreview", include_str!("../builtin/subjectaccessreview.yaml")),
    ("localsubjectaccessreview", include_str!("../builtin/localsubjectaccessreview.yaml")),
    ("selfsubjectaccessreview", include_str!("../builtin/selfsubjectaccessreview.yaml")),
    ("selfsubjectrulesreview", include_str!("../builtin/selfsubjectrulesreview.yaml")),
    ("definition", include_str!("../builtin/definition.yaml")),
    ("definitionrevision", include_str!("../builtin/definitionrevision.yaml")),
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

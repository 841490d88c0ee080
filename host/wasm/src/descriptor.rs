//! Whether what a plugin says of itself can be used.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::contract::Descriptor;
use crate::{Grants, LoadError};

/// What a reference may mean to the host.
const ROLES: [&str; 3] = ["target", "requires", "uses"];

pub(crate) fn check(descriptor: &Descriptor) -> Result<(Vec<CustomResourceDefinition>, Grants), LoadError> {
    let bad = |what: String| Err(LoadError::Describe(what));
    if !dns_label(&descriptor.name) {
        return bad(format!(
            "its name {:?} is not a DNS label (lower case letters, digits and hyphens)",
            descriptor.name
        ));
    }
    if descriptor.version.is_empty() {
        return bad("it has no version".into());
    }
    if descriptor.kinds.is_empty() {
        return bad("it serves no kind".into());
    }
    let mut kinds = Vec::new();
    let mut names = BTreeSet::new();
    for (index, kind) in descriptor.kinds.iter().enumerate() {
        let crd: CustomResourceDefinition = serde_json::from_str(kind)
            .map_err(|error| LoadError::Describe(format!("kinds[{index}] is no CustomResourceDefinition: {error}")))?;
        let spec = &crd.spec;
        let name = format!("{}.{}", spec.names.plural, spec.group);
        if crd.metadata.name.as_deref() != Some(&name) {
            return bad(format!(
                "kinds[{index}]: metadata.name must be {name}, as spec.names.plural and spec.group say"
            ));
        }
        if spec.versions.iter().filter(|version| version.storage).count() != 1 {
            return bad(format!("{name}: exactly one version must be the stored one"));
        }
        if !names.insert(spec.names.kind.clone()) {
            return bad(format!("kind {} is described twice", spec.names.kind));
        }
        kinds.push(crd);
    }
    for reference in &descriptor.references {
        let at = format!("reference {} of {}", reference.field, reference.kind);
        if !names.contains(&reference.kind) {
            return bad(format!("{at}: the plugin does not serve that kind"));
        }
        if !ROLES.contains(&reference.role.as_str()) {
            return bad(format!("{at}: role {:?} is none of {}", reference.role, ROLES.join(", ")));
        }
        if reference.to_kinds.is_empty() || reference.field.is_empty() {
            return bad(format!("{at}: it must name a field and at least one kind"));
        }
    }
    let requested = Grants::parse(&descriptor.grants).map_err(LoadError::Describe)?;
    Ok((kinds, requested))
}

fn dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 63 && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

//! Whether what a plugin says of itself can be used.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::contract::Descriptor;
use crate::{Grants, LoadError};

/// What a description may have: it is kept, and looked through by every run.
const KINDS: usize = 100;
const KIND_BYTES: usize = 1 << 20;
const REFERENCES: usize = 1000;
const GRANT_BYTES: usize = 256 << 10;
const TEXT_BYTES: usize = 256 << 10;

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
    let grants: usize = descriptor.grants.iter().map(|grant| grant.capability.len() + grant.rules.len()).sum();
    for (what, found, limit) in [
        ("kinds", descriptor.kinds.len(), KINDS),
        ("bytes of a kind's definition", descriptor.kinds.iter().map(String::len).max().unwrap_or(0), KIND_BYTES),
        ("references", descriptor.references.len(), REFERENCES),
        ("bytes of grants", grants, GRANT_BYTES),
        ("bytes of documentation", descriptor.documentation.len(), TEXT_BYTES),
        ("bytes of version", descriptor.version.len(), 100),
    ] {
        if found > limit {
            return bad(format!("it has {found} {what}, at most {limit} are taken"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> Descriptor {
        let kind = serde_json::json!({"metadata": {"name": "kites.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"plural": "kites", "kind": "Kite"}, "versions": [{"name": "v1", "served": true, "storage": true}]}});
        Descriptor {
            name: "toys".into(),
            version: "1.0.0".into(),
            kinds: vec![kind.to_string()],
            references: Vec::new(),
            grants: Vec::new(),
            documentation: String::new(),
            extensions: Vec::new(),
        }
    }

    #[test]
    fn a_description_of_any_size_is_not_taken() {
        assert!(check(&descriptor()).is_ok());
        type Swell = fn(&mut Descriptor);
        let swell: [(&str, Swell); 4] = [
            ("kinds", |swollen| swollen.kinds = vec![swollen.kinds[0].clone(); 101]),
            ("definition", |swollen| swollen.kinds[0].push_str(&" ".repeat(1 << 20))),
            ("documentation", |swollen| swollen.documentation = "x".repeat((256 << 10) + 1)),
            ("version", |swollen| swollen.version = "1".repeat(101)),
        ];
        for (what, swell) in swell {
            let mut swollen = descriptor();
            swell(&mut swollen);
            let error = check(&swollen).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}

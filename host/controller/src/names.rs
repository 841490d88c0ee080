//! Names that Kubernetes takes: checked before anything is written down that could never be there.

use threeport_kube::{Reference, group};

const NAME: usize = 253;
const LABEL: usize = 63;

/// What is wrong with a manifest's name or namespace.
pub(crate) fn check(reference: &Reference) -> Result<(), String> {
    let name = reference.name.as_str();
    // The only built-in kinds whose names are any segment of a path (`system:node`).
    let fits =
        if group(&reference.api_version) == "rbac.authorization.k8s.io" { segment(name) } else { subdomain(name) };
    if !fits {
        return Err(format!(
            "metadata.name {:?} of the {} is no DNS-1123 subdomain: at most {NAME} of a-z, 0-9, '-' and '.', each part beginning and ending with one \
             of a-z and 0-9",
            shown(name),
            reference.kind
        ));
    }
    match reference.namespace.as_deref() {
        Some(namespace) if !is_label(namespace) => Err(format!(
            "metadata.namespace {:?} of the {} is no DNS-1123 label: at most {LABEL} of a-z, 0-9 and '-', beginning and ending with one of a-z and 0-9",
            shown(namespace),
            reference.kind
        )),
        _ => Ok(()),
    }
}

fn segment(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '%' | '?' | '#' | '\\');
    name.len() <= NAME && !matches!(name, "." | "..") && name.chars().all(plain)
}

fn subdomain(name: &str) -> bool {
    name.len() <= NAME && name.split('.').all(label)
}

/// Whether a namespace may be called so.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= LABEL && label(text)
}

fn label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(plain) && text.ends_with(plain) && text.chars().all(|c| plain(c) || c == '-')
}

/// As much of it as a message needs.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(api_version: &str, namespace: Option<&str>, name: &str) -> Result<(), String> {
        check(&Reference {
            api_version: api_version.into(),
            kind: "Kite".into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        })
    }

    #[test]
    fn only_names_that_can_be_are_taken() {
        let long = "a".repeat(254);
        for bad in ["A", "a_b", "-a", "a-", "a..b", ".a", "a.", "a/b", "..", "ä", "a b", "system:node", &long] {
            assert!(named("v1", None, bad).unwrap_err().contains("metadata.name"), "{bad}");
        }
        for good in ["a", "web-1.example.com", "0", &long[1..]] {
            named("v1", Some("home"), good).expect(good);
        }
        let long = "a".repeat(64);
        for bad in ["A", "a.b", "-", &long] {
            assert!(named("v1", Some(bad), "a").unwrap_err().contains("metadata.namespace"), "{bad}");
        }
    }

    #[test]
    fn roles_may_have_names_that_are_no_subdomains() {
        named("rbac.authorization.k8s.io/v1", None, "system:Node").unwrap();
        assert!(named("rbac.authorization.k8s.io/v1", None, "a/b").is_err());
    }
}

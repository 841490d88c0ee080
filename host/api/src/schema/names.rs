//! What is wrong with a name, a label or a key: one sentence for each reason, as in `k8s.io/apimachinery/pkg/util/validation`.

use super::format::{is_dns_label, is_dns_subdomain, is_label_value};

/// What a name of most objects must be.
pub(crate) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
     with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
     alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and \
     end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const KEY: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
     'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
     an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
     '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
     'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// What is wrong, one sentence each; nothing for what is right.
pub(crate) type Wrong = Vec<String>;

fn longer(text: &str, most: usize, of: &str) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} {of}"))
}

fn all(wrong: impl IntoIterator<Item = Option<String>>) -> Wrong {
    wrong.into_iter().flatten().collect()
}

/// Whether the characters are right, whatever the length.
fn is_subdomain_of_any_length(text: &str) -> bool {
    text.split('.').all(dashed)
}

fn dashed(part: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().copied().is_some_and(edge)
        && bytes.last().copied().is_some_and(edge)
        && bytes.iter().all(|b| edge(*b) || *b == b'-')
}

/// Name of most objects.
pub(crate) fn dns_subdomain(text: &str) -> Wrong {
    if is_dns_subdomain(text) {
        return Vec::new();
    }
    all([longer(text, 253, "characters"), (!is_subdomain_of_any_length(text)).then(|| SUBDOMAIN.to_owned())])
}

/// Name of a namespace.
pub(crate) fn dns_label(text: &str) -> Wrong {
    if is_dns_label(text) {
        return Vec::new();
    }
    let characters = if dashed(text) {
        None
    } else if is_subdomain_of_any_length(text) {
        Some("must not contain dots".to_owned())
    } else {
        Some(LABEL.to_owned())
    };
    all([longer(text, 63, "characters"), characters])
}

/// Name of a kind's collection, and of a version.
pub(crate) fn dns_1035_label(text: &str) -> Wrong {
    let fits = dashed(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    all([longer(text, 63, "characters"), (!fits).then(|| LABEL_1035.to_owned())])
}

/// Key of a label or annotation, name of a finalizer.
pub(crate) fn qualified_name(text: &str) -> Wrong {
    let parts: Vec<&str> = text.split('/').collect();
    let (mut wrong, name) = match parts.as_slice() {
        [name] => (Vec::new(), *name),
        ["", name] => (vec!["prefix part must be non-empty".to_owned()], *name),
        [prefix, name] => (dns_subdomain(prefix).iter().map(|why| format!("prefix part {why}")).collect(), *name),
        _ => {
            return vec![format!(
                "a valid label key {KEY} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else {
        wrong.extend(longer(name, 63, "bytes").map(|why| format!("name part {why}")));
    }
    if !is_key(name) {
        wrong.push(format!("name part {KEY}"));
    }
    wrong
}

fn is_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// Value of a label.
pub(crate) fn label_value(text: &str) -> Wrong {
    if is_label_value(text) {
        return Vec::new();
    }
    all([longer(text, 63, "bytes"), (!is_key(text)).then(|| VALUE.to_owned())])
}

/// Key of a ConfigMap or Secret.
pub(crate) fn config_key(text: &str) -> Wrong {
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let path = match text {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        text if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    };
    all([longer(text, 253, "characters"), (!fits).then(|| CONFIG_KEY.to_owned()), path])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told() {
        let long = "a".repeat(300);
        type Case<'a> = (fn(&str) -> Wrong, &'a str, &'a [&'a str]);
        let cases: [Case<'_>; 14] = [
            (dns_subdomain, "a.b-c", &[]),
            (dns_subdomain, "A_b", &["a lowercase RFC 1123 subdomain"]),
            (dns_subdomain, &long, &["must be no more than 253 characters"]),
            (dns_label, "a-b", &[]),
            (dns_label, "a.b", &["must not contain dots"]),
            (dns_label, &long, &["must be no more than 63 characters"]),
            (dns_1035_label, "1a", &["a DNS-1035 label"]),
            (qualified_name, "example.com/Name", &[]),
            (qualified_name, "a b", &["name part must consist of"]),
            (
                qualified_name,
                "/",
                &["prefix part must be non-empty", "name part must be non-empty", "name part must consist"],
            ),
            (qualified_name, "a/b/c", &["a valid label key must consist"]),
            (label_value, "-", &["a valid label must be an empty string"]),
            (config_key, "a b", &["a valid config key"]),
            (config_key, "..", &["must not be '..'"]),
        ];
        for (check, text, expected) in cases {
            let wrong = check(text);
            assert_eq!(wrong.len(), expected.len(), "{text}: {wrong:?}");
            assert!(wrong.iter().zip(expected).all(|(why, start)| why.starts_with(start)), "{text}: {wrong:?}");
        }
    }
}

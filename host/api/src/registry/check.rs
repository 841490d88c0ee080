//! Whether a CustomResourceDefinition can be served, beyond what its own schema says. In the words of Kubernetes.

use serde_json::Value;

use super::crd::kinds;
use super::scale::Scale;
use crate::schema::names::{dns_1035_label, dns_subdomain};
use crate::schema::{ErrorKind, FieldError};

/// Most fields of one version that objects can be selected by.
const SELECTABLE: usize = 8;

/// Everything that is wrong with a definition.
pub(crate) fn check(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &definition["spec"];
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, plural) = (text("/group"), text("/names/plural"));
    let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if name != format!("{plural}.{group}") {
        errors.push(FieldError::invalid("metadata.name", &name.into(), "must be spec.names.plural+\".\"+spec.group"));
    }
    let wrong = dns_subdomain(group);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid("spec.group", &group.into(), wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", &group.into(), "should be a domain with at least one dot"));
    }
    let versions = spec.get("versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut seen: Vec<&str> = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = version["name"].as_str().unwrap_or_default();
        let wrong = dns_1035_label(name);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(format!("{at}.name"), &name.into(), wrong.join(",")));
        }
        seen.push(name);
        self::version(version, &at, &mut errors);
    }
    let unique = seen.iter().collect::<std::collections::BTreeSet<_>>().len();
    if unique < seen.len() {
        errors.push(FieldError::invalid("spec.versions", &versions.into(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &versions.into(), detail));
    }
    names(&spec["names"], &mut errors);
    if text("/conversion/strategy") == "Webhook" {
        let detail = "conversion webhooks are not supported; use strategy None";
        errors.push(FieldError::forbidden("spec.conversion.strategy", detail));
    }
    if spec.get("preserveUnknownFields").and_then(Value::as_bool) == Some(true) {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", &true.into(), detail));
    }
    stored(definition, versions, &mut errors);
    if errors.is_empty()
        && let Err(wrong) = kinds(definition)
    {
        errors.extend(wrong);
    }
    errors
}

fn names(names: &Value, errors: &mut Vec<FieldError>) {
    let text = |key: &str| names[key].as_str().unwrap_or_default();
    let mut one = |field: String, given: &str, wrong: Vec<String>, start: &str| {
        if !given.is_empty() && !wrong.is_empty() {
            let field = format!("spec.names.{field}");
            errors.push(FieldError::invalid(field, &given.into(), format!("{start}{}", wrong.join(","))));
        }
    };
    for field in ["plural", "singular"] {
        one(field.to_owned(), text(field), dns_1035_label(text(field)), "");
    }
    for field in ["kind", "listKind"] {
        let wrong = dns_1035_label(&text(field).to_lowercase());
        one(field.to_owned(), text(field), wrong, "may have mixed case, but should otherwise match: ");
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in names[field].as_array().into_iter().flatten().enumerate() {
            let name = name.as_str().unwrap_or_default();
            one(format!("{field}[{index}]"), name, dns_1035_label(name), "");
        }
    }
    if !text("kind").is_empty() && text("kind") == text("listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", &text("listKind").into(), detail));
    }
}

fn version(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    if let Some(warning) = version["deprecationWarning"].as_str() {
        let field = format!("{at}.deprecationWarning");
        let why = if version["deprecated"] != true {
            "can only be set for deprecated versions"
        } else if warning.is_empty() {
            "must not be an empty string"
        } else if warning.len() > 256 {
            "must be <= 256 characters long"
        } else if warning.chars().any(char::is_control) {
            "must only contain printable UTF-8 characters"
        } else {
            ""
        };
        if !why.is_empty() {
            errors.push(FieldError::invalid(field, &warning.into(), why));
        }
    }
    if let Some(scale) = version.pointer("/subresources/scale").filter(|scale| !scale.is_null()) {
        errors.extend(Scale::check_source(scale, &format!("{at}.subresources.scale")));
    }
    for (index, column) in version["additionalPrinterColumns"].as_array().into_iter().flatten().enumerate() {
        self::column(column, &format!("{at}.additionalPrinterColumns[{index}]"), errors);
    }
    selectable(version, at, errors);
}

fn column(column: &Value, at: &str, errors: &mut Vec<FieldError>) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 9] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];
    let text = |key: &str| column[key].as_str().unwrap_or_default();
    if text("name").is_empty() {
        errors.push(FieldError::required(format!("{at}.name"), ""));
    }
    let types = format!("must be one of {}", TYPES.join(","));
    match text("type") {
        "" => errors.push(FieldError::required(format!("{at}.type"), types)),
        kind if !TYPES.contains(&kind) => errors.push(FieldError::invalid(format!("{at}.type"), &kind.into(), types)),
        _ => {}
    }
    if !text("format").is_empty() && !FORMATS.contains(&text("format")) {
        let detail = format!("must be one of {}", FORMATS.join(","));
        errors.push(FieldError::invalid(format!("{at}.format"), &text("format").into(), detail));
    }
    match text("jsonPath") {
        "" => errors.push(FieldError::required(format!("{at}.JSONPath"), "")),
        path if !path.starts_with('.') => {
            let detail = "must be a simple json path starting with .";
            errors.push(FieldError::invalid(format!("{at}.JSONPath"), &path.into(), detail));
        }
        _ => {}
    }
}

fn selectable(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let fields = version["selectableFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let at = format!("{at}.selectableFields");
    let mut seen: Vec<&str> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let path = field["jsonPath"].as_str().unwrap_or_default();
        let at = format!("{at}[{index}].jsonPath");
        if path.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let Some(steps) = path.strip_prefix('.').filter(|rest| !rest.is_empty() && !rest.contains(['[', ']'])) else {
            errors.push(FieldError::invalid(
                at,
                &path.into(),
                "is an invalid path: it must be fields joined by dots, with a dot before the first",
            ));
            continue;
        };
        if steps == "metadata" || steps.starts_with("metadata.") {
            errors.push(FieldError::invalid(&at, &path.into(), "must not point to fields in metadata"));
        }
        let root = version.pointer("/schema/openAPIV3Schema").unwrap_or(&Value::Null);
        let found = steps.split('.').try_fold(root, |schema, step| schema.get("properties")?.get(step));
        match found {
            None => {
                let detail = "is an invalid path: the schema has no such field";
                errors.push(FieldError::invalid(&at, &path.into(), detail));
            }
            Some(schema) if !matches!(schema["type"].as_str(), Some("string" | "boolean" | "integer")) => {
                let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                errors.push(FieldError::invalid(&at, &path.into(), detail));
            }
            Some(_) => {}
        }
        if seen.contains(&path) {
            errors.push(FieldError::new(ErrorKind::Duplicate, at, Some(path.into()), ""));
        } else {
            seen.push(path);
        }
    }
    if seen.len() > SELECTABLE {
        let detail = format!("must have at most {SELECTABLE} items");
        errors.push(FieldError::new(ErrorKind::TooMany, at, Some(seen.len().into()), detail));
    }
}

/// A version that objects may be stored in stays defined.
fn stored(definition: &Value, versions: &[Value], errors: &mut Vec<FieldError>) {
    let list = definition.pointer("/status/storedVersions").and_then(Value::as_array);
    for (index, name) in list.into_iter().flatten().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            let shown = name.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {shown} was previously a storage version, and must remain in spec.versions until a storage \
                 migration ensures no data remains persisted in {shown} and removes {shown} from status.storedVersions"
            );
            errors.push(FieldError::invalid(format!("status.storedVersions[{index}]"), name, detail));
        }
    }
}

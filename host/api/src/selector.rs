//! Label and field selectors.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use threeport_store::Object;

use crate::jsonpath::JsonPath;
use crate::registry::Kind;
use crate::status::{ApiError, ApiResult};

/// Selects objects by labels and fields.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
    /// `metadata.name=x`: the one object there can be.
    pub name: Option<String>,
    /// `metadata.namespace=x`
    pub namespace: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

#[derive(Debug)]
struct FieldRequirement {
    /// Where the value is; the first place that has one counts.
    paths: Vec<JsonPath>,
    /// A part of the key: decided without reading the object.
    of_key: Option<Part>,
    equal: bool,
    value: String,
}

/// A part of an object's key.
#[derive(Clone, Copy, Debug)]
enum Part {
    Name,
    Namespace,
}

/// What a selector needs of an object: its labels, read without building the rest.
#[derive(Deserialize)]
struct Labelled {
    metadata: LabelledMeta,
}

#[derive(Deserialize)]
struct LabelledMeta {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Filter {
    /// From the query parameters `labelSelector` and `fieldSelector`.
    pub(crate) fn parse(kind: &Kind, labels: Option<&str>, fields: Option<&str>) -> ApiResult<Self> {
        let mut filter = Self { labels: parse_labels(labels.unwrap_or_default())?, ..Self::default() };
        filter.take_fields(kind, fields.unwrap_or_default())?;
        Ok(filter)
    }

    fn take_fields(&mut self, kind: &Kind, text: &str) -> ApiResult<()> {
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, true, value)
            } else {
                return Err(ApiError::bad_request(format!(
                    "invalid field selector: {part:?} has no =, == or != in it"
                )));
            };
            let (paths, of_key) = match field {
                "metadata.name" => {
                    self.name = equal.then(|| value.to_owned()).or(self.name.take());
                    (Vec::new(), Some(Part::Name))
                }
                "metadata.namespace" => {
                    self.namespace = equal.then(|| value.to_owned()).or(self.namespace.take());
                    (Vec::new(), Some(Part::Namespace))
                }
                field => match kind.selectable.iter().find(|known| known.field == field) {
                    Some(known) => (known.paths.clone(), None),
                    None => return Err(ApiError::bad_request(format!("field label not supported: {field}"))),
                },
            };
            self.fields.push(FieldRequirement { paths, of_key, equal, value: value.to_owned() });
        }
        Ok(())
    }

    /// Selects everything.
    pub(crate) fn is_trivial(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object is selected.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.matches_body(object, &object.body)
    }

    /// Whether the object is selected as it is in `body`.
    pub(crate) fn matches_body(&self, object: &Object, body: &Bytes) -> bool {
        if self.is_trivial() {
            return true;
        }
        // Most are decided without reading the body. Each requirement counts: of several names, the rights of who asks were looked up for one.
        let by_key = |field: &FieldRequirement| match field.of_key {
            Some(Part::Name) => field.holds(&object.key.name),
            Some(Part::Namespace) => field.holds(object.key.namespace.as_deref().unwrap_or_default()),
            None => true,
        };
        if !self.fields.iter().all(by_key) {
            return false;
        }
        if !self.labels.is_empty() {
            let labels =
                serde_json::from_slice::<Labelled>(body).ok().and_then(|o| o.metadata.labels).unwrap_or_default();
            if !self.labels.iter().all(|r| r.holds(labels.get(&r.key).map(String::as_str))) {
                return false;
            }
        }
        if self.fields.iter().all(|field| field.of_key.is_some()) {
            return true;
        }
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        self.fields.iter().filter(|field| field.of_key.is_none()).all(|field| {
            let there = field.paths.iter().flat_map(|path| path.find(&value)).map(text).find(|text| !text.is_empty());
            field.holds(&there.unwrap_or_default())
        })
    }
}

impl FieldRequirement {
    fn holds(&self, value: &str) -> bool {
        (value == self.value) == self.equal
    }
}

/// A value as selectors compare it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
            Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|x| x != v)),
            Test::Above(bound) => number().is_some_and(|n| n > *bound),
            Test::Below(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`
fn parse_labels(text: &str) -> ApiResult<Vec<Requirement>> {
    let wrong = |part: &str, why: &str| ApiError::bad_request(format!("unable to parse requirement {part:?}: {why}"));
    let mut requirements = Vec::new();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let one = |values: &str| vec![values.trim().to_owned()];
        let (key, test) = if let Some(key) = part.strip_prefix('!') {
            (key, Test::Missing)
        } else if let Some((head, values)) = part.split_once('(') {
            let values = values.strip_suffix(')').ok_or_else(|| wrong(part, "found no closing ')'"))?;
            let values = values.split(',').map(|v| v.trim().to_owned()).collect();
            match head.trim().rsplit_once(char::is_whitespace) {
                Some((key, "in")) => (key, Test::In(values)),
                Some((key, "notin")) => (key, Test::NotIn(values)),
                _ => return Err(wrong(part, "expected: in, notin")),
            }
        } else if let Some((key, value)) = part.split_once("!=") {
            (key, Test::NotIn(one(value)))
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (key, Test::In(one(value)))
        } else if let Some((key, value)) = part.split_once('>') {
            (key, Test::Above(value.trim().parse().map_err(|_| wrong(part, "for '>' the value must be an integer"))?))
        } else if let Some((key, value)) = part.split_once('<') {
            (key, Test::Below(value.trim().parse().map_err(|_| wrong(part, "for '<' the value must be an integer"))?))
        } else {
            (part, Test::Exists)
        };
        let key = key.trim();
        if !crate::schema::is_qualified_name(key) {
            return Err(wrong(part, "the key is no qualified name"));
        }
        if let Test::In(values) | Test::NotIn(values) = &test
            && let Some(bad) = values.iter().find(|v| !crate::schema::is_label_value(v))
        {
            return Err(wrong(part, &format!("{bad:?} is no valid label value")));
        }
        requirements.push(Requirement { key: key.to_owned(), test });
    }
    Ok(requirements)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth <= 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_select_as_in_kubernetes() {
        let labels: BTreeMap<&str, &str> = [("app", "web"), ("tier", "front"), ("n", "5")].into();
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=web,tier=back", false),
            ("app!=web", false),
            ("missing!=x", true),
            ("app in (web, api)", true),
            ("app notin (web,api)", false),
            ("missing notin (a)", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("n>4", true),
            ("n<5", false),
            ("app in (web),!missing,tier", true),
        ];
        for (text, expected) in cases {
            let requirements = parse_labels(text).expect(text);
            let holds = requirements.iter().all(|r| r.holds(labels.get(r.key.as_str()).copied()));
            assert_eq!(holds, expected, "{text}");
        }
    }

    #[test]
    fn every_name_and_namespace_of_a_field_selector_counts() {
        let kinds = crate::registry::Registry::new();
        let kind = kinds.find("", "v1", "secrets").expect("Secrets");
        let key =
            threeport_store::Key { resource: kind.resource.clone(), namespace: Some("shop".into()), name: "b".into() };
        let object = Object { key, uid: "u".into(), resource_version: 1, body: Bytes::from_static(b"{}") };
        let cases = [
            ("metadata.name=b", true),
            ("metadata.name==b,metadata.namespace=shop", true),
            ("metadata.name=a", false),
            ("metadata.name=a,metadata.name=b", false),
            ("metadata.name=b,metadata.name=a", false),
            ("metadata.name=b,metadata.name!=b", false),
            ("metadata.name!=a", true),
            ("metadata.name!=a,metadata.name=b", true),
            ("metadata.namespace=shop,metadata.namespace=other", false),
            ("metadata.namespace=other,metadata.namespace=shop", false),
            ("metadata.namespace!=shop", false),
        ];
        for (text, expected) in cases {
            let filter = Filter::parse(&kind, None, Some(text)).expect(text);
            assert_eq!(filter.matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn selectors_that_cannot_be_read_are_refused() {
        for text in ["app in web", "app in (web", "a b", "-x=1", "n>x", "a=b c"] {
            assert!(parse_labels(text).is_err(), "{text}");
        }
    }
}

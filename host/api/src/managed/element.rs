//! The steps of a path as `FieldsV1` writes them: `f:name` for a field, `k:{"name":"a"}` for an item of a list with keys, `v:"a"` for an item of a
//! set, `i:0` for a position.

use serde_json::{Map, Value};

/// What marks a field that is in the set itself, beside some below it.
pub(super) const SELF: &str = ".";

/// A field of an object.
pub(super) fn field(name: &str) -> String {
    let mut element = String::with_capacity(name.len() + 2);
    element.push_str("f:");
    element.push_str(name);
    element
}

/// The name of a field, if it is one.
pub(super) fn field_name(element: &str) -> Option<&str> {
    element.strip_prefix("f:")
}

/// Why an item of a list has no step of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoElement {
    NullItem,
    NotAnObject,
    WithoutKeys,
    NullInSet,
    ObjectInSet,
    ListInSet,
}

impl NoElement {
    /// In the words of kube-apiserver.
    pub(super) fn text(self, keys: &[String]) -> String {
        match self {
            Self::NullItem => "associative list with keys may not have a null element".to_owned(),
            Self::NotAnObject => "associative list with keys may not have non-map elements".to_owned(),
            Self::WithoutKeys => format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(" ")
            ),
            Self::NullInSet => "associative list without keys has an element that's an explicit null".to_owned(),
            Self::ObjectInSet => "associative list without keys has an element that's a map type".to_owned(),
            Self::ListInSet => "not supported: associative list with lists as elements".to_owned(),
        }
    }
}

/// An item of a list: by its keys (a missing one counts with its default), or by its value where there are no keys.
pub(super) fn item<'a>(
    value: &'a Value,
    keys: &'a [String],
    default: impl Fn(&str) -> Option<&'a Value>,
) -> Result<String, NoElement> {
    if keys.is_empty() {
        return match value {
            Value::Null => Err(NoElement::NullInSet),
            Value::Object(_) => Err(NoElement::ObjectInSet),
            Value::Array(_) => Err(NoElement::ListInSet),
            scalar => {
                let mut element = String::from("v:");
                write(scalar, &mut element);
                Ok(element)
            }
        };
    }
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Null => return Err(NoElement::NullItem),
        _ => return Err(NoElement::NotAnObject),
    };
    let mut parts: Vec<(&str, &Value)> =
        keys.iter().filter_map(|key| Some((key.as_str(), fields.get(key).or_else(|| default(key))?))).collect();
    if parts.is_empty() {
        return Err(NoElement::WithoutKeys);
    }
    parts.sort_unstable_by_key(|(key, _)| *key);
    Ok(keyed(&parts))
}

fn keyed(parts: &[(&str, &Value)]) -> String {
    let mut element = String::from("k:{");
    for (index, (key, value)) in parts.iter().enumerate() {
        if index > 0 {
            element.push(',');
        }
        text(key, &mut element);
        element.push(':');
        write(value, &mut element);
    }
    element.push('}');
    element
}

/// One form for each value: a whole number without a fraction, letters that mean something in HTML escaped as Kubernetes does.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::String(string) => text(string, out),
        Value::Number(number) => out.push_str(&number_text(number)),
        other => out.push_str(&other.to_string()),
    }
}

fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        #[allow(clippy::cast_possible_truncation, reason = "whole and small enough")]
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => (float as i64).to_string(),
        _ => number.to_string(),
    }
}

fn text(string: &str, out: &mut String) {
    let plain = |c: char| c >= ' ' && !matches!(c, '"' | '\\' | '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}');
    if string.chars().all(plain) {
        out.push('"');
        out.push_str(string);
        out.push('"');
        return;
    }
    for c in Value::from(string).to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => out.push(other),
        }
    }
}

/// The one form of a step that a client wrote; none for a sort of step that is not known, which is left out.
///
/// # Errors
/// A sentence for what is no step at all.
pub(super) fn canonical(element: &str) -> Result<Option<String>, String> {
    let Some((sort, rest)) = element.split_at_checked(2).filter(|(sort, _)| sort.ends_with(':')) else {
        return Err(format!("{element:?} is no path element"));
    };
    let wrong = |error: serde_json::Error| format!("{element:?} is no path element: {error}");
    Ok(match sort {
        "f:" => Some(element.to_owned()),
        "v:" => {
            let value: Value = serde_json::from_str(rest).map_err(wrong)?;
            let mut out = String::from("v:");
            write(&value, &mut out);
            Some(out)
        }
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).map_err(wrong)?;
            let mut parts: Vec<(&str, &Value)> = keys.iter().map(|(key, value)| (key.as_str(), value)).collect();
            parts.sort_unstable_by_key(|(key, _)| *key);
            Some(keyed(&parts))
        }
        "i:" => Some(format!("i:{}", rest.parse::<i64>().map_err(|error| format!("{element:?}: {error}"))?)),
        _ => None,
    })
}

/// A step as people read it in a path: `.name`, `[name="a"]`, `[="a"]`, `[0]`.
pub(super) fn shown(element: &str) -> String {
    let Some((sort, rest)) = element.split_at_checked(2) else { return element.to_owned() };
    match sort {
        "f:" => format!(".{rest}"),
        "v:" => {
            format!("[={}]", serde_json::from_str::<Value>(rest).map_or(rest.to_owned(), |value| value.to_string()))
        }
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let mut parts: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            parts.sort_unstable();
            format!("[{}]", parts.join(","))
        }
        _ => format!("[{rest}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_is_named_by_its_keys_or_its_value() {
        let keys = ["port".to_owned(), "name".to_owned()];
        let tcp = json!("TCP");
        let cases = [
            (json!({"name": "a", "port": 80.0, "x": 1}), &keys[..], Ok(r#"k:{"name":"a","port":80}"#)),
            (json!({"name": "a"}), &keys[..], Ok(r#"k:{"name":"a"}"#)),
            (json!({"name": "<a\"\n"}), &keys[..], Ok(r#"k:{"name":"\u003ca\"\n"}"#)),
            (json!({}), &keys[..], Err(NoElement::WithoutKeys)),
            (json!(null), &keys[..], Err(NoElement::NullItem)),
            (json!("a"), &keys[..], Err(NoElement::NotAnObject)),
            (json!("a"), &[], Ok("v:\"a\"")),
            (json!(5), &[], Ok("v:5")),
            (json!(null), &[], Err(NoElement::NullInSet)),
            (json!({}), &[], Err(NoElement::ObjectInSet)),
            (json!([]), &[], Err(NoElement::ListInSet)),
        ];
        for (value, keys, expected) in cases {
            assert_eq!(item(&value, keys, |_| None).as_deref().map_err(|e| *e), expected, "{value}");
        }
        let protocol = ["protocol".to_owned()];
        let named = item(&json!({}), &protocol, |_| Some(&tcp)).expect("a default");
        assert_eq!((named.as_str(), shown(&named).as_str()), (r#"k:{"protocol":"TCP"}"#, r#"[protocol="TCP"]"#));
    }

    #[test]
    fn what_a_client_wrote_gets_its_one_form() {
        let cases = [
            ("f:a.b", Ok(Some("f:a.b".to_owned()))),
            (r#"k:{"b": 1.0, "a": "x"}"#, Ok(Some(r#"k:{"a":"x","b":1}"#.to_owned()))),
            ("v: \"a\"", Ok(Some("v:\"a\"".to_owned()))),
            ("i:07", Ok(Some("i:7".to_owned()))),
            ("z:new", Ok(None)),
        ];
        for (element, expected) in cases {
            assert_eq!(canonical(element), expected, "{element}");
        }
        for wrong in ["", "f", "name", "k:{", "v:", "i:x", "é:"] {
            assert!(canonical(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_read_as_those_of_kube_apiserver() {
        for (element, expected) in [
            ("f:example.com/name", ".example.com/name"),
            (r#"k:{"port":80,"name":"a"}"#, r#"[name="a",port=80]"#),
            ("v:\"x\"", "[=\"x\"]"),
            ("i:3", "[3]"),
        ] {
            assert_eq!(shown(element), expected);
        }
    }
}

//! Whether an applied configuration is of its type: only what is, says which fields it means.

use serde_json::Value;

use super::element::{self, shown};
use super::types::{Shape, Type, items_of};
use crate::schema::{Schema, Type as Kind};

/// What does not fit, in the words of kube-apiserver.
///
/// # Errors
/// One line for each field that does not fit.
pub(super) fn check(kind: Type<'_>, config: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    value(kind, config, "", &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn value(kind: Type<'_>, value: &Value, at: &str, errors: &mut Vec<String>) {
    let mut wrong = |what: String| errors.push(if at.is_empty() { what } else { format!("{at}: {what}") });
    if let Type::Known(schema, _) = kind
        && let Some(what) = mismatch(schema, value)
    {
        return wrong(what);
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let at = format!("{at}{}", shown(&element::field(name)));
                match kind.field(name).0 {
                    Type::Missing => errors.push(format!("{at}: field not declared in schema")),
                    below => self::value(below, field, &at, errors),
                }
            }
        }
        Value::Array(items) => match kind.shape(value) {
            Shape::List(keys) => keyed(kind, items_of(value), keys, at, errors),
            _ => {
                for (index, item) in items.iter().enumerate() {
                    self::value(kind.items(), item, &format!("{at}[{index}]"), errors);
                }
            }
        },
        _ => {}
    }
}

fn keyed(kind: Type<'_>, items: &[Value], keys: &[String], at: &str, errors: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    for (index, item) in items.iter().enumerate() {
        match kind.element(item, keys) {
            Err(why) => return errors.push(format!("{at}: element {index}: {}", why.text(keys))),
            Ok(element) => {
                let step = shown(&element);
                self::value(kind.items(), item, &format!("{at}{step}"), errors);
                if !seen.insert(element) {
                    errors.push(format!("{at}: duplicate entries for key {step}"));
                }
            }
        }
    }
}

fn mismatch(schema: &Schema, value: &Value) -> Option<String> {
    let fits = match (schema.kind, value) {
        (_, Value::Null) | (Kind::Any, _) => true,
        (Kind::Object, value) => value.is_object(),
        (Kind::Array, value) => value.is_array(),
        (Kind::Integer | Kind::Number, value) => value.is_number(),
        (Kind::Boolean, value) => value.is_boolean(),
        // A format makes a text any scalar, here as there: dates and quantities may be written without quotes.
        (Kind::String, value) if schema.format.as_deref().is_some_and(|format| format != "byte") => {
            !value.is_object() && !value.is_array()
        }
        (Kind::String, value) => value.is_string(),
    };
    let expected = match schema.kind {
        _ if fits => return None,
        Kind::Object => "map",
        Kind::Array => "list",
        Kind::Integer | Kind::Number => "numeric (int or float)",
        Kind::Boolean => "boolean",
        Kind::String if schema.format.is_some() => "any scalar",
        Kind::String | Kind::Any => "string",
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    };
    Some(format!("expected {expected}, got {found}"))
}

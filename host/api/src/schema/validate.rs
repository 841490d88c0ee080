//! Judges a value by a schema. Every bad field is reported, in the words of Kubernetes.

use serde_json::{Map, Value};

use super::{Additional, ErrorKind, FieldError, Junctors, ListType, Schema, Type, cel, format, join};

/// Checks `value`; `old` is what stood there before (for transition rules).
pub(crate) fn validate(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    check(schema, value, path, errors);
    check_rules(schema, value, old, path, errors);
}

/// Asks the rules about a value. They rely on what the schema says: what was found wrong so far may keep them from being asked.
pub(crate) fn check_rules(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if !schema.has_rules {
        return;
    }
    if errors.iter().any(|error| error.kind.stops_rules()) {
        let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete \
                      validation";
        errors.push(FieldError::invalid("", &Value::Null, detail));
        return;
    }
    rules(schema, value, old, path, &mut cel::Budget::default(), errors);
}

/// Checks types, bounds and everything else that is not a rule.
pub(crate) fn check(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() && schema.nullable {
        return;
    }
    if !type_fits(schema, value) {
        errors.push(wrong_type(schema, value, path));
        return;
    }
    if !schema.choices.is_empty() && !schema.choices.contains(value) {
        let allowed = schema.choices.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let detail = format!("supported values: {allowed}");
        errors.push(FieldError::new(ErrorKind::NotSupported, path, Some(value.clone()), detail));
    }
    match value {
        Value::Object(map) => object(schema, value, map, path, errors),
        Value::Array(items) => array(schema, items, path, errors),
        Value::String(text) => string(schema, text, value, path, errors),
        Value::Number(number) if schema.bounds.any() => {
            bounds(schema, number.as_f64().unwrap_or_default(), value, path, errors);
        }
        _ => {}
    }
    if let Some(junctors) = &schema.junctors {
        junction(junctors, value, path, errors);
    }
}

fn type_fits(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || is_integer(value);
    }
    match schema.kind {
        Type::Any => true,
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Integer => is_integer(value),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
    }
}

/// `1.0` is an integer too, as in JSON Schema.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() < 9.0e15)
}

fn wrong_type(schema: &Schema, value: &Value, path: &str) -> FieldError {
    let wanted = if schema.int_or_string { "integer,string" } else { schema.kind.name() };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    FieldError::new(
        ErrorKind::TypeInvalid,
        path,
        Some(Value::String(found.to_owned())),
        format!("{path} in body must be of type {wanted}: \"{found}\""),
    )
}

fn object(schema: &Schema, value: &Value, map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for key in &schema.required {
        if !map.contains_key(key) {
            errors.push(FieldError::required(join(path, key), ""));
        }
    }
    if let Some(max) = schema.sizes.max_properties
        && map.len() > max
    {
        let detail = format!("must have at most {max} items");
        errors.push(FieldError::new(ErrorKind::TooMany, path, Some(map.len().into()), detail));
    }
    if let Some(min) = schema.sizes.min_properties
        && map.len() < min
    {
        errors.push(FieldError::invalid(path, value, format!("{path} in body should have at least {min} properties")));
    }
    for (key, child) in map {
        let below = match (schema.properties.get(key), &schema.additional) {
            (Some(below), _) => below,
            (None, Additional::Schema(below)) => below,
            (None, _) => continue,
        };
        check(below, child, &join(path, key), errors);
    }
    if schema.embedded_resource {
        for key in ["apiVersion", "kind"] {
            if map.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
                errors.push(FieldError::required(join(path, key), "must not be empty"));
            }
        }
    }
}

fn array(schema: &Schema, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some(max) = schema.sizes.max_items
        && items.len() > max
    {
        let detail = format!("must have at most {max} items");
        errors.push(FieldError::new(ErrorKind::TooMany, path, Some(items.len().into()), detail));
    }
    if let Some(min) = schema.sizes.min_items
        && items.len() < min
    {
        let detail = format!("{path} in body should have at least {min} items");
        errors.push(FieldError::invalid(path, &items.len().into(), detail));
    }
    if let Some(below) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            check(below, item, &format!("{path}[{index}]"), errors);
        }
    }
    match &schema.list_type {
        ListType::Atomic => {}
        ListType::Set => twice(items.iter().cloned(), path, errors),
        ListType::Map(keys) => twice(items.iter().map(|item| identity(item, keys)), path, errors),
    }
}

/// The keys of an item of a map-like list.
pub(super) fn identity(item: &Value, keys: &[String]) -> Value {
    keys.iter().filter_map(|k| item.get(k).map(|v| (k.clone(), v.clone()))).collect::<Map<_, _>>().into()
}

fn twice(ids: impl Iterator<Item = Value>, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = std::collections::HashSet::new();
    for (index, id) in ids.enumerate() {
        if !seen.insert(id.to_string()) {
            errors.push(FieldError::new(ErrorKind::Duplicate, format!("{path}[{index}]"), Some(id), ""));
        }
    }
}

fn string(schema: &Schema, text: &str, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if schema.sizes.of_strings() {
        let length = text.chars().count();
        if let Some(max) = schema.sizes.max_length
            && length > max
        {
            let detail = format!("may not be more than {max} bytes");
            errors.push(FieldError::new(ErrorKind::TooLong, path, None, detail));
        }
        if let Some(min) = schema.sizes.min_length
            && length < min
        {
            let detail = format!("{path} in body should be at least {min} chars long");
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
    if let Some((source, regex)) = &schema.pattern
        && !regex.is_match(text)
    {
        errors.push(FieldError::invalid(path, value, format!("{path} in body should match '{source}'")));
    }
    if let Some(format) = &schema.format
        && !format::holds(format, text)
    {
        let detail = format!("{path} in body must be of type {format}: {value}");
        errors.push(FieldError::new(ErrorKind::TypeInvalid, path, Some(value.clone()), detail));
    }
}

fn bounds(schema: &Schema, number: f64, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let bounds = &schema.bounds;
    let mut wrong =
        |what: String| errors.push(FieldError::invalid(path, value, format!("{path} in body should be {what}")));
    if let Some(minimum) = bounds.minimum {
        if bounds.exclusive_minimum && number <= minimum {
            wrong(format!("greater than {minimum}"));
        } else if number < minimum {
            wrong(format!("greater than or equal to {minimum}"));
        }
    }
    if let Some(maximum) = bounds.maximum {
        if bounds.exclusive_maximum && number >= maximum {
            wrong(format!("less than {maximum}"));
        } else if number > maximum {
            wrong(format!("less than or equal to {maximum}"));
        }
    }
    if let Some(multiple) = bounds.multiple_of
        && multiple > 0.0
        && (number / multiple).fract().abs() > 1e-9
    {
        wrong(format!("a multiple of {multiple}"));
    }
}

fn junction(junctors: &Junctors, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let fits = |schema: &Schema| {
        let mut errors = Vec::new();
        check(schema, value, path, &mut errors);
        errors.is_empty()
    };
    for schema in &junctors.all_of {
        check(schema, value, path, errors);
    }
    let mut wrong = |what: &str| errors.push(FieldError::invalid(path, value, format!("{path} in body {what}")));
    if !junctors.any_of.is_empty() && !junctors.any_of.iter().any(fits) {
        wrong("must validate at least one schema (anyOf)");
    }
    if !junctors.one_of.is_empty() {
        match junctors.one_of.iter().filter(|s| fits(s)).count() {
            1 => {}
            0 => wrong("must validate one and only one schema (oneOf). Found none valid"),
            n => wrong(&format!("must validate one and only one schema (oneOf). Found {n} valid alternatives")),
        }
    }
    if junctors.not.as_deref().is_some_and(fits) {
        wrong("must not validate the schema (not)");
    }
}

/// Evaluates the CEL rules here and below.
fn rules(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    budget: &mut cel::Budget,
    errors: &mut Vec<FieldError>,
) {
    if value.is_null() {
        return;
    }
    for rule in &schema.rules {
        rule.check(schema, value, old, path, budget, errors);
    }
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let below = match (schema.properties.get(key), &schema.additional) {
                    (Some(below), _) => below,
                    (None, Additional::Schema(below)) => below,
                    (None, _) => continue,
                };
                if below.has_rules {
                    rules(below, child, old.and_then(|o| o.get(key)), &join(path, key), budget, errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref().filter(|b| b.has_rules) else { return };
            for (index, item) in items.iter().enumerate() {
                // Only items with an identity can be told to be the same ones as before.
                let before = match &schema.list_type {
                    ListType::Map(keys) => {
                        let id = identity(item, keys);
                        old.and_then(Value::as_array).and_then(|o| o.iter().find(|o| identity(o, keys) == id))
                    }
                    _ => None,
                };
                rules(below, item, before, &format!("{path}[{index}]"), budget, errors);
            }
        }
        _ => {}
    }
}

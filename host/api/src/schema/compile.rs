//! From an OpenAPI v3 structural schema, as a CustomResourceDefinition carries it, to a [`Schema`].
//!
//! What is not understood is refused here, so that nothing is accepted that would not work later.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::cel;
use super::{Additional, Bounds, FieldError, Junctors, ListType, Schema, Sizes, Type, apply_defaults, validate};

/// Keywords that carry meaning for others (documentation) and need nothing here.
const SILENT: [&str; 4] = ["description", "title", "example", "externalDocs"];

const MAX_DEPTH: usize = 64;

/// Compiles `source`, which stands at `path` of the CustomResourceDefinition. Every problem is reported.
pub(crate) fn compile(source: &Value, path: &str) -> Result<Schema, Vec<FieldError>> {
    let mut errors = Vec::new();
    let schema = Compiler { errors: &mut errors }.schema(source, path, false, 0);
    if errors.is_empty() { Ok(schema) } else { Err(errors) }
}

struct Compiler<'a> {
    errors: &'a mut Vec<FieldError>,
}

impl Compiler<'_> {
    fn schema(&mut self, source: &Value, path: &str, in_junctor: bool, depth: usize) -> Schema {
        let mut schema = Schema { nullable: false, preserve_unknown: false, ..Schema::anything() };
        let Value::Object(source) = source else {
            self.errors.push(FieldError::invalid(path, source, "must be a schema object"));
            return schema;
        };
        if depth > MAX_DEPTH {
            self.errors.push(FieldError::forbidden(path, format!("schemas may be nested at most {MAX_DEPTH} deep")));
            return schema;
        }
        let mut junctors = Junctors::default();
        for (key, value) in source {
            let at = format!("{path}.{key}");
            match key.as_str() {
                "type" => schema.kind = self.kind(value, &at),
                "nullable" => schema.nullable = self.boolean(value, &at),
                "x-kubernetes-int-or-string" => schema.int_or_string = self.boolean(value, &at),
                "x-kubernetes-preserve-unknown-fields" => schema.preserve_unknown = self.boolean(value, &at),
                "x-kubernetes-embedded-resource" => schema.embedded_resource = self.boolean(value, &at),
                "properties" => schema.properties = self.properties(value, &at, in_junctor, depth),
                "required" => schema.required = self.strings(value, &at),
                "additionalProperties" => {
                    schema.additional = match value {
                        Value::Bool(false) => Additional::None,
                        Value::Bool(true) => Additional::Any,
                        other => Additional::Schema(Box::new(self.schema(other, &at, in_junctor, depth + 1))),
                    }
                }
                "items" => schema.items = Some(Box::new(self.schema(value, &at, in_junctor, depth + 1))),
                "enum" => schema.choices = value.as_array().cloned().unwrap_or_default(),
                "pattern" => schema.pattern = self.pattern(value, &at),
                "format" => schema.format = value.as_str().map(str::to_owned),
                "default" => schema.default = Some(value.clone()),
                "minimum" => schema.bounds.minimum = self.number(value, &at),
                "maximum" => schema.bounds.maximum = self.number(value, &at),
                "exclusiveMinimum" => schema.bounds.exclusive_minimum = self.boolean(value, &at),
                "exclusiveMaximum" => schema.bounds.exclusive_maximum = self.boolean(value, &at),
                "multipleOf" => schema.bounds.multiple_of = self.number(value, &at),
                "minLength" => schema.sizes.min_length = self.size(value, &at),
                "maxLength" => schema.sizes.max_length = self.size(value, &at),
                "minItems" => schema.sizes.min_items = self.size(value, &at),
                "maxItems" => schema.sizes.max_items = self.size(value, &at),
                "minProperties" => schema.sizes.min_properties = self.size(value, &at),
                "maxProperties" => schema.sizes.max_properties = self.size(value, &at),
                "allOf" => junctors.all_of = self.list(value, &at, depth),
                "anyOf" => junctors.any_of = self.list(value, &at, depth),
                "oneOf" => junctors.one_of = self.list(value, &at, depth),
                "not" => junctors.not = Some(Box::new(self.schema(value, &at, true, depth + 1))),
                "x-kubernetes-list-type" => schema.list_type = self.list_type(value, source, &at),
                "x-kubernetes-list-map-keys" | "x-kubernetes-patch-merge-key" => {}
                "x-kubernetes-map-type" => schema.atomic_map = self.atomic_map(value, &at),
                "x-kubernetes-patch-strategy" => schema.patched = patched(value, source),
                "uniqueItems" if value == &Value::Bool(false) => {}
                "uniqueItems" => self.errors.push(FieldError::forbidden(&at, "uniqueItems cannot be set to true")),
                "x-kubernetes-validations" => schema.rules = cel::compile(value, &at, self.errors),
                key if SILENT.contains(&key) => {}
                _ => {
                    self.errors.push(FieldError::forbidden(&at, "this keyword is not supported in a structural schema"))
                }
            }
        }
        if !junctors.is_empty() {
            schema.junctors = Some(Box::new(junctors));
        }
        let said = source.contains_key("x-kubernetes-list-type");
        schema.items_owned = if said { schema.list_type.clone() } else { schema.patched.clone() };
        self.check(&schema, path, in_junctor);
        let has_rules = !schema.rules.is_empty() || schema.children().any(|c| c.has_rules);
        let has_defaults = schema.children().any(|c| c.has_defaults || c.default.is_some());
        (schema.has_rules, schema.has_defaults) = (has_rules, has_defaults);
        schema
    }

    /// What holds between keywords.
    fn check(&mut self, schema: &Schema, path: &str, in_junctor: bool) {
        let untyped = schema.kind == Type::Any && !schema.int_or_string && !schema.preserve_unknown;
        if untyped && !in_junctor {
            let detail = if path.ends_with(".items") {
                "must not be empty for specified array items"
            } else if path.ends_with("openAPIV3Schema") {
                "must not be empty at the root"
            } else {
                "must not be empty for specified object fields"
            };
            self.errors.push(FieldError::required(format!("{path}.type"), detail));
        }
        if schema.kind == Type::Array && schema.items.is_none() && !in_junctor && !schema.preserve_unknown {
            self.errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
        }
        if !schema.properties.is_empty() && !matches!(schema.additional, Additional::None) {
            self.errors.push(FieldError::forbidden(
                format!("{path}.additionalProperties"),
                "additionalProperties and properties are mutual exclusive",
            ));
        }
        let whole = |bound: Option<f64>| bound.is_none_or(|b| b.fract() == 0.0);
        if schema.kind == Type::Integer && !(whole(schema.bounds.minimum) && whole(schema.bounds.maximum)) {
            self.errors.push(FieldError::forbidden(path, "the bounds of an integer must be integers"));
        }
        if let Some(default) = &schema.default {
            let mut value = default.clone();
            let mut unknown = Vec::new();
            super::prune(schema, &mut value, "", &mut unknown);
            apply_defaults(schema, &mut value);
            let at = format!("{path}.default");
            if let Some(first) = unknown.first() {
                self.errors.push(FieldError::invalid(&at, default, format!("must not have the unknown field {first}")));
            }
            let mut wrong = Vec::new();
            validate(schema, &value, None, &at, &mut wrong);
            self.errors.extend(wrong);
        }
    }

    fn properties(&mut self, value: &Value, path: &str, in_junctor: bool, depth: usize) -> BTreeMap<String, Schema> {
        let Value::Object(map) = value else {
            self.errors.push(FieldError::invalid(path, value, "must be an object"));
            return BTreeMap::new();
        };
        map.iter()
            .map(|(name, source)| {
                (name.clone(), self.schema(source, &format!("{path}[{name}]"), in_junctor, depth + 1))
            })
            .collect()
    }

    fn list(&mut self, value: &Value, path: &str, depth: usize) -> Vec<Schema> {
        let Value::Array(items) = value else {
            self.errors.push(FieldError::invalid(path, value, "must be a list of schemas"));
            return Vec::new();
        };
        items.iter().enumerate().map(|(i, item)| self.schema(item, &format!("{path}[{i}]"), true, depth + 1)).collect()
    }

    fn list_type(&mut self, value: &Value, source: &Map<String, Value>, path: &str) -> ListType {
        match value.as_str() {
            Some("atomic") => ListType::Atomic,
            Some("set") => ListType::Set,
            Some("map") => {
                let keys = source.get("x-kubernetes-list-map-keys").cloned().unwrap_or_default();
                let keys: Vec<String> = serde_json::from_value(keys).unwrap_or_default();
                if keys.is_empty() {
                    self.errors.push(FieldError::required(
                        path.replace("list-type", "list-map-keys"),
                        "must not be empty if x-kubernetes-list-type is map",
                    ));
                }
                ListType::Map(keys)
            }
            _ => {
                self.errors.push(FieldError::invalid(path, value, "must be one of atomic, set, map"));
                ListType::Atomic
            }
        }
    }

    fn atomic_map(&mut self, value: &Value, path: &str) -> bool {
        if !matches!(value.as_str(), Some("atomic" | "granular")) {
            self.errors.push(FieldError::invalid(path, value, "must be one of atomic, granular"));
        }
        value == "atomic"
    }

    fn kind(&mut self, value: &Value, path: &str) -> Type {
        let known = [Type::Object, Type::Array, Type::String, Type::Integer, Type::Number, Type::Boolean];
        match value.as_str() {
            Some("") => Type::Any,
            Some(name) if known.iter().any(|t| t.name() == name) => {
                known.into_iter().find(|t| t.name() == name).unwrap_or(Type::Any)
            }
            _ => {
                let detail = "must be one of array, boolean, integer, number, object, string";
                self.errors.push(FieldError::invalid(path, value, detail));
                Type::Object
            }
        }
    }

    fn pattern(&mut self, value: &Value, path: &str) -> Option<(String, Regex)> {
        let text = value.as_str().unwrap_or_default();
        match Regex::new(text) {
            Ok(regex) => Some((text.to_owned(), regex)),
            Err(error) => {
                let detail = format!("must be a valid regular expression, but isn't: {error}");
                self.errors.push(FieldError::invalid(path, value, detail));
                None
            }
        }
    }

    fn boolean(&mut self, value: &Value, path: &str) -> bool {
        value.as_bool().unwrap_or_else(|| {
            self.errors.push(FieldError::invalid(path, value, "must be true or false"));
            false
        })
    }

    fn number(&mut self, value: &Value, path: &str) -> Option<f64> {
        let number = value.as_f64();
        if number.is_none() {
            self.errors.push(FieldError::invalid(path, value, "must be a number"));
        }
        number
    }

    fn size(&mut self, value: &Value, path: &str) -> Option<usize> {
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
        if size.is_none() {
            self.errors.push(FieldError::invalid(path, value, "must be a non-negative integer"));
        }
        size
    }

    fn strings(&mut self, value: &Value, path: &str) -> Vec<String> {
        serde_json::from_value(value.clone()).unwrap_or_else(|_| {
            self.errors.push(FieldError::invalid(path, value, "must be a list of strings"));
            Vec::new()
        })
    }
}

/// How a list is merged by a strategic merge patch: the kinds that are built in say so in Kubernetes' own words.
fn patched(strategy: &Value, source: &Map<String, Value>) -> ListType {
    if !strategy.as_str().is_some_and(|strategy| strategy.split(',').any(|part| part == "merge")) {
        return ListType::Atomic;
    }
    match source.get("x-kubernetes-patch-merge-key").and_then(Value::as_str) {
        Some(key) => ListType::Map(vec![key.to_owned()]),
        None => ListType::Set,
    }
}

impl Bounds {
    /// Whether anything is bounded.
    pub(super) fn any(&self) -> bool {
        self.minimum.is_some() || self.maximum.is_some() || self.multiple_of.is_some()
    }
}

impl Sizes {
    /// Whether lengths of strings are bounded.
    pub(super) fn of_strings(&self) -> bool {
        self.min_length.is_some() || self.max_length.is_some()
    }
}

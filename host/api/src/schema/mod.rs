//! Structural schemas: compiled once from OpenAPI v3 into a tree of our own, then used to prune, default and validate.
//!
//! One mechanism for every kind: the schemas of built-in kinds are files in `builtin/`, those of all others come in
//! CustomResourceDefinitions. Messages are those of Kubernetes, because its clients and its users know them.

mod cel;
mod compile;
mod defaults;
mod error;
mod format;
pub(crate) mod names;
mod prune;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

pub(crate) use cel::Rule;
pub(crate) use compile::compile;
pub(crate) use defaults::apply as apply_defaults;
pub(crate) use error::{ErrorKind, FieldError};
pub(crate) use format::{is_dns_label, is_dns_subdomain, is_label_value, is_qualified_name};
pub(crate) use prune::{drop_nulls, prune};
pub(crate) use validate::{check, check_rules, validate};

/// The `type` of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// Nothing said (or `x-kubernetes-int-or-string`).
    Any,
    /// `object`
    Object,
    /// `array`
    Array,
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `boolean`
    Boolean,
}

impl Type {
    /// Its name in a schema.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// What may stand beside the named properties.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// Nothing: it is pruned.
    #[default]
    None,
    /// Anything.
    Any,
    /// What fits this schema.
    Schema(Box<Schema>),
}

/// Bounds of a number.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
}

/// Bounds of a length.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pub min_length: Option<usize>,
    pub max_length: Option<usize>,
    pub min_items: Option<usize>,
    pub max_items: Option<usize>,
    pub min_properties: Option<usize>,
    pub max_properties: Option<usize>,
}

/// `allOf`, `anyOf`, `oneOf`, `not`: they only judge values, they never add fields.
#[derive(Debug, Default)]
pub(crate) struct Junctors {
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

impl Junctors {
    fn is_empty(&self) -> bool {
        self.all_of.is_empty() && self.any_of.is_empty() && self.one_of.is_empty() && self.not.is_none()
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects, told apart by these keys.
    Map(Vec<String>),
}

/// A compiled structural schema.
#[derive(Debug)]
pub(crate) struct Schema {
    pub kind: Type,
    pub nullable: bool,
    pub int_or_string: bool,
    pub preserve_unknown: bool,
    pub embedded_resource: bool,
    pub properties: BTreeMap<String, Schema>,
    pub required: Vec<String>,
    pub additional: Additional,
    pub items: Option<Box<Schema>>,
    pub list_type: ListType,
    /// How items are owned and merged: the list type, or what the patch strategy says where no list type does.
    pub items_owned: ListType,
    /// `x-kubernetes-map-type: atomic`: owned and merged as a whole.
    pub atomic_map: bool,
    /// How a strategic merge patch merges a list (`x-kubernetes-patch-strategy` and `-merge-key`).
    pub patched: ListType,
    pub choices: Vec<Value>,
    pub pattern: Option<(String, Regex)>,
    pub format: Option<String>,
    pub bounds: Bounds,
    pub sizes: Sizes,
    pub default: Option<Value>,
    pub junctors: Option<Box<Junctors>>,
    pub rules: Vec<Rule>,
    /// Whether any rule stands here or below: saves the walk where there is none.
    pub has_rules: bool,
    /// Whether any default stands here or below.
    pub has_defaults: bool,
}

impl Schema {
    /// A schema that takes and keeps anything.
    pub(crate) fn anything() -> Self {
        Self {
            kind: Type::Any,
            nullable: true,
            int_or_string: false,
            preserve_unknown: true,
            embedded_resource: false,
            properties: BTreeMap::new(),
            required: Vec::new(),
            additional: Additional::None,
            items: None,
            list_type: ListType::Atomic,
            items_owned: ListType::Atomic,
            atomic_map: false,
            patched: ListType::Atomic,
            choices: Vec::new(),
            pattern: None,
            format: None,
            bounds: Bounds::default(),
            sizes: Sizes::default(),
            default: None,
            junctors: None,
            rules: Vec::new(),
            has_rules: false,
            has_defaults: false,
        }
    }

    /// The schema of what is not named, if it has one.
    pub(crate) fn additional_schema(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            _ => None,
        }
    }

    /// The direct sub-schemas that describe fields.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Self> {
        self.properties.values().chain(self.additional_schema()).chain(self.items.as_deref())
    }
}

/// The path of a field: `spec.env[0].name`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if key.contains('.') || key.contains('/') {
        return format!("{path}[{key}]");
    }
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

//! What a value is to ownership: a whole, or a map or list whose parts are owned one by one. The schema says, and where it says nothing the value does.

use serde_json::Value;

use super::element::{self, NoElement};
use crate::schema::{Additional, ListType, Schema, Type as Kind};

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type<'a> {
    /// What the schema says. The flag: unknown fields are kept above, so below too.
    Known(&'a Schema, bool),
    /// Anything: objects are owned field by field, lists as a whole.
    Deduced,
    /// Anything, owned as a whole.
    Whole,
    /// Not in the schema.
    Missing,
}

/// How a value is owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    /// As a whole.
    Leaf,
    /// Field by field.
    Map,
    /// Item by item, by these keys or else by value.
    List(&'a [String]),
}

impl<'a> Type<'a> {
    pub(super) fn root(schema: &'a Schema) -> Self {
        Self::Known(schema, schema.preserve_unknown)
    }

    /// How a value of this type is owned. What does not fit the type is taken as empty.
    pub(super) fn shape(self, value: &Value) -> Shape<'a> {
        match self {
            Self::Known(schema, _) => known_shape(schema, value),
            Self::Deduced | Self::Missing if value.is_object() => Shape::Map,
            _ => Shape::Leaf,
        }
    }

    /// The type of a field, and whether the schema names it.
    pub(super) fn field(self, name: &str) -> (Self, bool) {
        match self {
            Self::Known(schema, keeps) => match (schema.properties.get(name), &schema.additional) {
                (Some(below), _) => (Self::Known(below, keeps || below.preserve_unknown), true),
                (None, Additional::Schema(below)) => (Self::Known(below, keeps || below.preserve_unknown), false),
                (None, Additional::Any) => (Self::Deduced, false),
                (None, Additional::None) if keeps || schema.properties.is_empty() => (Self::Deduced, false),
                (None, Additional::None) => (Self::Missing, false),
            },
            Self::Deduced => (Self::Deduced, false),
            Self::Whole => (Self::Whole, false),
            Self::Missing => (Self::Missing, false),
        }
    }

    /// The type of a list's items.
    pub(super) fn items(self) -> Self {
        match self {
            Self::Known(schema, keeps) => match &schema.items {
                Some(items) => Self::Known(items, keeps || items.preserve_unknown),
                None => Self::Whole,
            },
            _ => Self::Whole,
        }
    }

    /// The step to an item of a list with these keys.
    pub(super) fn element(self, item: &'a Value, keys: &'a [String]) -> Result<String, NoElement> {
        let default = |key: &str| match self.items() {
            Self::Known(schema, _) => schema.properties.get(key)?.default.as_ref(),
            _ => None,
        };
        element::item(item, keys, default)
    }
}

fn known_shape<'a>(schema: &'a Schema, value: &Value) -> Shape<'a> {
    let list = match schema.kind {
        Kind::Array => true,
        Kind::Object => false,
        Kind::Any => match value {
            Value::Array(_) => true,
            Value::Object(_) => false,
            _ => return Shape::Leaf,
        },
        _ => return Shape::Leaf,
    };
    match (list, &schema.items_owned) {
        (false, _) if schema.atomic_map => Shape::Leaf,
        (false, _) => Shape::Map,
        (true, ListType::Atomic) => Shape::Leaf,
        (true, ListType::Set) => Shape::List(&[]),
        (true, ListType::Map(keys)) => Shape::List(keys),
    }
}

/// Whether there is nothing in a map or list; null and what is neither count as nothing.
pub(super) fn vacant(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

/// The items of a list; none of anything else.
pub(super) fn items_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether two values are the same; numbers by what they count.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

/// The part of an object that a writer cannot own: what names it, what the server writes, and what the way it is written leaves alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outside<'a>(pub(super) &'a [&'static str]);

impl Outside<'_> {
    /// Whether a field of the object is outside.
    pub(super) fn field(self, name: &str) -> bool {
        matches!(name, "apiVersion" | "kind") || self.0.contains(&name)
    }

    /// Whether a field of the metadata is outside.
    pub(super) fn metadata(name: &str) -> bool {
        matches!(
            name,
            "name"
                | "namespace"
                | "creationTimestamp"
                | "selfLink"
                | "uid"
                | "generation"
                | "managedFields"
                | "resourceVersion"
        )
    }
}

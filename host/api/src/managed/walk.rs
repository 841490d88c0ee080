//! The fields that an object says.

use serde_json::{Map, Value};

use super::element;
use super::fields::{FieldSet, Node, put};
use super::types::{Outside, Shape, Type, items_of};

/// The fields of an object: what an apply of it takes.
pub(super) fn field_set(kind: Type<'_>, object: &Value, outside: Outside<'_>) -> FieldSet {
    let mut out = Map::new();
    for (name, value) in object.as_object().into_iter().flatten().filter(|(name, _)| !outside.field(name)) {
        if name == "metadata" {
            let (metadata, _) = kind.field(name);
            let mut below = Map::new();
            let fields = value.as_object().into_iter().flatten();
            fields
                .filter(|(name, _)| !Outside::metadata(name))
                .for_each(|(name, value)| child(metadata, name, value, &mut below));
            put(&mut out, element::field(name), false, below);
        } else {
            child(kind, name, value, &mut out);
        }
    }
    FieldSet::of(out)
}

fn child(kind: Type<'_>, name: &str, value: &Value, out: &mut Node) {
    let (kind, declared) = kind.field(name);
    let (member, below) = fields(kind, value);
    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
    put(out, element::field(name), member || empty || !declared, below);
}

/// Whether a value is owned itself, and what of it is below it.
fn fields(kind: Type<'_>, value: &Value) -> (bool, Node) {
    let mut out = Map::new();
    match kind.shape(value) {
        Shape::Leaf => return (true, out),
        Shape::Map => {
            for (name, value) in value.as_object().into_iter().flatten() {
                child(kind, name, value, &mut out);
            }
        }
        Shape::List(keys) => {
            for item in items_of(value) {
                let Ok(element) = kind.element(item, keys) else { continue };
                // What is there twice is owned as one.
                let below = if out.contains_key(&element) { Map::new() } else { fields(kind.items(), item).1 };
                put(&mut out, element, true, below);
            }
        }
    }
    (false, out)
}

/// Everything in a value, maps and lists themselves too: what comes or goes with it.
pub(super) fn everything(kind: Type<'_>, value: &Value) -> Node {
    let mut out = Map::new();
    match kind.shape(value) {
        Shape::Leaf => {}
        Shape::Map => {
            for (name, value) in value.as_object().into_iter().flatten() {
                put(&mut out, element::field(name), true, everything(kind.field(name).0, value));
            }
        }
        Shape::List(keys) => {
            for item in items_of(value) {
                let Ok(element) = kind.element(item, keys) else { continue };
                let below = if out.contains_key(&element) { Map::new() } else { everything(kind.items(), item) };
                put(&mut out, element, true, below);
            }
        }
    }
    out
}

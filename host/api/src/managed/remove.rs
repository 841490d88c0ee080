//! What becomes of objects and sets by a set: fields taken out, and sets brought in line with the schema.

use serde_json::{Map, Value};

use super::element::{self, SELF};
use super::fields::{FieldSet, Node, holds_self, put, take};
use super::types::{Shape, Type};
use crate::schema::{Additional, Schema};

/// Takes the fields of a set out of an object.
pub(super) fn remove(kind: Type<'_>, value: &mut Value, set: &Node) {
    let below = |element: &str| set.get(element).and_then(Value::as_object);
    match kind.shape(value) {
        Shape::Leaf => {}
        Shape::Map => {
            let Value::Object(map) = value else { return };
            map.retain(|name, value| match below(&element::field(name)) {
                Some(node) if holds_self(node) => false,
                Some(node) => {
                    remove(kind.field(name).0, value, node);
                    true
                }
                None => true,
            });
        }
        Shape::List(keys) => {
            let Value::Array(items) = value else { return };
            items.retain_mut(|item| {
                let element = kind.element(item, keys).unwrap_or_default();
                match below(&element) {
                    Some(node) if holds_self(node) => false,
                    Some(node) => {
                        remove(kind.items(), item, node);
                        true
                    }
                    None => true,
                }
            });
        }
    }
}

/// The set with the named fields that have something in it below them: so that they go, or stay, with what they hold.
pub(super) fn with_named(kind: Type<'_>, set: &FieldSet) -> FieldSet {
    fn level(kind: Type<'_>, node: &Node) -> Node {
        let mut out = Map::new();
        for (step, value) in node.iter().filter(|(step, _)| *step != SELF) {
            let Some(below) = value.as_object() else { continue };
            let (inner, declared) = below_step(kind, step);
            put(&mut out, step.clone(), holds_self(below) || declared, level(inner, below));
        }
        out
    }
    FieldSet::of(level(kind, set.node()))
}

fn below_step<'a>(kind: Type<'a>, step: &str) -> (Type<'a>, bool) {
    match element::field_name(step) {
        Some(name) => kind.field(name),
        None if step.starts_with("k:") => (kind.items(), false),
        None => (Type::Missing, false),
    }
}

/// What the schema now says is owned as a whole, but was owned in parts when the set was written, becomes a whole.
pub(super) fn reconcile(kind: Type<'_>, set: &mut FieldSet) {
    fn stale(kind: Type<'_>, node: &Node, member: bool) -> bool {
        let Type::Known(schema, keeps) = kind else { return false };
        let whole = member && node.is_empty();
        if is_whole(schema, keeps) {
            return !whole && !node.is_empty();
        }
        node.iter().filter(|(step, _)| *step != SELF).any(|(step, value)| {
            value.as_object().is_some_and(|below| stale(below_step(kind, step).0, below, holds_self(below)))
        })
    }
    fn level(kind: Type<'_>, node: &mut Node) {
        let steps: Vec<String> = node.keys().filter(|step| *step != SELF).cloned().collect();
        for step in steps {
            let inner = below_step(kind, &step).0;
            let Some((member, mut below)) = take(node, &step) else { continue };
            match inner {
                Type::Known(schema, keeps) if is_whole(schema, keeps) => put(node, step, true, Map::new()),
                _ => {
                    level(inner, &mut below);
                    put(node, step, member, below);
                }
            }
        }
    }
    if stale(kind, set.node(), true) {
        level(kind, set.node_mut());
    }
}

/// Whether a field of this schema is always owned as a whole.
fn is_whole(schema: &Schema, keeps: bool) -> bool {
    use crate::schema::{ListType, Type as Kind};
    match schema.kind {
        Kind::Array => schema.items_owned == ListType::Atomic,
        Kind::Object => {
            let open = keeps || schema.properties.is_empty();
            let deduced = match &schema.additional {
                Additional::Schema(_) => false,
                Additional::Any => true,
                Additional::None => open,
            };
            schema.atomic_map && !(deduced && schema.properties.is_empty())
        }
        _ => false,
    }
}

//! What a change of an object changes, in fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element;
use super::fields::{FieldSet, Node, put};
use super::types::{Outside, Shape, Type, items_of, same, vacant};
use super::walk::everything;

/// The fields that a change removes, modifies and adds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// What the writer takes.
    pub(super) fn written(self) -> FieldSet {
        let mut written = self.modified;
        written.add(self.added);
        written
    }
}

/// A field, and what is below it.
type Mark = (bool, Node);

/// What differs at one place.
#[derive(Default)]
struct Marks {
    removed: Mark,
    modified: Mark,
    added: Mark,
}

impl Marks {
    /// Puts what was found below a step in its place.
    fn hang(self, element: impl Fn() -> String, out: &mut Self) {
        for ((member, below), into) in
            [(self.removed, &mut out.removed), (self.modified, &mut out.modified), (self.added, &mut out.added)]
        {
            if member || !below.is_empty() {
                put(&mut into.1, element(), member, below);
            }
        }
    }
}

/// What is different in `new`.
pub(super) fn compare(kind: Type<'_>, old: &Value, new: &Value, outside: Outside<'_>) -> Changes {
    let mut marks = Marks::default();
    each_field(old, new, |name, old, new| {
        if outside.field(name) {
            return;
        }
        if name == "metadata" {
            let (metadata, mut inner) = (kind.field(name).0, Marks::default());
            each_field(old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null), |name, old, new| {
                if !Outside::metadata(name) {
                    field(metadata, name, old, new, &mut inner);
                }
            });
            inner.hang(|| element::field(name), &mut marks);
        } else {
            field(kind, name, old, new, &mut marks);
        }
    });
    let [removed, modified, added] = [marks.removed, marks.modified, marks.added].map(|(_, below)| FieldSet::of(below));
    Changes { removed, modified, added }
}

/// Calls for each field that either object has.
fn each_field<'a>(old: &'a Value, new: &'a Value, mut call: impl FnMut(&'a str, Option<&'a Value>, Option<&'a Value>)) {
    let (old, new) = (old.as_object(), new.as_object());
    for (name, value) in old.into_iter().flatten() {
        call(name, Some(value), new.and_then(|new| new.get(name)));
    }
    for (name, value) in new.into_iter().flatten() {
        if !old.is_some_and(|old| old.contains_key(name)) {
            call(name, None, Some(value));
        }
    }
}

fn field(kind: Type<'_>, name: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Marks) {
    either(kind.field(name).0, old, new).hang(|| element::field(name), out);
}

fn either(kind: Type<'_>, old: Option<&Value>, new: Option<&Value>) -> Marks {
    let mut marks = Marks::default();
    match (old, new) {
        (Some(old), Some(new)) => both(kind, old, new, &mut marks),
        (None, Some(new)) => marks.added = (true, everything(kind, new)),
        (Some(old), None) => marks.removed = (true, everything(kind, old)),
        (None, None) => {}
    }
    marks
}

fn both(kind: Type<'_>, old: &Value, new: &Value, out: &mut Marks) {
    match (kind.shape(old), kind.shape(new)) {
        (Shape::Map, Shape::Map) if !(vacant(old) && vacant(new)) => {
            each_field(old, new, |name, old, new| field(kind, name, old, new, out));
        }
        (Shape::List(keys), Shape::List(_)) if !(vacant(old) && vacant(new)) => {
            if old != new {
                lists(kind, items_of(old), items_of(new), keys, out);
            }
        }
        (Shape::Map, Shape::Map) | (Shape::List(_), Shape::List(_)) | (Shape::Leaf, Shape::Leaf) => {
            out.modified.0 = !same(old, new);
        }
        // A whole in place of parts, or the other way round.
        _ => {
            out.modified.0 = true;
            out.removed.1 = everything(kind, old);
            out.added.1 = everything(kind, new);
        }
    }
}

fn lists<'a>(kind: Type<'a>, old: &'a [Value], new: &'a [Value], keys: &'a [String], out: &mut Marks) {
    let mut items: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in old {
        if let Ok(element) = kind.element(item, keys) {
            items.entry(element).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(element) = kind.element(item, keys) {
            items.entry(element).or_default().1.push(item);
        }
    }
    for (element, (old, new)) in items {
        let mut marks = Marks::default();
        match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => marks = either(kind.items(), old.first().copied(), new.first().copied()),
            // Several of one key are owned as one.
            ([_, _, ..], [_, _, ..]) => {
                marks.modified.0 = !(old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| same(old, new)));
            }
            ([_, _, ..], _) => {
                marks.removed = (true, Map::new());
                if let Some(new) = new.first() {
                    marks.added = (true, everything(kind.items(), new));
                }
            }
            (_, _) => {
                marks.added = (true, Map::new());
                if let Some(old) = old.first() {
                    marks.removed = (true, everything(kind.items(), old));
                }
            }
        }
        marks.hang(|| element.clone(), out);
    }
}

//! Sets of fields, in the form of `FieldsV1`: an object whose keys are steps and whose values hold what is below. A field without anything below it is
//! in the set; one with something below is in it if it also has the mark `.`.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::element::{self, SELF};

/// One level of a set.
pub(super) type Node = Map<String, Value>;

/// A set of fields. It has one form: nothing in it that stands for no field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FieldSet(Node);

static EMPTY: LazyLock<Node> = LazyLock::new(Map::new);

fn below(value: &Value) -> &Node {
    value.as_object().unwrap_or(&EMPTY)
}

/// Whether a field with this below it is in the set itself.
pub(super) fn holds_self(node: &Node) -> bool {
    node.is_empty() || node.contains_key(SELF)
}

/// Puts a field into a level: itself, what is below it, both or neither.
pub(super) fn put(level: &mut Node, element: String, member: bool, mut below: Node) {
    if below.is_empty() && !member {
        return;
    }
    if member && !below.is_empty() {
        below.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    level.insert(element, Value::Object(below));
}

/// A field with what is below it: taken out of a level, or put back in.
pub(super) fn take(level: &mut Node, element: &str) -> Option<(bool, Node)> {
    let Some(Value::Object(mut node)) = level.remove(element) else { return None };
    let member = holds_self(&node);
    node.remove(SELF);
    Some((member, node))
}

impl FieldSet {
    /// The levels as they were built.
    pub(super) fn of(node: Node) -> Self {
        Self(node)
    }

    /// A set that this program wrote.
    pub(super) fn stored(value: Value) -> Self {
        match value {
            Value::Object(node) => Self(node),
            _ => Self::default(),
        }
    }

    /// A set that somebody else wrote: checked, and brought into the one form.
    ///
    /// # Errors
    /// A sentence that says what is no set.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        fn level(node: &Node) -> Result<(bool, Node), String> {
            let (mut member, mut out) = (false, Map::new());
            for (key, value) in node {
                if key == SELF {
                    member = true;
                    continue;
                }
                let Value::Object(inner) = value else { return Err(format!("{key:?} must hold an object")) };
                if let Some(element) = element::canonical(key)? {
                    let (inner_member, inner) = level(inner)?;
                    let (there, mut all) = take(&mut out, &element).unwrap_or_default();
                    union(&mut all, inner);
                    put(&mut out, element, there || inner_member, all);
                }
            }
            Ok((member || out.is_empty(), out))
        }
        match value {
            Value::Null => Ok(Self::default()),
            Value::Object(node) => Ok(Self(level(node)?.1)),
            _ => Err("fieldsV1 must be an object".to_owned()),
        }
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn node(&self) -> &Node {
        &self.0
    }

    pub(super) fn node_mut(&mut self) -> &mut Node {
        &mut self.0
    }

    /// Adds the fields of another set.
    pub(super) fn add(&mut self, other: Self) {
        union(&mut self.0, other.0);
    }

    /// Takes the fields of another set out. What is below those stays.
    pub(super) fn subtract(&mut self, other: &Self) {
        difference(&mut self.0, &other.0);
    }

    /// The fields that are in both.
    pub(super) fn common(&self, other: &Self) -> Self {
        Self(intersection(&self.0, &other.0))
    }

    /// The paths of the fields as people read them; those of a level before those below it.
    pub(super) fn paths(&self) -> Vec<String> {
        fn level(node: &Node, at: &str, out: &mut Vec<String>) {
            let mut steps: Vec<(&String, &Node)> =
                node.iter().filter(|(key, _)| *key != SELF).map(|(key, value)| (key, below(value))).collect();
            steps.sort_unstable_by(|a, b| a.0.cmp(b.0));
            let shown: Vec<String> = steps.iter().map(|(key, _)| format!("{at}{}", element::shown(key))).collect();
            out.extend(
                steps.iter().zip(&shown).filter(|((_, node), _)| holds_self(node)).map(|(_, path)| path.clone()),
            );
            for ((_, node), path) in steps.iter().zip(&shown) {
                level(node, path, out);
            }
        }
        let mut out = Vec::new();
        level(&self.0, "", &mut out);
        out
    }
}

fn union(into: &mut Node, from: Node) {
    for (element, value) in from {
        let Value::Object(node) = value else { continue };
        if element == SELF {
            continue;
        }
        if let Some(Value::Object(there)) = into.get_mut(&element) {
            let member = holds_self(there) || holds_self(&node);
            there.remove(SELF);
            union(there, node);
            if member && !there.is_empty() {
                there.insert(SELF.to_owned(), Value::Object(Map::new()));
            }
        } else {
            into.insert(element, Value::Object(node));
        }
    }
}

fn difference(from: &mut Node, what: &Node) {
    for (element, value) in what {
        let Some(Value::Object(there)) = from.get_mut(element) else { continue };
        let node = below(value);
        let member = holds_self(there) && !holds_self(node);
        there.remove(SELF);
        difference(there, node);
        if there.is_empty() {
            if !member {
                from.remove(element);
            }
        } else if member {
            there.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
    }
}

fn intersection(a: &Node, b: &Node) -> Node {
    let mut out = Map::new();
    for (element, value) in b {
        if let Some(there) = a.get(element).filter(|_| element != SELF) {
            let (left, right) = (below(there), below(value));
            put(&mut out, element.clone(), holds_self(left) && holds_self(right), intersection(left, right));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::parse(&value).expect("a set")
    }

    #[test]
    fn sets_are_sets_of_paths() {
        let cases = [
            // a, b: a + b, a - b, a & b
            (json!({"f:a": {}}), json!({"f:b": {}}), json!({"f:a": {}, "f:b": {}}), json!({"f:a": {}}), json!({})),
            (
                json!({"f:a": {}}),
                json!({"f:a": {"f:b": {}}}),
                json!({"f:a": {".": {}, "f:b": {}}}),
                json!({"f:a": {}}),
                json!({}),
            ),
            (
                json!({"f:a": {".": {}, "f:b": {}}}),
                json!({"f:a": {}}),
                json!({"f:a": {".": {}, "f:b": {}}}),
                json!({"f:a": {"f:b": {}}}),
                json!({"f:a": {}}),
            ),
            (
                json!({"f:a": {".": {}, "f:b": {}}}),
                json!({"f:a": {"f:b": {}}}),
                json!({"f:a": {".": {}, "f:b": {}}}),
                json!({"f:a": {}}),
                json!({"f:a": {"f:b": {}}}),
            ),
            (
                json!({"f:a": {"f:b": {}, "f:c": {"f:d": {}}}}),
                json!({"f:a": {"f:b": {}, "f:c": {"f:d": {}}}}),
                json!({"f:a": {"f:b": {}, "f:c": {"f:d": {}}}}),
                json!({}),
                json!({"f:a": {"f:b": {}, "f:c": {"f:d": {}}}}),
            ),
        ];
        for (a, b, sum, rest, both) in cases {
            let (a, b) = (set(a), set(b));
            let (mut added, mut left) = (a.clone(), a.clone());
            added.add(b.clone());
            left.subtract(&b);
            assert_eq!(added.into_value(), sum);
            assert_eq!(left.into_value(), rest);
            assert_eq!(a.common(&b).into_value(), both);
        }
    }

    #[test]
    fn what_others_write_is_brought_into_one_form() {
        let odd = json!({".": {}, "f:a": {".": {}}, "f:b": {"z:later": {}}, "k:{\"b\":1,\"a\":2}": {"f:c": {}}, "k:{\"a\":2,\"b\":1.0}": {}});
        let expected = json!({"f:a": {}, "f:b": {}, "k:{\"a\":2,\"b\":1}": {".": {}, "f:c": {}}});
        assert_eq!(set(odd).into_value(), expected);
        for wrong in [json!([]), json!({"f:a": 1}), json!({"name": {}})] {
            assert!(FieldSet::parse(&wrong).is_err(), "{wrong}");
        }
        assert!(set(Value::Null).is_empty());
    }

    #[test]
    fn paths_are_listed_level_by_level() {
        let paths = set(json!({"f:a": {".": {}, "f:z": {}}, "f:b": {}, "f:c": {"v:1": {}}})).paths();
        assert_eq!(paths, [".a", ".b", ".a.z", ".c[=1]"]);
    }
}

//! Objects that require each other in a circle: none of them could come first, and none could go first.

use std::collections::HashMap;
use std::fmt;

use crate::state::State;
use crate::store::Store;
use crate::types::{Edge, Key};

/// A way from an object back to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// The field of the object that starts it.
    pub field: String,
    /// The object, those on the way, and the object again.
    pub path: Vec<Key>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: Vec<String> = self.path.iter().map(ToString::to_string).collect();
        write!(
            f,
            "{}: the objects require each other in a circle, so that none can come first: {}; take one of the references away",
            self.field,
            path.join(" -> ")
        )
    }
}

/// Whether the referring object waits for the other one. An object may be its own target.
fn waits(from: &Key, edge: &Edge) -> bool {
    edge.role == "requires" || edge.role == "target" && edge.to != *from
}

fn search(state: &State, from: &Key, edges: &[Edge]) -> Option<Circle> {
    // Where each was come from first, and by which field of the first object it all started.
    let mut seen: HashMap<Key, (Key, usize)> = HashMap::new();
    let mut open: Vec<(Key, usize)> = Vec::new();
    for (start, edge) in edges.iter().enumerate().filter(|(_, edge)| waits(from, edge)) {
        if edge.to == *from {
            return Some(Circle { field: edge.field.clone(), path: vec![from.clone(), from.clone()] });
        }
        if seen.insert(edge.to.clone(), (from.clone(), start)).is_none() {
            open.push((edge.to.clone(), start));
        }
    }
    while let Some((key, start)) = open.pop() {
        let Some(entry) = state.get(&key) else { continue };
        for edge in state.edges_of(entry.id).iter().filter(|edge| waits(&key, edge)) {
            if edge.to == *from {
                let mut path = vec![from.clone(), key.clone()];
                while let Some((before, _)) =
                    seen.get(path.last().unwrap_or(from)).filter(|_| path.len() <= seen.len() + 1)
                {
                    path.push(before.clone());
                    if before == from {
                        break;
                    }
                }
                path.reverse();
                return Some(Circle { field: edges[start].field.clone(), path });
            }
            if edge.to != key && !seen.contains_key(&edge.to) {
                seen.insert(edge.to.clone(), (key.clone(), start));
                open.push((edge.to.clone(), start));
            }
        }
    }
    None
}

impl Store {
    /// The circle that an object with these references would close, with those that are stored.
    pub fn circle(&self, from: &Key, edges: &[Edge]) -> Option<Circle> {
        if !edges.iter().any(|edge| waits(from, edge)) {
            return None;
        }
        search(&self.engine().memory.read(), from, edges)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::Entry;
    use crate::types::{Object, Resource};

    fn key(name: &str) -> Key {
        Key { resource: Resource::new("", "things"), namespace: None, name: name.into() }
    }

    fn edge(to: &str, role: &str) -> Edge {
        Edge { to: key(to), role: role.into(), field: format!("spec.{to}") }
    }

    fn state(edges: &[(&str, &[(&str, &str)])]) -> State {
        let mut state = State::default();
        for (id, (name, to)) in edges.iter().enumerate() {
            let (id, body) = (id as i64, json!({}).to_string().into());
            let object = Object { key: key(name), uid: (*name).into(), resource_version: 1, body };
            state.put(Entry { id, object });
            state.set_edges(id, to.iter().map(|(to, role)| edge(to, role)).collect());
        }
        state
    }

    #[test]
    fn a_circle_is_found_and_told_with_its_path() {
        let state = state(&[
            ("b", &[("c", "target")]),
            ("c", &[("x", "requires"), ("a", "requires")]),
            ("d", &[("a", "uses")]),
        ]);
        let found = search(&state, &key("a"), &[edge("d", "requires"), edge("b", "requires")]).unwrap();
        let names: Vec<&str> = found.path.iter().map(|key| &*key.name).collect();
        assert_eq!((names, found.field.as_str()), (vec!["a", "b", "c", "a"], "spec.b"));
        assert!(search(&state, &key("a"), &[edge("d", "requires")]).is_none(), "who only uses does not wait");
        assert!(search(&state, &key("a"), &[edge("b", "uses")]).is_none());
    }

    #[test]
    fn an_object_may_be_its_own_target_but_not_require_itself() {
        let state = state(&[]);
        assert!(search(&state, &key("a"), &[edge("a", "target")]).is_none());
        assert_eq!(search(&state, &key("a"), &[edge("a", "requires")]).unwrap().path, [key("a"), key("a")]);
    }
}

//! What an object becomes when a configuration is applied to it: the fields of the configuration take the place of those that are there.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::types::{Shape, Type, items_of, vacant};

/// Merges `config` into `live`.
pub(super) fn merge(kind: Type<'_>, live: &mut Value, config: &Value) {
    match (kind.shape(live), kind.shape(config)) {
        (Shape::Map, Shape::Map) if !(vacant(live) && vacant(config)) => {
            if !live.is_object() {
                *live = Value::Object(Map::new());
            }
            let (Value::Object(live), Value::Object(config)) = (live, config) else { return };
            for (name, value) in config {
                match live.get_mut(name) {
                    Some(there) => merge(kind.field(name).0, there, value),
                    None => drop(live.insert(name.clone(), value.clone())),
                }
            }
        }
        (Shape::List(keys), Shape::List(_)) if !vacant(live) => {
            if !vacant(config) {
                *live = Value::Array(lists(kind, items_of(live), items_of(config), keys));
            }
        }
        _ => *live = config.clone(),
    }
}

/// The order is that of the configuration where it says one; what only the object has keeps its place among what it was beside.
fn lists<'a>(kind: Type<'a>, live: &'a [Value], config: &'a [Value], keys: &'a [String]) -> Vec<Value> {
    let named = |items: &'a [Value]| -> Vec<(String, &'a Value)> {
        items.iter().filter_map(|item| Some((kind.element(item, keys).ok()?, item))).collect()
    };
    let (live, config) = (named(live), named(config));
    let mut there: HashMap<&str, Option<&Value>> = HashMap::with_capacity(live.len());
    for (element, item) in &live {
        // What is there twice is not merged.
        there.entry(element).and_modify(|item| *item = None).or_insert(Some(item));
    }
    let wanted: HashMap<&str, &Value> = config.iter().map(|(element, item)| (element.as_str(), *item)).collect();
    let merged = |element: &str| {
        let mut item = there.get(element).copied().flatten().cloned();
        let change = wanted.get(element).copied().unwrap_or(&Value::Null);
        match &mut item {
            Some(item) => merge(kind.items(), item, change),
            None => item = Some(change.clone()),
        }
        item.unwrap_or_default()
    };
    let mut shared = config.iter().map(|(element, _)| element.as_str()).filter(|element| there.contains_key(element));
    let mut next = shared.next();
    let mut done: HashMap<&str, ()> = HashMap::with_capacity(config.len());
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut c) = (0, 0);
    while l < live.len() || c < config.len() {
        if let (Some((left, _)), Some((right, _))) = (live.get(l), config.get(c)) {
            if left == right {
                done.insert(right, ());
                out.push(merged(right));
                (l, c) = (l + 1, c + 1);
                next = shared.next();
                continue;
            }
            if wanted.contains_key(left.as_str()) && next.is_some_and(|next| next != left) {
                // In both, but not the one that comes next.
                l += 1;
                continue;
            }
        }
        if let Some((left, item)) = live.get(l) {
            if !wanted.contains_key(left.as_str()) {
                out.push((*item).clone());
                l += 1;
                continue;
            }
            if done.contains_key(left.as_str()) {
                l += 1;
            }
        }
        if let Some((right, _)) = config.get(c) {
            done.insert(right, ());
            out.push(merged(right));
            c += 1;
            if next == Some(right.as_str()) {
                next = shared.next();
            }
        }
    }
    out
}

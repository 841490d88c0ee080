//! What counts as a difference.

use std::cell::RefCell;
use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// A place that may differ, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ignored {
    path: String,
    /// For the reader of the file; it must be there.
    #[allow(dead_code, reason = "said in the file, for people")]
    reason: String,
    /// In the answers to these calls; in all if there are none.
    #[serde(default)]
    calls: BTreeSet<String>,
    /// Whose answers have it; without this both do, with another value.
    only: Option<Only>,
    /// Chance makes it alike at times.
    #[serde(default)]
    sometimes: bool,
    /// The list is the same list in another order.
    #[serde(default)]
    unordered: bool,
    /// The list is the same list, but for items of ours that have these fields.
    without: Option<serde_json::Map<String, Value>>,
    /// The calls that would differ without it.
    #[serde(skip)]
    needed: RefCell<BTreeSet<String>>,
}

/// Whose answers have a place.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Only {
    Theirs,
    Ours,
    Either,
}

/// What may differ in answers to more than one call.
///
/// # Errors
/// When the file is no list of those.
pub(super) fn ignored() -> Result<Vec<Ignored>> {
    serde_yaml_ng::from_str(include_str!("ignored.yaml")).context("read ignored.yaml")
}

/// The places where the answers to a call differ, each with both values.
pub(super) fn differences(call: &str, at: &str, theirs: &Value, ours: &Value, ignored: &[&Ignored]) -> Vec<String> {
    if theirs == ours {
        return Vec::new();
    }
    if let Some(place) = ignored.iter().find(|place| place.allows(call, at, theirs, ours)) {
        place.needs(call);
        return Vec::new();
    }
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let get = |map: &serde_json::Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
            keys.into_iter()
                .flat_map(|key| differences(call, &format!("{at}/{key}"), &get(a, key), &get(b, key), ignored))
                .collect()
        }
        (Value::Array(a), Value::Array(b)) => {
            let (mut a, mut b) = (a.clone(), b.clone());
            ignored.iter().filter(|place| place.covers(call, at)).for_each(|place| place.arrange(call, &mut a, &mut b));
            if a.len() != b.len() {
                return vec![difference(at, theirs, ours)];
            }
            let items = a.iter().zip(&b).enumerate();
            items.flat_map(|(i, (a, b))| differences(call, &format!("{at}/{i}"), a, b, ignored)).collect()
        }
        _ => vec![difference(at, theirs, ours)],
    }
}

fn difference(at: &str, theirs: &Value, ours: &Value) -> String {
    format!("{}: theirs {}, ours {}", if at.is_empty() { "/" } else { at }, short(theirs), short(ours))
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(700) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl Ignored {
    /// What it is there for and nothing needs any more. What chance can make alike is needed by chance.
    pub(super) fn needless(&self) -> Vec<String> {
        if self.sometimes {
            return Vec::new();
        }
        let needed = self.needed.borrow();
        if self.calls.is_empty() && needed.is_empty() {
            return vec![self.path.clone()];
        }
        self.calls.difference(&needed).map(|call| format!("{} of {call:?}", self.path)).collect()
    }

    fn needs(&self, call: &str) {
        self.needed.borrow_mut().insert(call.to_owned());
    }

    fn allows(&self, call: &str, at: &str, theirs: &Value, ours: &Value) -> bool {
        let there = match self.only {
            None => !theirs.is_null() && !ours.is_null(),
            Some(Only::Theirs) => ours.is_null(),
            Some(Only::Ours) => theirs.is_null(),
            Some(Only::Either) => true,
        };
        there && !self.unordered && self.without.is_none() && self.covers(call, at)
    }

    fn arrange(&self, call: &str, theirs: &mut [Value], ours: &mut Vec<Value>) {
        if let Some(fields) = &self.without {
            let before = ours.len();
            ours.retain(|item| !fields.iter().all(|(name, value)| item.get(name) == Some(value)));
            if ours.len() != before {
                self.needs(call);
            }
        }
        if self.unordered {
            for list in [theirs, ours.as_mut_slice()] {
                list.sort_by_cached_key(Value::to_string);
            }
            self.needs(call);
        }
    }

    fn covers(&self, call: &str, at: &str) -> bool {
        if !(self.calls.is_empty() || self.calls.contains(call)) {
            return false;
        }
        let steps: Vec<&str> = at.split('/').skip(1).collect();
        match self.path.strip_prefix("**/") {
            Some(rest) => {
                let rest: Vec<&str> = rest.split('/').collect();
                steps.len() >= rest.len() && fits(&rest, &steps[steps.len() - rest.len()..])
            }
            None => fits(&self.path.split('/').skip(1).collect::<Vec<_>>(), &steps),
        }
    }
}

fn fits(pattern: &[&str], steps: &[&str]) -> bool {
    pattern.len() == steps.len() && pattern.iter().zip(steps).all(|(p, s)| *p == "*" || p == s)
}

#[cfg(test)]
fn place(text: &str) -> Ignored {
    serde_yaml_ng::from_str(text).expect("a place")
}

#[test]
fn a_place_is_covered_by_its_path_or_its_end() {
    let covers = |path: &str, at: &str| place(&format!("{{path: \"{path}\", reason: r}}")).covers("call", at);
    assert!(covers("**/metadata/uid", "/items/0/metadata/uid"));
    assert!(covers("/items/*/spec", "/items/3/spec"));
    assert!(!covers("/metadata/uid", "/items/0/metadata/uid"));
    assert!(!covers("**/metadata/uid", "/uid"));
}

#[test]
fn a_difference_is_allowed_where_it_is_said_and_needed() {
    use serde_json::json;
    let rows = |text: &str, theirs: Value, ours: Value| {
        let place = place(text);
        (differences("call", "", &theirs, &ours, &[&place]).len(), place.needless().len())
    };
    let (one, two) = (json!({"a": 1}), json!({"a": 2}));
    assert_eq!(rows("{path: /a, reason: r}", one.clone(), two.clone()), (0, 0));
    assert_eq!(rows("{path: /a, reason: r, calls: [other]}", one.clone(), two), (1, 1));
    assert_eq!(rows("{path: /a, reason: r, calls: [call]}", one.clone(), one.clone()), (0, 1), "it has rotted");
    assert_eq!(rows("{path: /a, reason: r}", one.clone(), json!({})), (1, 1), "both must have it");
    assert_eq!(rows("{path: /a, reason: r, only: theirs}", one.clone(), json!({})), (0, 0));
    assert_eq!(rows("{path: /a, reason: r, only: ours}", one, json!({})), (1, 1));
    assert_eq!(rows("{path: /l, reason: r, unordered: true}", json!({"l": [1, 2]}), json!({"l": [2, 1]})), (0, 0));
    let more = json!({"l": [{"k": "v"}, {"k": "w"}]});
    assert_eq!(rows("{path: /l, reason: r, without: {k: w}}", json!({"l": [{"k": "v"}]}), more), (0, 0));
}

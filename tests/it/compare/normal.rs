//! What counts as a difference.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// A place that may differ, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ignored {
    path: String,
    /// For the reader of the file; it must be there.
    #[allow(dead_code, reason = "said in the file, for people")]
    reason: String,
}

/// What may differ in every answer.
///
/// # Errors
/// When the file is no list of those.
pub(super) fn ignored() -> Result<Vec<Ignored>> {
    serde_yaml_ng::from_str(include_str!("ignored.yaml")).context("read ignored.yaml")
}

/// The places where two answers differ, each with both values. An ignored place must be there in both or in neither.
pub(super) fn differences(at: &str, theirs: &Value, ours: &Value, ignored: &[&Ignored]) -> Vec<String> {
    if theirs == ours || ignored.iter().any(|place| place.covers(at)) && theirs.is_null() == ours.is_null() {
        return Vec::new();
    }
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let get = |map: &serde_json::Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
            keys.into_iter()
                .flat_map(|key| differences(&format!("{at}/{key}"), &get(a, key), &get(b, key), ignored))
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .flat_map(|(i, (a, b))| differences(&format!("{at}/{i}"), a, b, ignored))
            .collect(),
        _ => vec![format!("{}: theirs {}, ours {}", if at.is_empty() { "/" } else { at }, short(theirs), short(ours))],
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(700) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl Ignored {
    fn covers(&self, at: &str) -> bool {
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

#[test]
fn a_place_is_covered_by_its_path_or_its_end() {
    let place = |path: &str| Ignored { path: path.into(), reason: String::new() };
    assert!(place("**/metadata/uid").covers("/items/0/metadata/uid"));
    assert!(place("/items/*/spec").covers("/items/3/spec"));
    assert!(!place("/metadata/uid").covers("/items/0/metadata/uid"));
    assert!(!place("**/metadata/uid").covers("/uid"));
}

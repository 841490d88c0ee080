//! What is on targets because of an object, as it is now.

use std::collections::{BTreeSet, HashMap};

use futures::StreamExt;
use serde_json::Value;
use threeport_kube::{Error as TargetError, Health, Reference, State, Target, health, project};
use threeport_store::InventoryEntry;

use crate::carried::{Link, ManifestState};
use crate::request::Seen;
use crate::targets::{Connected, NoConnection, Targets};
use crate::trouble::{Trouble, unreachable};

/// Reads at a time on one target.
const AT_A_TIME: usize = 16;

/// The targets of one run: each is opened once.
pub(crate) struct Reach<'a> {
    targets: &'a Targets,
    own: &'a str,
    link: Option<Link>,
    open: HashMap<String, Connected>,
}

impl<'a> Reach<'a> {
    pub(crate) fn new(targets: &'a Targets, own: &'a str, link: Option<Link>) -> Self {
        Self { targets, own, link, open: HashMap::new() }
    }

    /// The connection to a target.
    pub(crate) async fn get(&mut self, name: &str) -> Result<Connected, NoConnection> {
        if let Some(connected) = self.open.get(name) {
            return Ok(connected.clone());
        }
        let own = if name == self.own { self.link.as_ref() } else { None };
        let connected = self.targets.open(name, own).await?;
        self.open.insert(name.to_owned(), connected.clone());
        Ok(connected)
    }

    /// Notes what a target answered.
    pub(crate) fn note<T>(&self, connected: &Connected, answer: &Result<T, TargetError>) {
        self.targets.note(connected, answer);
    }

    /// Looks at everything in an inventory.
    pub(crate) async fn observe(&mut self, inventory: &[InventoryEntry]) -> Result<Vec<Seen>, Trouble> {
        let names: BTreeSet<&str> = inventory.iter().map(|entry| entry.target.as_str()).collect();
        let mut all = Vec::with_capacity(inventory.len());
        for name in names {
            let entries: Vec<&InventoryEntry> = inventory.iter().filter(|entry| entry.target == name).collect();
            let references: Vec<Reference> = entries.iter().map(|entry| reference(entry)).collect();
            let connected = match self.get(name).await {
                Ok(connected) => connected,
                Err(none) => return Err(lost_sight(&none)),
            };
            let answers = look(&connected.target, &references).await;
            for ((entry, reference), answer) in entries.into_iter().zip(references).zip(answers) {
                self.note(&connected, &answer);
                all.push(seen(entry, reference, answer)?);
            }
        }
        Ok(all)
    }
}

/// Several objects at once, in the order asked for. With owned items: a stream over borrowed ones makes a future that may not move between threads.
async fn look(target: &Target, references: &[Reference]) -> Vec<Result<Option<Value>, TargetError>> {
    let gets = references.iter().cloned().map(|reference| {
        let target = target.clone();
        async move { target.get(&reference).await }
    });
    futures::stream::iter(gets.collect::<Vec<_>>()).buffered(AT_A_TIME).collect().await
}

/// A target on which we have something does not let itself be looked at.
fn lost_sight(none: &NoConnection) -> Trouble {
    match none {
        NoConnection::NotConnected(message) => Trouble::unknown("ClusterUnreachable", message),
        other => other.trouble(),
    }
}

pub(crate) fn reference(entry: &InventoryEntry) -> Reference {
    Reference {
        api_version: entry.api_version.clone(),
        kind: entry.kind.clone(),
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
    }
}

fn seen(
    entry: &InventoryEntry,
    reference: Reference,
    answer: Result<Option<Value>, TargetError>,
) -> Result<Seen, Trouble> {
    let state = ManifestState::of(entry);
    let entry = entry.clone();
    let absent = Health { class: State::NotFound, message: "it is not there".to_owned() };
    Ok(match answer {
        Ok(Some(live)) => {
            let drifted = drift(&state.live, &project(&live, &state.live));
            Seen { health: health(&live), drifted, live: Some(live), entry, state, reference }
        }
        // A kind that is not served has no objects.
        Ok(None) | Err(TargetError::KindUnknown { .. }) => {
            Seen { health: absent, drifted: Vec::new(), live: None, entry, state, reference }
        }
        Err(error) if unreachable(&error) => return Err(Trouble::unknown("ClusterUnreachable", error.to_string())),
        Err(error) => return Err(Trouble { unknown: true, ..Trouble::target(&error) }),
    })
}

/// JSON pointers at which `now` is not as `before` was.
pub(crate) fn drift(before: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differences(before, now, &mut String::new(), &mut found);
    found
}

fn differences(before: &Value, now: &Value, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match (before, now) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                path.push('/');
                path.push_str(&key.replace('~', "~0").replace('/', "~1"));
                differences(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), path, found);
                path.truncate(length);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                path.push('/');
                path.push_str(&index.to_string());
                differences(a, b, path, found);
                path.truncate(length);
            }
        }
        (a, b) if a == b => {}
        _ => found.push(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn drift_names_exactly_the_fields_that_changed() {
        let before =
            json!({"spec": {"replicas": 2, "list": [{"a": 1}, {"a": 2}]}, "metadata": {"labels": {"x/y": "1"}}});
        assert!(drift(&before, &before).is_empty());
        let now = json!({"spec": {"replicas": 3, "list": [{"a": 1}, {"a": 5}]}, "metadata": {"labels": {}}});
        assert_eq!(drift(&before, &now), ["/metadata/labels/x~1y", "/spec/list/1/a", "/spec/replicas"]);
        assert_eq!(drift(&json!({"l": [1]}), &json!({"l": [1, 2]})), ["/l"]);
    }
}

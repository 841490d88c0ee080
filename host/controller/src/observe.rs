//! What is on targets because of an object, as it is now.

use std::collections::{BTreeSet, HashMap};

use futures::StreamExt;
use serde_json::Value;
use threeport_kube::{Error as TargetError, Health, Reference, State, Target, health};
use threeport_store::InventoryEntry;

use crate::carried::{Link, ManifestState};
use crate::host::Host;
use crate::redact::Redactor;
use crate::request::{Seen, Sight};
use crate::scope::Scope;
use crate::targets::{Connected, NoConnection, Targets};
use crate::trouble::{Trouble, unreachable};

/// Reads at a time on one target.
const AT_A_TIME: usize = 16;

/// The targets of one run: each is opened once.
pub(crate) struct Reach<'a> {
    targets: &'a Targets,
    own: &'a str,
    link: Option<Link>,
    scope: &'a Scope,
    redactor: &'a Redactor,
    open: HashMap<String, Connected>,
}

impl<'a> Reach<'a> {
    pub(crate) fn new(host: &'a Host, own: &'a str, link: Option<Link>, scope: &'a Scope) -> Self {
        Self { targets: &host.targets, own, link, scope, redactor: &host.redactor, open: HashMap::new() }
    }

    /// The connection to a target.
    pub(crate) async fn get(&mut self, name: &str) -> Result<Connected, NoConnection> {
        if let Some(connected) = self.open.get(name) {
            return Ok(connected.clone());
        }
        let own = if name == self.own { self.link.as_ref() } else { None };
        let connected = self.targets.open(name, own, self.scope).await?;
        self.open.insert(name.to_owned(), connected.clone());
        Ok(connected)
    }

    /// Notes what a target answered.
    pub(crate) fn note<T>(&self, connected: &Connected, answer: &Result<T, TargetError>) {
        self.targets.note(connected, answer);
    }

    /// Looks at everything in an inventory. What cannot be seen is told as such, entry by entry.
    pub(crate) async fn observe(&mut self, inventory: &[InventoryEntry]) -> Result<Vec<Seen>, Trouble> {
        let names: BTreeSet<&str> = inventory.iter().map(|entry| entry.target.as_str()).collect();
        let mut all = Vec::with_capacity(inventory.len());
        for name in names {
            let entries: Vec<&InventoryEntry> = inventory.iter().filter(|entry| entry.target == name).collect();
            let references: Vec<Reference> = entries.iter().map(|entry| reference(entry)).collect();
            let connected = match self.get(name).await {
                Ok(connected) => connected,
                Err(none @ NoConnection::Store(_)) => return Err(none.trouble()),
                Err(none) => {
                    let away = Sight::Away(lost_sight(&none));
                    all.extend(entries.into_iter().zip(references).map(|(e, r)| unseen(e, r, away.clone())));
                    continue;
                }
            };
            let answers = look(&connected.target, &references).await;
            for ((entry, reference), answer) in entries.into_iter().zip(references).zip(answers) {
                self.note(&connected, &answer);
                all.push(seen(entry, reference, answer, self.redactor));
            }
        }
        Ok(all)
    }
}

/// Several objects at once, in the order asked for. With owned items: a stream over borrowed ones makes a future that may not move between threads.
pub(crate) async fn look(target: &Target, references: &[Reference]) -> Vec<Result<Option<Value>, TargetError>> {
    let gets = references.iter().cloned().map(|reference| {
        let target = target.clone();
        async move { target.find(&reference).await }
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

pub(crate) fn seen(
    entry: &InventoryEntry,
    reference: Reference,
    answer: Result<Option<Value>, TargetError>,
    redactor: &Redactor,
) -> Seen {
    match answer {
        Ok(Some(live)) => {
            let state = ManifestState::of(entry);
            let drifted = drift(&state.live, &redactor.project(&live, &state.live));
            let health = health(&live);
            Seen { health, drifted, live: Some(live), sight: Sight::Clear, entry: entry.clone(), state, reference }
        }
        Ok(None) => unseen(entry, reference, Sight::Clear),
        Err(TargetError::KindUnknown { .. }) => unseen(entry, reference, Sight::NotServed),
        Err(error) => {
            let trouble = Trouble { unknown: true, ..Trouble::target(&error) };
            let sight = if unreachable(&error) { Sight::Away(trouble) } else { Sight::Refused(trouble) };
            unseen(entry, reference, sight)
        }
    }
}

/// An entry without a live object.
pub(crate) fn unseen(entry: &InventoryEntry, reference: Reference, sight: Sight) -> Seen {
    let (class, message) = match &sight {
        Sight::Clear => (State::NotFound, "it is not there".to_owned()),
        Sight::NotServed => (State::NotFound, "the target does not serve its kind".to_owned()),
        Sight::Refused(trouble) | Sight::Away(trouble) => (State::Unknown, trouble.message.clone()),
    };
    let health = Health { class, message };
    let (state, entry) = (ManifestState::of(entry), entry.clone());
    Seen { health, drifted: Vec::new(), live: None, sight, entry, state, reference }
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
    fn what_cannot_be_read_is_unknown_and_what_is_not_served_is_not_merely_absent() {
        let entry = InventoryEntry {
            target: "t".into(),
            api_version: "example.org/v1".into(),
            kind: "Kite".into(),
            namespace: None,
            name: "red".into(),
            uid: None,
            stage: 0,
            state: Value::Null,
        };
        let (step, server, why) = ("get".to_owned(), "s".to_owned(), "no".to_owned());
        let of = |answer| seen(&entry, reference(&entry), answer, &Redactor::new(&[7; 32]));
        let away = of(Err(TargetError::Unreachable { step: step.clone(), server, why: why.clone() }));
        assert!(matches!(&away.sight, Sight::Away(trouble) if trouble.reason == "ClusterUnreachable"));
        let refused = of(Err(TargetError::Forbidden { step: step.clone(), why }));
        assert!(matches!(&refused.sight, Sight::Refused(trouble) if trouble.unknown && trouble.reason == "Forbidden"));
        assert_eq!((away.health.class, refused.health.class), (State::Unknown, State::Unknown));
        assert!(refused.health.message.contains("forbids"));
        let unserved =
            of(Err(TargetError::KindUnknown { step, api_version: "example.org/v1".into(), kind: "Kite".into() }));
        assert_eq!((unserved.sight, unserved.health.class), (Sight::NotServed, State::NotFound));
        assert_eq!(of(Ok(None)).sight, Sight::Clear);
    }

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

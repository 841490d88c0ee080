//! Targets that are gone for good: what is on them is left behind, and an Event says what that was.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use threeport_store::{Claim, Error, InventoryEntry, Op, lifecycle};

use crate::carried::target_ref;
use crate::events::{self, Note};
use crate::host::Host;
use crate::observe::reference;
use crate::wishes::abandoned;

/// Reason of the Events.
pub(crate) const ABANDONED: &str = "Abandoned";

/// Room for names in one Event's message.
const ROOM: usize = 800;

/// On which targets what cannot be removed is left behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abandoned {
    /// The object itself says so, of all of them.
    pub(crate) all: bool,
    targets: BTreeSet<String>,
}

impl Abandoned {
    /// What a deleted object, or a target that it has something on, says.
    pub(crate) async fn of(host: &Host, all: bool, inventory: &[InventoryEntry]) -> Result<Self, Error> {
        let mut abandon = Self { all, targets: BTreeSet::new() };
        let names: BTreeSet<&str> = inventory.iter().map(|entry| entry.target.as_str()).collect();
        for name in names {
            let Some(key) = target_ref(name).and_then(|target| host.kinds.key(&target)) else { continue };
            let target = host.store.get(&key).await?;
            // A value that means nothing is told by the target's own run.
            if target.is_some_and(|target| abandoned(&target.value()).unwrap_or(false)) {
                abandon.targets.insert(name.to_owned());
            }
        }
        Ok(abandon)
    }

    pub(crate) fn covers(&self, target: &str) -> bool {
        self.all || self.targets.contains(target)
    }
}

/// Events that list what is left behind, all of it.
pub(crate) fn notes(entries: &[InventoryEntry]) -> Vec<Note> {
    let mut by_target: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for entry in entries {
        by_target.entry(&entry.target).or_default().push(reference(entry).to_string());
    }
    let mut notes = Vec::new();
    for (target, names) in by_target {
        let mut line = String::new();
        for name in names {
            if !line.is_empty() && line.len() + name.len() > ROOM {
                notes.push(left_behind(target, &std::mem::take(&mut line)));
            }
            if !line.is_empty() {
                line.push_str(", ");
            }
            line.push_str(&name);
        }
        notes.push(left_behind(target, &line));
    }
    notes
}

/// Events about the namespace of an object, if it goes as a whole: those in it go with it, and what was left behind has to be known afterwards.
pub(crate) async fn of_namespace(host: &Host, claim: &Claim, notes: &[Note], now: Timestamp) -> Vec<Op> {
    let abandoned = notes.iter().filter(|note| note.reason == ABANDONED);
    let Some(name) = claim.object.key.namespace.as_deref().filter(|_| abandoned.clone().next().is_some()) else {
        return Vec::new();
    };
    let namespace = match host.store.get(&lifecycle::namespace_key(name)).await {
        Ok(Some(namespace)) if lifecycle::is_going(&namespace) => namespace.value(),
        Ok(_) => return Vec::new(),
        Err(error) => {
            tracing::warn!(object = %claim.object.key, "what was left behind is told in its namespace only: {error}");
            return Vec::new();
        }
    };
    let about = |note: &Note| Note { message: format!("{}: {}", claim.object.key, note.message), ..note.clone() };
    abandoned.map(|note| events::op(&namespace, &about(note), &host.config.owner, now)).collect()
}

fn left_behind(target: &str, names: &str) -> Note {
    let place = target_ref(target).map_or_else(
        || target.to_owned(),
        |target| format!("{} {}/{}", target.kind, target.namespace.unwrap_or_default(), target.name),
    );
    Note::warning(ABANDONED, format!("left behind on {place}: {names}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> InventoryEntry {
        InventoryEntry {
            target: "example.org/v1/Place/home/there".into(),
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: Some("home".into()),
            name: name.into(),
            uid: None,
            stage: 0,
            state: serde_json::Value::Null,
        }
    }

    #[test]
    fn everything_that_is_left_behind_is_told_in_events_that_hold_it() {
        assert!(notes(&[]).is_empty());
        let entries: Vec<_> = (0..100).map(|index| entry(&format!("settings-{index}"))).collect();
        let notes = notes(&entries);
        let all: String = notes.iter().map(|note| note.message.as_str()).collect();
        assert!(entries.iter().all(|entry| all.contains(&format!("ConfigMap home/{}", entry.name))));
        assert!(notes.len() > 1 && notes.iter().all(|note| note.message.len() < 1000 && note.warning));
        assert!(notes[0].message.starts_with("left behind on Place home/there: "), "{}", notes[0].message);
    }
}

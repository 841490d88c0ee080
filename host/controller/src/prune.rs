//! Removing what is no longer wanted, letting go of what was there before, leaving behind what cannot be reached any more.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use threeport_kube::{Health, Removed, State};
use threeport_store::{InventoryEntry, Store};
use threeport_wasm::Verb;
use tracing::Instrument as _;

use crate::act::{Actor, Outcome};
use crate::carried::ManifestState;
use crate::events::Note;
use crate::request::{Seen, Sight};
use crate::stats::add;
use crate::trouble::{Pace, Stop, Trouble};
use crate::wishes::OnDelete;

/// A create that is later than this was not on its way.
const LATE: Duration = Duration::from_secs(10);

/// What becomes of something that is no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Remove,
    /// It stays, without our marks; why.
    Release(&'static str),
}

impl Actor<'_, '_> {
    /// Removes in reverse stages; a stage begins when the one after it is gone.
    pub(crate) async fn prune(&mut self, mut leftover: Vec<Seen>, outcome: &mut Outcome) -> Result<(), Stop> {
        leftover.sort_by(|a, b| b.entry.stage.cmp(&a.entry.stage).then_with(|| a.reference.cmp(&b.reference)));
        // By target: the stage that is not gone yet.
        let mut waiting: HashMap<String, i32> = HashMap::new();
        let mut gone = Vec::new();
        let mut left_behind = Vec::new();
        for seen in leftover {
            if let Sight::Away(trouble) = &seen.sight {
                if self.abandoned.covers(&seen.entry.target) {
                    left_behind.push(seen.entry);
                    continue;
                }
                let message = format!(
                    "{} is still to be removed: {}; if {} is gone for good, annotate this object, or it, with threeport.dev/abandon=true",
                    seen.reference, trouble.message, seen.entry.target
                );
                outcome.left.get_or_insert_with(|| Trouble { message, ..trouble.clone() });
                outcome.inventory.push(seen.entry);
                continue;
            }
            let blocked = waiting.get(&seen.entry.target).is_some_and(|&stage| seen.entry.stage < stage);
            if blocked {
                outcome.inventory.push(seen.entry);
                continue;
            }
            // What could not be read, or not in that version, may be there all the same: the removal looks itself.
            if seen.live.is_none() && seen.sight == Sight::Clear {
                if seen.entry.uid.is_none() && self.claim.lapsed > 0 {
                    await_late(seen, self.store, outcome);
                }
                continue;
            }
            let fate = fate(&seen, self.deleting, self.wishes.on_delete);
            let span = tracing::debug_span!("remove", manifest = %seen.reference, target = seen.entry.target);
            match (fate, self.remove(&seen, fate).instrument(span).await?) {
                (_, Ok(Removed::Gone)) => {
                    outcome.changed = true;
                    gone.push(seen.reference.to_string());
                }
                (_, Ok(Removed::Terminating)) => {
                    waiting.entry(seen.entry.target.clone()).or_insert(seen.entry.stage);
                    let health = Health { class: State::Terminating, message: terminating(seen.live.as_ref()) };
                    outcome.wait(&seen.reference, &health);
                    outcome.inventory.push(seen.entry);
                }
                (_, Ok(Removed::Shared)) => {
                    outcome.changed = true;
                    let message =
                        format!("{} stays for the others that share it; this object's part is gone", seen.reference);
                    outcome.notes.push(Note::normal("Left", message));
                }
                (Fate::Release(why), Ok(Removed::NotOurs)) => {
                    outcome.changed = true;
                    outcome.notes.push(Note::normal("Orphaned", format!("{} stays as it is: {why}", seen.reference)));
                }
                (Fate::Remove, Ok(Removed::NotOurs)) => {
                    let message =
                        format!("{} was left alone: what is there now was not made by this object", seen.reference);
                    outcome.notes.push(Note::warning("NotRemoved", message));
                }
                // It answers, and will not let us: as good as away.
                (_, Err(trouble)) if trouble.stalled && self.abandoned.covers(&seen.entry.target) => {
                    left_behind.push(seen.entry);
                }
                (_, Err(trouble)) => {
                    waiting.entry(seen.entry.target.clone()).or_insert(seen.entry.stage);
                    outcome.raise_epoch = outcome.raise_epoch.max(trouble.behind);
                    outcome.trouble.get_or_insert(trouble);
                    outcome.inventory.push(seen.entry);
                }
            }
        }
        if !gone.is_empty() {
            outcome.notes.push(Note::normal("Removed", format!("removed {}", gone.join(", "))));
        }
        outcome.notes.extend(crate::abandon::notes(&left_behind));
        Ok(())
    }

    async fn remove(&mut self, seen: &Seen, fate: Fate) -> Result<Result<Removed, Trouble>, Stop> {
        let (reference, target) = (&seen.reference, &seen.entry.target);
        let (namespace, name) = (reference.namespace.as_deref(), Some(reference.name.as_str()));
        let (verb, what) = if fate == Fate::Remove { (Verb::Delete, "remove") } else { (Verb::Apply, "let go of") };
        if let Err(why) = self.scope.allows(verb, target, &reference.api_version, &reference.kind, namespace, name) {
            return Ok(Err(Trouble::stalled("Denied", format!("{what} {reference}: {why}"))));
        }
        let connected = match self.reach.get(target).await {
            Ok(connected) => connected,
            Err(none) => return Ok(Err(none.trouble())),
        };
        self.lease.check()?;
        let answer = match fate {
            Fate::Remove => connected.target.remove(&self.owner, reference).await,
            Fate::Release(_) => connected.target.release(&self.owner, reference).await,
        };
        self.reach.note(&connected, &answer);
        if answer.is_ok() && fate == Fate::Remove {
            add(&self.counters.removals);
        }
        match answer {
            Ok(removed) => Ok(Ok(removed)),
            Err(error) => Ok(Err(self.trouble(reference, &error)?)),
        }
    }
}

/// A run that lost its lease meant to make it, and its create may be on its way still: for a while it is looked for, and removed when it is found.
fn await_late(seen: Seen, store: &Store, outcome: &mut Outcome) {
    let Seen { entry, state, reference, .. } = seen;
    // Whoever looks next may have another clock.
    let now = Duration::from_micros(u64::try_from(store.now().as_microsecond()).unwrap_or_default());
    let until = match state.awaited {
        0 => now + LATE,
        until => Duration::from_millis(until),
    };
    let Some(left) = until.checked_sub(now).filter(|left| !left.is_zero()) else { return };
    let message = format!(
        "{reference} is not there, but a host that lost its lease may be late with it: it is looked for some seconds more"
    );
    outcome.left.get_or_insert(Trouble { pace: Pace::Within(left), ..Trouble::waiting("LateCreate", message) });
    let awaited = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
    let state = ManifestState { awaited, ..state }.write();
    outcome.inventory.push(InventoryEntry { state, ..entry });
}

fn fate(seen: &Seen, deleting: bool, on_delete: Option<OnDelete>) -> Fate {
    match on_delete.filter(|_| deleting) {
        _ if seen.state.keep => Fate::Release("its option keep says so"),
        Some(OnDelete::Orphan) => Fate::Release("threeport.dev/on-delete says orphan"),
        Some(OnDelete::Delete) => Fate::Remove,
        None if seen.state.adopted => Fate::Release("it was there before and had been taken over"),
        None => Fate::Remove,
    }
}

fn terminating(live: Option<&Value>) -> String {
    let finalizers: Vec<&str> = live
        .and_then(|live| live.pointer("/metadata/finalizers"))
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if finalizers.is_empty() {
        "is being removed".to_owned()
    } else {
        format!("is being removed; it waits for {}", finalizers.join(", "))
    }
}

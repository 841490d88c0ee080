//! Carrying out a plan: apply in stages what is unblocked, remove what is no longer wanted, never wait.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use threeport_kube::{ApplyOptions, Error as TargetError, Health, Owner, Reference, State, health};
use threeport_store::{Claim, InventoryEntry, Store};
use tracing::Instrument as _;

use crate::abandon::Abandoned;
use crate::carried::{ManifestState, Refusal};
use crate::events::Note;
use crate::lease::Lease;
use crate::observe::Reach;
use crate::plan::{Identity, Item, identity};
use crate::redact::Redactor;
use crate::request::{Seen, Sight};
use crate::scope::Scope;
use crate::stats::{Counters, add};
use crate::trouble::{Stop, Trouble, unreachable};
use crate::wishes::Wishes;

/// One run's hands.
pub(crate) struct Actor<'a, 'b> {
    pub(crate) store: &'a Store,
    pub(crate) counters: &'a Counters,
    pub(crate) claim: &'a Claim,
    pub(crate) lease: &'a Lease,
    pub(crate) scope: &'a Scope,
    pub(crate) reach: &'a mut Reach<'b>,
    pub(crate) owner: Owner,
    pub(crate) redactor: &'a Redactor,
    pub(crate) wishes: &'a Wishes,
    /// The object is to go.
    pub(crate) deleting: bool,
    /// Targets on which what cannot be removed is left behind.
    pub(crate) abandoned: &'a Abandoned,
}

/// Where acting got to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What is on targets from now on.
    pub(crate) inventory: Vec<InventoryEntry>,
    /// Something was applied or removed: what was observed before is old.
    pub(crate) changed: bool,
    /// The first that is not as it should be yet, and why.
    pub(crate) waits: Option<String>,
    /// It will not get there by itself.
    pub(crate) failed: bool,
    /// The first refusal.
    pub(crate) trouble: Option<Trouble>,
    /// The newest epoch found on a target where there should be none newer than ours.
    pub(crate) raise_epoch: Option<u64>,
    /// What is still to be removed from a target that does not answer.
    pub(crate) left: Option<Trouble>,
    pub(crate) notes: Vec<Note>,
}

impl Outcome {
    pub(crate) fn wait(&mut self, reference: &Reference, health: &Health) {
        let failed = health.class == State::Failed;
        // What failed says more than what is on its way.
        if self.waits.is_none() || (failed && !self.failed) {
            let why = if health.message.is_empty() { health.class.as_str() } else { &health.message };
            self.waits = Some(format!("{reference}: {why}"));
            self.failed = failed;
        }
    }
}

/// What came of one item.
struct Done {
    entry: InventoryEntry,
    health: Health,
}

impl Actor<'_, '_> {
    /// Makes targets as `items` say, given what was seen there.
    pub(crate) async fn carry_out(&mut self, items: &[Item], seen: Vec<Seen>) -> Result<Outcome, Stop> {
        let mut old: HashMap<Identity, Seen> =
            seen.into_iter().map(|seen| (identity(&seen.entry.target, &seen.reference), seen)).collect();
        self.intend(items, &old).await?;
        let mut outcome = Outcome::default();
        let mut healthy = vec![false; items.len()];
        let mut applied = BTreeSet::new();
        let mut complete = true;
        let mut away: BTreeSet<&str> = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let before = old.remove(&identity(&item.target, &item.reference));
            // What may be done there is known with the connection, and nothing is done before.
            if self.scope.place(&item.target).is_none() {
                complete = false;
                away.insert(&item.target);
                if let Err(none) = self.reach.get(&item.target).await {
                    outcome.trouble.get_or_insert(none.trouble());
                }
                outcome.inventory.extend(before.map(|seen| seen.entry));
                continue;
            }
            // What is not known is not written over: the next look may tell.
            if let Some(seen) = before.as_ref()
                && let Some(trouble) = seen.sight.trouble()
            {
                complete = false;
                if matches!(seen.sight, Sight::Away(_)) {
                    away.insert(&item.target);
                }
                outcome.trouble.get_or_insert(trouble.clone());
                outcome.inventory.push(seen.entry.clone());
                continue;
            }
            // Stages are an order within a target; one that does not answer holds up no other.
            let blocked = away.contains(item.target.as_str())
                || item.after.iter().any(|&other| !healthy[other])
                || items[..index]
                    .iter()
                    .zip(&healthy)
                    .any(|(other, healthy)| other.target == item.target && other.stage < item.stage && !healthy);
            let needs = before.as_ref().is_none_or(|seen| needs_apply(item, seen) || self.stale(seen));
            if needs && blocked {
                complete = false;
                outcome.inventory.push(before.map_or_else(|| intended(item), |seen| seen.entry));
                let health = Health { class: State::InProgress, message: "waits for what comes before it".to_owned() };
                outcome.wait(&item.reference, &health);
                continue;
            }
            if !needs {
                let seen = before.expect("what needs no apply was seen");
                healthy[index] = seen.health.class == State::Current;
                if !healthy[index] {
                    outcome.wait(&item.reference, &seen.health);
                }
                outcome.inventory.push(kept(item, seen));
                continue;
            }
            let drifted = before.as_ref().filter(|seen| seen.state.hash == item.hash).map(|seen| seen.drifted.clone());
            let span =
                tracing::debug_span!("apply", manifest = %item.reference, target = item.target, stage = item.stage);
            match self.apply(item, before.as_ref()).instrument(span).await? {
                Ok(done) => {
                    outcome.changed = true;
                    let adopted = ManifestState::of(&done.entry).adopted;
                    if adopted && !before.as_ref().is_some_and(|seen| seen.state.adopted) {
                        let message = format!("took over {}, which was there already", item.reference);
                        outcome.notes.push(Note::normal("Adopted", message));
                    }
                    applied.insert(item.reference.to_string());
                    if let Some(fields) = drifted.filter(|fields| !fields.is_empty()) {
                        let message = format!("{}: put back {}", item.reference, fields.join(", "));
                        outcome.notes.push(Note::warning("DriftRepaired", message));
                    }
                    healthy[index] = done.health.class == State::Current;
                    if !healthy[index] {
                        outcome.wait(&item.reference, &done.health);
                    }
                    outcome.inventory.push(done.entry);
                }
                Err((entry, trouble)) => {
                    complete = false;
                    if trouble.unknown {
                        away.insert(&item.target);
                    }
                    outcome.raise_epoch = outcome.raise_epoch.max(trouble.behind);
                    outcome.trouble.get_or_insert(trouble);
                    outcome.inventory.push(entry);
                }
            }
        }
        if !applied.is_empty() {
            let names: Vec<_> = applied.into_iter().collect();
            outcome.notes.push(Note::normal("Applied", format!("applied {}", names.join(", "))));
        }
        let leftover: Vec<Seen> = old.into_values().collect();
        if complete {
            self.prune(leftover, &mut outcome).await?;
        } else {
            // Nothing is removed after an apply that is not whole.
            outcome.inventory.extend(leftover.into_iter().map(|seen| seen.entry));
        }
        sort(&mut outcome.inventory);
        Ok(outcome)
    }

    /// Whether a run whose lease was lost could still write over what is there: it is stamped with our epoch, as it is.
    fn stale(&self, seen: &Seen) -> bool {
        let on_it = |live| threeport_kube::epoch_on(live, &self.owner.uid);
        self.claim.lapsed > 0 && seen.live.as_ref().is_some_and(|live| on_it(live) <= self.claim.lapsed)
    }

    /// Writes down what may come to be on targets before it does.
    async fn intend(&self, items: &[Item], old: &HashMap<Identity, Seen>) -> Result<(), Stop> {
        let new: Vec<InventoryEntry> = items
            .iter()
            .filter(|item| self.scope.place(&item.target).is_some())
            .filter(|item| !old.contains_key(&identity(&item.target, &item.reference)))
            .map(intended)
            .collect();
        if !new.is_empty() {
            self.store.intend(self.claim, new).await?;
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        item: &Item,
        before: Option<&Seen>,
    ) -> Result<Result<Done, (InventoryEntry, Trouble)>, Stop> {
        let mut entry = before.map_or_else(|| intended(item), |seen| seen.entry.clone());
        let mut state = before.map(|seen| seen.state.clone()).unwrap_or_default();
        let connected = match self.reach.get(&item.target).await {
            Ok(connected) => connected,
            Err(none) => return Ok(Err((entry, none.trouble()))),
        };
        self.lease.check()?;
        if let Some(namespace) = &item.reference.namespace {
            let prepared = connected.prepare(namespace).await;
            self.reach.note(&connected, &prepared);
            match prepared {
                Ok(true) => tracing::info!(target = item.target, namespace, "made a namespace for a tenant"),
                Ok(false) => {}
                Err(error) => return Ok(Err((entry, self.trouble(&item.reference, &error)?))),
            }
            self.lease.check()?;
        }
        let adopt = item.adopt || self.wishes.adopts(&item.reference);
        // What is in no inventory was never applied by us, and what is in it was looked for a moment ago. Others have a part in what is shared.
        let absent = !item.shared && before.is_none_or(|seen| seen.live.is_none() && seen.sight == Sight::Clear);
        let options = ApplyOptions { adopt, shared: item.shared, newer_than: self.claim.lapsed, absent };
        let answer = connected.target.apply(&self.owner, &item.body, &options).await;
        self.reach.note(&connected, &answer);
        match answer {
            Ok(applied) => {
                add(&self.counters.applies);
                state = ManifestState {
                    hash: item.hash.clone(),
                    live: self.redactor.project(&applied.live, &item.body),
                    keep: item.keep,
                    adopted: applied.adopted,
                    awaited: 0,
                    error: None,
                };
                entry.uid = applied.live.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
                entry.stage = item.stage;
                entry.api_version.clone_from(&item.reference.api_version);
                entry.state = state.write();
                Ok(Ok(Done { entry, health: health(&applied.live) }))
            }
            Err(error) => {
                if !unreachable(&error) {
                    let refusal = Refusal {
                        code: error.reason().to_owned(),
                        message: error.to_string(),
                        hash: item.hash.clone(),
                    };
                    state.error = Some(refusal);
                    entry.state = state.write();
                }
                Ok(Err((entry, self.trouble(&item.reference, &error)?)))
            }
        }
    }

    /// A run that is behind another one has lost its lease, or else the database has gone back.
    pub(crate) fn trouble(&self, reference: &Reference, error: &TargetError) -> Result<Trouble, Stop> {
        if let TargetError::Fenced { ours, theirs, .. } = error {
            self.lease.check()?;
            return Ok(Trouble::behind(reference, *ours, *theirs));
        }
        Ok(Trouble::target(error))
    }
}

/// Whether the live object is not what this item says, as far as can be told without asking the target.
fn needs_apply(item: &Item, seen: &Seen) -> bool {
    let Some(live) = &seen.live else { return true };
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
    seen.state.hash != item.hash
        || seen.state.error.is_some()
        || !seen.drifted.is_empty()
        || uid != seen.entry.uid.as_deref()
}

fn intended(item: &Item) -> InventoryEntry {
    InventoryEntry {
        target: item.target.clone(),
        api_version: item.reference.api_version.clone(),
        kind: item.reference.kind.clone(),
        namespace: item.reference.namespace.clone(),
        name: item.reference.name.clone(),
        uid: None,
        stage: item.stage,
        state: ManifestState { keep: item.keep, ..ManifestState::default() }.write(),
    }
}

/// The entry of an item that is as it should be; options may have changed.
fn kept(item: &Item, seen: Seen) -> InventoryEntry {
    let mut entry = seen.entry;
    if seen.state.keep != item.keep {
        entry.state = ManifestState { keep: item.keep, ..seen.state }.write();
    }
    entry
}

/// The order in which the store gives inventories back: equal ones compare equal.
pub(crate) fn sort(inventory: &mut [InventoryEntry]) {
    let key = |entry: &InventoryEntry| {
        (
            entry.stage,
            entry.target.clone(),
            entry.api_version.clone(),
            entry.kind.clone(),
            entry.namespace.clone(),
            entry.name.clone(),
        )
    };
    inventory.sort_by_cached_key(key);
}

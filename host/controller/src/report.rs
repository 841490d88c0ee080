//! What a run says about its object, as one completion.

use std::time::Duration;

use k8s_openapi::jiff::{Timestamp, Unit};
use serde_json::{Map, Value};
use threeport_store::{Claim, Class, Completion, InventoryEntry, Op, lifecycle};

use crate::backoff::{after_failures, jittered};
use crate::conditions::{self, Claimed, READY, RECONCILING, STALLED};
use crate::config::Config;
use crate::events::{self, Note};
use crate::pause;
use crate::trouble::{Pace, Trouble};

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Report {
    /// Conditions; Ready is among them.
    pub(crate) claims: Vec<Claimed>,
    /// Conditions of others in the status stay as they are: nothing new is known of them.
    pub(crate) keep_others: bool,
    /// The kind's own part of the status; None leaves what is there.
    pub(crate) fields: Option<Map<String, Value>>,
    /// `fields` are laid over what is there instead of replacing it.
    pub(crate) merge_fields: bool,
    pub(crate) pace: Pace,
    /// Why it is looked at then, if there is more to say than the pace does.
    pub(crate) next: Option<&'static str>,
    pub(crate) notes: Vec<Note>,
    /// New carried state, if it changed.
    pub(crate) carried: Option<Value>,
    /// New inventory, if it changed.
    pub(crate) inventory: Option<Vec<InventoryEntry>>,
    /// Other objects written along.
    pub(crate) ops: Vec<Op>,
    /// Later runs have higher epochs than this.
    pub(crate) raise_epoch: Option<u64>,
    /// Cleaning up is done.
    pub(crate) finished: bool,
    /// What others see of this object, besides readiness, changed.
    pub(crate) outward: bool,
}

impl Report {
    /// Says these conditions and looks again at this pace.
    pub(crate) fn new(claims: Vec<Claimed>, pace: Pace) -> Self {
        Self {
            claims,
            keep_others: false,
            fields: None,
            merge_fields: false,
            pace,
            next: None,
            notes: Vec::new(),
            carried: None,
            inventory: None,
            ops: Vec::new(),
            raise_epoch: None,
            finished: false,
            outward: false,
        }
    }

    /// Says what is in the way; all else stays as it was.
    pub(crate) fn trouble(trouble: &Trouble) -> Self {
        Self { keep_others: true, ..Self::new(claims(trouble), trouble.pace) }
    }

    /// Everything is removed: the object may go.
    pub(crate) fn finished(notes: Vec<Note>) -> Self {
        Self {
            finished: true,
            keep_others: true,
            notes,
            ..Self::new(Vec::new(), Pace::Within(Duration::from_secs(60)))
        }
    }

    /// The transaction that makes it so. Whatever is as it was is not written.
    pub(crate) fn completion(self, config: &Config, claim: &Claim, object: &Value, now: Timestamp) -> Completion {
        let generation = conditions::generation(object);
        let previous = conditions::of(object);
        let was_ready = conditions::is_ready(object);
        let mut completion = Completion {
            carried: self.carried,
            inventory: self.inventory,
            ops: self.ops,
            raise_epoch: self.raise_epoch,
            drop_finalizer: self.finished.then(|| lifecycle::FINALIZER.to_owned()),
            ..Completion::default()
        };
        // Failures of an older spec say nothing about this one.
        let judged = object.pointer("/status/observedGeneration").and_then(Value::as_i64) == Some(generation);
        let attempts = if judged { claim.attempts } else { 0 };
        completion.failed = self.pace.is_failure();
        let (next, class, reason) = match self.pace {
            Pace::Backoff => (after_failures(attempts, config.backoff_cap), Class::Drift, "retry"),
            Pace::Slow => (jittered(config.slow_retry), Class::Resync, "retry"),
            Pace::Within(next) if next < config.resync / 2 => (next, Class::Drift, self.next.unwrap_or("look-again")),
            Pace::Within(next) => (next, Class::Resync, self.next.unwrap_or("resync")),
        };
        completion.next = Some(next);
        completion.next_class = Some(class);
        completion.next_reason = Some(reason);
        let mut claims = self.claims;
        if completion.failed {
            say_next(&mut claims, attempts.saturating_add(1), next, now);
        }
        let mut notes = self.notes;
        let mut is_ready = was_ready;
        if !claims.is_empty() {
            let merged = conditions::merge(&previous, claims, self.keep_others, generation, now);
            let ready = conditions::find(&merged, READY);
            is_ready = ready.is_some_and(|ready| ready.status == "True");
            if let Some(ready) = ready {
                completion.verdict = Some(ready.reason.as_str().into());
                let before = conditions::find(&previous, READY);
                if before.is_none_or(|before| before.status != ready.status || before.reason != ready.reason) {
                    let warning = ready.status != "True" && self.pace.is_failure();
                    notes.push(Note { warning, reason: ready.reason.clone(), message: ready.message.clone() });
                }
            }
            let fields = match self.fields {
                Some(fields) if !self.merge_fields => fields,
                more => {
                    let mut fields = conditions::own_fields(object);
                    fields.extend(more.unwrap_or_default());
                    fields
                }
            };
            let status = conditions::status(fields, &merged, generation);
            if object.get("status") != Some(&status) {
                completion.status = Some(status);
            }
        }
        completion.ops.extend(notes.iter().map(|note| events::op(object, note, &config.owner, now)));
        // Those whose target it is, too, say that it is paused, and go on at once.
        let turns = pause::turns(object, &completion);
        completion.wake_dependants = was_ready != is_ready || self.outward || turns;
        completion
    }
}

impl Pace {
    fn is_failure(self) -> bool {
        !matches!(self, Self::Within(_))
    }
}

/// Says beside Ready how often it failed and when it is tried again. Ready itself stays as it is from one attempt to the next.
fn say_next(claims: &mut [Claimed], failures: u32, next: Duration, now: Timestamp) {
    let at = now.saturating_add(next).and_then(|at| at.round(Unit::Second)).unwrap_or(now);
    let times = if failures == 1 { "once".to_owned() } else { format!("{failures} times") };
    let stands = |claim: &&mut Claimed| [STALLED, RECONCILING].contains(&claim.kind.as_str()) && claim.status == "True";
    if let Some(claim) = claims.iter_mut().find(stands) {
        claim.message = format!("{} (failed {times}; next attempt at {at})", claim.message);
    }
}

/// The host's own conditions for a trouble.
pub(crate) fn claims(trouble: &Trouble) -> Vec<Claimed> {
    let status = if trouble.unknown { "Unknown" } else { "False" };
    let other = if trouble.stalled { STALLED } else { RECONCILING };
    vec![
        Claimed::new(READY, status, &trouble.reason, &trouble.message),
        Claimed::new(other, "True", &trouble.reason, &trouble.message),
    ]
}

//! Work items: what is due, who holds it, what came of it.
//!
//! One row for each object that has a reconciler. `wanted` counts the reasons to look, `done` is the `wanted` that the last completed run saw.
//! Work exists when `due_at <= now`; an expired lease needs no write because `due_at` stays in the past. The epoch rises with every claim and
//! fences every effect of the run.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::trace::TraceContext;
use crate::types::{Class, Key, Object, Op};

/// No completion raises an epoch further: half of the numbers that SQL holds stay free to count on, and what is found on a target may have been written
/// there by anyone.
pub const HIGHEST_EPOCH: u64 = 1 << 62;

/// What was applied where; the truth about what must be removed one day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// The target, as `apiVersion/kind/namespace/name` of the object that publishes the connection.
    pub target: String,
    /// apiVersion of the manifest.
    pub api_version: String,
    /// Kind of the manifest.
    pub kind: String,
    /// Namespace on the target.
    pub namespace: Option<String>,
    /// Name on the target.
    pub name: String,
    /// uid on the target; None while the apply is only intended.
    pub uid: Option<String>,
    /// Order of application, reverse order of removal.
    pub stage: i32,
    /// What the controller needs to tell "unchanged" and "drifted" apart. Opaque here.
    pub state: Value,
}

/// A claimed work item with all that a run needs.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The object as of the claim.
    pub object: Object,
    /// Fences every effect of this run.
    pub epoch: u64,
    /// The newest epoch whose lease ended without a result: a run under it may still be about to write on a target. 0: there is none.
    pub lapsed: u64,
    /// Owner name the claim was made with.
    pub owner: Arc<str>,
    /// The `wanted` this run answers.
    pub wanted: u64,
    /// Failed runs in a row.
    pub attempts: u32,
    /// Why it is due.
    pub class: Class,
    /// What it refers to as its targets.
    pub targets: Arc<[Key]>,
    /// The trace of the write that made it due, if that is known.
    pub trace: Option<TraceContext>,
    /// Monotonic end of the lease, measured from before the claim was sent.
    pub expires: Instant,
    /// From when it became due until it was handed out, which is after the claim was committed and read: for the latency histogram.
    pub waited: Duration,
    /// What the last accepted run left: plugin memory, outputs, connection, watches. Opaque here.
    pub carried: Value,
    /// What is on targets because of this object.
    pub inventory: Vec<InventoryEntry>,
}

/// Where the work on an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Failed runs in a row.
    pub attempts: u32,
    /// Why it is due, or will be.
    pub class: Class,
    /// A run is under way.
    pub running: bool,
    /// Until it is due: zero when it is due or being run; None: only when something happens.
    pub due_in: Option<Duration>,
    /// Why it is due then, if nothing happens before, as the last run said; None: the class says it.
    pub reason: Option<Cow<'static, str>>,
    /// How the last run ended; None: this process does not know of any.
    pub last: Option<LastRun>,
    /// Since then.
    pub last_ago: Option<Duration>,
}

/// How a run ended. Kept in memory and told to the other hosts, so that a run that changes nothing writes nothing of it into the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// Microseconds since 1970.
    pub ended: i64,
    /// Microseconds from the claim.
    pub took: i64,
    /// Who ran it.
    pub host: Arc<str>,
    /// Why it was due.
    pub class: Class,
    /// The same, where only the time had come: as the run before had said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// It did not get where it wanted.
    pub failed: bool,
    /// Its verdict, in a word: the reason of Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Arc<str>>,
}

/// What came of a run, written in one transaction and only if the lease still holds.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// Replaces `.status` of the object as it is by then; nothing is written where it is equal.
    pub status: Option<Value>,
    /// Removes this finalizer; the object goes when it was the last and deletion was asked for.
    pub drop_finalizer: Option<String>,
    /// Replaces the carried state.
    pub carried: Option<Value>,
    /// Replaces the inventory.
    pub inventory: Option<Vec<InventoryEntry>>,
    /// Other objects that are written along (events, definitions, children).
    pub ops: Vec<Op>,
    /// When to look again if nothing happens; None: only when something does.
    pub next: Option<Duration>,
    /// Class of that later look.
    pub next_class: Option<Class>,
    /// Why it is looked at then, in a word.
    pub next_reason: Option<&'static str>,
    /// What came of it, in a word.
    pub verdict: Option<Arc<str>>,
    /// True counts the run as failed (`attempts + 1`), false resets.
    pub failed: bool,
    /// The next claim's epoch is higher than this one: something newer was found than this database knows of, as after a restore.
    pub raise_epoch: Option<u64>,
    /// Whoever ran it watches what it has on targets, or asked to have watched: when that host is gone, it is due.
    pub watches: bool,
    /// Makes the objects that refer to this one due, in class [`Class::Dependency`].
    pub wake_dependants: bool,
}

/// What completing did.
#[derive(Clone, Debug, Default)]
pub struct Completed {
    /// It was wanted again meanwhile and is due now.
    pub due_again: bool,
    /// uids of the other objects that were made due: dependants, what waited for this one to go, and what was written along.
    pub woken: Vec<Arc<str>>,
    /// The object was removed by this completion.
    pub removed: bool,
}

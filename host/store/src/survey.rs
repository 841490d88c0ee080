//! The queue as people ask for it: what is due, what is held and by whom, what waits after a failure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;
use crate::types::{Class, Key};

/// A work item that is due, held, or waits after a failure.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// The object.
    pub key: Key,
    /// Why it is due, or will be.
    pub class: Class,
    /// The same, where only the time makes it due: as the last run said.
    pub reason: Option<Cow<'static, str>>,
    /// Failed runs in a row.
    pub attempts: u32,
    /// What the last run came to, in a word, as far as this process knows.
    pub verdict: Option<Arc<str>>,
    /// Objects that are its targets, as its references say.
    pub targets: Vec<Key>,
    /// Where it stands.
    pub progress: Progress,
}

/// Where a work item stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is due and nobody holds it.
    Due {
        /// For so long.
        waited: Duration,
    },
    /// A run is under way.
    Held {
        /// Who claimed it.
        host: Arc<str>,
        /// The claim's epoch.
        epoch: u64,
        /// For how long; None: the claim is older than this process, or than its connection to the others.
        since: Option<Duration>,
        /// How much longer, unless the lease is renewed.
        left: Duration,
    },
    /// It failed and is tried again.
    BacksOff {
        /// After this time.
        next: Duration,
    },
}

impl Store {
    /// Everything in the queue that is due, held or backs off; of one namespace, or all. In no order.
    ///
    /// All hosts of a database have the same items; what only memory knows is told as such.
    pub fn survey(&self, namespace: Option<&str>) -> Vec<Surveyed> {
        let memory = &self.engine().memory;
        let now = memory.now();
        let span = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let queue = memory.queue();
        let of_namespace =
            queue.items().filter(|work| namespace.is_none() || work.key.namespace.as_deref() == namespace);
        let surveyed = of_namespace.filter_map(|work| {
            let held = work.owner.as_ref().filter(|_| work.until > now);
            let progress = match (held, work.due_at) {
                (Some(host), _) => Progress::Held {
                    host: host.clone(),
                    epoch: work.epoch,
                    since: work.held.as_ref().map(|held| span(now - held.since)),
                    left: span(work.until - now),
                },
                (None, Some(due_at)) if due_at <= now => Progress::Due { waited: span(now - due_at) },
                (None, Some(due_at)) if work.attempts > 0 => Progress::BacksOff { next: span(due_at - now) },
                (None, _) => return None,
            };
            let of_lease = work.held.as_ref().filter(|_| held.is_some());
            Some(Surveyed {
                key: work.key.clone(),
                class: of_lease.map_or(work.class, |held| held.class),
                reason: of_lease.map_or_else(|| work.reason.clone(), |held| held.reason.clone()),
                attempts: work.attempts,
                verdict: work.last.as_ref().and_then(|last| last.verdict.clone()),
                targets: work.targets.as_deref().unwrap_or_default().to_vec(),
                progress,
            })
        });
        surveyed.collect()
    }
}

//! Counters of this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs that ended, however.
    pub runs: u64,
    /// Runs that ended as a failure.
    pub failures: u64,
    /// Runs whose lease was lost.
    pub leases_lost: u64,
    /// Runs that panicked.
    pub panics: u64,
    /// Runs under way.
    pub running: u64,
    /// Manifests applied on targets.
    pub applies: u64,
    /// Objects removed from targets.
    pub removals: u64,
    /// Sum over all claims of the time between "due" and "claimed", in microseconds.
    pub claim_age_micros: u64,
    /// The longest of them.
    pub claim_age_max_micros: u64,
    /// Sum of the time spent in plugins, in microseconds.
    pub plugin_micros: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) runs: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) leases_lost: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) running: AtomicU64,
    pub(crate) applies: AtomicU64,
    pub(crate) removals: AtomicU64,
    claim_age: AtomicU64,
    claim_age_max: AtomicU64,
    plugin: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Counters {
    pub(crate) fn claimed(&self, age: Duration) {
        self.claim_age.fetch_add(micros(age), Ordering::Relaxed);
        self.claim_age_max.fetch_max(micros(age), Ordering::Relaxed);
    }

    pub(crate) fn planned(&self, time: Duration) {
        self.plugin.fetch_add(micros(time), Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            runs: get(&self.runs),
            failures: get(&self.failures),
            leases_lost: get(&self.leases_lost),
            panics: get(&self.panics),
            running: get(&self.running),
            applies: get(&self.applies),
            removals: get(&self.removals),
            claim_age_micros: get(&self.claim_age),
            claim_age_max_micros: get(&self.claim_age_max),
            plugin_micros: get(&self.plugin),
        }
    }
}

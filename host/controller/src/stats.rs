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
    /// Half of them were at most so long; to the next step of a fifth.
    pub claim_age_p50_micros: u64,
    /// All but one in a hundred were at most so long; to the next step of a fifth.
    pub claim_age_p99_micros: u64,
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
    claim_ages: Ages,
    plugin: AtomicU64,
}

/// Ages counted in four steps for each power of two: enough to tell 20 from 25 ms, at the cost of one addition.
#[derive(Debug)]
struct Ages([AtomicU64; Self::STEPS]);

impl Default for Ages {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Ages {
    /// Up to 2^32 µs, more than an hour.
    const STEPS: usize = 128;

    /// The longest age, in microseconds, that counts in `step`.
    fn limit(step: usize) -> u64 {
        let (power, quarter) = (step / 4, step % 4);
        (1_u64 << power) * (5 + quarter as u64) / 4
    }

    fn count(&self, age: u64) {
        let step = (0..Self::STEPS).find(|step| age <= Self::limit(*step)).unwrap_or(Self::STEPS - 1);
        if let Some(count) = self.0.get(step) {
            add(count);
        }
    }

    /// The age that `share` of all do not exceed; 0 when there is none.
    fn quantile(&self, share: f64) -> u64 {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return 0;
        }
        let mut left = (total as f64 * share).ceil() as u64;
        for (step, count) in counts.iter().enumerate() {
            if left <= *count {
                return Self::limit(step);
            }
            left -= count;
        }
        Self::limit(Self::STEPS - 1)
    }
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
        self.claim_ages.count(micros(age));
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
            claim_age_p50_micros: self.claim_ages.quantile(0.5),
            claim_age_p99_micros: self.claim_ages.quantile(0.99),
            plugin_micros: get(&self.plugin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_quarter_above_the_age() {
        let ages = Ages::default();
        assert_eq!(ages.quantile(0.99), 0);
        (1..=1000_u64).for_each(|age| ages.count(age * 100));
        for (share, exact) in [(0.5, 50_000), (0.99, 99_000), (1.0, 100_000)] {
            let found = ages.quantile(share);
            assert!(found >= exact && found <= exact * 5 / 4, "{share}: {found}");
        }
        ages.count(u64::MAX);
        assert!(ages.quantile(1.0) > 1 << 31);
    }
}

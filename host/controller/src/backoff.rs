//! When to look again.

use std::time::Duration;

const BASE: Duration = Duration::from_secs(1);
/// Even a lucky draw must not make a loop of failures busy.
const FLOOR: Duration = Duration::from_millis(100);

/// Wait before the run after the `attempts`-th failure in a row: full jitter over 1 s * 2^attempts, at most `cap`, so that what failed
/// together does not come back together.
pub(crate) fn after_failures(attempts: u32, cap: Duration) -> Duration {
    let ceiling = BASE.saturating_mul(2_u32.saturating_pow(attempts.min(20))).min(cap);
    ceiling.mul_f64(fastrand::f64()).max(FLOOR)
}

/// `period`, spread by a fifth to both sides.
pub(crate) fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.8 + 0.4 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_the_failures_and_stop_at_the_cap() {
        let cap = Duration::from_secs(300);
        let longest = |attempts| (0..500).map(|_| after_failures(attempts, cap)).max().unwrap();
        assert!(longest(0) <= Duration::from_secs(1));
        assert!(longest(4) > Duration::from_secs(8) && longest(4) <= Duration::from_secs(16));
        assert!(longest(u32::MAX) > Duration::from_secs(200) && longest(u32::MAX) <= cap);
    }

    #[test]
    fn waits_are_never_so_short_that_failures_spin() {
        assert!((0..500).all(|_| after_failures(0, Duration::from_secs(300)) >= FLOOR));
    }

    #[test]
    fn a_jittered_period_stays_within_a_fifth() {
        let period = Duration::from_secs(100);
        assert!((0..500).map(|_| jittered(period)).all(|it| it >= period.mul_f64(0.8) && it <= period.mul_f64(1.2)));
    }
}

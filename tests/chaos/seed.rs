//! Everything that is left to chance comes from one number, so that what failed can be run again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A number that no run had before.
pub(crate) fn fresh() -> u64 {
    // Short enough to be typed again.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64 % 1_000_000_000)
}

/// The generator of one part of the run. Parts have their own, so that the order in which they ask does not matter.
pub(crate) fn of(seed: u64, part: &str) -> fastrand::Rng {
    let mixed = part
        .bytes()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    fastrand::Rng::with_seed(mixed)
}

//! A claim's lease while its run goes on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::trouble::Stop;

/// Effects on targets stop this long before the lease ends: an answer must come back in time to be worth something.
pub(crate) const MARGIN: Duration = Duration::from_millis(500);

/// Whether this run may still act.
#[derive(Debug)]
pub(crate) struct Lease {
    expires: Mutex<Instant>,
    lost: AtomicBool,
    completing: AtomicBool,
}

impl Lease {
    pub(crate) fn new(expires: Instant) -> Self {
        Self { expires: Mutex::new(expires), lost: AtomicBool::new(false), completing: AtomicBool::new(false) }
    }

    /// The lease holds until then; the time was taken before renewing was asked for.
    pub(crate) fn renewed(&self, until: Instant) {
        *self.expires.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = until;
    }

    /// Another host may have the object now.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// The run only writes what came of it from now on: the store fences that, and what follows it must not be cut off.
    pub(crate) fn complete(&self) {
        self.completing.store(true, Ordering::Release);
    }

    pub(crate) fn is_completing(&self) -> bool {
        self.completing.load(Ordering::Acquire)
    }

    /// Asked before every effect.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        let expires = *self.expires.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.lost.load(Ordering::Acquire) || Instant::now() + MARGIN >= expires {
            return Err(Stop::LeaseLost);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_ends_stops_effects_before_it_ends() {
        let lease = Lease::new(Instant::now() + MARGIN / 2);
        assert!(lease.check().is_err());
        lease.renewed(Instant::now() + Duration::from_secs(20));
        assert!(lease.check().is_ok());
        lease.lose();
        assert!(lease.check().is_err());
    }
}

//! What this crate counts. Names and meanings are a promise to dashboards: see `docs/operating.md`.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const RINGS: &str = "threeport_bell_rings_total";
const HAND_OVER: &str = "threeport_bell_hand_over_seconds";
const CONNECTED: &str = "threeport_bell_connected";
const TROUBLE: &str = "threeport_bell_trouble";

/// What became of rings.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// The server took it.
    Published,
    /// The server took it for later.
    Scheduled,
    /// The server did not take it; it was rung in this process.
    Failed,
    /// NATS is away; it was rung in this process.
    Home,
    /// Too much was waiting: the sweep finds it.
    Dropped,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Scheduled => "scheduled",
            Self::Failed => "failed",
            Self::Home => "home",
            Self::Dropped => "dropped",
        }
    }
}

/// Says what the meters mean; once, after the recorder is set.
pub fn describe_meters() {
    describe_counter!(RINGS, "Rings over NATS, by what became of them");
    describe_histogram!(HAND_OVER, Unit::Seconds, "From a commit to the claim of the host that heard its ring");
    describe_gauge!(CONNECTED, "1 while rings go over NATS, 0 while this host works by its sweep");
    describe_gauge!(TROUBLE, "1 for the reason why rings do not go over NATS");
}

pub(crate) fn rang(outcome: Outcome, count: usize) {
    counter!(RINGS, "outcome" => outcome.name()).increment(count as u64);
}

pub(crate) fn handed_over(after: Duration) {
    histogram!(HAND_OVER).record(after);
}

pub(crate) fn connected(connected: bool) {
    gauge!(CONNECTED).set(f64::from(u8::from(connected)));
}

pub(crate) fn trouble(reason: &'static str, there: bool) {
    gauge!(TROUBLE, "reason" => reason).set(f64::from(u8::from(there)));
}

//! What this crate counts. Names and meanings are a promise to dashboards: see `docs/operating.md`.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const DELETED: &str = "threeport_collector_deletions_total";
const SUSPECTS: &str = "threeport_collector_suspects";

/// Says what the meters mean; once, after the recorder is set.
pub fn describe_meters() {
    describe_counter!(
        DELETED,
        "Objects whose deletion the collector asked for, by what for: owner, namespace, definition, dependants"
    );
    describe_gauge!(SUSPECTS, "Objects that the collector has to look at, or that wait for others to go");
}

pub(crate) fn deleted(cause: &'static str) {
    counter!(DELETED, "cause" => cause).increment(1);
}

pub(crate) fn suspects(count: usize) {
    gauge!(SUSPECTS).set(count as f64);
}

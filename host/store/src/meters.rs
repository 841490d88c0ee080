//! What this crate counts. Names and meanings are a promise to dashboards: see `docs/operating.md`.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

const COMMIT: &str = "threeport_store_commit_duration_seconds";
const GROUP: &str = "threeport_store_commit_group_size";
const FAILED: &str = "threeport_store_commit_failures_total";
const LEAPS: &str = "threeport_store_history_leaps_total";
const LOST: &str = "threeport_store_lost_changes_total";

/// Says what the meters mean; once, after the recorder is set.
pub fn describe_meters() {
    describe_histogram!(COMMIT, Unit::Seconds, "Time to write one group of requests to disk, the sync included");
    describe_histogram!(GROUP, "Requests that were written in one transaction");
    describe_counter!(FAILED, "Transactions that failed; nothing of them was written");
    describe_counter!(
        LEAPS,
        "Times that the database was found to have another history: a standby took over, or a backup was restored"
    );
    describe_counter!(LOST, "Changes that were known here and that the database lacked then");
}

/// The database had another history, which lacked so many changes.
pub(crate) fn leapt(lost: u64) {
    counter!(LEAPS).increment(1);
    counter!(LOST).increment(lost);
}

pub(crate) fn committed(requests: usize, took: Duration) {
    histogram!(COMMIT).record(took);
    histogram!(GROUP).record(requests as f64);
}

pub(crate) fn commit_failed() {
    counter!(FAILED).increment(1);
}

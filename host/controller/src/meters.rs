//! What this crate counts. Labels are bounded: plugins and kinds that are there, never names of objects.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use metrics::{
    Label, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use threeport_kube::Circuit;
use threeport_store::Resource;

use crate::host::Host;

const RUNS: &str = "threeport_runs_total";
const RUN: &str = "threeport_run_duration_seconds";
const PART: &str = "threeport_run_part_duration_seconds";
const WAIT: &str = "threeport_run_wait_seconds";
const CLAIM: &str = "threeport_claim_duration_seconds";
const RUNNING: &str = "threeport_runs_running";
const TARGET_WATCHES: &str = "threeport_target_watches";
const SLOTS: &str = "threeport_run_slots";
const TARGETS: &str = "threeport_target_connections";
const HOSTS: &str = "threeport_hosts";
const CLOCK: &str = "threeport_clock_ahead_seconds";

/// Says what the meters mean; once, after the recorder is set.
pub fn describe_meters() {
    threeport_kube::describe_meters();
    describe_counter!(RUNS, "Runs by how they ended: succeeded, failed, panicked, lease_lost");
    describe_histogram!(RUN, Unit::Seconds, "Time from claimed to completed");
    describe_histogram!(PART, Unit::Seconds, "Parts of a run: observe, plugin, apply, complete");
    describe_histogram!(WAIT, Unit::Seconds, "Time from due to claimed");
    describe_histogram!(CLAIM, Unit::Seconds, "Time to claim what is due, for as many objects as there was room for");
    describe_gauge!(RUNNING, "Runs under way");
    describe_gauge!(TARGET_WATCHES, "Watches on targets");
    describe_gauge!(
        TARGETS,
        "Connections to targets by state: closed (in use), open (it does not answer and is left alone), half-open (one request finds out whether it does)"
    );
    describe_gauge!(SLOTS, "Runs that may be under way at a time");
    describe_gauge!(HOSTS, "Hosts of this database that were heard of within the hour, by state: live, gone");
    describe_gauge!(
        CLOCK,
        Unit::Seconds,
        "How far this host's clock is ahead of the database's; less than zero: behind"
    );
}

/// A part of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Observe,
    Plugin,
    Apply,
    Complete,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Succeeded,
    Failed,
    Panicked,
    LeaseLost,
}

fn labels(host: &Host, resource: &Resource) -> Vec<Label> {
    let plugin = host.kinds.get(resource).map(|kind| SharedString::from(kind.plugin.clone()));
    vec![
        Label::new("plugin", plugin.unwrap_or_default()),
        Label::new("group", SharedString::from(resource.group.clone())),
        Label::new("resource", SharedString::from(resource.plural.clone())),
    ]
}

pub(crate) fn claimed(host: &Host, resource: &Resource, waited: Duration) {
    histogram!(WAIT, labels(host, resource)).record(waited);
}

pub(crate) fn claiming(began: Instant) {
    histogram!(CLAIM).record(began.elapsed());
}

pub(crate) fn part(host: &Host, resource: &Resource, part: Part, took: Duration) {
    let mut labels = labels(host, resource);
    let name = match part {
        Part::Observe => "observe",
        Part::Plugin => "plugin",
        Part::Apply => "apply",
        Part::Complete => "complete",
    };
    labels.push(Label::from_static_parts("part", name));
    histogram!(PART, labels).record(took);
}

pub(crate) fn ended(host: &Host, resource: &Resource, outcome: Outcome, took: Option<Duration>) {
    let mut labels = labels(host, resource);
    if let Some(took) = took {
        histogram!(RUN, labels.clone()).record(took);
    }
    let name = match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Panicked => "panicked",
        Outcome::LeaseLost => "lease_lost",
    };
    labels.push(Label::from_static_parts("outcome", name));
    counter!(RUNS, labels).increment(1);
}

/// Of which hosts was heard, and how far this one's clock is ahead of the database's.
pub(crate) fn hosts(live: usize, gone: usize, clock_ahead: i64) {
    gauge!(HOSTS, "state" => "live").set(live as f64);
    gauge!(HOSTS, "state" => "gone").set(gone as f64);
    gauge!(CLOCK).set(clock_ahead as f64 / 1e6);
}

/// Of this moment: asked for by whoever reads the meters.
pub(crate) fn sample(running: usize, slots: usize, watches: usize) {
    gauge!(RUNNING).set(running as f64);
    gauge!(TARGET_WATCHES).set(watches as f64);
    gauge!(SLOTS).set(slots as f64);
}

/// Connections by whether anything is sent there.
pub(crate) fn targets(circuits: &HashMap<Circuit, usize>) {
    for (circuit, name) in [(Circuit::Closed, "closed"), (Circuit::HalfOpen, "half-open"), (Circuit::Open, "open")] {
        gauge!(TARGETS, "state" => name).set(circuits.get(&circuit).copied().unwrap_or(0) as f64);
    }
}

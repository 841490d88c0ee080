//! The queue as metrics: what `threeport queue` shows, with labels that are bounded.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ::metrics::{Unit, describe_gauge, gauge};
use threeport_controller::Monitor;
use threeport_store::{Class, Progress, Store};

const DEPTH: &str = "threeport_queue_depth";
const OLDEST: &str = "threeport_queue_oldest_due_seconds";
const LEASED: &str = "threeport_queue_leased";
const BACKING_OFF: &str = "threeport_queue_backing_off";

/// Reasons are plugins' own words: no more than so many get a series.
const REASONS: usize = 50;

/// Says what the meters mean; once, after the recorder is set.
pub(crate) fn describe_meters() {
    describe_gauge!(DEPTH, "Work items that are due and held by nobody, by class and plugin");
    describe_gauge!(OLDEST, Unit::Seconds, "How long the oldest of them has been due, by class");
    describe_gauge!(LEASED, "Work items that a run holds: by this host, or by the others");
    describe_gauge!(BACKING_OFF, "Work items that failed and are tried again later, by the reason of Ready");
}

/// Gauges whose labels come and go: those that were set and are no more are set to zero.
#[derive(Default)]
pub(crate) struct Backlog(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    depth: BTreeMap<(&'static str, String), f64>,
    backing_off: BTreeMap<String, f64>,
}

impl Backlog {
    /// Brings the meters of this moment up to date.
    pub(crate) fn sample(&self, store: &Store, monitor: &Monitor) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *known;
        counts.depth.values_mut().chain(counts.backing_off.values_mut()).for_each(|count| *count = 0.0);
        let (mut here, mut elsewhere, mut oldest) = (0.0, 0.0, [0.0_f64; Class::ALL.len()]);
        for class in Class::ALL {
            counts.depth.entry((class.name(), String::new())).or_default();
        }
        for item in store.survey(None) {
            match item.progress {
                Progress::Due { waited } => {
                    let plugin = monitor.plugin(&item.key.resource).map(|plugin| plugin.to_string());
                    *counts.depth.entry((item.class.name(), plugin.unwrap_or_default())).or_default() += 1.0;
                    if let Some(oldest) = oldest.get_mut(item.class as usize) {
                        *oldest = oldest.max(waited.as_secs_f64());
                    }
                }
                Progress::Held { host, .. } if *host == *monitor.host() => here += 1.0,
                Progress::Held { .. } => elsewhere += 1.0,
                Progress::BacksOff { .. } => {
                    let reason = item.verdict.as_deref().unwrap_or("Unknown");
                    let known = counts.backing_off.len() < REASONS || counts.backing_off.contains_key(reason);
                    let reason = if known { reason } else { "Other" };
                    *counts.backing_off.entry(reason.to_owned()).or_default() += 1.0;
                }
            }
        }
        for ((class, plugin), count) in &counts.depth {
            gauge!(DEPTH, "class" => *class, "plugin" => plugin.clone()).set(*count);
        }
        for (class, oldest) in Class::ALL.into_iter().zip(oldest) {
            gauge!(OLDEST, "class" => class.name()).set(oldest);
        }
        gauge!(LEASED, "host" => "this").set(here);
        gauge!(LEASED, "host" => "others").set(elsewhere);
        for (reason, count) in &counts.backing_off {
            gauge!(BACKING_OFF, "reason" => reason.clone()).set(*count);
        }
    }
}

//! What this crate counts.

use metrics::{Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::{RunError, Usage};

const INSTANCES: &str = "threeport_wasm_instances";
const CALLS: &str = "threeport_wasm_call_duration_seconds";
const MEMORY: &str = "threeport_wasm_instance_memory_bytes";
const HOST_CALLS: &str = "threeport_wasm_host_calls_total";
const ERRORS: &str = "threeport_wasm_errors_total";

/// Says what the meters mean; once, after the recorder is set.
pub fn describe_meters() {
    describe_gauge!(INSTANCES, "Instances of plugins that exist now");
    describe_histogram!(
        CALLS,
        Unit::Seconds,
        "Time from making an instance to having its answer, its calls to the host included"
    );
    describe_histogram!(MEMORY, Unit::Bytes, "Linear memory of an instance when it ended");
    describe_counter!(HOST_CALLS, "Calls of plugins to the host");
    describe_counter!(ERRORS, "Instances that gave no answer, by reason: traps and limits");
}

/// Counts an instance as long as it exists.
pub(crate) struct Instance(Gauge);

impl Instance {
    pub(crate) fn new() -> Self {
        let gauge = gauge!(INSTANCES);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

pub(crate) fn ended(usage: &Usage, error: Option<&RunError>) {
    histogram!(CALLS).record(usage.took);
    histogram!(MEMORY).record(usage.memory as f64);
    counter!(HOST_CALLS).increment(u64::from(usage.host_calls));
    if let Some(error) = error {
        counter!(ERRORS, "reason" => error.reason()).increment(1);
    }
}

//! Metrics: one recorder for the whole process. The crates count through the `metrics` facade; the API answers `/metrics` with what stands here.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{describe_gauge, gauge};
use anyhow::{Context, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use threeport_controller::Monitor;
use threeport_store::Store;

use crate::backlog::{self, Backlog};

/// From a look into memory to a slow target.
const SECONDS: [f64; 19] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 10.0,
    30.0, 60.0,
];
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
const MIB: f64 = 1_048_576.0;
const BYTES: [f64; 8] = [MIB, 2.0 * MIB, 4.0 * MIB, 8.0 * MIB, 16.0 * MIB, 32.0 * MIB, 64.0 * MIB, 128.0 * MIB];

/// How often samples are put into their buckets: until then each takes memory of its own.
const UPKEEP: Duration = Duration::from_secs(1);

/// Sets the recorder for the whole process. Within a tokio runtime.
///
/// # Errors
/// When there is one already.
pub(crate) fn install() -> Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".into()), &SIZES))
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES))
        .context("set up the metrics")?
        .install_recorder()
        .context("set up the metrics")?;
    threeport_api::describe_meters();
    threeport_collector::describe_meters();
    threeport_controller::describe_meters();
    threeport_scheduler::describe_meters();
    threeport_store::describe_meters();
    threeport_wasm::describe_meters();
    backlog::describe_meters();
    describe_gauge!("threeport_queue_items", "All work items");
    describe_gauge!("threeport_store_resource_version", "The newest committed resourceVersion");
    describe_gauge!("threeport_store_available", "1, or 0 while the database cannot be reached or not be written to");
    describe_gauge!("apiserver_resource_objects", "Stored objects by kind");
    describe_gauge!("threeport_build_info", "1, with the version of this server");
    let kept = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            kept.run_upkeep();
        }
    });
    Ok(handle)
}

/// What `/metrics` answers: what was counted, and how things are at this moment.
pub(crate) fn exposition(handle: PrometheusHandle, store: Store, monitor: Monitor) -> threeport_api::Metrics {
    let process = Collector::default();
    process.describe();
    let backlog = Backlog::default();
    Arc::new(move || {
        process.collect();
        monitor.sample();
        backlog.sample(&store, &monitor);
        sample(&store);
        handle.render()
    })
}

fn sample(store: &Store) {
    gauge!("threeport_queue_items").set(store.queue().items as f64);
    gauge!("threeport_store_resource_version").set(store.version() as f64);
    gauge!("threeport_store_available").set(if store.trouble().is_none() { 1.0 } else { 0.0 });
    gauge!("threeport_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for (resource, count) in store.counts() {
        gauge!("apiserver_resource_objects", "group" => resource.group.to_string(), "resource" => resource.plural.to_string())
            .set(count as f64);
    }
}

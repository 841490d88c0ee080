//! What a neighbour and the host feel of plugins that do their worst all the time. A process of its own: its memory is measured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Empty, guest, request, resident};
use serde_json::json;
use threeport_wasm::{Entry, Limits, Plugin, Runtime};

async fn load(runtime: &Runtime, name: &str) -> Arc<Plugin> {
    Arc::new(runtime.load(guest(name)).await.unwrap_or_else(|error| panic!("{name}: {error}")))
}

async fn note(plugin: &Plugin, text: &str) {
    plugin.run(Entry::Reconcile, request("Note", json!({"text": text})), Empty::new()).await.unwrap().unwrap();
}

/// The bounds: with eight hostile runs at a time, a neighbour's 99th percentile stays below a second (on an idle machine with two cores it is some
/// tens of milliseconds), and the host takes no more than 96 MiB for each of them (their memory, their answer, a copy of it), of which it keeps
/// nothing to speak of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_hostile_plugins_run_all_the_time_a_neighbour_and_the_hosts_memory_stay_within_bounds() {
    const HOSTILE: usize = 8;
    const DEEDS: [&str; 12] = [
        "loop", "memory", "trap", "stack", "calls", "bytes", "answer", "handles", "nonsense", "logs", "events",
        "status",
    ];
    let hasty = Runtime::new(Limits { wall: Duration::from_millis(200), ..Limits::default() }).unwrap();
    let hostile = load(&hasty, "hostile").await;
    let neighbour = load(&hasty, "note-v1").await;
    for _ in 0..20 {
        note(&neighbour, "warm").await;
    }
    let before = resident();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let hostiles: Vec<_> = (0..HOSTILE)
        .map(|first| {
            let (hostile, stopped, done) = (hostile.clone(), stopped.clone(), done.clone());
            tokio::spawn(async move {
                for next in first.. {
                    if *stopped.borrow() {
                        break;
                    }
                    let spec = json!({"deed": DEEDS[next % DEEDS.len()]});
                    let _ended = hostile.run(Entry::Reconcile, request("Hostile", spec), Empty::new()).await;
                    done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            })
        })
        .collect();
    let (mut times, mut peak) = (Vec::new(), before);
    let began = Instant::now();
    while times.len() < 500 || began.elapsed() < Duration::from_secs(3) {
        // A neighbour of a plugin that never lets go is heard a few times a second at the least.
        assert!(began.elapsed() < Duration::from_secs(120), "only {} runs of the neighbour", times.len());
        let run = Instant::now();
        note(&neighbour, "beside").await;
        times.push(run.elapsed());
        peak = peak.max(resident());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.send_replace(true);
    for hostile in hostiles {
        hostile.await.unwrap();
    }
    let after = resident();
    times.sort();
    let at = |share: usize| times[times.len() * share / 100];
    let mib = |bytes: usize| bytes >> 20;
    println!(
        "beside {HOSTILE} hostile runs at a time ({} in {:?}): the neighbour's p50 {:?}, p99 {:?} of {}; the host's memory {} MiB before, {} MiB at most, {} MiB after",
        done.load(std::sync::atomic::Ordering::Relaxed),
        began.elapsed(),
        at(50),
        at(99),
        times.len(),
        mib(before),
        mib(peak),
        mib(after)
    );
    assert!(at(99) < Duration::from_secs(1), "the neighbour's p99 was {:?}", at(99));
    assert!(peak < before + HOSTILE * (96 << 20), "{} MiB at most", mib(peak));
    assert!(after < before + (96 << 20), "{} MiB stay", mib(after));
}

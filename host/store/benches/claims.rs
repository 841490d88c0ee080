//! The queue on PostgreSQL, for `tests/run bench queue`, which has pgbench do the same with bare SQL on a copy of the same database:
//!
//! ```text
//! claims fill  ADDRESS COUNT    makes that many objects of 1 KB, each of which is due
//! claims drain ADDRESS COUNT    claims and completes them all; says how many that was a second
//! ```
//!
//! Claims are of ten, by eight loops; what is claimed is completed one by one, each with a new status and something to carry: as hosts do it, but that
//! nothing runs in between.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use threeport_store::{Claim, Class, Completion, Config, Key, Key32, Op, Precondition, Resource, Store};

/// Whose claims are open at a time.
const LOOPS: u64 = 8;
/// Objects that one claim asks for.
const EACH: usize = 10;
/// Objects that one write makes.
const TOGETHER: u64 = 100;

fn object(n: u64) -> Op {
    let (namespace, name) = (format!("ns{}", n % 10), format!("w{n:08}"));
    let metadata = json!({"name": name, "namespace": namespace, "uid": format!("0f2d-{n:016}"), "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "bench"}});
    let body = json!({"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": metadata, "spec": {"text": "x".repeat(700)}});
    let resource = Resource::new("example.dev", "widgets");
    let key = Key { resource, namespace: Some(namespace.into()), name: name.into() };
    Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: Some(Class::User) }
}

async fn fill(store: &Store, count: u64) {
    for first in (0..count).step_by(TOGETHER as usize) {
        store.write((first..count.min(first + TOGETHER)).map(object).collect()).await.unwrap();
    }
}

async fn complete(store: &Store, claim: &Claim) {
    let condition = json!({"type": "Ready", "status": "True", "reason": "Available", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "1 of 1 replica is ready"});
    let completion = Completion {
        status: Some(json!({"observedGeneration": 1, "conditions": [condition]})),
        carried: Some(json!({"plugin": "sha256:0123456789abcdef", "memory": null, "settled": 1})),
        next: Some(Duration::from_secs(600)),
        ..Completion::default()
    };
    store.complete(claim, completion).await.unwrap();
}

async fn drain(store: &Store, count: u64) -> Duration {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let loops = (0..LOOPS).map(|number| {
        let (store, done) = (store.clone(), done.clone());
        tokio::spawn(async move {
            while done.load(Relaxed) < count {
                let claims = store.claim(&format!("host{number}"), Duration::from_secs(60), EACH).await.unwrap();
                futures::future::join_all(claims.iter().map(|claim| complete(&store, claim))).await;
                done.fetch_add(claims.len() as u64, Relaxed);
            }
        })
    });
    futures::future::try_join_all(loops).await.unwrap();
    started.elapsed()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, address, count] = arguments.as_slice() else {
        println!("usage: claims fill|drain ADDRESS COUNT");
        return;
    };
    let count = count.parse().unwrap();
    let store = Store::open(Config::new(address.parse::<threeport_store::Database>().unwrap(), Key32::new([7; 32])));
    let store = store.await.unwrap();
    if what == "fill" {
        fill(&store, count).await;
    } else {
        let commits = store.commits();
        let took = drain(&store, count).await;
        let groups = store.commits() - commits;
        println!("{:.0} a second, {groups} transactions for {count}", count as f64 / took.as_secs_f64());
    }
    store.close().await.unwrap();
}

//! What the store costs: creates, updates, gets, lists and whole work cycles, each by 32 clients at once on a real disk.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use threeport_store::{
    Class, Completion, Config, Database, Key, Key32, ListQuery, Op, Precondition, Resource, Scope, Store,
};
use tokio::runtime::Runtime;

const CLIENTS: u64 = 32;

fn key(n: u64) -> Key {
    Key {
        resource: Resource::new("example.dev", "widgets"),
        namespace: Some(format!("ns{}", n % 10).into()),
        name: format!("w{n:08}").into(),
    }
}

/// One kilobyte.
fn op(n: u64, spec: u64, precondition: Precondition, wake: Option<Class>) -> Op {
    let key = key(n);
    let metadata = json!({"name": &*key.name, "namespace": key.namespace.as_deref(), "uid": format!("0f2d-{n:016}"), "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "bench"}});
    let body = json!({"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": metadata, "spec": {"n": spec, "text": "x".repeat(750)}});
    Op::Put { key, body, precondition, edges: None, wake }
}

/// Runs `count` calls from all clients; how long that took.
async fn together<F: Future<Output = ()> + Send>(
    count: u64,
    call: impl Fn(u64) -> F + Clone + Send + Sync + 'static,
) -> Duration {
    let started = Instant::now();
    let clients = (0..CLIENTS.min(count)).map(|client| {
        let call = call.clone();
        tokio::spawn(async move {
            for n in (client..count).step_by(CLIENTS as usize) {
                call(n).await;
            }
        })
    });
    futures::future::try_join_all(clients.collect::<Vec<_>>()).await.unwrap();
    started.elapsed()
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn store(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // An empty database of PostgreSQL instead of a file, if one is named.
    let database = match std::env::var("THREEPORT_BENCH_DATABASE") {
        Ok(address) => address.parse().unwrap(),
        Err(_) => Database::Sqlite(directory.path().join("bench.db")),
    };
    let config = Config::new(database, Key32::generate());
    let store = runtime.block_on(Store::open(config)).unwrap();
    let next = AtomicU64::new(0);
    let mut group = c.benchmark_group("32 clients");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(4));
    let create = |count, wake| {
        let (from, store) = (next.fetch_add(count, Relaxed), store.clone());
        runtime.block_on(together(count, move |n| {
            let store = store.clone();
            async move { drop(store.write(vec![op(from + n, 0, Precondition::Absent, wake)]).await.unwrap()) }
        }))
    };
    create(25_000, None);
    println!("25,000 objects of 1 KB: {} MB resident", memory());
    let present = Precondition::Present { uid: None, resource_version: None };
    group.bench_function("get", |b| {
        b.iter_custom(|count| {
            let store = store.clone();
            runtime.block_on(together(count, move |n| {
                let store = store.clone();
                async move { drop(store.get(&key(n % 25_000)).await.unwrap().unwrap()) }
            }))
        });
    });
    group.bench_function("list of 500", |b| {
        b.iter_custom(|count| {
            let store = store.clone();
            runtime.block_on(together(count, move |_| {
                let scope = Scope { resource: key(0).resource, namespace: None };
                let (store, query) = (store.clone(), ListQuery { scope, limit: Some(500), after: None, at: None });
                async move { assert_eq!(store.list(query).await.unwrap().items.len(), 500) }
            }))
        });
    });
    let commits = store.commits();
    let before = next.load(Relaxed);
    group.bench_function("create", |b| b.iter_custom(|count| create(count, None)));
    let writes = next.load(Relaxed) - before;
    println!("{:.1} creates for each transaction", writes as f64 / (store.commits() - commits) as f64);
    let spec = AtomicU64::new(1);
    group.bench_function("update", |b| {
        b.iter_custom(|count| {
            let (spec, store, present) = (spec.fetch_add(1, Relaxed), store.clone(), present.clone());
            runtime.block_on(together(count, move |n| {
                let (store, present) = (store.clone(), present.clone());
                async move {
                    drop(
                        store
                            .write(vec![op(n % 25_000, spec + (n / 25_000) * 1_000_000, present, None)])
                            .await
                            .unwrap(),
                    )
                }
            }))
        });
    });
    // Claims of ten by eight hosts' loops, completed one by one: the whole cycle of a reconcile but for the reconcile.
    group.bench_function("claim and complete", |b| {
        b.iter_custom(|count| {
            create(count, Some(Class::User));
            let (store, done) = (store.clone(), std::sync::Arc::new(AtomicU64::new(0)));
            runtime.block_on(together(8, move |host| {
                let (store, done) = (store.clone(), done.clone());
                async move {
                    while done.load(Relaxed) < count {
                        let claims = store.claim(&format!("host{host}"), Duration::from_secs(60), 10).await.unwrap();
                        let completing = claims.iter().map(|claim| {
                            let status = Some(
                                json!({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}),
                            );
                            store.complete(
                                claim,
                                Completion { status, next: Some(Duration::from_secs(600)), ..Completion::default() },
                            )
                        });
                        done.fetch_add(futures::future::try_join_all(completing).await.unwrap().len() as u64, Relaxed);
                    }
                }
            }))
        });
    });
    group.finish();
    runtime.block_on(store.close()).unwrap();
}

criterion_group!(benches, store);
criterion_main!(benches);

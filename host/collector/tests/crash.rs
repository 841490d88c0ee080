//! kill -9 of a server in the middle of a collection: the next one finishes it, and takes nothing that it should not. A harness of its own, because this
//! program is also the server that is killed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use threeport_collector::{BuiltIn, Collector};
use threeport_scheduler::local;
use threeport_store::{ChangeKind, Config, Key, Key32, ListQuery, Op, Precondition, Resource, Scope, Store};
use tokio::sync::watch;

const CHILDREN: usize = 400;
const DATABASE: &str = "THREEPORT_COLLECTOR_CRASH_TEST_DATABASE";

fn maps() -> Scope {
    Scope { resource: Resource::new("", "configmaps"), namespace: None }
}

fn put(name: &str, owners: &[&str]) -> Op {
    let owners = owners
        .iter()
        .map(|owner| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": format!("uid-{owner}")}));
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}"), "ownerReferences": owners.collect::<Vec<_>>()},
    });
    let key = Key { resource: maps().resource, namespace: Some("a".into()), name: name.into() };
    Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: None }
}

/// An owner with children, each with a child of its own; and what somebody else owns as well.
fn family() -> Vec<Op> {
    let mut ops = vec![put("owner", &[]), put("other", &[]), put("shared", &["owner", "other"])];
    for n in 0..CHILDREN {
        ops.push(put(&format!("child-{n}"), &["owner"]));
        ops.push(put(&format!("grandchild-{n}"), &[&format!("child-{n}")]));
    }
    ops
}

#[tokio::main]
async fn main() {
    match std::env::var_os(DATABASE) {
        Some(path) => serve(path.into()).await,
        None if std::env::args().any(|argument| argument == "--list") => {
            println!("a_collection_that_was_killed_is_finished_by_the_next: test")
        }
        None => {
            for kill_after in [1, 100, 500] {
                a_killed_collection_is_finished(kill_after).await;
            }
            println!("test a_collection_that_was_killed_is_finished_by_the_next ... ok");
        }
    }
}

async fn open(path: &PathBuf) -> Store {
    Store::open(Config::new(path, Key32::new([1; 32]))).await.unwrap()
}

fn start(store: &Store) -> watch::Sender<bool> {
    let (stop, stopped) = watch::channel(false);
    let kinds = vec![BuiltIn { group: String::new(), kind: "ConfigMap".to_owned(), namespaced: true }];
    tokio::spawn(Collector::new(store.clone(), Arc::new(local::bell().0), kinds, "test").run(stopped));
    stop
}

/// The server: removes the owner, collects, and says each removal that is on disk.
async fn serve(path: PathBuf) {
    let store = open(&path).await;
    store.write(family()).await.unwrap();
    let mut changes = store.watch(maps(), None).await.unwrap();
    let Op::Put { key, .. } = put("owner", &[]) else { unreachable!() };
    let precondition = Precondition::Present { uid: None, resource_version: None };
    store.write(vec![Op::Remove { key, precondition }]).await.unwrap();
    let _stop = start(&store);
    while let Some(change) = changes.next().await {
        if change.unwrap().kind == ChangeKind::Deleted {
            let mut out = std::io::stdout().lock();
            writeln!(out, "removed").unwrap();
            out.flush().unwrap();
        }
    }
}

async fn left(store: &Store) -> Vec<(String, Value)> {
    let list = store.list(ListQuery { scope: maps(), limit: None, after: None, at: None }).await.unwrap();
    list.items
        .iter()
        .map(|map| (map.key.name.to_string(), map.value()["metadata"]["ownerReferences"].clone()))
        .collect()
}

async fn a_killed_collection_is_finished(kill_after: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("crash.db");
    let mut server =
        Command::new(std::env::current_exe().unwrap()).env(DATABASE, &path).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert_eq!(lines.take(kill_after).count(), kill_after, "it ended too early");
    server.kill().unwrap();
    server.wait().unwrap();

    let store = open(&path).await;
    let found = left(&store).await.len();
    let _stop = start(&store);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let rest = loop {
        let rest = left(&store).await;
        if rest.len() <= 2 && store.suspects().await.unwrap().is_empty() {
            break rest;
        }
        assert!(tokio::time::Instant::now() < deadline, "{} objects are left, and nobody looks at them", rest.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let names: Vec<&str> = rest.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["other", "shared"], "what has an owner left stays");
    assert_eq!(
        rest[1].1.as_array().map(Vec::len),
        Some(1),
        "the reference to the owner that is gone goes: {:?}",
        rest[1].1
    );
    println!("killed after {kill_after} removals: {found} objects found, the rest was collected");
    store.close().await.unwrap();
}

//! kill -9 of a server in the middle of 1,000 creates: whatever was acknowledged is there afterwards. A harness of its own, because this
//! program is also the server that is killed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;
use threeport_store::{Class, Config, Key, Key32, Op, Precondition, Resource, Store};

const CREATES: usize = 1000;

fn key(n: usize) -> Key {
    Key { resource: Resource::new("", "configmaps"), namespace: Some("a".into()), name: format!("n{n}").into() }
}

#[tokio::main]
async fn main() {
    match std::env::var_os("THREEPORT_CRASH_TEST_DATABASE") {
        Some(path) => serve(path.into()).await,
        None if std::env::args().any(|argument| argument == "--list") => {
            println!("acknowledged_writes_survive_kill_9: test")
        }
        None => {
            for kill_after in [1, 137, 500, 900] {
                acknowledged_writes_survive(kill_after).await;
            }
            println!("test acknowledged_writes_survive_kill_9 ... ok");
        }
    }
}

/// The server: creates from eight clients at once, and a line on stdout for each that was acknowledged.
async fn serve(path: PathBuf) {
    let store = Store::open(Config::new(path, Key32::new([1; 32]))).await.unwrap();
    let clients = (0..8).map(|client| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in (client..CREATES).step_by(8) {
                let body = json!({"metadata": {"name": format!("n{n}"), "uid": format!("u{n}")}, "data": {"n": "x".repeat(500)}});
                let wake = Some(Class::User);
                let op = Op::Put { key: key(n), body, precondition: Precondition::Absent, edges: None, wake };
                store.write(vec![op]).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "{n}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    futures::future::join_all(clients.collect::<Vec<_>>()).await;
}

async fn acknowledged_writes_survive(kill_after: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("crash.db");
    let mut server = Command::new(std::env::current_exe().unwrap())
        .env("THREEPORT_CRASH_TEST_DATABASE", &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut acknowledged: Vec<usize> = Vec::new();
    for line in lines.by_ref().take(kill_after) {
        acknowledged.push(line.unwrap().parse().unwrap());
    }
    server.kill().unwrap();
    server.wait().unwrap();
    // What it still said before it died counts as well; its last line may be cut off.
    acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| line.parse::<usize>().ok()));
    assert!(acknowledged.len() >= kill_after);
    let store = Store::open(Config::new(&path, Key32::new([1; 32]))).await.unwrap();
    for n in &acknowledged {
        assert!(store.get(&key(*n)).await.unwrap().is_some(), "{n} was acknowledged and is lost");
    }
    let (found, queued) = (store.version() as usize - 1, store.queue().items);
    assert!(found >= acknowledged.len() && queued == found, "{found} objects, {queued} work items");
    println!("killed after {kill_after}: {} acknowledged, {found} found", acknowledged.len());
    store.close().await.unwrap();
}

//! kill -9 of a server in the middle of 1,000 creates, on each engine, and of the database's own server: whatever was acknowledged is there afterwards. A
//! harness of its own, because this program is also the server that is killed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use threeport_store::{Class, Config, Database, Key, Key32, Op, Precondition, Resource, Store};
use threeport_test_postgres::Postgres;

const CREATES: usize = 1000;

fn key(n: usize) -> Key {
    Key { resource: Resource::new("", "configmaps"), namespace: Some("a".into()), name: format!("n{n}").into() }
}

const DATABASE: &str = "THREEPORT_CRASH_TEST_DATABASE";

#[tokio::main]
async fn main() {
    match std::env::var(DATABASE) {
        Ok(database) => serve(database.parse().unwrap()).await,
        Err(_) if std::env::args().any(|argument| argument == "--list") => {
            println!("acknowledged_writes_survive_kill_9: test")
        }
        Err(_) => {
            let directory = tempfile::tempdir().unwrap();
            let mut postgres = Postgres::start().unwrap();
            for kill_after in [1, 137, 500, 900] {
                let file = directory.path().join(format!("{kill_after}.db"));
                acknowledged_writes_survive(kill_after, &format!("sqlite:{}", file.display())).await;
                acknowledged_writes_survive(kill_after, &postgres.database().unwrap()).await;
                nothing_is_lost_or_repeated_when_the_database_is_killed(kill_after, &mut postgres).await;
            }
            a_frozen_host_holds_up_the_others_for_seconds_only(&postgres).await;
            println!("test acknowledged_writes_survive_kill_9 ... ok");
        }
    }
}

/// The server: creates from eight clients at once, and a line on stdout for each that was acknowledged.
async fn serve(database: Database) {
    let store = open(database).await;
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

async fn open(database: Database) -> Store {
    Store::open(Config::new(database, Key32::new([1; 32]))).await.unwrap()
}

/// The server in a process of its own, and what it acknowledges.
fn start(database: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut server =
        Command::new(std::env::current_exe().unwrap()).env(DATABASE, database).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    (server, lines)
}

fn numbers(lines: impl Iterator<Item = std::io::Result<String>>) -> Vec<usize> {
    lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).collect()
}

/// Whether everything is there; gives how many there are.
async fn check(store: &Store, acknowledged: &[usize]) -> usize {
    for n in acknowledged {
        assert!(store.get(&key(*n)).await.unwrap().is_some(), "{n} was acknowledged and is lost");
    }
    let (found, queued) = (store.version() as usize - 1, store.queue().items);
    assert!(found >= acknowledged.len() && queued == found, "{found} objects, {queued} work items");
    found
}

async fn acknowledged_writes_survive(kill_after: usize, database: &str) {
    let (mut server, mut lines) = start(database);
    let mut acknowledged = numbers(lines.by_ref().take(kill_after));
    server.kill().unwrap();
    server.wait().unwrap();
    // What it still said before it died counts as well; its last line may be cut off.
    acknowledged.extend(numbers(lines));
    assert!(acknowledged.len() >= kill_after);
    let database: Database = database.parse().unwrap();
    let store = open(database.clone()).await;
    let found = check(&store, &acknowledged).await;
    println!("{database}: killed after {kill_after}: {} acknowledged, {found} found", acknowledged.len());
    store.close().await.unwrap();
}

/// The clients of our server notice nothing: what was not written is written later, what was is not written again.
async fn nothing_is_lost_or_repeated_when_the_database_is_killed(kill_after: usize, postgres: &mut Postgres) {
    let database = postgres.database().unwrap();
    let (mut server, mut lines) = start(&database);
    let mut acknowledged = numbers(lines.by_ref().take(kill_after));
    postgres.kill().unwrap();
    postgres.boot().unwrap();
    acknowledged.extend(numbers(lines));
    assert!(server.wait().unwrap().success(), "a create failed although the database came back");
    assert_eq!(acknowledged.len(), CREATES);
    let store = open(database.parse().unwrap()).await;
    assert_eq!(check(&store, &acknowledged).await, CREATES);
    println!("PostgreSQL killed after {kill_after}: {CREATES} acknowledged and found");
    store.close().await.unwrap();
}

/// Wherever it was stopped: within a transaction that all others wait for, most of the time.
async fn a_frozen_host_holds_up_the_others_for_seconds_only(postgres: &Postgres) {
    let database = postgres.database().unwrap();
    let other = open(database.parse().unwrap()).await;
    let (mut server, mut lines) = start(&database);
    let mut acknowledged = numbers(lines.by_ref().take(300));
    let signal = |name: &str| {
        let kill = Command::new("kill").args([format!("-{name}"), server.id().to_string()]).status();
        assert!(kill.unwrap().success());
    };
    signal("STOP");
    let began = Instant::now();
    for n in 0..10 {
        let name = format!("beside{n}");
        let body = json!({"metadata": {"name": &name, "uid": &name}});
        let key = Key { name: name.into(), ..key(0) };
        let op = Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: Some(Class::User) };
        other.write(vec![op]).await.unwrap();
    }
    let held_up = began.elapsed();
    signal("CONT");
    acknowledged.extend(numbers(lines));
    assert!(server.wait().unwrap().success(), "a create failed although the host woke up");
    assert_eq!(acknowledged.len(), CREATES);
    other.fresh().await.unwrap();
    assert_eq!(check(&other, &acknowledged).await, CREATES + 10);
    println!("a frozen host held up another for {held_up:?}");
    assert!(held_up < Duration::from_secs(14), "it held up the others for {held_up:?}");
    other.close().await.unwrap();
}

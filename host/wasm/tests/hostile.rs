//! Guests that do their worst: each run ends as the error that names what it did, while a neighbour keeps answering.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Empty, guest, request};
use serde_json::json;
use threeport_wasm::{Answer, Entry, Limits, LoadError, Moment, Plugin, RunError, Runtime};

/// For guests that end at the deadline; the others must end long before theirs, on the busiest machine.
const WALL: Duration = Duration::from_millis(400);

fn runtime() -> Runtime {
    Runtime::new(Limits { wall: Duration::from_secs(60), ..Limits::default() }).unwrap()
}

fn hasty() -> Runtime {
    Runtime::new(Limits { wall: WALL, ..Limits::default() }).unwrap()
}

async fn load(runtime: &Runtime, name: &str) -> Arc<Plugin> {
    Arc::new(runtime.load(guest(name)).await.unwrap_or_else(|error| panic!("{name}: {error}")))
}

async fn deed(plugin: &Plugin, deed: &str) -> Result<Answer, RunError> {
    plugin.run(Entry::Reconcile, request("Hostile", json!({"deed": deed})), Empty::new()).await
}

async fn note(plugin: &Plugin, text: &str) {
    let plan =
        plugin.run(Entry::Reconcile, request("Note", json!({"text": text})), Empty::new()).await.unwrap().unwrap();
    let status: serde_json::Value = serde_json::from_str(&plan.status).unwrap();
    assert_eq!(status["text"], text);
}

/// Runs the deed while a neighbour answers again and again.
async fn beside_a_neighbour(deed_name: &str) -> RunError {
    let (runtime, hasty) = (runtime(), hasty());
    let hostile = load(if deed_name == "loop" { &hasty } else { &runtime }, "hostile").await;
    let neighbour = load(&runtime, "note-v1").await;
    let bad = tokio::spawn({
        let (hostile, name) = (hostile.clone(), deed_name.to_owned());
        async move { deed(&hostile, &name).await }
    });
    let began = Instant::now();
    let mut answers = 0;
    while !bad.is_finished() {
        assert!(began.elapsed() < Duration::from_secs(50), "{deed_name} was not stopped");
        note(&neighbour, "beside").await;
        answers += 1;
        tokio::task::yield_now().await;
    }
    assert!(answers > 0, "the neighbour never answered");
    let error = bad.await.unwrap().expect_err("a hostile guest has no answer");
    assert!(error.to_string().len() > 40, "the message says what to do: {error}");
    // The plugin itself is as good as before.
    deed(&hostile, "none").await.unwrap().unwrap();
    note(&neighbour, "after").await;
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_is_stopped_at_the_deadline() {
    let error = beside_a_neighbour("loop").await;
    assert!(matches!(error, RunError::Deadline { limit } if limit == WALL), "{error}");
}

#[tokio::test]
async fn a_loop_leaves_others_their_turn_on_a_single_thread() {
    let error = beside_a_neighbour("loop").await;
    assert!(matches!(error, RunError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn a_memory_bomb_is_stopped_at_the_limit() {
    let error = beside_a_neighbour("memory").await;
    assert!(matches!(error, RunError::Memory { limit } if limit == 64 << 20), "{error}");
    assert!(error.to_string().contains("64 MiB"), "{error}");
}

#[tokio::test]
async fn a_panic_is_a_trap_that_says_where() {
    let error = beside_a_neighbour("trap").await;
    let RunError::Trap { message, .. } = &error else { panic!("{error}") };
    assert!(message.contains("a deed of Hostile shop/one") && message.contains("lib.rs"), "{message}");
}

#[tokio::test]
async fn endless_recursion_runs_out_of_stack() {
    let error = beside_a_neighbour("stack").await;
    assert!(matches!(error, RunError::StackOverflow { .. }), "{error}");
}

#[tokio::test]
async fn a_flood_of_host_calls_is_counted() {
    let error = beside_a_neighbour("calls").await;
    assert!(matches!(error, RunError::HostCalls { limit: 1000 }), "{error}");
}

#[tokio::test]
async fn a_flood_of_bytes_is_counted() {
    let error = beside_a_neighbour("bytes").await;
    assert!(matches!(error, RunError::HostBytes { .. }), "{error}");
}

#[tokio::test]
async fn a_flood_of_handles_is_counted() {
    let error = beside_a_neighbour("handles").await;
    assert!(matches!(error, RunError::Handles { limit: 64 }), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let error = beside_a_neighbour("answer").await;
    assert!(matches!(error, RunError::HostBytes { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_refused() {
    let error = beside_a_neighbour("nonsense").await;
    assert!(matches!(&error, RunError::BadAnswer(why) if why.contains("reason")), "{error}");
}

#[tokio::test]
async fn a_host_call_that_hangs_ends_with_the_run() {
    let runtime = hasty();
    let hostile = load(&runtime, "hostile").await;
    let slow = Arc::new(Empty { slow: Duration::from_secs(3600), ..Empty::default() });
    let began = Instant::now();
    let error = hostile.run(Entry::Reconcile, request("Hostile", json!({"deed": "wait"})), slow).await.unwrap_err();
    assert!(matches!(error, RunError::Deadline { .. }), "{error}");
    assert!(began.elapsed() < WALL + Duration::from_secs(2), "{:?}", began.elapsed());
    deed(&hostile, "none").await.unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_of_the_host_ends_the_run_and_not_the_task() {
    let runtime = runtime();
    let hostile = load(&runtime, "hostile").await;
    let broken = Arc::new(Empty { panics: true, ..Empty::default() });
    let error = hostile.run(Entry::Reconcile, request("Hostile", json!({"deed": "wait"})), broken).await.unwrap_err();
    assert!(matches!(&error, RunError::Host(why) if why.contains("own fault")), "{error}");
    deed(&hostile, "none").await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_load_is_refused_with_the_reason() {
    let runtime = runtime();
    let error = runtime.load(guest("wrong-contract")).await.unwrap_err();
    assert!(
        matches!(&error, LoadError::WrongContract { wanted, found } if wanted.ends_with("@0.1.0") && found.ends_with("@9.9.0")),
        "{error}"
    );
    let error = runtime.load(guest("traps-in-describe")).await.unwrap_err();
    assert!(matches!(&error, LoadError::Describe(why) if why.contains("does not know what it is")), "{error}");
    let error = hasty().load(guest("loops-in-describe")).await.unwrap_err();
    assert!(matches!(&error, LoadError::Describe(why) if why.contains("did not answer within")), "{error}");
    let error = runtime.load(&b"\x7fELF, not WebAssembly"[..]).await.unwrap_err();
    assert!(matches!(&error, LoadError::NotAComponent(_)), "{error}");
    let mut torn = guest("note-v1");
    torn.truncate(torn.len() / 2);
    assert!(matches!(runtime.load(torn).await.unwrap_err(), LoadError::NotAComponent(_)));
    let error = runtime.load(vec![0; (64 << 20) + 1]).await.unwrap_err();
    assert!(matches!(&error, LoadError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn more_runs_than_places_wait_for_one() {
    let runtime = runtime();
    let note_plugin = load(&runtime, "note-v1").await;
    let runs = (0..600).map(|number| {
        let plugin = note_plugin.clone();
        tokio::spawn(async move { note(&plugin, &number.to_string()).await })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
}

#[tokio::test]
async fn the_same_moment_gives_the_same_answer() {
    let runtime = runtime();
    let plugin = load(&runtime, "note-v1").await;
    let moment = Moment { now: Duration::from_secs(1), seed: 7 };
    let run =
        || async { plugin.run_at(moment, Entry::Reconcile, request("Note", json!({"text": "a"})), Empty::new()).await };
    let ((first, usage), (second, _)) = (run().await, run().await);
    assert_eq!(first.unwrap(), second.unwrap());
    assert!(usage.took > Duration::ZERO && usage.memory > 0 && usage.host_bytes > 0, "{usage:?}");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_the_run_goes_on() {
    let runtime = runtime();
    let hostile = load(&runtime, "hostile").await;
    let capabilities = Empty::new();
    let spec = json!({"deed": "logs"});
    hostile.run(Entry::Reconcile, request("Hostile", spec), capabilities.clone()).await.unwrap().unwrap();
    let (lines, bytes) = *capabilities.logged.lock().unwrap();
    assert!(lines < 30 && bytes <= 68 << 10, "{lines} lines with {bytes} bytes");
}

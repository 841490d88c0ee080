//! Compiling in a worker, and what is kept of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod common;
#[path = "common/forge.rs"]
mod forge;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Empty, guest, request, resident};
use serde_json::json;
use threeport_wasm::{CompileLimits, Compiling, Entry, Limits, LoadError, Plugin, Runtime, Worker};

fn compiling(cache: &Path, change: impl FnOnce(&mut Compiling)) -> Runtime {
    compiling_for(cache, Duration::from_secs(60), change)
}

fn compiling_for(cache: &Path, wall: Duration, change: impl FnOnce(&mut Compiling)) -> Runtime {
    let mut compiling = Compiling {
        worker: Worker { program: env!("CARGO_BIN_EXE_threeport-compile-worker").into(), args: Vec::new() },
        cache: cache.to_owned(),
        key: [7; 32],
        limits: CompileLimits::default(),
    };
    change(&mut compiling);
    Runtime::with_compiler(Limits { wall, ..Limits::default() }, compiling).unwrap()
}

/// Whoever compiles here has failed the test.
fn no_worker(compiling: &mut Compiling) {
    compiling.worker.program = "/nonexistent/worker".into();
}

async fn note(plugin: &Plugin) {
    let answer = plugin.run(Entry::Reconcile, request("Note", json!({"text": "a"})), Empty::new()).await;
    answer.unwrap().unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn what_was_compiled_once_is_loaded_ever_after() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let first = compiling(dir.path(), |_| {}).load(guest("note-v1")).await.unwrap();
    let compiled = began.elapsed();
    note(&first).await;

    let host = compiling(dir.path(), no_worker);
    let began = Instant::now();
    let again = host.load_compiled(&first.digest).await.unwrap().expect("it is kept");
    println!("note-v1: compiled and loaded in {compiled:?}, loaded from the cache in {:?}", began.elapsed());
    note(&again).await;
    assert_eq!((&again.digest, again.size, &again.descriptor), (&first.digest, first.size, &first.descriptor));
    host.load(guest("note-v1")).await.unwrap();
    assert!(host.load_compiled("sha256:00").await.unwrap().is_none());
    let error = host.load(guest("note-v2")).await.unwrap_err();
    assert!(matches!(&error, LoadError::Compiler(why) if why.contains("/nonexistent/worker")), "{error}");
    assert!(error.is_transient());

    assert_eq!(host.keep_compiled([first.digest.as_str()]).await.unwrap(), 0);
    assert_eq!(host.keep_compiled([]).await.unwrap(), 1);
    assert!(host.load_compiled(&first.digest).await.unwrap().is_none());
    note(&again).await;
}

#[tokio::test]
async fn code_that_was_tampered_with_is_refused_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let digest = compiling(dir.path(), |_| {}).load(guest("note-v1")).await.unwrap().digest;
    let [file] = files(dir.path()).try_into().unwrap();
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0x40;
    std::fs::write(&file, &bad).unwrap();
    assert!(compiling(dir.path(), no_worker).load_compiled(&digest).await.unwrap().is_none());

    std::fs::write(&file, &bad).unwrap();
    note(&compiling(dir.path(), |_| {}).load(guest("note-v1")).await.unwrap()).await;
    assert_eq!(std::fs::read(&file).unwrap().len(), good.len());
    // Nor is code of a host with another key, or for runs of another size.
    let other = |compiling: &mut Compiling| {
        no_worker(compiling);
        compiling.key = [8; 32];
    };
    assert!(compiling(dir.path(), other).load_compiled(&digest).await.unwrap().is_none());
}

#[tokio::test]
async fn what_the_worker_refuses_is_said_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = compiling(dir.path(), |compiling| compiling.limits.component = 1 << 20);
    let error = runtime.load(guest("wrong-contract")).await.unwrap_err();
    assert!(matches!(&error, LoadError::WrongContract { found, .. } if found.ends_with("@9.9.0")), "{error}");
    let error = runtime.load(&b"\x7fELF, not WebAssembly"[..]).await.unwrap_err();
    assert!(matches!(&error, LoadError::NotAComponent(_)), "{error}");
    let error = runtime.load(vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert!(matches!(&error, LoadError::TooLarge { .. }), "{error}");
    let error = runtime.load(guest("traps-in-describe")).await.unwrap_err();
    assert!(matches!(&error, LoadError::Describe(_)), "{error}");
    let nonsense = forge::with_module(&guest("note-v1"), &forge::module_of(&[vec![0, 0x6a, 0x0b]], &[]), 0);
    let error = runtime.load(nonsense).await.unwrap_err();
    assert_eq!(error.reason(), "ComponentInvalid", "{error}");
}

type Limit = fn(&mut CompileLimits);

/// A bomb is ended by each of the limits, its neighbour compiles and runs meanwhile, and nothing of it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compile_bomb_is_stopped_and_harms_nobody() {
    let bomb = forge::with_module(&guest("note-v1"), &forge::bomb(40, 30_000), 0);
    println!("the bomb has {} bytes", bomb.len());
    let limits: [(&str, Limit); 4] = [
        ("of processor time", |limits| limits.cpu = Duration::from_secs(1)),
        ("took more than 1s", |limits| limits.wall = Duration::from_secs(1)),
        ("of memory", |limits| limits.memory = 450 << 20),
        ("the code has more than", |limits| limits.output = 100 << 10),
    ];
    for (what, limit) in limits {
        let dir = tempfile::tempdir().unwrap();
        let runtime = compiling(dir.path(), |compiling| {
            compiling.limits.cpu = Duration::from_secs(300);
            compiling.limits.wall = Duration::from_secs(300);
            compiling.limits.memory = 8 << 30;
            limit(&mut compiling.limits);
        });
        // What stops the code's size must first let it be compiled.
        let component = if what.contains("code") { guest("note-v1") } else { bomb.clone() };
        let before = resident();
        let began = Instant::now();
        let bad = tokio::spawn({
            let (runtime, component) = (runtime.clone(), component);
            async move { runtime.load(component).await }
        });
        let neighbour = Arc::new(Runtime::new(Limits::default()).unwrap().load(guest("note-v2")).await.unwrap());
        let mut slowest = Duration::ZERO;
        while !bad.is_finished() {
            let began = Instant::now();
            note(&neighbour).await;
            slowest = slowest.max(began.elapsed());
            tokio::task::yield_now().await;
        }
        let error = bad.await.unwrap().unwrap_err();
        println!("{error}\n  after {:?}; the neighbour's slowest run took {slowest:?}", began.elapsed());
        assert_eq!(error.reason(), "CompileLimitExceeded", "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(files(dir.path()).is_empty(), "nothing of it stays");
        assert!(resident() < before + (300 << 20), "what compiling takes is not taken from the host");
    }
}

#[tokio::test]
async fn instances_that_want_too_much_are_refused_before_they_run() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = compiling(dir.path(), |_| {});
    let hasty = tempfile::tempdir().unwrap();
    let hasty = compiling_for(hasty.path(), Duration::from_millis(300), |_| {});
    let nothing = vec![0, 0x0b];
    // loop: ref.null func, i32.const 1000, table.grow 0, drop, br 0
    let grow = vec![0, 0x03, 0x40, 0xd0, 0x70, 0x41, 0xe8, 0x07, 0xfc, 0x0f, 0, 0x1a, 0x0c, 0, 0x0b, 0x0b];
    let endless = vec![0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b];
    let module = forge::module_of;
    let cases = [
        (&runtime, forge::module(&[]), 5000, "ComponentInvalid", "instances count exceeds"),
        (&runtime, forge::module(&[]), 500, "ComponentInvalid", "more parts than a run may have"),
        (&runtime, module(std::slice::from_ref(&nothing), &[forge::table(100_000)]), 1, "ComponentTooLarge", "table"),
        (&runtime, module(std::slice::from_ref(&nothing), &[forge::memory(2000)]), 1, "ComponentTooLarge", "memory"),
        (&runtime, module(&[nothing], &[forge::memory(1)]), 1, "ComponentInvalid", "one memory"),
        (&runtime, module(&[grow], &[forge::table(1), forge::start()]), 1, "ComponentInvalid", "a table to more than"),
        (&hasty, module(&[endless], &[forge::start()]), 1, "ComponentInvalid", "did not answer within"),
    ];
    for (runtime, module, instances, reason, what) in cases {
        let error = runtime.load(forge::with_module(&guest("note-v1"), &module, instances)).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

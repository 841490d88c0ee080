//! What is on disk: encryption, groups, failures, the length of the log.

use std::fs;
use std::path::Path;

use serde_json::json;
use threeport_store::{Claim, Completion, Error, InventoryEntry, Op};

use super::*;

/// Files, in whatever folder, that hold a text.
fn secret_on_disk(directory: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(secret_on_disk(&entry, secret));
        } else if fs::read(&entry).is_ok_and(|bytes| memchr::memmem::find(&bytes, secret.as_bytes()).is_some()) {
            found.push(entry.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let store = open().await;
    for n in 0..100 {
        write(&store, put_due(&key("a", &format!("n{n}")), json!(n), ABSENT)).await;
    }
    write(&store, Op::Remove { key: key("a", "n7"), precondition: PRESENT }).await;
    let version = store.version();
    let store = store.reopen().await;
    assert_eq!(store.version(), version);
    assert_eq!((store.queue().depth, store.queue().items), (99, 99));
    for n in 0..100 {
        let found = store.get(&key("a", &format!("n{n}"))).await.unwrap();
        assert_eq!(found.map(|object| object.value()["spec"].clone()), (n != 7).then(|| json!(n)));
    }
    assert_eq!(write(&store, put(&key("a", "more"), json!(1), ABSENT)).await.resource_version, version + 1);
}

#[tokio::test]
async fn secrets_and_what_runs_leave_are_nowhere_on_disk_in_the_clear() {
    let store = open().await;
    let directory = store.data();
    let secret = Key { resource: Resource::new("", "secrets"), ..key("a", "password") };
    write(&store, put(&secret, json!("hunter-two-1"), ABSENT)).await;
    write(&store, put(&secret, json!("hunter-two-2"), PRESENT)).await;
    write(&store, put_due(&key("a", "open"), json!("in-the-clear"), ABSENT)).await;
    let claim: Claim = store.claim("me", Duration::from_secs(60), 1).await.unwrap().remove(0);
    let entry = InventoryEntry {
        target: "t".to_string(),
        api_version: "v1".to_string(),
        kind: "Secret".to_string(),
        namespace: None,
        name: "s".to_string(),
        uid: None,
        stage: 0,
        state: json!("hunter-two-3"),
    };
    let done = Completion {
        carried: Some(json!({"kubeconfig": "hunter-two-4"})),
        inventory: Some(vec![entry]),
        ..Default::default()
    };
    store.complete(&claim, done).await.unwrap();
    assert!(!secret_on_disk(&directory, "in-the-clear").is_empty(), "this test looks in the wrong place");
    assert_eq!(secret_on_disk(&directory, "hunter-two"), [""; 0]);
    let since = store.version();
    write(&store, Op::Remove { key: secret.clone(), precondition: PRESENT }).await;
    assert_eq!(secret_on_disk(&directory, "hunter-two"), [""; 0]);
    let store = store.reopen().await;
    assert_eq!(secret_on_disk(&directory, "hunter-two"), [""; 0]);
    let scope = Scope { resource: secret.resource, namespace: None };
    let change = futures::StreamExt::next(&mut store.watch(scope, Some(since)).await.unwrap()).await.unwrap().unwrap();
    assert_eq!(change.object.value()["spec"], "hunter-two-2");
}

#[tokio::test]
async fn another_key_is_refused_with_a_word_on_what_to_do() {
    let store = open().await;
    // Even before there is a secret: whatever is written from now on is encrypted with it.
    store.close().await.unwrap();
    let other = Config { key: Key32::new([8; 32]), ..store.config() };
    let refused = Store::open(other).await.err().unwrap();
    assert!(
        matches!(&refused, Error::WrongKey { .. }) && refused.to_string().contains("put the key back"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_that_arrive_together_share_a_transaction() {
    let store = open().await;
    let (before, count) = (store.commits(), 400);
    let writes = (0..count).map(|n| {
        let store = store.store.clone();
        async move { store.write(vec![put(&key("a", &format!("n{n}")), json!(n), ABSENT)]).await }
    });
    futures::future::try_join_all(writes).await.unwrap();
    let commits = store.commits() - before;
    assert!(commits * 10 <= count, "{count} writes took {commits} commits");
    let idle = store.commits();
    assert!(store.claim("me", Duration::from_secs(1), 1).await.unwrap().is_empty());
    assert!(store.write(vec![put(&key("a", "n0"), json!(0), ABSENT)]).await.is_err());
    assert_eq!(store.commits(), idle, "nothing to write, yet something was committed");
}

#[tokio::test]
async fn a_transaction_that_fails_leaves_nothing_in_memory_and_the_next_one_goes_through() {
    let store = open().await;
    write(&store, put_due(&key("a", "there"), json!(1), ABSENT)).await;
    let (version, next) = (store.version(), key("a", "next"));
    // Every write of a work item fails in the middle of the transaction.
    store.sql(store.kind.failing_work()).await;
    let mut watch = store.watch(scope(), None).await.unwrap();
    let refused = store.write(vec![put_due(&next, json!(1), ABSENT)]).await.unwrap_err();
    assert!(matches!(&refused, Error::Database(why) if why.contains("disk on fire")), "{refused}");
    assert_eq!((store.version(), store.queue().items), (version, 1), "before anything else is asked for");
    assert!(store.claim("me", Duration::from_secs(60), 1).await.is_err());
    assert!(store.get(&next).await.unwrap().is_none());
    assert_eq!((store.version(), store.queue().items), (version, 1));
    store.sql(store.kind.working_work()).await;
    let made = write(&store, put_due(&next, json!(1), ABSENT)).await;
    assert_eq!(made.resource_version, version + 1);
    let change = futures::StreamExt::next(&mut watch).await.unwrap().unwrap();
    assert_eq!(change.object.body, made.body);
    assert_eq!(store.claim("me", Duration::from_secs(60), 9).await.unwrap().len(), 2);
    let store = store.reopen().await;
    assert_eq!((store.version(), store.queue().items), (version + 1, 2));
}

#[tokio::test]
async fn the_log_on_disk_stays_at_its_length_and_keeps_what_exists() {
    let store = open_keeping(50).await;
    for n in 0..20 {
        write(&store, put(&key("a", &format!("still{n}")), json!(n), ABSENT)).await;
    }
    for n in 0..300 {
        write(&store, put(&key("a", "busy"), json!(n), if n == 0 { ABSENT } else { PRESENT })).await;
        write(&store, put(&key("a", &format!("short{n}")), json!(n), ABSENT)).await;
        write(&store, Op::Remove { key: key("a", &format!("short{n}")), precondition: PRESENT }).await;
    }
    let rows = store.count("select count(*) from change").await;
    assert!((50..150).contains(&rows), "{rows} rows for 21 objects and 50 changes");
    let store = store.reopen().await;
    for n in 0..20 {
        assert_eq!(store.get(&key("a", &format!("still{n}"))).await.unwrap().unwrap().value()["spec"], n);
    }
}

#[tokio::test]
async fn a_row_that_is_damaged_holds_up_nobody_but_its_object() {
    let store = open().await;
    for name in ["good", "bad"] {
        write(&store, put_due(&key("a", name), json!(1), ABSENT)).await;
    }
    let claims = store.claim("me", Duration::from_secs(60), 9).await.unwrap();
    for claim in &claims {
        store.complete(claim, Completion { carried: Some(json!("left")), ..Default::default() }).await.unwrap();
    }
    store.close().await.unwrap();
    store.sql(store.kind.damage()).await;
    let store = store.opened().await;
    let uids: Vec<_> = claims.iter().map(|claim| claim.object.uid.clone()).collect();
    store.wake(&uids, Class::User).await.unwrap();
    let claims = store.claim("me", Duration::from_secs(60), 9).await.unwrap();
    assert_eq!(claims.iter().map(|claim| &*claim.object.key.name).collect::<Vec<_>>(), ["good"]);
    assert_eq!(claims[0].carried, json!("left"));
    assert_eq!((store.queue().depth, store.queue().leased), (0, 1), "the damaged one is given back for later");
}

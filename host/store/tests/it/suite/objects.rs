//! Writing: preconditions, all or nothing, resourceVersions, references.

use std::time::Duration;

use serde_json::json;
use threeport_store::{Class, Error, Op, Precondition};

use super::*;

#[tokio::test]
async fn an_object_is_stored_with_its_resource_version_and_found_by_key_and_uid() {
    let store = open().await;
    let before = store.version();
    let made = write(&store, put(&key("a", "one"), json!({"x": 1}), ABSENT)).await;
    assert_eq!(made.resource_version, before + 1);
    assert_eq!(made.value()["metadata"]["resourceVersion"], made.resource_version.to_string());
    assert_eq!(store.version(), made.resource_version);
    assert_eq!(store.get(&key("a", "one")).await.unwrap().unwrap().body, made.body);
    assert_eq!(store.by_uid("uid-a-one").await.unwrap().unwrap().body, made.body);
    assert!(store.get(&key("b", "one")).await.unwrap().is_none());
}

#[tokio::test]
async fn preconditions_are_checked_with_the_write() {
    let store = open().await;
    let one = key("a", "one");
    assert!(matches!(store.write(vec![put(&one, json!(1), PRESENT)]).await, Err(Error::NotFound(_))));
    let made = write(&store, put(&one, json!(1), ABSENT)).await;
    assert!(matches!(store.write(vec![put(&one, json!(2), ABSENT)]).await, Err(Error::AlreadyExists(_))));
    let at = |resource_version| Precondition::Present { uid: None, resource_version: Some(resource_version) };
    let changed = write(&store, put(&one, json!(2), at(made.resource_version))).await;
    let refused = store.write(vec![put(&one, json!(3), at(made.resource_version))]).await.unwrap_err();
    let Error::Conflict { expected, found, .. } = refused else { panic!("{refused}") };
    assert_eq!(expected, format!("resourceVersion {}", made.resource_version));
    assert_eq!(found, format!("resourceVersion {}", changed.resource_version));
    let other = Precondition::Present { uid: Some("another".into()), resource_version: None };
    assert!(matches!(
        store.write(vec![Op::Remove { key: one, precondition: other }]).await,
        Err(Error::Conflict { .. })
    ));
}

#[tokio::test]
async fn a_write_of_several_steps_happens_as_a_whole_or_not_at_all() {
    let store = open().await;
    write(&store, put(&key("a", "there"), json!(1), ABSENT)).await;
    let version = store.version();
    let ops = vec![put_due(&key("a", "new"), json!(1), ABSENT), put(&key("a", "there"), json!(2), ABSENT)];
    assert!(matches!(store.write(ops).await, Err(Error::AlreadyExists(_))));
    assert!(store.get(&key("a", "new")).await.unwrap().is_none());
    assert_eq!((store.version(), store.queue().items), (version, 0));
    let ops = vec![
        put(&key("a", "new"), json!(1), ABSENT),
        put(&key("a", "new"), json!(2), PRESENT),
        Op::Remove { key: key("a", "there"), precondition: PRESENT },
    ];
    let done = store.write(ops).await.unwrap();
    assert_eq!(
        done.iter().map(|object| object.resource_version).collect::<Vec<_>>(),
        [version + 1, version + 2, version + 3]
    );
    assert_eq!(done[2].value()["spec"], 1);
    assert_eq!(store.get(&key("a", "new")).await.unwrap().unwrap().value()["spec"], 2);
}

#[tokio::test]
async fn one_failing_request_does_not_fail_the_others_of_its_group() {
    let store = open().await;
    let writes = (0..50).map(|n| {
        let name = format!("n{}", n % 25);
        let store = store.store.clone();
        async move { store.write(vec![put(&key("a", &name), json!(n), ABSENT)]).await }
    });
    let results = futures::future::join_all(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 25);
    assert_eq!(results.iter().filter(|result| matches!(result, Err(Error::AlreadyExists(_)))).count(), 25);
}

#[tokio::test]
async fn writing_what_is_stored_changes_nothing() {
    let store = open().await;
    let made = write(&store, put(&key("a", "one"), json!({"x": 1}), ABSENT)).await;
    let again = write(&store, put(&key("a", "one"), json!({"x": 1}), PRESENT)).await;
    assert_eq!((again.resource_version, store.version()), (made.resource_version, made.resource_version));
}

#[tokio::test]
async fn an_object_made_anew_has_nothing_of_the_old_one() {
    let store = open().await;
    let (one, other) = (key("a", "one"), key("a", "other"));
    let edges = Some(vec![edge(&other)]);
    let op =
        Op::Put { key: one.clone(), body: body(&one, json!(1)), precondition: ABSENT, edges, wake: Some(Class::User) };
    write(&store, op).await;
    let mut new = body(&one, json!(2));
    new["metadata"]["uid"] = json!("second");
    let again = Op::Put { key: one.clone(), body: new, precondition: ABSENT, edges: None, wake: None };
    store.write(vec![Op::Remove { key: one.clone(), precondition: PRESENT }, again]).await.unwrap();
    assert!(store.by_uid("uid-a-one").await.unwrap().is_none());
    assert_eq!((store.queue().items, store.dependants(&other).await.unwrap().len()), (0, 0));
    let store = store.reopen().await;
    assert_eq!(&*store.get(&one).await.unwrap().unwrap().uid, "second");
    assert_eq!((store.queue().items, store.dependants(&other).await.unwrap().len()), (0, 0));
}

/// Writes an object that refers to another and takes its first run away.
async fn with_reference(store: &Temp) -> (Key, Key) {
    let (from, to) = (key("a", "from"), key("b", "to"));
    let edges = Some(vec![edge(&to)]);
    let op = Op::Put {
        key: from.clone(),
        body: body(&from, json!(1)),
        precondition: ABSENT,
        edges,
        wake: Some(Class::User),
    };
    write(store, op).await;
    settle(store).await;
    (from, to)
}

/// Completes everything that is due and tells what it was.
async fn settle(store: &Temp) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let claims = store.claim("settle", Duration::from_secs(60), 10).await.unwrap();
        if claims.is_empty() {
            return seen;
        }
        for claim in claims {
            store.complete(&claim, Default::default()).await.unwrap();
            seen.push(format!("{}:{:?}", claim.object.key.name, claim.class));
        }
    }
}

#[tokio::test]
async fn whoever_refers_to_an_object_is_woken_when_it_comes_changes_or_goes() {
    let store = open().await;
    let (from, to) = with_reference(&store).await;
    assert_eq!(store.dependants(&to).await.unwrap(), [(from, edge(&to))]);
    write(&store, put(&to, json!(1), ABSENT)).await;
    assert_eq!(settle(&store).await, ["from:Dependency"], "created");
    write(&store, put(&to, json!(2), PRESENT)).await;
    assert_eq!(settle(&store).await, ["from:Dependency"], "changed");
    let mut status = body(&to, json!(2));
    status["status"] = json!({"seen": true});
    status["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    write(&store, Op::Put { key: to.clone(), body: status, precondition: PRESENT, edges: None, wake: None }).await;
    assert_eq!(settle(&store).await, [""; 0], "only its status changed");
    write(&store, Op::Remove { key: to, precondition: PRESENT }).await;
    assert_eq!(settle(&store).await, ["from:Dependency"], "removed");
}

#[tokio::test]
async fn references_survive_a_restart_and_are_replaced_as_a_whole() {
    let store = open().await;
    let (from, to) = with_reference(&store).await;
    let store = store.reopen().await;
    assert_eq!(store.references(&from).await.unwrap(), [edge(&to)]);
    let third = key("c", "third");
    let edges = Some(vec![edge(&third)]);
    let op = Op::Put { key: from.clone(), body: body(&from, json!(1)), precondition: PRESENT, edges, wake: None };
    write(&store, op).await;
    let store = store.reopen().await;
    assert_eq!(store.dependants(&to).await.unwrap(), []);
    assert_eq!(store.dependants(&third).await.unwrap().len(), 1);
    write(&store, put(&from, json!(2), PRESENT)).await;
    assert_eq!(store.dependants(&third).await.unwrap().len(), 1, "a write without references leaves them");
}

#[tokio::test]
async fn blobs_are_kept_under_their_digest() {
    let store = open().await;
    let digest = store.put_blob("abc").await.unwrap();
    assert_eq!(digest, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(store.put_blob("abc").await.unwrap(), digest);
    let store = store.reopen().await;
    assert_eq!(store.get_blob(&digest).await.unwrap().unwrap(), "abc");
    assert!(store.get_blob("sha256:00").await.unwrap().is_none());
}

#[tokio::test]
async fn a_large_blob_is_written_in_pieces_and_given_up_without_a_trace() {
    let store = open().await;
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|number| (number * 31) as u8).collect();
    let mut writer = store.blob_writer();
    for piece in bytes.chunks(300_000) {
        writer.write(piece).await.unwrap();
    }
    assert_eq!(writer.size(), 5_000_000);
    let digest = writer.finish().await.unwrap();
    assert_eq!(store.get_blob(&digest).await.unwrap().unwrap(), bytes);
    assert_eq!(store.put_blob(bytes).await.unwrap(), digest, "the same again is the same");

    let mut given_up = store.blob_writer();
    given_up.write(&[1; 3 << 20]).await.unwrap();
    drop(given_up);
    // The writer serves in order: after this, the upload is gone.
    store.put_blob("later").await.unwrap();
    assert_eq!(store.collect_blobs(Vec::new(), Duration::ZERO).await.unwrap(), 2);
}

#[tokio::test]
async fn blobs_that_nobody_names_go_after_a_grace_time() {
    let store = open().await;
    let (kept, old) = (store.put_blob("kept").await.unwrap(), store.put_blob("old").await.unwrap());
    let collect = |keep: &str| store.collect_blobs(vec![keep.to_owned()], Duration::from_millis(500));
    assert_eq!(collect(&kept).await.unwrap(), 0, "not yet");
    let mut slow = store.blob_writer();
    slow.write(&[1; 1 << 20]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(520)).await;
    assert!(store.touch_blob(&old).await.unwrap(), "whoever is about to name it says so");
    assert_eq!(collect(&kept).await.unwrap(), 1, "the upload that does not end");
    assert!(slow.finish().await.unwrap_err().to_string().contains("took too long"));
    assert!(store.get_blob(&old).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(520)).await;
    assert_eq!(collect(&kept).await.unwrap(), 1);
    assert!(store.get_blob(&old).await.unwrap().is_none() && !store.touch_blob(&old).await.unwrap());
    let store = store.reopen().await;
    assert_eq!(store.get_blob(&kept).await.unwrap().unwrap(), "kept");
}

//! Lists of snapshots, watches.

use std::collections::HashMap;

use futures::StreamExt;
use serde_json::json;
use threeport_store::{Change, ChangeKind, Error, List, ListQuery, Op, Watch};

use super::*;

fn all() -> ListQuery {
    ListQuery { scope: scope(), limit: None, after: None, at: None }
}

fn next_page(list: &List) -> ListQuery {
    let last = &list.items.last().unwrap().key;
    ListQuery {
        limit: Some(3),
        after: Some((last.namespace.clone(), last.name.clone())),
        at: Some(list.resource_version),
        ..all()
    }
}

async fn take(watch: &mut Watch, count: usize) -> Vec<Change> {
    let deadline = Duration::from_secs(20);
    let changes = watch.take(count).map(Result::unwrap).collect();
    tokio::time::timeout(deadline, changes).await.expect("the watch stalls")
}

#[tokio::test]
async fn lists_are_ordered_and_limited_to_their_namespace() {
    let store = open().await;
    for (namespace, name) in [("b", "1"), ("a", "2"), ("a", "1"), ("ab", "1")] {
        write(&store, put(&key(namespace, name), json!(1), ABSENT)).await;
    }
    let list = store.list(all()).await.unwrap();
    let order: Vec<_> = list
        .items
        .iter()
        .map(|object| format!("{}/{}", object.key.namespace.as_deref().unwrap(), object.key.name))
        .collect();
    assert_eq!(order, ["a/1", "a/2", "ab/1", "b/1"]);
    assert_eq!((list.resource_version, list.remaining), (store.version(), 0));
    let scope = Scope { namespace: Some("a".into()), ..scope() };
    let page = store.list(ListQuery { scope: scope.clone(), limit: Some(1), ..all() }).await.unwrap();
    assert_eq!((names(&page.items), page.remaining), (vec!["1".to_string()], 1));
    let rest = store.list(ListQuery { scope, ..next_page(&page) }).await.unwrap();
    assert_eq!((names(&rest.items), rest.remaining), (vec!["2".to_string()], 0));
}

/// Ten objects, a first page, then changes of every sort; `churn` more pushes them out of memory.
async fn pages_after_changes(churn: usize) {
    let store = open().await;
    for n in 0..10 {
        write(&store, put(&key("a", &format!("n{n}")), json!("before"), ABSENT)).await;
    }
    let first = store.list(ListQuery { limit: Some(3), ..all() }).await.unwrap();
    assert_eq!((names(&first.items), first.remaining), (["n0", "n1", "n2"].map(String::from).to_vec(), 7));
    write(&store, put(&key("a", "n35"), json!("new"), ABSENT)).await;
    write(&store, put(&key("a", "n4"), json!("changed"), PRESENT)).await;
    write(&store, put(&key("a", "n4"), json!("changed again"), PRESENT)).await;
    write(&store, Op::Remove { key: key("a", "n5"), precondition: PRESENT }).await;
    write(&store, Op::Remove { key: key("a", "n9"), precondition: PRESENT }).await;
    let mut again = body(&key("a", "n9"), json!("another"));
    again["metadata"]["uid"] = json!("second");
    write(&store, Op::Put { key: key("a", "n9"), body: again, precondition: ABSENT, edges: None, wake: None }).await;
    for chunk in (0..churn).collect::<Vec<_>>().chunks(500) {
        let ops = chunk.iter().map(|n| Op::Put {
            key: key("z", "churn"),
            body: body(&key("z", "churn"), json!(n)),
            precondition: if *n == 0 { ABSENT } else { PRESENT },
            edges: None,
            wake: None,
        });
        store.write(ops.collect()).await.unwrap();
    }
    let (mut list, mut seen) = (first.clone(), first.items.clone());
    while list.remaining > 0 {
        list = store.list(next_page(&list)).await.unwrap();
        assert_eq!(list.resource_version, first.resource_version);
        seen.extend(list.items.clone());
    }
    assert_eq!(names(&seen), (0..10).map(|n| format!("n{n}")).collect::<Vec<_>>());
    assert!(
        seen.iter()
            .all(|object| object.value()["spec"] == "before" && object.resource_version <= first.resource_version)
    );
}

#[tokio::test]
async fn later_pages_show_the_snapshot_of_the_first() {
    pages_after_changes(0).await;
}

#[tokio::test]
async fn later_pages_show_the_snapshot_even_when_memory_no_longer_reaches_it() {
    pages_after_changes(9000).await;
}

#[tokio::test]
async fn a_snapshot_that_was_forgotten_or_is_to_come_is_gone() {
    let store = open().await;
    for n in 0..5 {
        write(&store, put(&key("a", &format!("n{n}")), json!(1), ABSENT)).await;
    }
    let at = store.version();
    write(&store, put(&key("a", "n0"), json!(2), PRESENT)).await;
    let asked = |at| store.list(ListQuery { at: Some(at), ..all() });
    assert_eq!(asked(at).await.unwrap().items[0].value()["spec"], 1);
    store.compact(at).await.unwrap();
    assert_eq!(
        asked(at).await.unwrap().items[0].value()["spec"],
        1,
        "a snapshot at the end of what is forgotten still reads"
    );
    store.compact(at + 1).await.unwrap();
    let Err(Error::Gone { asked: gone, oldest, newest }) = asked(at).await else { panic!("not gone") };
    assert_eq!((gone, oldest, newest), (at, at + 1, at + 1));
    assert!(matches!(asked(at + 2).await, Err(Error::Gone { .. })));
    assert!(matches!(store.watch(scope(), Some(at)).await, Err(Error::Gone { .. })));
    assert!(matches!(store.watch(scope(), Some(at + 2)).await, Err(Error::Gone { .. })));
    let store = store.reopen().await;
    assert!(matches!(store.watch(scope(), Some(at)).await, Err(Error::Gone { .. })));
    assert_eq!((store.version(), store.list(all()).await.unwrap().items.len()), (at + 1, 5));
}

#[tokio::test]
async fn a_watch_tells_what_happened_and_what_was_before() {
    let store = open().await;
    let one = key("a", "one");
    let mut watch = store.watch(Scope { namespace: Some("a".into()), ..scope() }, None).await.unwrap();
    write(&store, put(&one, json!(1), ABSENT)).await;
    write(&store, put(&key("b", "elsewhere"), json!(1), ABSENT)).await;
    write(&store, put(&one, json!(2), PRESENT)).await;
    let removed = write(&store, Op::Remove { key: one, precondition: PRESENT }).await;
    let changes = take(&mut watch, 3).await;
    let kinds: Vec<_> = changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Deleted]);
    assert_eq!(changes[1].previous.as_ref(), Some(&changes[0].object.body));
    assert_eq!(changes[2].object.body, removed.body);
    assert_eq!(removed.value()["metadata"]["resourceVersion"], store.version().to_string());
    assert_eq!(watch.position(), store.version());
}

#[tokio::test]
async fn a_watch_resumes_from_disk_after_a_restart_with_every_change_once() {
    let store = open().await;
    let since = store.version();
    for n in 0..600 {
        write(&store, put(&key("a", "one"), json!(n), if n == 0 { ABSENT } else { PRESENT })).await;
    }
    let store = store.reopen().await;
    let mut watch = store.watch(scope(), Some(since + 10)).await.unwrap();
    write(&store, put(&key("a", "two"), json!(0), ABSENT)).await;
    let changes = take(&mut watch, 591).await;
    let versions: Vec<_> = changes.iter().map(|change| change.object.resource_version).collect();
    assert_eq!(versions, (since + 11..=since + 601).collect::<Vec<_>>());
    assert!(changes[0].previous.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watches_see_every_change_once_and_in_order_while_many_write() {
    let store = open().await;
    let since = store.version();
    let (writers, each) = (8, 200);
    let follow = |since| {
        let store = store.store.clone();
        tokio::spawn(async move { take(&mut store.watch(scope(), since).await.unwrap(), writers * each).await })
    };
    let early = [follow(Some(since)), follow(Some(since))];
    let writing = (0..writers).map(|writer| {
        let store = store.store.clone();
        tokio::spawn(async move {
            for n in 0..each {
                write(&store, put(&key("a", &format!("w{writer}")), json!(n), if n == 0 { ABSENT } else { PRESENT }))
                    .await;
            }
        })
    });
    futures::future::try_join_all(writing.collect::<Vec<_>>()).await.unwrap();
    for follower in early.into_iter().chain([follow(Some(since))]) {
        let changes = follower.await.unwrap();
        let mut last: HashMap<Key, i64> = HashMap::new();
        for (change, version) in changes.iter().zip(since + 1..) {
            assert_eq!(change.object.resource_version, version);
            let n = change.object.value()["spec"].as_i64().unwrap();
            assert_eq!(n, last.insert(change.object.key.clone(), n).map_or(0, |before| before + 1));
        }
    }
}

#[tokio::test]
async fn a_watch_that_sleeps_too_long_is_gone_and_never_held_the_writer_up() {
    let store = open_keeping(100).await;
    let mut slow = store.watch(scope(), None).await.unwrap();
    let mut awake = store.watch(scope(), None).await.unwrap();
    let count = 600;
    for n in 0..count {
        write(&store, put(&key("a", "one"), json!(n), if n == 0 { ABSENT } else { PRESENT })).await;
        assert_eq!(take(&mut awake, 1).await[0].object.value()["spec"], n);
    }
    assert!(matches!(slow.next().await, Some(Err(Error::Gone { .. }))));
    assert!(slow.next().await.is_none());
    let mut recent = store.watch(scope(), Some(store.version() - 100)).await.unwrap();
    assert_eq!(take(&mut recent, 100).await.len(), 100, "the log is shorter than was asked for");
    assert_eq!(store.get(&key("a", "one")).await.unwrap().unwrap().value()["spec"], count - 1);
}

#[tokio::test]
async fn watches_end_when_the_store_closes() {
    let store = open().await;
    let mut watch = store.watch(scope(), None).await.unwrap();
    let next = tokio::spawn(async move { watch.next().await.is_none() });
    store.close().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(20), next).await.expect("the watch hangs").unwrap());
    assert!(store.write(vec![put(&key("a", "one"), json!(1), ABSENT)]).await.is_err());
}

//! What the collector has to look at is committed with the reason for it, and what must hold for a deletion is checked in its transaction.

use threeport_store::lifecycle::{self, Deletion, Propagation};
use threeport_store::{Demand, Error};

use super::*;

/// An object that names these owners.
fn owned(key: &Key, owners: &[&Key]) -> Op {
    let mut op = put(key, json!(1), ABSENT);
    if let Op::Put { body, .. } = &mut op {
        let uids = owners.iter().map(|owner| body_uid(owner));
        body["metadata"]["ownerReferences"] = uids.map(|uid| json!({"uid": uid})).collect();
    }
    op
}

fn body_uid(key: &Key) -> String {
    body(key, json!(1))["metadata"]["uid"].as_str().unwrap().to_owned()
}

async fn suspects(store: &Store) -> Vec<String> {
    store.suspects().await.unwrap().iter().map(|suspect| suspect.object.key.name.to_string()).collect()
}

async fn settle_all(store: &Store) {
    let seen = store.suspects().await.unwrap();
    store.settle(seen.into_iter().map(|suspect| (suspect.object.uid, suspect.seq)).collect()).await.unwrap();
}

fn remove(key: &Key) -> Op {
    Op::Remove { key: key.clone(), precondition: PRESENT }
}

#[tokio::test]
async fn what_a_removed_object_owned_is_suspect_until_it_is_settled_as_it_was_seen() {
    let store = open().await;
    let (owner, child, other) = (key("a", "owner"), key("a", "child"), key("a", "other"));
    let mut told = store.suspected();
    store
        .write(vec![put(&owner, json!(1), ABSENT), owned(&child, &[&owner]), put(&other, json!(1), ABSENT)])
        .await
        .unwrap();
    told.changed().await.unwrap();
    assert_eq!(suspects(&store).await, ["child"], "whether its owner is there");
    settle_all(&store).await;
    assert!(suspects(&store).await.is_empty());
    assert_eq!(names(&store.owned(&body_uid(&owner)).await.unwrap()), ["child"]);

    write(&store, remove(&owner)).await;
    let seen = store.suspects().await.unwrap();
    assert_eq!(names(&[seen[0].object.clone()]), ["child"]);
    write(&store, put(&owner, json!(1), ABSENT)).await;
    write(&store, remove(&owner)).await;
    store.settle(vec![(seen[0].object.uid.clone(), seen[0].seq)]).await.unwrap();
    assert_eq!(suspects(&store).await, ["child"], "something happened since it was seen");

    let store = store.reopen().await;
    assert_eq!(suspects(&store).await, ["child"], "it is a row");
    let later = store.suspects().await.unwrap()[0].seq;
    assert!(later > seen[0].seq);
    write(&store, put(&child, json!(2), PRESENT)).await;
    assert!(store.owned(&body_uid(&owner)).await.unwrap().is_empty(), "it has no owners any more");
    write(&store, remove(&child)).await;
    assert!(suspects(&store).await.is_empty());
    let store = store.reopen().await;
    assert!(suspects(&store).await.is_empty());
}

#[tokio::test]
async fn who_waits_for_others_is_looked_at_again_when_they_go() {
    let store = open().await;
    let (owner, child, user) = (key("a", "owner"), key("a", "child"), key("a", "user"));
    write(&store, put(&owner, json!(1), ABSENT)).await;
    write(&store, owned(&child, &[&owner])).await;
    let mut uses = put(&user, json!(1), ABSENT);
    if let Op::Put { edges, .. } = &mut uses {
        *edges = Some(vec![edge(&owner)]);
    }
    write(&store, uses).await;
    let stored = store.get(&owner).await.unwrap().unwrap().value();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let Deletion::Mark(body) = lifecycle::delete(&stored, now, Some(Propagation::Foreground)) else { panic!() };
    settle_all(&store).await;
    write(&store, Op::Put { key: owner.clone(), body, precondition: PRESENT, edges: None, wake: None }).await;
    for change in [put(&child, json!(2), PRESENT), remove(&user)] {
        let before = store.suspects().await.unwrap();
        assert_eq!(names(&[before[0].object.clone()]), ["owner"]);
        write(&store, change).await;
        let after = store.suspects().await.unwrap();
        assert!(after[0].seq > before[0].seq, "a reason to look again");
    }
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_write_is_checked_in_its_transaction() {
    let store = open().await;
    let (one, two, far) = (key("a", "one"), key("a", "two"), key("b", "far"));
    let user = |from: &Key, to: &Key, role: &str| {
        let mut op = put(from, json!(1), ABSENT);
        if let Op::Put { edges, .. } = &mut op {
            *edges = Some(vec![Edge { role: role.to_owned(), ..edge(to) }]);
        }
        op
    };
    write(&store, put(&one, json!(1), ABSENT)).await;
    let unused = |but: Vec<Key>| Op::Check(Demand::Unused { key: one.clone(), but });
    // The reference comes in the same group of requests as the deletion, before it.
    let (_, deleted) = tokio::join!(
        store.write(vec![user(&two, &one, "requires")]),
        store.write(vec![unused(Vec::new()), remove(&one)])
    );
    assert!(
        matches!(deleted, Err(Error::InUse { ref users, .. }) if users.len() == 1 && users[0].0 == two),
        "{deleted:?}"
    );
    assert!(store.write(vec![unused(vec![two.clone()])]).await.unwrap().is_empty(), "a check gives no object");
    let leaves = Op::Check(Demand::NamespaceUnused("a".into()));
    store.write(vec![leaves.clone()]).await.unwrap();
    write(&store, user(&far, &one, "uses")).await;
    store.write(vec![leaves.clone()]).await.unwrap();
    write(&store, remove(&far)).await;
    write(&store, user(&far, &one, "target")).await;
    assert!(matches!(store.write(vec![leaves]).await, Err(Error::InUse { .. })));

    let empty = |namespace: &str| Op::Check(Demand::NoneIn(namespace.into()));
    let none = Op::Check(Demand::None(Scope { resource: widgets(), namespace: Some("b".into()) }));
    let mut all = vec![remove(&far), empty("b"), none.clone()];
    store.write(all.clone()).await.unwrap();
    assert!(
        matches!(store.write(vec![empty("a")]).await, Err(Error::NotEmpty(keys)) if keys == [one.clone(), two.clone()])
    );
    write(&store, put(&far, json!(1), ABSENT)).await;
    all.swap(0, 2);
    assert!(matches!(store.write(all).await, Err(Error::NotEmpty(_))), "it is still there at that step");
    let stays = Op::Check(Demand::Stays(two.clone()));
    store.write(vec![stays.clone()]).await.unwrap();
    let mut going = body(&two, json!(1));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    write(&store, Op::Put { key: two.clone(), body: going, precondition: PRESENT, edges: None, wake: None }).await;
    assert!(matches!(store.write(vec![stays]).await, Err(Error::Going(key)) if key == two));
    let lasting = |from: &Key, role: &str| {
        let edges = vec![Edge { role: role.to_owned(), ..edge(&two) }];
        Op::Check(Demand::Lasting { from: from.clone(), edges })
    };
    let refused = store.write(vec![lasting(&one, "requires")]).await;
    assert!(matches!(refused, Err(Error::Leaving { ref going, .. }) if **going == two), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains(&edge(&two).field), "it names the field");
    store.write(vec![lasting(&one, "uses"), lasting(&two, "target")]).await.unwrap();
    let mut before = put(&one, json!(2), PRESENT);
    if let Op::Put { edges, .. } = &mut before {
        *edges = Some(vec![edge(&two)]);
    }
    // As controllers do, whose objects were there before.
    write(&store, before).await;
    store.write(vec![lasting(&one, "requires")]).await.unwrap();
    let inside = store.in_namespace(&"a".into()).await.unwrap();
    assert_eq!(names(&inside), ["one", "two"]);

    let b = lifecycle::namespace_key("b");
    let mut going = body(&b, json!(1));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    write(&store, Op::Put { key: b.clone(), body: going, precondition: ABSENT, edges: None, wake: None }).await;
    let into = |from: &Key| Op::Check(Demand::Lasting { from: from.clone(), edges: vec![edge(&far)] });
    assert!(matches!(store.write(vec![into(&one)]).await, Err(Error::Leaving { going, .. }) if *going == b));
    store.write(vec![into(&key("b", "near"))]).await.unwrap();
}

//! From SQLite to PostgreSQL with everything.

use std::collections::BTreeMap;

use futures::StreamExt;
use serde_json::json;
use threeport_store::{Completion, Error, InventoryEntry, ListQuery, Suspect, copy};

use crate::*;

/// What there is, in a form that can be compared.
async fn everything(store: &Store, resources: &[Resource]) -> Vec<(Key, Arc<str>, u64, Value)> {
    let mut all = Vec::new();
    for resource in resources {
        let scope = Scope { resource: resource.clone(), namespace: None };
        let list = store.list(ListQuery { scope, limit: None, after: None, at: None }).await.unwrap();
        all.extend(list.items.into_iter().map(|object| {
            let value = object.value();
            (object.key, object.uid, object.resource_version, value)
        }));
    }
    all
}

fn entry(name: &str) -> InventoryEntry {
    InventoryEntry {
        target: "v1/Target/a/t".to_owned(),
        api_version: "v1".to_owned(),
        kind: "Secret".to_owned(),
        namespace: Some("x".to_owned()),
        name: name.to_owned(),
        uid: Some(format!("on-target-{name}")),
        stage: 2,
        state: json!({"applied": name}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_everything_and_goes_on_where_the_other_ended() {
    let from = Temp::open(Kind::Sqlite, Config::KEEP_CHANGES).await;
    let (one, user) = (key("a", "one"), key("a", "user"));
    let secret = Key { resource: Resource::new("", "secrets"), ..key("a", "password") };
    write(&from, put_due(&one, json!("first"), ABSENT)).await;
    let since = from.version();
    write(&from, put_due(&one, json!("second"), PRESENT)).await;
    let mut uses = put(&user, json!("uses"), ABSENT);
    if let Op::Put { edges, body, .. } = &mut uses {
        *edges = Some(vec![edge(&one)]);
        body["metadata"]["ownerReferences"] = json!([{"uid": "uid-a-one"}]);
    }
    write(&from, uses).await;
    write(&from, put(&secret, json!("hunter-two"), ABSENT)).await;
    for n in 0..2500 {
        let name = key("many", &format!("n{}", n % 1500));
        write(&from, put(&name, json!(n), if n < 1500 { ABSENT } else { PRESENT })).await;
    }
    write(&from, Op::Remove { key: key("many", "n7"), precondition: PRESENT }).await;
    let claim = from.claim("me", Duration::from_secs(60), 1).await.unwrap().remove(0);
    let done = Completion {
        status: Some(json!({"ready": true})),
        carried: Some(json!({"memory": 1})),
        inventory: Some(vec![entry("a"), entry("b")]),
        next: Some(Duration::ZERO),
        ..Default::default()
    };
    from.complete(&claim, done).await.unwrap();
    // A lease that is held when the server stops is nobody's afterwards.
    let held = from.claim("me", Duration::from_secs(60), 1).await.unwrap().remove(0);
    let blob = from.put_blob(vec![7u8; 3 << 20]).await.unwrap();
    let resources = [widgets(), secret.resource.clone()];
    let (expected, suspects) = (everything(&from, &resources).await, from.suspects().await.unwrap());
    let version = from.version();

    let other = Temp::open(Kind::Postgres, Config::KEEP_CHANGES).await;
    let target: Database = server().database().unwrap().parse().unwrap();
    let (source, used) = (from.config().database, other.config().database);
    let refused = copy(&source, &target).await.unwrap_err().to_string();
    assert!(refused.contains("another server has this database open"), "{refused}");
    from.close().await.unwrap();
    let refused = copy(&source, &used).await.unwrap_err().to_string();
    assert!(refused.contains("is not empty"), "{refused}");
    assert!(copy(&target, &source).await.is_err());
    let copied = copy(&source, &target).await.unwrap();
    let rows: BTreeMap<_, _> = copied.rows.into_iter().collect();
    assert_eq!(
        (copied.version, rows["object"], rows["inventory"], rows["blob"]),
        (version, expected.len() as u64, 2, 1)
    );

    let wrong = Config::new(target.clone(), Key32::new([9; 32]));
    assert!(matches!(Store::open(wrong).await.err(), Some(Error::WrongKey { .. })), "the key comes along");
    let to = Store::open(Config::new(target.clone(), Key32::new([7; 32]))).await.unwrap();
    assert_eq!((to.version(), everything(&to, &resources).await), (version, expected));
    let seen = |suspects: Vec<Suspect>| suspects.into_iter().map(|one| (one.object.uid, one.seq)).collect::<Vec<_>>();
    assert_eq!(seen(to.suspects().await.unwrap()), seen(suspects));
    assert_eq!(to.dependants(&one).await.unwrap()[0].0, user);
    assert_eq!(names(&to.owned("uid-a-one").await.unwrap()), ["user"]);
    assert_eq!(to.inventory(&one).await.unwrap(), [entry("a"), entry("b")]);
    assert_eq!(to.carried(&one).await.unwrap(), json!({"memory": 1}));
    assert_eq!(to.get_blob(&blob).await.unwrap().unwrap(), vec![7u8; 3 << 20]);
    // A client that watched the old server goes on where it was.
    let mut watch = to.watch(scope(), Some(since)).await.unwrap();
    let change = watch.next().await.unwrap().unwrap();
    assert_eq!((change.object.value()["spec"].clone(), change.previous.is_some()), (json!("second"), true));
    let again = to.claim("new", Duration::from_secs(60), 1).await.unwrap().remove(0);
    assert_eq!((again.object.uid, again.epoch), (held.object.uid.clone(), held.epoch + 1));
    assert_eq!(write(&to, put(&key("a", "new"), json!(1), ABSENT)).await.resource_version, version + 1);
    assert!(copy(&source, &target).await.is_err(), "a server has used it");
    to.close().await.unwrap();
}

//! Files of SQLite: locking and damage.

use std::fs;

use serde_json::json;
use threeport_store::Error;

use crate::*;

async fn open() -> Temp {
    Temp::open(Kind::Sqlite, Config::KEEP_CHANGES).await
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused_by_name() {
    let store = open().await;
    let refused = Store::open(store.config()).await.err().unwrap().to_string();
    assert!(refused.contains("threeport.db") && refused.contains("another server"), "{refused}");
    store.reopen().await;
}

#[tokio::test]
async fn a_damaged_database_is_refused_by_name() {
    let store = open().await;
    for n in 0..200 {
        write(&store, put(&key("a", &format!("n{n}")), json!("x".repeat(500)), ABSENT)).await;
    }
    store.close().await.unwrap();
    let path = store.file();
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 8192].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let refused = Store::open(store.config()).await.err().unwrap();
    assert!(matches!(&refused, Error::Corrupt(..)) && refused.to_string().contains("threeport.db"), "{refused}");
    fs::write(&path, "this is no database, though it is long enough to be looked at as one".repeat(100)).unwrap();
    let refused = Store::open(store.config()).await.err().unwrap();
    assert!(matches!(&refused, Error::Corrupt(..)) && refused.to_string().contains("threeport.db"), "{refused}");
}

#[tokio::test]
async fn a_byte_that_changed_within_an_object_is_noticed_and_the_object_named() {
    let store = open().await;
    for n in 0..20 {
        write(&store, put(&key("a", &format!("n{n}")), json!(format!("value-{n}-")), ABSENT)).await;
    }
    store.close().await.unwrap();
    let path = store.file();
    let mut bytes = fs::read(&path).unwrap();
    let at = memchr::memmem::find(&bytes, b"value-7-").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = Store::open(store.config()).await.err().unwrap();
    let said = refused.to_string();
    assert!(matches!(&refused, Error::Corrupt(..)), "{said}");
    assert!(said.contains("threeport.db") && said.contains("a/n7") && said.contains("backup"), "{said}");
    bytes.truncate(bytes.len() / 2 / 4096 * 4096);
    fs::write(&path, &bytes).unwrap();
    let refused = Store::open(store.config()).await.err().unwrap();
    assert!(matches!(&refused, Error::Corrupt(..)) && refused.to_string().contains("threeport.db"), "{refused}");
}

#[tokio::test]
async fn objects_from_before_there_was_a_table_of_owners_are_put_into_it() {
    use sqlx::Connection as _;
    let store = open().await;
    let (owner, child) = (key("a", "owner"), Key { resource: Resource::new("", "secrets"), ..key("a", "child") });
    write(&store, put(&owner, json!(1), ABSENT)).await;
    let uid = body(&owner, json!(1))["metadata"]["uid"].as_str().unwrap().to_owned();
    let mut owned = put(&child, json!(1), ABSENT);
    if let Op::Put { body, .. } = &mut owned {
        body["metadata"]["ownerReferences"] = json!([{"uid": uid}]);
    }
    write(&store, owned).await;
    store.close().await.unwrap();
    let mut beside = sqlx::SqliteConnection::connect(&format!("sqlite://{}", store.file().display())).await.unwrap();
    let before = "delete from owner; delete from suspect; delete from meta where name = 'owners_filled'; \
                  delete from _sqlx_migrations where version = 6";
    sqlx::raw_sql(before).execute(&mut beside).await.unwrap();
    beside.close().await.unwrap();
    for _ in 0..2 {
        let store = Store::open(store.config()).await.unwrap();
        assert_eq!(names(&store.owned(&uid).await.unwrap()), ["child"]);
        let suspects = store.suspects().await.unwrap();
        assert_eq!(suspects.len(), 1, "its owner may have gone unnoticed");
        store.close().await.unwrap();
    }
}

//! The store through its public interface, on real files and on a real server: each test once for each engine.
#![allow(clippy::unwrap_used, reason = "tests")]

mod copy;
mod engines;
mod files;
mod hosts;
mod outages;
mod refusals;

use std::sync::Arc;
use std::time::Duration;

use engines::{Kind, Temp, server};
use serde_json::{Value, json};
use threeport_store::{Class, Config, Database, Edge, Key, Key32, Object, Op, Precondition, Resource, Scope, Store};

macro_rules! suite {
    ($engine:ident, $kind:expr) => {
        #[allow(clippy::duplicate_mod, reason = "each test once for each engine")]
        #[path = "suite"]
        mod $engine {
            pub(crate) use crate::*;

            pub(crate) async fn open() -> Temp {
                Temp::open($kind, Config::KEEP_CHANGES).await
            }

            pub(crate) async fn open_keeping(keep_changes: u64) -> Temp {
                Temp::open($kind, keep_changes).await
            }

            mod chaos;
            mod durability;
            mod objects;
            mod owners;
            mod queue;
            mod reading;
        }
    };
}

suite!(sqlite, Kind::Sqlite);
suite!(postgres, Kind::Postgres);

const ABSENT: Precondition = Precondition::Absent;
const PRESENT: Precondition = Precondition::Present { uid: None, resource_version: None };

fn widgets() -> Resource {
    Resource::new("example.dev", "widgets")
}

fn key(namespace: &str, name: &str) -> Key {
    Key { resource: widgets(), namespace: Some(namespace.into()), name: name.into() }
}

fn scope() -> Scope {
    Scope { resource: widgets(), namespace: None }
}

/// A body whose uid follows from its key.
fn body(key: &Key, spec: Value) -> Value {
    let namespace = key.namespace.as_deref();
    let uid = format!("uid-{}-{}", namespace.unwrap_or(""), key.name);
    json!({"metadata": {"name": &*key.name, "namespace": namespace, "uid": uid}, "spec": spec})
}

fn put(key: &Key, spec: Value, precondition: Precondition) -> Op {
    Op::Put { key: key.clone(), body: body(key, spec), precondition, edges: None, wake: None }
}

fn put_due(key: &Key, spec: Value, precondition: Precondition) -> Op {
    Op::Put { key: key.clone(), body: body(key, spec), precondition, edges: None, wake: Some(Class::User) }
}

fn edge(to: &Key) -> Edge {
    Edge { to: to.clone(), role: "requires".to_string(), field: ".spec.ref".to_string() }
}

async fn write(store: &Store, op: Op) -> Object {
    store.write(vec![op]).await.unwrap().remove(0)
}

/// Waits for a condition.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn names(objects: &[Object]) -> Vec<String> {
    objects.iter().map(|object| object.key.name.to_string()).collect()
}

fn uid(text: &str) -> Arc<str> {
    text.into()
}

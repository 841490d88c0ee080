//! Events in the object's namespace: what happened and when, next to the conditions that say how things are.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use threeport_store::{Key, ListQuery, Op, Precondition, Resource, Scope, Store};
use uuid::Uuid;

use crate::host::now;
use crate::redact::digest;

/// Longest message that Kubernetes takes.
const MESSAGE: usize = 1024;

/// How long Events are kept.
const KEEP: SignedDuration = SignedDuration::from_hours(1);
const FORGET_EVERY: Duration = Duration::from_secs(300);
/// Events removed by one transaction.
const BATCH: usize = 200;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    /// Whether it went wrong.
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Note {
    pub(crate) fn normal(reason: &str, message: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.to_owned(), message: message.into() }
    }

    pub(crate) fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.to_owned(), message: message.into() }
    }
}

/// The write that makes an Event about `object`. The same said again has the same name: [`merge`] makes one Event of both.
pub(crate) fn op(object: &Value, note: &Note, instance: &str, now: Timestamp) -> Op {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
    let said = [text("/metadata/uid").unwrap_or_default(), note.reason.clone(), note.message.clone()].join("\0");
    let hash = digest(format!("{} {said}", note.warning).as_bytes());
    // A name has room for 253 characters; the tail keeps it unique.
    let stem: String = text("/metadata/name").unwrap_or_default().chars().take(200).collect();
    let name = format!("{stem}.{}", &hash["sha256:".len()..][..16]);
    let uid = Uuid::new_v4().to_string();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: Some(uid),
            creation_timestamp: Some(Time(now)),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
            resource_version: text("/metadata/resourceVersion"),
            field_path: None,
        },
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.clone()),
        message: Some(shorten(&note.message)),
        source: Some(EventSource { component: Some("threeport".to_owned()), host: None }),
        reporting_component: Some("threeport".to_owned()),
        reporting_instance: Some(instance.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    };
    Op::Put {
        key: Key { resource: Resource::new("", "events"), namespace: Some(namespace.into()), name: name.into() },
        body: serde_json::to_value(event).expect("an Event is JSON"),
        precondition: Precondition::Absent,
        edges: None,
        wake: None,
    }
}

/// Makes one Event of those that say the same, among these writes and in the store: its count grows and its last time moves, as in Kubernetes.
pub(crate) async fn merge(store: &Store, ops: &mut Vec<Op>) -> Result<(), threeport_store::Error> {
    let mut merged: Vec<Op> = Vec::with_capacity(ops.len());
    for op in ops.drain(..) {
        let Op::Put { key, body, precondition: Precondition::Absent, edges, wake } = op else {
            merged.push(op);
            continue;
        };
        let same = |other: &Op| matches!(other, Op::Put { key: known, .. } if *known == key);
        if &*key.resource.plural != "events" {
            merged.push(Op::Put { key, body, precondition: Precondition::Absent, edges, wake });
        } else if let Some(Op::Put { body: first, .. }) = merged.iter_mut().find(|other| same(other)) {
            again(first, &body);
        } else {
            let (body, precondition) = match store.get(&key).await? {
                Some(stored) => {
                    let mut first = stored.value();
                    again(&mut first, &body);
                    (first, Precondition::Present { uid: None, resource_version: Some(stored.resource_version) })
                }
                None => (body, Precondition::Absent),
            };
            merged.push(Op::Put { key, body, precondition, edges, wake });
        }
    }
    *ops = merged;
    Ok(())
}

fn again(first: &mut Value, next: &Value) {
    first["count"] = (first["count"].as_i64().unwrap_or(1) + 1).into();
    for field in ["lastTimestamp", "reportingInstance"] {
        first[field] = next[field].clone();
    }
}

/// Removes Events an hour after they happened, as Kubernetes does. Runs until it is dropped.
pub(crate) async fn forget(store: Store) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        match forget_before(&store, now(&store) - KEEP).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "old events are removed"),
            Err(error) => tracing::warn!("old events are not removed: {error}; trying again"),
        }
    }
}

async fn forget_before(store: &Store, moment: Timestamp) -> Result<usize, threeport_store::Error> {
    let scope = Scope { resource: Resource::new("", "events"), namespace: None };
    let all = store.list(ListQuery { scope, limit: None, after: None, at: None }).await?.items;
    let old: Vec<Op> = all
        .into_iter()
        .filter(|event| happened(&event.value()).is_some_and(|at| at < moment))
        .map(|event| Op::Remove {
            key: event.key,
            precondition: Precondition::Present {
                uid: Some(event.uid),
                resource_version: Some(event.resource_version),
            },
        })
        .collect();
    let count = old.len();
    for batch in old.chunks(BATCH) {
        match store.write(batch.to_vec()).await {
            // Somebody else removed or renewed one of them: the next round finds the rest.
            Ok(_) | Err(threeport_store::Error::NotFound(_) | threeport_store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// When an Event happened last.
fn happened(event: &Value) -> Option<Timestamp> {
    let places = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    places.iter().find_map(|place| event.pointer(place)?.as_str()?.parse().ok())
}

fn shorten(message: &str) -> String {
    match message.char_indices().nth(MESSAGE - 4) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_name_their_object_and_collide_only_when_they_say_the_same() {
        let object = json!({"apiVersion": "example.org/v1", "kind": "Kite", "metadata": {"namespace": "a", "name": "red", "uid": "u"}});
        let make = |message: &str| match op(&object, &Note::warning("Torn", message), "host", Timestamp::UNIX_EPOCH) {
            Op::Put { key, body, .. } => (key, body),
            Op::Remove { .. } | Op::Check(_) => unreachable!(),
        };
        let ((first, body), (second, _)) = (make(&"x".repeat(5000)), make(&"x".repeat(5000)));
        assert_eq!(first, second);
        assert_ne!(first, make("y").0);
        assert_eq!((body["involvedObject"]["uid"].as_str(), body["type"].as_str()), (Some("u"), Some("Warning")));
        assert!(body["message"].as_str().unwrap().len() <= MESSAGE);
        assert_eq!(body["metadata"]["name"].as_str(), Some(&*first.name));
    }

    #[tokio::test]
    async fn what_is_said_again_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let key = threeport_store::Key32::generate();
        let store = Store::open(threeport_store::Config::new(dir.path().join("db"), key)).await.unwrap();
        let object = json!({"apiVersion": "example.org/v1", "kind": "Kite", "metadata": {"namespace": "a", "name": "red", "uid": "u"}});
        let say = |second, message: &str| {
            op(&object, &Note::normal("Flew", message), "host", Timestamp::from_second(second).unwrap())
        };
        for ops in [vec![say(10, "high"), say(10, "high")], vec![say(20, "high"), say(20, "low")]] {
            let mut ops = ops;
            merge(&store, &mut ops).await.unwrap();
            store.write(ops).await.unwrap();
        }
        let scope = Scope { resource: Resource::new("", "events"), namespace: None };
        let list = store.list(ListQuery { scope, limit: None, after: None, at: None }).await.unwrap();
        let mut told: Vec<_> = list
            .items
            .iter()
            .map(|event| event.value())
            .map(|it| (it["message"].clone(), it["count"].clone(), it["lastTimestamp"].clone()))
            .collect();
        told.sort_by_key(|(message, ..)| message.to_string());
        let (first, last) = ("1970-01-01T00:00:20Z", "1970-01-01T00:00:20Z");
        assert_eq!(told, [(json!("high"), json!(3), json!(last)), (json!("low"), json!(1), json!(first))]);
    }

    #[tokio::test]
    async fn events_are_forgotten_when_they_are_old() {
        let dir = tempfile::tempdir().unwrap();
        let key = threeport_store::Key32::generate();
        let store = Store::open(threeport_store::Config::new(dir.path().join("db"), key)).await.unwrap();
        let object = json!({"apiVersion": "example.org/v1", "kind": "Kite", "metadata": {"namespace": "a", "name": "red", "uid": "u"}});
        let at = |second| Timestamp::from_second(second).unwrap();
        let ops = [10, 20].map(|second| op(&object, &Note::normal("Flew", second.to_string()), "host", at(second)));
        store.write(ops.to_vec()).await.unwrap();
        assert_eq!(forget_before(&store, at(15)).await.unwrap(), 1);
        assert_eq!(forget_before(&store, at(15)).await.unwrap(), 0);
        assert_eq!(forget_before(&store, at(25)).await.unwrap(), 1);
    }
}

//! What Kubernetes does to an object's metadata on create, update and delete. Pure functions on JSON, used by `api` and `controller` alike.

use serde_json::{Map, Value, json};

/// Set on every object whose kind has a reconciler, so that what it made is removed before it is.
pub const FINALIZER: &str = "threeport.dev/cleanup";

/// Which part of an object an update writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but `.status`: an update of a kind that has a status subresource.
    Main,
    /// Only `.status`: an update of the status subresource.
    Status,
    /// Everything: a kind without status subresource.
    Whole,
}

/// What deleting an object comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Deletion {
    /// Nothing holds it: remove it now.
    Remove,
    /// Finalizers hold it: write this, which carries a deletionTimestamp.
    Mark(Value),
    /// It is being deleted already: nothing to write.
    Already,
}

fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata.as_object_mut().expect("it was just made one")
}

/// A new object: gets its uid, creationTimestamp and generation 1, and loses what a client may not set: deletion marks and, where status is a
/// subresource, the status.
pub fn create(mut body: Value, now: jiff::Timestamp, uid: &str, status_subresource: bool) -> Value {
    let metadata = metadata(&mut body);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink"] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_string(), uid.into());
    metadata.insert("creationTimestamp".to_string(), timestamp(now).into());
    metadata.insert("generation".to_string(), 1.into());
    if status_subresource && let Some(object) = body.as_object_mut() {
        object.remove("status");
    }
    body
}

/// An update of a stored object: what the client sent with what it may not change put back. The generation rises if anything but metadata and
/// status changed (for [`Part::Whole`]: anything but metadata).
pub fn update(old: &Value, mut new: Value, part: Part) -> Value {
    if part == Part::Status {
        let status = new.get_mut("status").map(Value::take);
        let fields = new.get("metadata").and_then(|metadata| metadata.get("managedFields")).cloned();
        let mut body = old.clone();
        set(&mut body, "status", status);
        if fields.is_some() {
            set(&mut body["metadata"], "managedFields", fields);
        }
        return body;
    }
    let kept = metadata(&mut new);
    for field in
        ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"]
    {
        match old["metadata"].get(field) {
            Some(value) => kept.insert(field.to_string(), value.clone()),
            None => kept.remove(field),
        };
    }
    if part == Part::Main {
        set(&mut new, "status", old.get("status").cloned());
    }
    if desired(old, part) != desired(&new, part) {
        raise_generation(&mut new);
    }
    new
}

/// A deletion at a moment.
pub fn delete(old: &Value, now: jiff::Timestamp) -> Deletion {
    if !has_finalizers(old) {
        return Deletion::Remove;
    }
    if old["metadata"].get("deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return Deletion::Already;
    }
    let mut marked = old.clone();
    let metadata = metadata(&mut marked);
    metadata.insert("deletionTimestamp".to_string(), timestamp(now).into());
    metadata.insert("deletionGracePeriodSeconds".to_string(), 0.into());
    raise_generation(&mut marked);
    Deletion::Mark(marked)
}

/// Deletion was asked for and nothing holds the object any more: an update that leads here removes it.
pub fn finished(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some_and(|at| !at.is_null()) && !has_finalizers(object)
}

/// Takes a finalizer off; true if it was there.
pub fn drop_finalizer(object: &mut Value, finalizer: &str) -> bool {
    let metadata = metadata(object);
    let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) else { return false };
    let before = finalizers.len();
    finalizers.retain(|have| have != finalizer);
    let (dropped, empty) = (finalizers.len() < before, finalizers.is_empty());
    if empty {
        metadata.remove("finalizers");
    }
    dropped
}

/// A moment as Kubernetes writes it: whole seconds, UTC.
pub fn timestamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    let Some(object) = object.as_object_mut() else { return };
    match value {
        Some(value) => object.insert(field.to_string(), value),
        None => object.remove(field),
    };
}

/// What a generation counts the changes of.
fn desired(object: &Value, part: Part) -> Vec<(&String, &Value)> {
    let skip =
        |field: &str| matches!(field, "metadata" | "apiVersion" | "kind") || (field == "status" && part == Part::Main);
    let mut fields: Vec<_> = object.as_object().into_iter().flatten().filter(|(field, _)| !skip(field)).collect();
    fields.sort_by_key(|(field, _)| *field);
    fields
}

fn raise_generation(object: &mut Value) {
    let metadata = metadata(object);
    let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or(0) + 1;
    metadata.insert("generation".to_string(), generation.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> jiff::Timestamp {
        "2026-11-23T20:30:00.5Z".parse().unwrap()
    }

    fn stored() -> Value {
        let body =
            json!({"metadata": {"name": "a", "finalizers": [FINALIZER]}, "spec": {"x": 1}, "status": {"made": "up"}});
        create(body, now(), "u1", true)
    }

    #[test]
    fn a_new_object_gets_its_identity_and_no_status_of_its_own() {
        let made = stored();
        assert_eq!(made["metadata"]["uid"], "u1");
        assert_eq!(made["metadata"]["creationTimestamp"], "2026-11-23T20:30:00Z");
        assert_eq!(made["metadata"]["generation"], 1);
        assert!(made.get("status").is_none());
        let whole = create(json!({"metadata": {"deletionTimestamp": "x"}, "status": 1}), now(), "u2", false);
        assert_eq!(whole["status"], 1);
        assert!(whole["metadata"].get("deletionTimestamp").is_none());
    }

    #[test]
    fn only_a_change_of_what_is_desired_raises_the_generation() {
        let old = stored();
        let mut labelled = old.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        labelled["status"] = json!({"forged": true});
        let labelled = update(&old, labelled, Part::Main);
        assert_eq!(labelled["metadata"]["generation"], 1);
        assert_eq!(labelled["metadata"]["labels"]["a"], "b");
        assert!(labelled.get("status").is_none());
        let changed = update(
            &old,
            json!({"metadata": {"name": "a", "uid": "forged", "generation": 9}, "spec": {"x": 2}}),
            Part::Main,
        );
        assert_eq!((&changed["metadata"]["generation"], &changed["metadata"]["uid"]), (&json!(2), &json!("u1")));
        let data = update(&json!({"metadata": {"generation": 1}, "data": 1}), json!({"data": 2}), Part::Whole);
        assert_eq!(data["metadata"]["generation"], 2);
    }

    #[test]
    fn a_status_update_touches_nothing_else() {
        let old = stored();
        let new = update(
            &old,
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"x": 9}, "status": {"ok": true}}),
            Part::Status,
        );
        assert_eq!(new["status"]["ok"], true);
        assert_eq!((&new["spec"], &new["metadata"]), (&old["spec"], &old["metadata"]));
    }

    #[test]
    fn finalizers_hold_an_object_until_the_last_is_gone() {
        let Deletion::Mark(mut marked) = delete(&stored(), now()) else { panic!("not marked") };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-11-23T20:30:00Z");
        assert_eq!(
            (&marked["metadata"]["deletionGracePeriodSeconds"], &marked["metadata"]["generation"]),
            (&json!(0), &json!(2))
        );
        assert_eq!(delete(&marked, now()), Deletion::Already);
        let unmarked = update(&marked, json!({"metadata": {"finalizers": [FINALIZER]}, "spec": {"x": 1}}), Part::Main);
        assert!(unmarked["metadata"].get("deletionTimestamp").is_some(), "an update took the deletion back");
        assert!(!finished(&marked));
        assert!(drop_finalizer(&mut marked, FINALIZER));
        assert!(!drop_finalizer(&mut marked, FINALIZER));
        assert!(finished(&marked));
        assert_eq!(delete(&marked, now()), Deletion::Remove);
    }
}

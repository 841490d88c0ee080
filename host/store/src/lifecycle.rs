//! What Kubernetes does to an object's metadata on create, update and delete. Pure functions on JSON, used by `api`, `collector` and `controller` alike.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::outline::Outline;
use crate::types::{Key, Object, Resource};

/// Set on every object whose kind has a reconciler, so that what it made is removed before it is.
pub const FINALIZER: &str = "threeport.dev/cleanup";

/// Kubernetes' finalizer of an object that goes after what it owns.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Kubernetes' finalizer of an object that leaves what it owns behind.
pub const ORPHAN: &str = "orphan";
/// Kubernetes' finalizer of a CustomResourceDefinition: its objects go first.
pub const INSTANCES: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Kubernetes' finalizer in a namespace's spec: what is in it goes first.
pub const CONTENT: &str = "kubernetes";
/// Finalizer of an object that goes after those who need it, as [`WITH_DEPENDANTS`] says.
pub const DEPENDANTS: &str = "threeport.dev/dependants";
/// Annotation with which those who need an object are deleted before it, instead of keeping it: [`WITH_DEPENDANTS`].
pub const DELETE: &str = "threeport.dev/delete";
/// Value of [`DELETE`].
pub const WITH_DEPENDANTS: &str = "with-dependants";

/// What becomes of what an object owns when it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// It goes after the object.
    Background,
    /// It goes before the object.
    Foreground,
    /// It stays.
    Orphan,
}

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

/// A deletion at a moment. Without a propagation the finalizers that are there decide, as in Kubernetes; one that comes while the object is being deleted
/// counts as well.
pub fn delete(old: &Value, now: jiff::Timestamp, propagation: Option<Propagation>) -> Deletion {
    let mut marked = old.clone();
    propagate(&mut marked, propagation);
    mark(old, marked, now)
}

/// The same for an object that goes after others: `finalizer` holds it until then.
pub fn delete_after(old: &Value, now: jiff::Timestamp, propagation: Option<Propagation>, finalizer: &str) -> Deletion {
    let mut marked = old.clone();
    propagate(&mut marked, propagation);
    add_finalizer(&mut marked, finalizer);
    mark(old, marked, now)
}

fn mark(old: &Value, mut marked: Value, now: jiff::Timestamp) -> Deletion {
    if !is_held(&marked) {
        return Deletion::Remove;
    }
    if deleted(&marked) {
        return if marked == *old { Deletion::Already } else { Deletion::Mark(marked) };
    }
    let metadata = metadata(&mut marked);
    metadata.insert("deletionTimestamp".to_string(), timestamp(now).into());
    metadata.insert("deletionGracePeriodSeconds".to_string(), 0.into());
    // Kinds without generations do not get one by this.
    if metadata.contains_key("generation") {
        raise_generation(&mut marked);
    }
    Deletion::Mark(marked)
}

/// Sets the finalizers that say what becomes of what an object owns.
fn propagate(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let (wanted, other) = match propagation {
        Propagation::Background => (None, None),
        Propagation::Foreground => (Some(FOREGROUND), Some(ORPHAN)),
        Propagation::Orphan => (Some(ORPHAN), Some(FOREGROUND)),
    };
    for finalizer in other.map_or(vec![FOREGROUND, ORPHAN], |other| vec![other]) {
        drop_finalizer(object, finalizer);
    }
    if let Some(wanted) = wanted {
        add_finalizer(object, wanted);
    }
}

/// Deletion was asked for and nothing holds the object any more: an update that leads here removes it.
pub fn finished(object: &Value) -> bool {
    deleted(object) && !is_held(object)
}

/// Whether the deletion of an object was asked for.
pub fn deleted(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// The same of a stored object, without reading it whole if it need not be.
pub fn is_going(object: &Object) -> bool {
    memchr::memmem::find(&object.body, b"\"deletionTimestamp\"").is_some() && Outline::of(object).going
}

/// Whether the collector has to see to the going of an object: others go with it, or it waits for them.
pub fn is_collected(key: &Key, object: &Value) -> bool {
    let ours = |finalizer: &Value| {
        finalizer.as_str().is_some_and(|name| matches!(name, FOREGROUND | ORPHAN | INSTANCES | DEPENDANTS))
    };
    deleted(object) && (is_namespace(key) || finalizers(object).iter().any(ours))
}

/// uids of an object's owners, in order, each once.
pub fn owner_uids(object: &Value) -> Vec<Arc<str>> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let uids = owners.into_iter().flatten().filter_map(|owner| owner["uid"].as_str());
    let mut uids: Vec<Arc<str>> = uids.map(Arc::from).collect();
    uids.sort();
    uids.dedup();
    uids
}

/// Where a namespace is stored.
pub fn namespace_key(name: &str) -> Key {
    Key { resource: Resource::new("", "namespaces"), namespace: None, name: name.into() }
}

/// Whether that is a namespace.
pub fn is_namespace(key: &Key) -> bool {
    key.resource.group.is_empty() && &*key.resource.plural == "namespaces"
}

/// Whether that is a CustomResourceDefinition.
pub fn is_definition(key: &Key) -> bool {
    &*key.resource.group == "apiextensions.k8s.io" && &*key.resource.plural == "customresourcedefinitions"
}

/// Where the CustomResourceDefinition of a collection is stored, if it has one.
pub fn definition_key(resource: &Resource) -> Key {
    let name = format!("{}.{}", resource.plural, resource.group);
    let resource = Resource::new("apiextensions.k8s.io", "customresourcedefinitions");
    Key { resource, namespace: None, name: name.into() }
}

/// Puts a finalizer on; true if it was not there.
pub fn add_finalizer(object: &mut Value, finalizer: &str) -> bool {
    let finalizers = metadata(object).entry("finalizers").or_insert_with(|| json!([]));
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    let Some(list) = finalizers.as_array_mut().filter(|list| !list.iter().any(|have| have == finalizer)) else {
        return false;
    };
    list.push(finalizer.into());
    true
}

/// Whether an object has a finalizer.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    finalizers(object).iter().any(|have| have == finalizer)
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

pub(crate) fn finalizers(object: &Value) -> &[Value] {
    object["metadata"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether something keeps an object from being removed: its finalizers, and those of a namespace's spec.
fn is_held(object: &Value) -> bool {
    let namespace = object["kind"] == "Namespace" && object["apiVersion"] == "v1";
    let of_spec = || object["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    !finalizers(object).is_empty() || namespace && of_spec()
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

/// What is desired changed.
pub fn raise_generation(object: &mut Value) {
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
        let Deletion::Mark(mut marked) = delete(&stored(), now(), None) else { panic!("not marked") };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-11-23T20:30:00Z");
        assert_eq!(
            (&marked["metadata"]["deletionGracePeriodSeconds"], &marked["metadata"]["generation"]),
            (&json!(0), &json!(2))
        );
        assert_eq!(delete(&marked, now(), None), Deletion::Already);
        let unmarked = update(&marked, json!({"metadata": {"finalizers": [FINALIZER]}, "spec": {"x": 1}}), Part::Main);
        assert!(unmarked["metadata"].get("deletionTimestamp").is_some(), "an update took the deletion back");
        assert!(!finished(&marked));
        assert!(drop_finalizer(&mut marked, FINALIZER));
        assert!(!drop_finalizer(&mut marked, FINALIZER));
        assert!(finished(&marked));
        assert_eq!(delete(&marked, now(), None), Deletion::Remove);
    }

    #[test]
    fn the_way_of_a_deletion_is_a_finalizer_and_may_change_while_it_lasts() {
        let free = json!({"metadata": {"name": "a"}});
        let of = |old: &Value, way| match delete(old, now(), way) {
            Deletion::Mark(marked) => marked,
            other => panic!("{other:?}"),
        };
        assert_eq!(delete(&free, now(), Some(Propagation::Background)), Deletion::Remove);
        let waits = of(&free, Some(Propagation::Foreground));
        assert_eq!(waits["metadata"]["finalizers"], json!([FOREGROUND]));
        assert!(waits["metadata"].get("generation").is_none());
        assert_eq!(delete(&waits, now(), None), Deletion::Already);
        assert_eq!(delete(&waits, now(), Some(Propagation::Foreground)), Deletion::Already);
        assert_eq!(of(&waits, Some(Propagation::Orphan))["metadata"]["finalizers"], json!([ORPHAN]));
        assert_eq!(delete(&waits, now(), Some(Propagation::Background)), Deletion::Remove);
        let asked = json!({"metadata": {"finalizers": [ORPHAN, "a/b"]}});
        assert_eq!(of(&asked, None)["metadata"]["finalizers"], json!([ORPHAN, "a/b"]));
        assert_eq!(of(&asked, Some(Propagation::Background))["metadata"]["finalizers"], json!(["a/b"]));
    }

    #[test]
    fn a_namespace_is_held_by_its_spec_too() {
        let at = "2026-11-23T20:30:00Z";
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"deletionTimestamp": at}, "spec": {"finalizers": ["kubernetes"]}});
        assert!(!finished(&namespace) && is_collected(&namespace_key("a"), &namespace));
        namespace["spec"]["finalizers"] = json!([]);
        assert!(finished(&namespace));
        assert_eq!(
            owner_uids(&json!({"metadata": {"ownerReferences": [{"uid": "b"}, {"uid": "a"}, {"uid": "b"}]}})).len(),
            2
        );
    }
}

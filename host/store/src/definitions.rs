//! Reusable specs: what an object that says `spec.definition` comes to. Pure functions on JSON and look-ups, used by `api` (which judges what users
//! write) and `controller` (which tells plugins the whole spec and moves objects on to new revisions).
//!
//! A Definition's annotation [`REVISION`] is the number of its newest revision; a DefinitionRevision keeps the content of each. An object's annotation
//! [`USED`] is the revision that its present generation is of: it changes together with the generation, whoever writes.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::store::Store;
use crate::types::{Edge, Key, Object, Resource};

/// API group of Definitions.
pub const GROUP: &str = "threeport.dev";
/// Annotation of a Definition: number of its newest revision. Written by the host alone.
pub const REVISION: &str = "threeport.dev/revision";
/// Annotation of an object: the revision that its generation is of. Written by the host alone.
pub const USED: &str = "threeport.dev/definition-revision";
/// Label of a revision: its Definition.
pub const LABEL: &str = "threeport.dev/definition";
/// Edge field of an object that stays on a revision.
pub const PINS: &str = "spec.definition.revision";
/// Edge field of an object that follows the newest revision.
pub const TRACKS: &str = "spec.definition.track";
/// Longest name of a Definition: its revisions have its name with a dash and a number.
pub const NAME_LENGTH: usize = 232;

/// What an object's `spec.definition` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Name of the Definition, in the object's own namespace.
    pub name: String,
    /// Stays on this revision; None follows the newest.
    pub revision: Option<u64>,
}

/// What of a Definition there is for an object.
#[derive(Clone, Debug)]
pub enum Found {
    /// The asked revision.
    Revision(Revision),
    /// Nothing yet, but there may be.
    Missing {
        /// CamelCase, for a condition.
        reason: &'static str,
        /// For people: what is missing and what to do.
        message: String,
    },
    /// Nothing, and there will not be.
    Never {
        /// The field that asks for it.
        field: &'static str,
        /// Why.
        message: String,
    },
}

/// One revision of a Definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Name of the Definition.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// The reusable spec.
    pub spec: Value,
}

/// What an object asks for; None where it says nothing of a Definition.
pub fn wish(object: &Value) -> Option<Wish> {
    let definition = object.pointer("/spec/definition")?;
    let name = definition.get("name")?.as_str()?.to_owned();
    Some(Wish { name, revision: definition.get("revision").and_then(Value::as_u64) })
}

/// Where a Definition is.
pub fn definition_key(namespace: Option<&str>, name: &str) -> Key {
    Key { resource: Resource::new(GROUP, "definitions"), namespace: namespace.map(Into::into), name: name.into() }
}

/// Where a revision of a Definition is.
pub fn revision_key(namespace: Option<&str>, name: &str, number: u64) -> Key {
    let name = format!("{name}-{number}").into();
    Key { resource: Resource::new(GROUP, "definitionrevisions"), namespace: namespace.map(Into::into), name }
}

fn number(object: &Value, annotation: &str) -> Option<u64> {
    object.get("metadata")?.get("annotations")?.get(annotation)?.as_str()?.parse().ok()
}

/// Number of a Definition's newest revision.
pub fn newest(definition: &Value) -> Option<u64> {
    number(definition, REVISION)
}

/// The revision that an object's generation is of.
pub fn used(object: &Value) -> Option<u64> {
    number(object, USED)
}

/// Says which revision it is, or that there is none; true if that is another than before.
pub fn annotate(object: &mut Value, annotation: &str, number: Option<u64>) -> bool {
    if self::number(object, annotation) == number && (number.is_some() || !annotated(object, annotation)) {
        return false;
    }
    let metadata = &mut object["metadata"];
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    let annotations = metadata["annotations"].as_object_mut().expect("it was just made one");
    match number {
        Some(number) => drop(annotations.insert(annotation.to_owned(), number.to_string().into())),
        None => drop(annotations.remove(annotation)),
    }
    if annotations.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("annotations");
    }
    true
}

fn annotated(object: &Value, annotation: &str) -> bool {
    object.get("metadata").and_then(|it| it.get("annotations")).is_some_and(|it| it.get(annotation).is_some())
}

/// Lays one value over another as RFC 7396 does: objects go into each other, everything else is replaced, null takes away.
pub fn merge(under: &mut Value, over: &Value) {
    let Value::Object(over) = over else {
        *under = over.clone();
        return;
    };
    if !under.is_object() {
        *under = Value::Object(Map::new());
    }
    let Some(under) = under.as_object_mut() else { return };
    for (key, value) in over {
        if value.is_null() {
            under.remove(key);
        } else {
            merge(under.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The object with the whole spec: the revision's, with the object's own laid over it. `spec.definition` stays.
pub fn whole(object: &Value, revision: &Revision) -> Value {
    let mut spec = Value::Object(Map::new());
    merge(&mut spec, &revision.spec);
    merge(&mut spec, &object["spec"]);
    let mut whole = object.clone();
    whole["spec"] = spec;
    whole
}

/// The object without `spec.definition`: what a plugin sees.
pub fn plain(mut object: Value) -> Value {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("definition");
    }
    object
}

/// The references of an object to its Definition and to the revision that it uses or asks for. Neither can be deleted while they are there.
pub fn edges(namespace: Option<&str>, wish: &Wish, used: Option<u64>) -> Vec<Edge> {
    let field = if wish.revision.is_some() { PINS } else { TRACKS };
    let edge = |to: Key| Edge { to, role: "requires".to_owned(), field: field.to_owned() };
    let mut edges = vec![edge(definition_key(namespace, &wish.name))];
    edges.extend(used.or(wish.revision).map(|number| edge(revision_key(namespace, &wish.name, number))));
    edges
}

/// A revision as it is stored.
pub async fn revision(
    store: &Store,
    namespace: Option<&str>,
    name: &str,
    number: u64,
) -> Result<Option<Revision>, Error> {
    let stored = store.get(&revision_key(namespace, name, number)).await?;
    Ok(stored.map(|stored| Revision {
        name: name.to_owned(),
        number,
        spec: stored.value().pointer("/spec/template/spec").cloned().unwrap_or_else(|| json!({})),
    }))
}

/// The revision that an object uses now.
pub async fn in_use(store: &Store, object: &Value) -> Result<Option<Revision>, Error> {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    match (wish(object), used(object)) {
        (Some(wish), Some(used)) => revision(store, namespace, &wish.name, used).await,
        _ => Ok(None),
    }
}

/// What there is of what an object of this kind asks for.
pub async fn find(
    store: &Store,
    namespace: Option<&str>,
    wish: &Wish,
    group: &str,
    kind: &str,
) -> Result<Found, Error> {
    const NAME: &str = "spec.definition.name";
    let name = &wish.name;
    let Some(stored) = store.get(&definition_key(namespace, name)).await? else {
        let message = format!("Definition {name:?} does not exist in this namespace; create it or correct {NAME}");
        return Ok(Found::Missing { reason: "DefinitionNotFound", message });
    };
    let definition = stored.value();
    if definition.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string) {
        let message = format!("Definition {name:?} is being deleted; use another or create it again");
        return Ok(Found::Missing { reason: "DefinitionNotFound", message });
    }
    if !is_for(&definition, group, kind) {
        let given = &definition["spec"]["for"];
        let text = |field: &str| given[field].as_str().unwrap_or_default();
        let message = format!("Definition {name:?} is for {} of {}", text("kind"), text("apiVersion"));
        return Ok(Found::Never { field: NAME, message });
    }
    let newest = newest(&definition).unwrap_or(0);
    let wanted = wish.revision.unwrap_or(newest);
    if let Some(found) = revision(store, namespace, name, wanted).await? {
        return Ok(Found::Revision(found));
    }
    if wanted <= newest {
        let message = format!("revision {wanted} of Definition {name:?} is no longer kept; its newest is {newest}");
        return Ok(Found::Never { field: PINS, message });
    }
    let message = format!("Definition {name:?} has no revision {wanted} yet; its newest is {newest}");
    Ok(Found::Missing { reason: "DefinitionRevisionNotFound", message })
}

/// Says that an object cannot go on to a revision, and what becomes of it.
pub fn does_not_fit(revision: &Revision, kept: Option<u64>, errors: &[String]) -> String {
    let Revision { name, number, .. } = revision;
    let errors = errors.join("; ");
    match kept {
        Some(kept) => format!(
            "revision {number} of Definition {name:?} does not fit this object: {errors}; it stays on revision {kept} until one of the two is changed"
        ),
        None => format!(
            "revision {number} of Definition {name:?} does not fit this object: {errors}; change one of the two"
        ),
    }
}

/// Whether a Definition is for a kind.
pub fn is_for(definition: &Value, group: &str, kind: &str) -> bool {
    let given = &definition["spec"]["for"];
    let of = given["apiVersion"].as_str().and_then(|it| it.rsplit_once('/')).map_or("", |(group, _)| group);
    of == group && given["kind"] == kind
}

/// The revision that a Definition's annotation speaks of, as an object to be stored.
pub fn revision_object(definition: &Value, number: u64, now: jiff::Timestamp, uid: &str) -> Value {
    let metadata = &definition["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let mut body = json!({
        "apiVersion": "threeport.dev/v1", "kind": "DefinitionRevision",
        "metadata": {
            "name": format!("{name}-{number}"), "namespace": metadata["namespace"],
            "ownerReferences": [{
                "apiVersion": "threeport.dev/v1", "kind": "Definition", "name": name, "uid": metadata["uid"],
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {"revision": number, "for": definition["spec"]["for"], "template": definition["spec"]["template"]},
    });
    // A label's value is shorter than a name may be.
    if name.len() <= 63 {
        body["metadata"]["labels"] = json!({LABEL: name});
    }
    crate::lifecycle::create(body, now, uid, false)
}

/// Number of a stored revision of this Definition; None if it is not one.
pub fn number_of(revision: &Object, definition: &Arc<str>) -> Option<u64> {
    revision.key.name.strip_prefix(&**definition)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_go_into_each_other_and_the_rest_is_replaced() {
        let spec = json!({"image": "a", "size": {"cpu": 1, "memory": 2}, "ports": [1, 2], "gone": {"x": null, "y": 1}});
        let revision = Revision { name: "web".into(), number: 3, spec };
        let object = json!({"metadata": {"name": "one"}, "spec": {"definition": {"name": "web", "revision": 3},
            "size": {"cpu": 4}, "ports": [3], "gone": null, "new": {"deep": {"a": null, "b": 1}}}});
        let spec = &plain(whole(&object, &revision))["spec"];
        let wanted = json!({"image": "a", "size": {"cpu": 4, "memory": 2}, "ports": [3], "new": {"deep": {"b": 1}}});
        assert_eq!(spec, &wanted);
        assert_eq!(object["spec"]["gone"], Value::Null, "what is stored stays as the user wrote it");
    }

    #[test]
    fn what_an_object_asks_for_and_uses() {
        let mut object =
            json!({"metadata": {"namespace": "a"}, "spec": {"definition": {"name": "web", "track": "latest"}}});
        let asked = wish(&object).unwrap();
        assert_eq!(asked, Wish { name: "web".into(), revision: None });
        assert!(wish(&json!({"spec": {}})).is_none());
        assert!(annotate(&mut object, USED, Some(2)) && !annotate(&mut object, USED, Some(2)));
        assert_eq!(used(&object), Some(2));
        let edges: Vec<_> =
            edges(Some("a"), &asked, used(&object)).into_iter().map(|edge| edge.to.to_string()).collect();
        assert_eq!(edges, ["definitions.threeport.dev \"a/web\"", "definitionrevisions.threeport.dev \"a/web-2\""]);
        assert!(annotate(&mut object, USED, None) && !annotate(&mut object, USED, None));
        assert_eq!(object["metadata"], json!({"namespace": "a"}));
    }
}

//! Patches: JSON patch (RFC 6902), merge patch (RFC 7396) and, for built-in kinds, strategic merge patch.

use std::collections::HashMap;

use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::registry::Kind;
use crate::resources::{OBJECT_LIMIT, fits};
use crate::schema::{ListType, Schema};
use crate::status::{ApiError, ApiResult};

/// Most operations of a JSON patch.
const OPERATIONS: usize = 10_000;
/// Deepest that a JSON patch may nest: as deep as JSON is read.
const DEPTH: usize = 127;

/// A decoded patch.
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Media type of server-side apply, which is no patch of what is there.
    pub(crate) const APPLY: &str = "application/apply-patch+yaml";

    /// Whether this is a JSON patch.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self, Self::Json(_))
    }

    /// Decodes a patch by its media type.
    pub(crate) fn decode(kind: &Kind, content_type: &str, body: &[u8]) -> ApiResult<Self> {
        let wrong = |e: &dyn std::fmt::Display| ApiError::bad_request(format!("the patch cannot be read: {e}"));
        match content_type {
            "application/json-patch+json" => {
                // The decoder's words repeat values: not of a Secret.
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(|e| {
                    if kind.is_builtin("", "secrets") { wrong(&"it is no list of operations") } else { wrong(&e) }
                })?;
                if patch.len() > OPERATIONS {
                    return Err(ApiError::too_large(format!(
                        "the allowed maximum operations in a JSON patch is {OPERATIONS}, got {}",
                        patch.len()
                    )));
                }
                Ok(Self::Json(patch))
            }
            "application/merge-patch+json" => Ok(Self::Merge(object(body)?)),
            "application/strategic-merge-patch+json" if kind.builtin => Ok(Self::Strategic(object(body)?)),
            // Strategic merge patches are for built-in kinds.
            _ => {
                let strategic = if kind.builtin { "application/strategic-merge-patch+json, " } else { "" };
                Err(ApiError::unsupported_media_type(format!(
                    "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
                     application/merge-patch+json, {strategic}application/apply-patch+yaml"
                )))
            }
        }
    }

    /// Whether the patch names the version it is for: then a conflict is the client's.
    pub(crate) fn names_version(&self) -> bool {
        match self {
            Self::Json(patch) => patch.iter().any(|op| {
                matches!(op, json_patch::PatchOperation::Test(_)) || *op.path() == "/metadata/resourceVersion"
            }),
            Self::Merge(patch) | Self::Strategic(patch) => {
                patch.pointer("/metadata/resourceVersion").is_some_and(|v| v.as_str().is_some_and(|v| !v.is_empty()))
            }
        }
    }

    /// The patched object.
    pub(crate) fn apply(&self, kind: &Kind, mut target: Value) -> ApiResult<Value> {
        match self {
            Self::Json(patch) => operations(&mut target, patch)?,
            Self::Merge(patch) => json_patch::merge(&mut target, patch),
            Self::Strategic(patch) => strategic(&mut target, patch, Some(&kind.schema))?,
        }
        if target.is_object() { Ok(target) } else { Err(ApiError::bad_request("the patch leaves no object")) }
    }
}

/// Applies a JSON patch. Alone among patches it can make more than was sent, and nest what it makes deeper: what it copies or moves, how deep that comes to
/// lie, and what comes out is bounded.
fn operations(target: &mut Value, patch: &[json_patch::PatchOperation]) -> ApiResult<()> {
    let rejected = |what: &dyn std::fmt::Display| {
        let message = format!("the server rejected our request due to an error in our request: {what}");
        let mut error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        error.details = Some(Box::new(Value::Object(Map::new())));
        error
    };
    let mut copied = 0;
    for (index, operation) in patch.iter().enumerate() {
        let from = match operation {
            json_patch::PatchOperation::Copy(copy) => target.pointer(copy.from.as_str()),
            json_patch::PatchOperation::Move(moved) => target.pointer(moved.from.as_str()),
            _ => None,
        };
        // What is moved is counted too: it has to be looked at.
        copied += from.map_or(0, |value| value.to_string().len());
        if copied > OBJECT_LIMIT {
            return Err(ApiError::too_large(format!(
                "the copies of the JSON patch are too large: limit is {OBJECT_LIMIT} bytes"
            )));
        }
        let put = match operation {
            json_patch::PatchOperation::Add(add) => Some(&add.value),
            json_patch::PatchOperation::Replace(replace) => Some(&replace.value),
            _ => from,
        };
        // Before it is done: what nests too deep cannot even be dropped again.
        if put.is_some_and(|value| operation.path().count() + depth(value) > DEPTH) {
            return Err(rejected(&format!("{} would nest deeper than {DEPTH} levels", operation.path())));
        }
        if let json_patch::PatchOperation::Test(test) = operation
            && test.value.is_null()
            && absent(target, test.path.as_str())
        {
            continue;
        }
        json_patch::patch(target, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = index;
            rejected(&error)
        })?;
    }
    fits(target.to_string().len())
}

/// Levels of lists and maps in a value.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether an object has no such field. Kubernetes takes null as its value in tests: so a client adds a list only where there is none yet.
fn absent(target: &Value, path: &str) -> bool {
    let parent = path.rsplit_once('/').and_then(|(parent, _)| target.pointer(parent));
    parent.is_some_and(Value::is_object) && target.pointer(path).is_none()
}

fn object(body: &[u8]) -> ApiResult<Value> {
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(ApiError::bad_request("the patch must be an object")),
        Err(e) => Err(ApiError::bad_request(format!("the patch cannot be read: {e}"))),
    }
}

const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch to what the schema describes. Lists are merged as the schema's patch strategy says; others are replaced.
fn strategic(target: &mut Value, patch: &Value, schema: Option<&Schema>) -> ApiResult<()> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return Ok(()) };
    match patch.get("$patch").map(|d| d.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => map.clear(),
        Some("delete") => {
            map.clear();
            return Ok(());
        }
        Some(other) => return Err(ApiError::bad_request(format!("unknown directive $patch: {other:?}"))),
    }
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| keep.iter().any(|k| k == key));
    }
    let below = |key: &str| schema.and_then(|schema| schema.properties.get(key).or(schema.additional_schema()));
    let ordered = |key: &str| Some((key.to_owned(), map.get(key.strip_prefix(ORDER)?)?.as_array()?.clone()));
    let before: HashMap<String, Vec<Value>> = patch.keys().filter_map(|key| ordered(key)).collect();
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (map.get_mut(list), value) {
                items.retain(|item| !gone.contains(item));
            }
        } else if key.starts_with('$') {
            // Orders are applied when everything is merged; the other directives are done.
        } else if value.is_null() {
            map.remove(key);
        } else if let Value::Array(changes) = value {
            let merged = list(map.remove(key), changes, below(key))?;
            map.insert(key.clone(), merged);
        } else {
            let inner = map.entry(key.as_str()).or_insert(Value::Null);
            strategic(inner, value, below(key))?;
            if value.get("$patch").is_some_and(|d| d == "delete") {
                map.remove(key);
            }
        }
    }
    for (key, order) in patch {
        if let Some(name) = key.strip_prefix(ORDER)
            && let (Some(Value::Array(items)), Value::Array(order)) = (map.get_mut(name), order)
        {
            sort(items, order, before.get(key).map_or(&[], Vec::as_slice), merge_key(below(name)));
        }
    }
    Ok(())
}

/// How a list is merged.
fn strategy(schema: Option<&Schema>) -> &ListType {
    schema.map_or(&ListType::Atomic, |schema| &schema.patched)
}

/// What tells the items of a list apart; none where they are told apart by their value.
fn merge_key(schema: Option<&Schema>) -> Option<&str> {
    match strategy(schema) {
        ListType::Map(keys) => keys.first().map(String::as_str),
        _ => None,
    }
}

fn list(old: Option<Value>, changes: &[Value], schema: Option<&Schema>) -> ApiResult<Value> {
    let mut items = match old {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let item_schema = schema.and_then(|schema| schema.items.as_deref());
    match strategy(schema) {
        ListType::Atomic => items = changes.to_vec(),
        ListType::Set => {
            for change in changes {
                if !items.contains(change) {
                    items.push(change.clone());
                }
            }
        }
        ListType::Map(keys) => {
            let key = keys.first().map_or("", String::as_str);
            if changes.iter().any(|c| c.get("$patch").is_some_and(|d| d == "replace")) {
                items.clear();
            }
            for change in changes {
                let id = change.get(key);
                let found = items.iter().position(|item| id.is_some() && item.get(key) == id);
                match (change.get("$patch").and_then(Value::as_str), found) {
                    (Some("delete"), Some(index)) => drop(items.remove(index)),
                    (Some("delete"), None) => {}
                    // The marker of a replaced list carries nothing itself.
                    (Some("replace"), _) if id.is_none() => {}
                    (None, _) if id.is_none() => {
                        let message = format!("map: {change} does not contain declared merge key: {key}");
                        return Err(ApiError::bad_request(message));
                    }
                    (_, Some(index)) => strategic(&mut items[index], change, item_schema)?,
                    (_, None) => {
                        let mut item = Value::Null;
                        strategic(&mut item, change, item_schema)?;
                        items.push(item);
                    }
                }
            }
        }
    }
    Ok(Value::Array(items))
}

/// Puts items in the asked order. Those that are not in it keep their place before what they were before.
fn sort(items: &mut Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) {
    let place = |list: &[Value], item: &Value| {
        list.iter().position(|there| match key {
            Some(key) => there.get(key) == item.get(key),
            None => there == item,
        })
    };
    let (mut named, mut rest): (Vec<Value>, Vec<Value>) =
        std::mem::take(items).into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    rest.sort_by_key(|item| place(before, item));
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    loop {
        let first = match (rest.peek(), named.peek()) {
            (Some(rest), Some(named)) => match (place(before, rest), place(before, named)) {
                (Some(rest), Some(named)) => rest < named,
                _ => false,
            },
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return,
        };
        items.extend(if first { rest.next() } else { named.next() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;

    fn apply(patch: &Patch, target: Value) -> ApiResult<Value> {
        let kind = Registry::new().find("", "v1", "configmaps").expect("a built-in kind");
        patch.apply(&kind, target)
    }

    #[test]
    fn strategic_merge_patches_do_what_kubectl_means() {
        let cases = [
            (
                "maps merge",
                json!({"data": {"a": "1", "b": "2"}}),
                json!({"data": {"b": "3", "c": "4"}}),
                json!({"data": {"a": "1", "b": "3", "c": "4"}}),
            ),
            (
                "null removes",
                json!({"data": {"a": "1", "b": "2"}}),
                json!({"data": {"a": null}}),
                json!({"data": {"b": "2"}}),
            ),
            (
                "replace",
                json!({"data": {"a": "1"}}),
                json!({"data": {"$patch": "replace", "b": "2"}}),
                json!({"data": {"b": "2"}}),
            ),
            ("delete", json!({"data": {"a": "1"}, "x": 1}), json!({"data": {"$patch": "delete"}}), json!({"x": 1})),
            (
                "retain",
                json!({"s": {"a": 1, "b": 2}}),
                json!({"s": {"$retainKeys": ["b", "c"], "c": 3}}),
                json!({"s": {"b": 2, "c": 3}}),
            ),
            (
                "finalizers are a set",
                json!({"metadata": {"finalizers": ["a", "b"]}}),
                json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"]}}),
                json!({"metadata": {"finalizers": ["c", "b"]}}),
            ),
            (
                "owners by uid",
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2", "name": "b"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "1", "$patch": "delete"}, {"uid": "2", "controller": true}, {"uid": "3"}],
                       "$setElementOrder/ownerReferences": [{"uid": "3"}, {"uid": "2"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "3"}, {"uid": "2", "name": "b", "controller": true}]}}),
            ),
            (
                "what is not in the order keeps its place",
                json!({"metadata": {"finalizers": ["a", "b", "c", "d"]}}),
                json!({"metadata": {"finalizers": ["d"], "$setElementOrder/finalizers": ["d", "c"]}}),
                json!({"metadata": {"finalizers": ["a", "b", "d", "c"]}}),
            ),
            ("other lists are replaced", json!({"l": [1, 2]}), json!({"l": [3]}), json!({"l": [3]})),
            ("text for map", json!({"a": "x"}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
        ];
        for (name, target, patch, expected) in cases {
            assert_eq!(apply(&Patch::Strategic(patch), target).expect(name), expected, "{name}");
        }
        assert!(apply(&Patch::Strategic(json!({"a": {"$patch": "explode"}})), json!({"a": {}})).is_err());
    }

    #[test]
    fn merge_and_json_patches_follow_their_rfcs() {
        let merged = apply(&Patch::Merge(json!({"a": {"b": null, "c": 1}})), json!({"a": {"b": 1}})).expect("merges");
        assert_eq!(merged, json!({"a": {"c": 1}}));
        let patch = serde_json::from_value(json!([{"op": "replace", "path": "/a", "value": 2}])).expect("a patch");
        assert_eq!(apply(&Patch::Json(patch), json!({"a": 1})).expect("applies"), json!({"a": 2}));
        let patch = serde_json::from_value(json!([{"op": "remove", "path": "/missing"}])).expect("a patch");
        assert!(apply(&Patch::Json(patch), json!({"a": 1})).is_err());
    }

    #[test]
    fn a_field_that_is_not_there_tests_as_null() {
        let apply = |path: &str, value: Value, target: Value| {
            let patch =
                json!([{"op": "test", "path": path, "value": value}, {"op": "add", "path": path, "value": ["x"]}]);
            apply(&Patch::Json(serde_json::from_value(patch).expect("a patch")), target)
        };
        assert_eq!(apply("/a/b", json!(null), json!({"a": {}})).expect("applies"), json!({"a": {"b": ["x"]}}));
        assert_eq!(apply("/a", json!(null), json!({"a": null})).expect("applies"), json!({"a": ["x"]}));
        for (path, value, target) in [
            ("/a/b", json!(null), json!({"a": {"b": []}})),
            ("/a/b", json!(""), json!({"a": {}})),
            ("/a/b", json!(null), json!({})),
            ("/a/1", json!(null), json!({"a": []})),
        ] {
            assert!(apply(path, value, target.clone()).is_err(), "{path} of {target}");
        }
    }

    #[test]
    fn a_json_patch_nests_no_deeper_than_json_is_read() {
        let path = |levels: usize| format!("/a{}", "/0".repeat(levels));
        let lists = |levels: usize| (0..levels).fold(json!([]), |inner, _| json!([inner]));
        let applied = |operations: Value| {
            let patch = serde_json::from_value(operations).expect("a patch");
            apply(&Patch::Json(patch), json!({"a": lists(60), "b": lists(60)})).map_err(|error| error.code.as_u16())
        };
        // Each copy into its own innermost list doubles it: twenty come to a million levels.
        let doubling = (0..20).scan(61, |levels, _| {
            let operation = json!({"op": "copy", "from": "/a", "path": path(*levels)});
            *levels *= 2;
            Some(operation)
        });
        assert_eq!(applied(doubling.collect()), Err(422));
        assert_eq!(applied(json!([{"op": "add", "path": path(61), "value": lists(100)}])), Err(422));
        let moves = json!([{"op": "move", "from": "/b", "path": path(61)}, {"op": "add", "path": "/c", "value": lists(60)},
            {"op": "move", "from": "/c", "path": path(122)}]);
        assert_eq!(applied(moves), Err(422));
        let deepest = applied(json!([{"op": "move", "from": "/b", "path": path(61)}])).expect("as deep as it may be");
        assert!(serde_json::from_str::<Value>(&deepest.to_string()).is_ok(), "what comes out can be read");
        let deepest = applied(json!([{"op": "add", "path": "/c", "value": lists(125)}])).expect("as deep as it may be");
        assert!(serde_json::from_str::<Value>(&deepest.to_string()).is_ok());
    }
}

//! Whether everything that is stored under one definition is still good under another.
//!
//! Two schemas are compared field by field. What would refuse, prune or reread something that the older one took is a narrowing; it is said with
//! the path of the field. CEL rules are not compared: they judge writes, and there is no telling which of two is the stricter.

use serde_json::{Map, Value};

/// Bounds, and whether more of it is stricter.
const BOUNDS: [(&str, bool); 10] = [
    ("minimum", true),
    ("minLength", true),
    ("minItems", true),
    ("minProperties", true),
    ("maximum", false),
    ("maxLength", false),
    ("maxItems", false),
    ("maxProperties", false),
    ("exclusiveMinimum", true),
    ("exclusiveMaximum", true),
];

/// What must stay as it is, if it is there: whether another value would be stricter cannot be told.
const OPAQUE: [&str; 9] = [
    "pattern",
    "multipleOf",
    "format",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
];

/// What of a kind's identity `new` would change; one sentence each.
pub(crate) fn renamings(old: &Value, new: &Value) -> Vec<String> {
    let fields = ["/spec/group", "/spec/scope", "/spec/names/kind", "/spec/names/plural"].into_iter();
    let changed = fields.filter(|field| old.pointer(field) != new.pointer(field));
    let said = changed.map(|field| {
        let (before, now) = (old.pointer(field), new.pointer(field));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("nothing").to_owned();
        format!("{} changes from {} to {}", field[1..].replace('/', "."), text(before), text(now))
    });
    said.collect()
}

/// What of `old`, a stored definition, `new` would take away; one sentence each, empty when nothing.
pub(crate) fn narrowings(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for before in versions(old) {
        let name = before["name"].as_str().unwrap_or_default();
        let Some(now) = versions(new).iter().find(|now| now["name"] == name) else {
            found.push(format!("version {name} is gone"));
            continue;
        };
        if before["served"] == true && now["served"] != true {
            found.push(format!("version {name} is no longer served"));
        }
        for part in ["status", "scale"] {
            if before["subresources"].get(part).is_some() && now["subresources"].get(part).is_none() {
                found.push(format!("version {name} no longer has the subresource {part}"));
            }
        }
        let schema = |version: &Value| version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
        compare(&mut found, &format!("{name}:"), &schema(before), &schema(now));
    }
    found
}

/// Versions that objects are stored in and that `new` does not have.
pub(crate) fn lost_versions(old: &Value, new: &Value) -> Vec<String> {
    let stored = old.pointer("/status/storedVersions").and_then(Value::as_array);
    let lost = stored.into_iter().flatten().filter_map(Value::as_str);
    lost.filter(|name| !versions(new).iter().any(|version| version["name"] == **name)).map(str::to_owned).collect()
}

fn versions(definition: &Value) -> &[Value] {
    definition.pointer("/spec/versions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn compare(found: &mut Vec<String>, path: &str, old: &Value, new: &Value) {
    types(found, path, old, new);
    for (bound, more_is_stricter) in BOUNDS {
        if let Some(now) = number(&new[bound]) {
            match number(&old[bound]) {
                None => found.push(format!("{path} gets {bound} {}", new[bound])),
                Some(before) if (now > before) == more_is_stricter && now != before => {
                    found.push(format!("{path} changes {bound} from {} to {}", old[bound], new[bound]));
                }
                Some(_) => {}
            }
        }
    }
    for opaque in OPAQUE {
        match (old.get(opaque), new.get(opaque)) {
            (None, Some(now)) => found.push(format!("{path} gets {opaque} {now}")),
            (Some(before), Some(now)) if before != now => {
                found.push(format!("{path} changes {opaque} from {before} to {now}"));
            }
            _ => {}
        }
    }
    if let Some(now) = new["enum"].as_array() {
        match old["enum"].as_array() {
            None => found.push(format!("{path} gets enum {}", new["enum"])),
            Some(before) => {
                let lost: Vec<String> =
                    before.iter().filter(|value| !now.contains(value)).map(ToString::to_string).collect();
                if !lost.is_empty() {
                    found.push(format!("{path} no longer takes {}", lost.join(", ")));
                }
            }
        }
    }
    for (flag, what) in [
        ("nullable", "no longer takes null"),
        ("x-kubernetes-preserve-unknown-fields", "no longer keeps unknown fields"),
        ("x-kubernetes-embedded-resource", "is no longer a whole object"),
    ] {
        if old[flag] == true && new[flag] != true {
            found.push(format!("{path} {what}"));
        }
    }
    if new["uniqueItems"] == true && old["uniqueItems"] != true {
        found.push(format!("{path} gets uniqueItems"));
    }
    required(found, path, old, new);
    children(found, path, old, new);
}

fn types(found: &mut Vec<String>, path: &str, old: &Value, new: &Value) {
    let either = |schema: &Value| schema["x-kubernetes-int-or-string"] == true;
    let (before, now) = (old["type"].as_str(), new["type"].as_str());
    if either(old) {
        if !either(new) {
            found.push(format!("{path} takes no longer both numbers and strings"));
        }
        return;
    }
    let wider = match (before, now) {
        (before, now) if before == now => true,
        // Without a type everything is taken.
        (_, None) if !either(new) => true,
        (Some("integer"), Some("number")) => true,
        (Some("integer" | "string"), _) => either(new),
        _ => false,
    };
    if !wider {
        found.push(format!(
            "{path} changes from {} to {}",
            before.unwrap_or("any type"),
            now.unwrap_or("another type")
        ));
    }
}

fn required(found: &mut Vec<String>, path: &str, old: &Value, new: &Value) {
    let names = |schema: &Value| -> Vec<String> {
        let names = schema["required"].as_array();
        names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let before = names(old);
    for name in names(new) {
        // With a default it is there in everything that is read.
        let defaulted = new["properties"][&name].get("default").is_some();
        if !before.contains(&name) && !defaulted {
            found.push(format!("{} becomes required without a default", below(path, &name)));
        }
    }
}

fn children(found: &mut Vec<String>, path: &str, old: &Value, new: &Value) {
    let empty = Map::new();
    let properties = |schema: &Value| schema["properties"].as_object().unwrap_or(&empty).clone();
    let (before, now) = (properties(old), properties(new));
    let keeps_all = new["x-kubernetes-preserve-unknown-fields"] == true;
    for (name, schema) in &before {
        match now.get(name) {
            Some(known) => compare(found, &below(path, name), schema, known),
            None if keeps_all => {}
            None => match new.get("additionalProperties").filter(|any| any.is_object()) {
                Some(any) => compare(found, &below(path, name), schema, any),
                None => found.push(format!("{} is gone", below(path, name))),
            },
        }
    }
    if let (Some(before), Some(now)) = (old.get("items"), new.get("items")) {
        compare(found, &format!("{path}[]"), before, now);
    }
    match (old.get("additionalProperties"), new.get("additionalProperties")) {
        (Some(before), Some(now)) if before.is_object() && now.is_object() => {
            compare(found, &below(path, "*"), before, now);
        }
        (Some(Value::Bool(false)) | None, _) | (_, Some(Value::Bool(true))) => {}
        (Some(_), Some(now)) if now.is_object() => found.push(format!("{path} no longer takes every value")),
        (Some(_), _) if keeps_all => {}
        (Some(_), _) => found.push(format!("{path} no longer takes keys of any name")),
    }
}

fn below(path: &str, name: &str) -> String {
    if path.ends_with(':') { format!("{path} {name}") } else { format!("{path}.{name}") }
}

/// A bound; of flags, true is the stricter.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().filter(|set| *set).map(|_| 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(spec: Value) -> Value {
        json!({"spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": "kites", "kind": "Kite"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]},
            "status": {"storedVersions": ["v1"]}})
    }

    fn of(old: Value, new: Value) -> Vec<String> {
        let object = |properties: Value| json!({"type": "object", "properties": properties});
        narrowings(&definition(object(old)), &definition(object(new)))
    }

    #[test]
    fn what_only_grows_is_compatible() {
        let old = json!({
            "a": {"type": "integer", "minimum": 2, "enum": [3]}, "b": {"type": "string", "maxLength": 3, "pattern": "x"},
            "c": {"type": "object", "required": ["d"], "properties": {"d": {"type": "string"}}},
            "e": {"type": "array", "items": {"type": "integer"}}, "f": {"type": "object", "additionalProperties": {"type": "string"}},
            "g": {"type": "string"}, "h": {"type": "object"}});
        let new = json!({
            "a": {"type": "number", "minimum": 1, "enum": [3, 4]}, "b": {"type": "string", "maxLength": 4, "nullable": true},
            "c": {"type": "object", "required": ["z"], "properties": {"d": {"type": "string"}, "z": {"type": "string", "default": "y"}}},
            "e": {"type": "array", "items": {"type": "number"}}, "f": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "g": {"x-kubernetes-int-or-string": true}, "h": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "new": {"type": "string", "x-kubernetes-validations": [{"rule": "true"}]}});
        assert_eq!(of(old.clone(), new), Vec::<String>::new());
        assert_eq!(of(old.clone(), old), Vec::<String>::new());
    }

    #[test]
    fn what_narrows_is_named_with_its_path() {
        let string = |more: Value| {
            let mut schema = json!({"type": "string"});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            schema
        };
        let cases = [
            (json!({"a": {"type": "string"}}), json!({}), "v1: spec.a is gone"),
            (string(json!({})), json!({"type": "integer"}), "v1: spec.a changes from string to integer"),
            (json!({"type": "number"}), json!({"type": "integer"}), "v1: spec.a changes from number to integer"),
            (json!({"x-kubernetes-int-or-string": true}), string(json!({})), "both numbers and strings"),
            (string(json!({})), string(json!({"maxLength": 3})), "v1: spec.a gets maxLength 3"),
            (string(json!({"minLength": 3})), string(json!({"minLength": 4})), "changes minLength from 3 to 4"),
            (string(json!({"pattern": "a"})), string(json!({"pattern": "b"})), "changes pattern"),
            (string(json!({"enum": ["x", "y"]})), string(json!({"enum": ["y"]})), "no longer takes \"x\""),
            (string(json!({})), string(json!({"enum": ["y"]})), "gets enum"),
            (string(json!({"nullable": true})), string(json!({})), "no longer takes null"),
            (
                json!({"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}}),
                json!({"type": "array", "items": {"type": "object", "properties": {}}}),
                "v1: spec.a[].b is gone",
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                json!({"type": "object", "additionalProperties": {"type": "integer"}}),
                "v1: spec.a.* changes from string to integer",
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                json!({"type": "object"}),
                "no longer takes keys of any name",
            ),
            (
                json!({"type": "object", "properties": {"b": {"type": "string"}}}),
                json!({"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}}}),
                "v1: spec.a.b becomes required without a default",
            ),
            (
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
                json!({"type": "object"}),
                "no longer keeps unknown fields",
            ),
        ];
        for (old, new, expected) in cases {
            let (old, new) =
                if expected.ends_with("a is gone") { (old, new) } else { (json!({"a": old}), json!({"a": new})) };
            let found = of(old, new);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn names_scope_and_versions_stay() {
        let old = definition(json!({"type": "object"}));
        let mut new = old.clone();
        new["spec"]["scope"] = json!("Cluster");
        new["spec"]["names"]["kind"] = json!("Dragon");
        new["spec"]["versions"][0]["served"] = json!(false);
        new["spec"]["versions"][0]["subresources"] = json!({});
        let found = [narrowings(&old, &new), renamings(&old, &new)].concat().join("; ");
        for expected in [
            "spec.scope",
            "spec.names.kind changes from Kite to Dragon",
            "v1 is no longer served",
            "subresource status",
        ] {
            assert!(found.contains(expected), "{found}");
        }
        new["spec"]["versions"][0]["name"] = json!("v2");
        assert!(narrowings(&old, &new).join("; ").contains("version v1 is gone"));
        assert_eq!((lost_versions(&old, &new), lost_versions(&old, &old)), (vec!["v1".to_owned()], vec![]));
    }
}

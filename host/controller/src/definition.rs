//! CustomResourceDefinitions as they are stored: a plugin's own words, completed as Kubernetes completes them, and never narrower than before.

use serde_json::{Map, Value, json};
use threeport_store::{ReferenceRule, lifecycle};

use crate::kinds::{BadDefinition, PLUGIN_ANNOTATION, REFERENCES_ANNOTATION};

/// What the stored schema is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// As the plugin describes it.
    AsDescribed,
    /// That, and everything that is stored now besides.
    NoNarrower,
}

/// The definition to store for what a plugin describes; `stored` is what is there now.
pub(crate) fn definition(
    described: &Value,
    plugin: &str,
    references: &[ReferenceRule],
    stored: Option<&Value>,
    schema: Schema,
    uid: &str,
) -> Result<Value, BadDefinition> {
    let mut body = described.clone();
    body["apiVersion"] = json!("apiextensions.k8s.io/v1");
    body["kind"] = json!("CustomResourceDefinition");
    if !body["metadata"]["annotations"].is_object() {
        body["metadata"]["annotations"] = json!({});
    }
    body["metadata"]["annotations"][PLUGIN_ANNOTATION] = json!(plugin);
    body["metadata"]["annotations"][REFERENCES_ANNOTATION] = json!(json!(references).to_string());
    complete_names(&mut body["spec"]["names"]);
    check_schemas(&body)?;
    let now = jiff::Timestamp::now();
    let mut body = match stored {
        Some(stored) => {
            if schema == Schema::NoNarrower {
                widen_versions(&mut body, stored);
            }
            lifecycle::update(stored, body, lifecycle::Part::Main)
        }
        None => lifecycle::create(body, now, uid, true),
    };
    let status = status(&body, stored, now);
    body["status"] = status;
    Ok(body)
}

/// Whose definition it is.
pub(crate) fn plugin_of(crd: &Value) -> Option<&str> {
    crd["metadata"]["annotations"].get(PLUGIN_ANNOTATION)?.as_str()
}

fn complete_names(names: &mut Value) {
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    for (field, default) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        if names.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            names[field] = json!(default);
        }
    }
}

fn versions(crd: &Value) -> &[Value] {
    crd.pointer("/spec/versions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn check_schemas(crd: &Value) -> Result<(), BadDefinition> {
    for version in versions(crd) {
        let schema = version.pointer("/schema/openAPIV3Schema");
        if schema.and_then(|schema| schema.get("type")) != Some(&json!("object")) {
            let (kind, name) = (&crd["spec"]["names"]["kind"], &version["name"]);
            return Err(BadDefinition(format!(
                "version {name} of {kind} has no schema.openAPIV3Schema of type object"
            )));
        }
    }
    Ok(())
}

/// A rollback must not prune fields that are stored: properties that were known stay known, and versions that were served keep their schema.
fn widen_versions(body: &mut Value, stored: &Value) {
    let Some(new) = body.pointer_mut("/spec/versions").and_then(Value::as_array_mut) else { return };
    // A version that is served stays, for whoever speaks it; objects are stored in the one that is described.
    for before in versions(stored).iter().filter(|before| before["served"] == true) {
        if !new.iter().any(|version| version["name"] == before["name"]) {
            let mut kept = before.clone();
            kept["storage"] = json!(false);
            new.push(kept);
        }
    }
    for version in new {
        let before = versions(stored).iter().find(|before| before["name"] == version["name"]);
        if let (Some(before), Some(schema)) = (
            before.and_then(|before| before.pointer("/schema/openAPIV3Schema")),
            version.pointer_mut("/schema/openAPIV3Schema"),
        ) {
            widen(schema, before);
        }
    }
}

fn widen(new: &mut Value, old: &Value) {
    // A schema that lists no properties and preserves all fields is wider than any list.
    let lists = new.get("properties").is_some_and(Value::is_object)
        || new.get("x-kubernetes-preserve-unknown-fields") != Some(&json!(true));
    if let Some(before) = old.get("properties").and_then(Value::as_object).filter(|_| lists) {
        if !new["properties"].is_object() {
            new["properties"] = Value::Object(Map::new());
        }
        for (name, schema) in before {
            match new["properties"].get_mut(name) {
                Some(known) => widen(known, schema),
                None => new["properties"][name] = schema.clone(),
            }
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let (Some(new), Some(old)) = (new.get_mut(inner), old.get(inner)) {
            widen(new, old);
        }
    }
}

fn status(crd: &Value, stored: Option<&Value>, now: jiff::Timestamp) -> Value {
    let storage =
        versions(crd).iter().find(|version| version["storage"] == true).map(|version| version["name"].clone());
    let mut kept: Vec<Value> = stored
        .and_then(|stored| stored.pointer("/status/storedVersions"))
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    // A version that is gone has no objects any more, or it would not have gone.
    kept.retain(|kept| versions(crd).iter().any(|version| version["name"] == *kept));
    if let Some(storage) = storage.filter(|storage| !kept.contains(storage)) {
        kept.push(storage);
    }
    let since = |kind: &str| {
        let conditions = stored.and_then(|stored| stored.pointer("/status/conditions")).and_then(Value::as_array);
        let before = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == kind && condition["status"] == "True");
        before.map_or_else(|| json!(lifecycle::timestamp(now)), |before| before["lastTransitionTime"].clone())
    };
    json!({
        "acceptedNames": crd["spec"]["names"],
        "storedVersions": kept,
        "conditions": [
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found",
             "lastTransitionTime": since("NamesAccepted")},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted",
             "lastTransitionTime": since("Established")},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(properties: Value) -> Value {
        json!({"metadata": {"name": "kites.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"plural": "kites", "kind": "Kite"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}}}]}})
    }

    fn spec(crd: &Value) -> &Value {
        &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    }

    #[test]
    fn a_new_definition_is_established_and_says_whose_it_is() {
        let crd = definition(&described(json!({})), "toys", &[], None, Schema::AsDescribed, "u").unwrap();
        assert_eq!((plugin_of(&crd), crd["metadata"]["uid"].as_str()), (Some("toys"), Some("u")));
        assert_eq!(crd["spec"]["names"]["listKind"], "KiteList");
        assert_eq!(crd["status"]["conditions"][1]["type"], "Established");
        assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    }

    #[test]
    fn going_back_to_a_narrower_schema_keeps_the_wider_one() {
        let wide = json!({"a": {"type": "string"}, "b": {"type": "object", "properties": {"c": {"type": "integer"}}}});
        let stored = definition(&described(wide.clone()), "toys", &[], None, Schema::AsDescribed, "u").unwrap();
        let narrow = json!({"a": {"type": "string", "maxLength": 3}, "b": {"type": "object", "properties": {}}});
        let merged = definition(&described(narrow), "toys", &[], Some(&stored), Schema::NoNarrower, "other").unwrap();
        assert_eq!(spec(&merged)["b"]["properties"]["c"], json!({"type": "integer"}));
        assert_eq!(spec(&merged)["a"]["maxLength"], 3, "what is known is as the new version says");
        assert_eq!(merged["metadata"]["uid"], "u");
        let again = definition(&described(wide), "toys", &[], Some(&stored), Schema::NoNarrower, "other").unwrap();
        assert_eq!(again, stored, "the same again changes nothing");
    }

    #[test]
    fn without_objects_a_schema_is_what_the_plugin_says() {
        let stored =
            definition(&described(json!({"a": {"type": "string"}})), "toys", &[], None, Schema::AsDescribed, "u");
        let other = described(json!({"b": {"type": "string"}}));
        let now = definition(&other, "toys", &[], Some(&stored.unwrap()), Schema::AsDescribed, "u").unwrap();
        assert_eq!(spec(&now), &json!({"b": {"type": "string"}}));
    }

    #[test]
    fn going_back_keeps_versions_that_are_served() {
        let mut wide = described(json!({}));
        let mut second = wide["spec"]["versions"][0].clone();
        second["name"] = json!("v2");
        second["storage"] = json!(false);
        wide["spec"]["versions"].as_array_mut().unwrap().push(second);
        let stored = definition(&wide, "toys", &[], None, Schema::AsDescribed, "u").unwrap();
        let back = definition(&described(json!({})), "toys", &[], Some(&stored), Schema::NoNarrower, "u").unwrap();
        assert_eq!(back["spec"]["versions"][1]["name"], "v2");
    }

    #[test]
    fn a_version_without_schema_is_refused() {
        let mut bad = described(json!({}));
        bad["spec"]["versions"][0]["schema"] = json!({});
        assert!(
            definition(&bad, "toys", &[], None, Schema::AsDescribed, "u")
                .unwrap_err()
                .to_string()
                .contains("openAPIV3Schema")
        );
    }
}

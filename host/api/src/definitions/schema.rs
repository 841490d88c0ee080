//! What the host adds to the schema of a kind whose objects may take their spec from a Definition.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::schema::FieldError;

/// Keywords that only the whole spec can be held against.
const OF_THE_WHOLE: [&str; 7] =
    ["required", "minProperties", "x-kubernetes-validations", "allOf", "anyOf", "oneOf", "not"];
/// Added to the description of a field that the kind requires.
const REQUIRED: &str = "Required, here or in the Definition.";

/// `spec.definition`.
static DEFINITION: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "description": "A Definition in this namespace that says what this spec leaves out. Objects of this spec are merged into those of the Definition, \
            lists and scalars replace them, and null takes one away (RFC 7396).",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": threeport_store::definitions::NAME_LENGTH, "description": "Name of the Definition."},
            "revision": {"type": "integer", "format": "int64", "minimum": 1, "description": "Stays on this revision, whatever becomes of the Definition."},
            "track": {"type": "string", "enum": ["latest"], "description": "latest: goes on to each new revision."},
        },
        "x-kubernetes-validations": [{
            "rule": "has(self.revision) != has(self.track)",
            "message": "must say either which revision it stays on (revision: 1), or that it goes on to each new one (track: latest)",
        }],
    })
});

/// A kind's schema with `spec.definition`.
#[derive(Debug)]
pub(crate) struct Extended {
    /// What a whole object must be.
    pub(crate) whole: Value,
    /// What is published and what an object must be by itself: nothing is required that the Definition may say.
    pub(crate) partial: Value,
}

/// Adds `spec.definition` to the schema at `path`; None where the spec has no named fields to lay over others.
///
/// # Errors
/// If the kind has a field of that name itself.
pub(crate) fn extend(source: &Value, path: &str) -> Result<Option<Extended>, Vec<FieldError>> {
    let Some(spec) = source.pointer("/properties/spec") else { return Ok(None) };
    if spec["type"] != "object" || spec.get("additionalProperties").is_some() {
        return Ok(None);
    }
    if spec.pointer("/properties/definition").is_some() {
        let detail = "spec.definition is the host's: it names a Definition; give the field another name";
        return Err(vec![FieldError::forbidden(format!("{path}.properties[spec].properties[definition]"), detail)]);
    }
    let (mut whole, mut partial) = (source.clone(), source.clone());
    relax(&mut partial["properties"]["spec"]);
    for schema in [&mut whole, &mut partial] {
        let spec = &mut schema["properties"]["spec"];
        if !spec["properties"].is_object() {
            spec["properties"] = json!({});
        }
        spec["properties"]["definition"] = DEFINITION.clone();
    }
    Ok(Some(Extended { whole, partial }))
}

/// Takes away what only the whole spec can be held against, as deep as specs are merged: lists are replaced, so their items are whole.
fn relax(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let required = map.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    OF_THE_WHOLE.iter().for_each(|keyword| drop(map.remove(*keyword)));
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            relax(property);
            if required.iter().any(|required| required == name) && property.is_object() {
                let text = property["description"].as_str().unwrap_or_default();
                property["description"] = format!("{text} {REQUIRED}").trim_start().into();
            }
        }
    }
    if let Some(values) = map.get_mut("additionalProperties") {
        relax(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(spec: Value) -> Value {
        json!({"type": "object", "required": ["spec"], "properties": {"spec": spec}})
    }

    #[test]
    fn nothing_is_required_that_is_merged_and_all_that_is_replaced() {
        let spec = json!({
            "type": "object", "required": ["image", "size"], "minProperties": 1,
            "x-kubernetes-validations": [{"rule": "self.image != ''"}],
            "properties": {
                "image": {"type": "string", "minLength": 1, "description": "What runs."},
                "size": {"type": "object", "required": ["cpu"], "properties": {"cpu": {"type": "integer"}}},
                "labels": {"type": "object", "additionalProperties": {"type": "object", "required": ["a"]}},
                "ports": {"type": "array", "items": {"type": "object", "required": ["port"]}},
            },
        });
        let extended = extend(&kind(spec.clone()), "schema").unwrap().unwrap();
        let partial = &extended.partial["properties"]["spec"];
        assert!(partial.get("required").is_none() && partial.get("x-kubernetes-validations").is_none());
        assert!(partial["properties"]["size"].get("required").is_none());
        assert!(partial["properties"]["labels"]["additionalProperties"].get("required").is_none());
        assert_eq!(partial["properties"]["ports"]["items"]["required"], json!(["port"]));
        assert_eq!(partial["properties"]["image"]["minLength"], 1);
        assert_eq!(partial["properties"]["image"]["description"], format!("What runs. {REQUIRED}"));
        assert_eq!(partial["properties"]["size"]["description"], REQUIRED);
        assert_eq!(partial["properties"]["definition"]["required"], json!(["name"]));
        assert_eq!(extended.whole["properties"]["spec"]["required"], spec["required"]);
        assert!(extended.whole["properties"]["spec"]["properties"]["definition"].is_object());
    }

    #[test]
    fn a_spec_that_is_no_record_takes_none_and_a_field_of_that_name_is_refused() {
        for spec in [json!({"type": "string"}), json!({"type": "object", "additionalProperties": {"type": "string"}})] {
            assert!(extend(&kind(spec), "schema").unwrap().is_none());
        }
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        assert!(extend(&kind(open), "schema").unwrap().is_some());
        let taken = json!({"type": "object", "properties": {"definition": {"type": "string"}}});
        let errors = extend(&kind(taken), "schema").unwrap_err();
        assert_eq!(errors[0].field, "schema.properties[spec].properties[definition]");
    }
}

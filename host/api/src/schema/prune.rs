//! Removes what the schema does not know, and says what that was; removes nulls that mean nothing.

use serde_json::Value;

use super::{Additional, Schema, join};

/// Removes unknown fields below `value` and appends their paths to `unknown`.
pub(crate) fn prune(schema: &Schema, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let stray = |key: &str| !schema.properties.contains_key(key) && !schema.allows(key);
            if map.keys().any(|key| stray(key)) {
                map.retain(|key, _| {
                    let drop = stray(key);
                    if drop {
                        unknown.push(join(path, key));
                    }
                    !drop
                });
            }
            for (key, child) in map.iter_mut() {
                if !child.is_object() && !child.is_array() {
                    continue;
                }
                let below = match (schema.properties.get(key), &schema.additional) {
                    (Some(known), _) => known,
                    (None, Additional::Schema(schema)) => schema,
                    // Below unknown fields that are kept, everything is kept.
                    (None, _) => continue,
                };
                prune(below, child, &join(path, key), unknown);
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (index, item) in items.iter_mut().enumerate() {
                if item.is_object() || item.is_array() {
                    prune(schema, item, &format!("{path}[{index}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

/// Removes null fields that may not be null and have no default to take their place: a null is then a missing field.
/// Items of lists stay: without them the others would move.
pub(crate) fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, child| {
            let below = match (schema.properties.get(key), &schema.additional) {
                (Some(known), _) => known,
                (None, Additional::Schema(schema)) => schema,
                (None, _) => return true,
            };
            drop_nulls(below, child);
            !child.is_null() || below.nullable || below.default.is_some()
        }),
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls(below, item));
            }
        }
        _ => {}
    }
}

impl Schema {
    /// Whether a field without a schema of its own is kept.
    fn allows(&self, key: &str) -> bool {
        self.preserve_unknown
            || !matches!(self.additional, Additional::None)
            || (self.embedded_resource && matches!(key, "apiVersion" | "kind" | "metadata"))
    }
}

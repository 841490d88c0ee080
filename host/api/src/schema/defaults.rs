//! Fills in defaults.

use serde_json::Value;

use super::{Additional, Schema};

/// Sets what is missing below `value` and has a default. A null where null is not allowed counts as missing.
pub(crate) fn apply(schema: &Schema, value: &mut Value) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, below) in &schema.properties {
                if let Some(default) = &below.default {
                    match map.get(key) {
                        None => {
                            map.insert(key.clone(), default.clone());
                        }
                        Some(Value::Null) if !below.nullable => {
                            map.insert(key.clone(), default.clone());
                        }
                        Some(_) => {}
                    }
                }
                if below.has_defaults
                    && let Some(child) = map.get_mut(key)
                {
                    apply(below, child);
                }
            }
            if let Additional::Schema(below) = &schema.additional {
                for (_, child) in map.iter_mut().filter(|(key, _)| !schema.properties.contains_key(*key)) {
                    apply(below, child);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                for item in items {
                    apply(below, item);
                }
            }
        }
        _ => {}
    }
}

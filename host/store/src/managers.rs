//! Who manages the fields of a status that the host wrote.
//!
//! The API keeps `metadata.managedFields` for what its clients write. The host writes a status as a whole and past the API: it takes from the others
//! what it changed, so that no apply of theirs removes what is the host's by now, and it is named as the one who has the rest.

use serde_json::{Map, Value, json};

use crate::lifecycle::timestamp;

/// The host's own name among the managers of fields.
pub const MANAGER: &str = "threeport";
/// What marks a field that is in a set itself, beside some below it.
const SELF: &str = ".";

/// The host changed the status of an object; `before` is what it was. An object whose managers nobody tracks stays so.
pub(crate) fn host_wrote_status(object: &mut Value, before: &Value, now: jiff::Timestamp) {
    let after = object.get("status").cloned().unwrap_or_default();
    let version = object.get("apiVersion").cloned().unwrap_or_default();
    let Some(Value::Array(entries)) = object.get_mut("metadata").and_then(|metadata| metadata.get_mut("managedFields"))
    else {
        return;
    };
    if entries.is_empty() {
        return;
    }
    entries.retain_mut(|entry| {
        let own = entry["manager"] == MANAGER && entry["operation"] == "Update" && entry["subresource"] == "status";
        !own && loses(entry, before, &after)
    });
    if after.as_object().is_some_and(|status| !status.is_empty()) {
        entries.push(json!({
            "manager": MANAGER, "operation": "Update", "apiVersion": version, "time": timestamp(now),
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": said(&after)}, "subresource": "status",
        }));
    }
    entries.sort_by_cached_key(|entry| {
        ["operation", "time", "manager", "apiVersion", "subresource"]
            .map(|name| entry[name].as_str().unwrap_or_default().to_owned())
    });
}

/// Takes from an entry what changed; false if nothing is left of it.
fn loses(entry: &mut Value, before: &Value, after: &Value) -> bool {
    let Some(fields) = entry.get_mut("fieldsV1").and_then(Value::as_object_mut) else { return true };
    if !fields.contains_key("f:status") {
        return true;
    }
    let (before, after) = (json!({"status": before}), json!({"status": after}));
    // What it has of other fields is not compared.
    let mut status = Map::from_iter(fields.remove_entry("f:status"));
    lose(&mut status, &before, &after);
    fields.extend(status);
    !fields.is_empty()
}

fn lose(fields: &mut Map<String, Value>, before: &Value, after: &Value) {
    fields.retain(|step, below| {
        let Some(name) = step.strip_prefix("f:") else { return true };
        let (before, after) = (before.get(name), after.get(name));
        let Some(below) = below.as_object_mut().filter(|_| before != after) else { return true };
        // A list that changed is the host's as a whole.
        let (Some(before @ Value::Object(_)), Some(after @ Value::Object(_))) = (before, after) else { return false };
        let member = below.is_empty() || below.contains_key(SELF);
        lose(below, before, after);
        if below.len() == 1 {
            below.remove(SELF);
        }
        member || !below.is_empty()
    });
}

/// All fields of a value; lists are had as a whole.
fn said(value: &Value) -> Value {
    let fields = value.as_object().into_iter().flatten();
    let mut out: Map<String, Value> = fields.map(|(name, value)| (format!("f:{name}"), said(value))).collect();
    if !out.is_empty() {
        out.insert(SELF.to_owned(), json!({}));
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
            "time": "2026-01-01T00:00:00Z", "subresource": "status"})
    }

    #[test]
    fn the_host_takes_what_it_changed_and_is_named() {
        let before = json!({"phase": "Up", "same": 1, "inner": {"a": 1, "b": 2}, "conditions": [{"type": "Ready"}]});
        let all = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:status": {".": {}, "f:phase": {}, "f:same": {},
            "f:inner": {".": {}, "f:a": {}}, "f:conditions": {"k:{\"type\":\"Ready\"}": {".": {}, "f:type": {}}}}});
        let object = |fields: Value| {
            json!({"apiVersion": "v1", "metadata": {"managedFields": [entry("user", "Apply", fields)]},
                "status": {"phase": "Down", "same": 1, "inner": {"a": 2, "b": 2}, "conditions": []}})
        };
        let mut written = object(all);
        host_wrote_status(&mut written, &before, jiff::Timestamp::UNIX_EPOCH);
        let entries = &written["metadata"]["managedFields"];
        let left = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:status": {".": {}, "f:same": {}, "f:inner": {}}});
        assert_eq!((&entries[0]["manager"], &entries[0]["fieldsV1"]), (&json!("user"), &left));
        let own = json!({"f:status": {".": {}, "f:phase": {}, "f:same": {}, "f:inner": {".": {}, "f:a": {}, "f:b": {}}, "f:conditions": {}}});
        assert_eq!((&entries[1]["manager"], &entries[1]["fieldsV1"]), (&json!(MANAGER), &own));
        assert_eq!((&entries[1]["time"], &entries[1]["operation"]), (&json!("1970-01-01T00:00:00Z"), &json!("Update")));

        let last = written["status"].take();
        written["status"] = json!({"phase": "Down"});
        host_wrote_status(&mut written, &last, jiff::Timestamp::UNIX_EPOCH);
        let entries = written["metadata"]["managedFields"].as_array().map(Vec::len);
        assert_eq!(entries, Some(2), "one entry of the host");

        let mut only = object(json!({"f:status": {"f:phase": {}}}));
        host_wrote_status(&mut only, &before, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(only["metadata"]["managedFields"].as_array().map(Vec::len), Some(1), "who has nothing left is gone");
        let mut untracked = json!({"metadata": {}, "status": {"a": 1}});
        host_wrote_status(&mut untracked, &Value::Null, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(untracked, json!({"metadata": {}, "status": {"a": 1}}));
    }
}

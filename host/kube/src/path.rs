//! Values at paths: what a manifest sets, as it is on the live object, and single fields by path.
//!
//! The controller keeps the projection after an apply and compares it with a later one: defaults, status and what others add do not count, what others
//! change in our fields does. How a list is merged is read from the live object's `managedFields`, where the target itself says it (`k:{"name":"web"}` for
//! an item, `v:"x"` for a value of a set, nothing for a list that is replaced whole); without them, by the usual keys.

use serde_json::{Map, Value};

/// Usual merge keys, the most telling first.
const KEYS: [&str; 9] =
    ["name", "key", "containerPort", "port", "mountPath", "devicePath", "ip", "topologyKey", "type"];

/// The live object's values at exactly the paths that `shape` sets. What is not there any more is left out.
pub fn project(live: &Value, shape: &Value) -> Value {
    let fields: Vec<&Value> = match live.pointer("/metadata/managedFields") {
        Some(Value::Array(entries)) => entries.iter().filter_map(|entry| entry.get("fieldsV1")).collect(),
        _ => Vec::new(),
    };
    at(live, shape, &fields)
}

/// `managed`: what each field manager owns at this place.
fn at(live: &Value, shape: &Value, managed: &[&Value]) -> Value {
    match (live, shape) {
        (Value::Object(live), Value::Object(shape)) => {
            let mut out = Map::new();
            for (key, wanted) in shape {
                if let Some(value) = live.get(key) {
                    out.insert(key.clone(), at(value, wanted, &below(managed, &format!("f:{key}"))));
                }
            }
            Value::Object(out)
        }
        (Value::Array(live), Value::Array(shape)) => Value::Array(list(live, shape, managed)),
        (live, _) => live.clone(),
    }
}

fn below<'a>(managed: &[&'a Value], key: &str) -> Vec<&'a Value> {
    managed.iter().filter_map(|fields| fields.get(key)).collect()
}

fn list(live: &[Value], shape: &[Value], managed: &[&Value]) -> Vec<Value> {
    let names = || managed.iter().filter_map(|fields| fields.as_object()).flat_map(|fields| fields.keys());
    if names().any(|name| name.starts_with("v:")) {
        return shape.iter().filter(|value| live.contains(value)).cloned().collect();
    }
    let told = names().find_map(|name| serde_json::from_str::<Map<String, Value>>(name.strip_prefix("k:")?).ok());
    let keys: Vec<String> = match told {
        Some(keys) => keys.into_iter().map(|(key, _)| key).collect(),
        None if managed.is_empty() => guess(live, shape).into_iter().collect(),
        None => Vec::new(),
    };
    if keys.is_empty() {
        // Replaced as a whole: what someone added is a change, too.
        return live
            .iter()
            .enumerate()
            .map(|(i, item)| shape.get(i).map_or_else(|| item.clone(), |wanted| at(item, wanted, &[])))
            .collect();
    }
    // A manifest may leave out a key that has a default (protocol of a port): it does not tell items apart then.
    let matches = |item: &Value, wanted: &Value| {
        keys.iter().all(|key| wanted.get(key).is_none_or(|value| item.get(key) == Some(value)))
    };
    let found = shape.iter().filter_map(|wanted| {
        let item = live.iter().find(|item| matches(item, wanted))?;
        Some(at(item, wanted, &item_fields(managed, item)))
    });
    found.collect()
}

/// What managers own within the list item that has these key values.
fn item_fields<'a>(managed: &[&'a Value], item: &Value) -> Vec<&'a Value> {
    let of_item = |name: &str| {
        let keys = name.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok());
        keys.is_some_and(|keys| keys.iter().all(|(key, value)| item.get(key) == Some(value)))
    };
    let entries = managed.iter().filter_map(|fields| fields.as_object()).flatten();
    entries.filter(|(name, _)| of_item(name)).map(|(_, fields)| fields).collect()
}

/// A key that every item has and that tells the manifest's items apart.
fn guess(live: &[Value], shape: &[Value]) -> Option<String> {
    let tells = |key: &&str| {
        let values: Vec<&Value> = shape.iter().filter_map(|item| item.get(*key)).collect();
        let unique = values.iter().enumerate().all(|(i, value)| !values[..i].contains(value));
        !values.is_empty() && values.len() == shape.len() && unique && live.iter().all(|item| item.get(*key).is_some())
    };
    KEYS.iter().copied().find(|key| tells(key)).map(str::to_owned)
}

/// The value at a JSON pointer (`/status/phase`, items by index) or a dotted path (`status.phase`, items by index, or by name as in
/// `status.conditions[Ready].status`: the item whose `type`, `name` or `key` it is).
pub fn get_path<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() || path.starts_with('/') {
        return object.pointer(path);
    }
    path.trim_start_matches('.').replace('[', ".[").split('.').try_fold(object, |value, part| match value {
        Value::Array(items) => {
            let part = part.trim_start_matches('[').trim_end_matches(']');
            match part.parse::<usize>() {
                Ok(index) => items.get(index),
                Err(_) => items.iter().find(|item| {
                    ["type", "name", "key"].iter().any(|key| item.get(key).and_then(Value::as_str) == Some(part))
                }),
            }
        }
        Value::Object(fields) => fields.get(part),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Small and repeatable; the crate needs no generator library for this.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) % n
        }

        fn value(&mut self, depth: u64) -> Value {
            match self.below(if depth == 0 { 3 } else { 5 }) {
                0 => json!(self.below(4)),
                1 => json!(format!("s{}", self.below(4))),
                2 => json!(self.below(2) == 0),
                3 => (0..self.below(4)).map(|i| (format!("k{i}"), self.value(depth - 1))).collect::<Map<_, _>>().into(),
                _ if self.below(2) == 0 => (0..self.below(3)).map(|_| self.value(0)).collect::<Vec<_>>().into(),
                _ => (0..self.below(4))
                    .map(|i| json!({"name": format!("n{i}"), "value": self.value(depth - 1)}))
                    .collect::<Vec<_>>()
                    .into(),
            }
        }

        /// What a target and other controllers do: add fields to objects, items to named lists.
        fn grow(&mut self, value: &mut Value) {
            match value {
                Value::Object(fields) => {
                    fields.values_mut().for_each(|v| self.grow(v));
                    fields.insert(format!("added{}", self.below(3)), json!("default"));
                }
                Value::Array(items) if items.first().is_some_and(|i| i.get("name").is_some()) => {
                    items.iter_mut().for_each(|v| self.grow(v));
                    items.insert(self.below(items.len() as u64 + 1) as usize, json!({"name": "sidecar", "value": 1}));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn what_was_applied_projects_onto_itself_whatever_others_add() {
        for seed in 0..2000 {
            let mut dice = Dice(seed);
            let shape = json!({"spec": dice.value(4)});
            assert_eq!(project(&shape, &shape), shape, "seed {seed}");
            let mut live = shape.clone();
            dice.grow(&mut live);
            live["status"] = json!({"phase": "x"});
            assert_eq!(project(&live, &shape), shape, "seed {seed}");
        }
    }

    #[test]
    fn a_projection_is_stable_under_projection() {
        for seed in 0..2000 {
            let mut dice = Dice(seed);
            let (live, shape) = (dice.value(4), dice.value(4));
            let once = project(&live, &shape);
            assert_eq!(project(&once, &shape), once, "seed {seed}: {live} {shape}");
        }
    }

    #[test]
    fn a_changed_value_a_removed_field_and_a_removed_item_show() {
        let shape = json!({"spec": {"replicas": 2, "containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]}});
        let projected = |live: Value| project(&live, &shape);
        assert_ne!(projected(json!({"spec": {"replicas": 3, "containers": shape["spec"]["containers"]}})), shape);
        assert_ne!(projected(json!({"spec": {"containers": shape["spec"]["containers"]}})), shape);
        assert_ne!(projected(json!({"spec": {"replicas": 2, "containers": [{"name": "a", "image": "x:1"}]}})), shape);
        let reordered = json!({"spec": {"replicas": 2, "containers": [{"name": "b", "image": "y:1"}, {"name": "a", "image": "x:1", "tty": true}]}});
        assert_eq!(projected(reordered), shape);
    }

    #[test]
    fn managed_fields_tell_how_a_list_is_merged() {
        let live = |subjects: Value, fields: Value| json!({"subjects": subjects, "metadata": {"managedFields": [{"fieldsV1": fields}]}});
        let shape = json!({"subjects": [{"name": "a"}]});
        let two = json!([{"name": "a"}, {"name": "intruder"}]);
        // An atomic list: the addition shows although items have names.
        assert_eq!(project(&live(two.clone(), json!({"f:subjects": {}})), &shape)["subjects"], two);
        // A list of items: the addition is someone else's.
        assert_eq!(project(&live(two, json!({"f:subjects": {"k:{\"name\":\"a\"}": {}}})), &shape), shape);
        // A set of values.
        let set = live(json!(["x", "y"]), json!({"f:subjects": {"v:\"x\"": {}}}));
        assert_eq!(project(&set, &json!({"subjects": ["y"]})), json!({"subjects": ["y"]}));
    }

    #[test]
    fn ports_are_told_apart_by_all_keys_that_the_target_names() {
        let port = |protocol: &str| json!({"containerPort": 53, "protocol": protocol});
        let key = |protocol: &str| format!("k:{{\"containerPort\":53,\"protocol\":\"{protocol}\"}}");
        let fields = json!({"f:ports": {key("TCP"): {}, key("UDP"): {}}});
        let live = json!({"ports": [port("UDP"), port("TCP")], "metadata": {"managedFields": [{"fieldsV1": fields}]}});
        let shape = json!({"ports": [port("TCP"), port("UDP")]});
        assert_eq!(project(&live, &shape), shape);
    }

    #[test]
    fn paths_are_pointers_or_dotted() {
        let object =
            json!({"status": {"phase": "Bound", "conditions": [{"type": "Ready", "status": "True"}], "list": [7]}});
        assert_eq!(get_path(&object, "/status/phase"), Some(&json!("Bound")));
        assert_eq!(get_path(&object, "status.phase"), Some(&json!("Bound")));
        assert_eq!(get_path(&object, ".status.conditions[Ready].status"), Some(&json!("True")));
        assert_eq!(get_path(&object, "status.list[0]"), Some(&json!(7)));
        assert_eq!(get_path(&object, "status.nothing.here"), None);
    }
}

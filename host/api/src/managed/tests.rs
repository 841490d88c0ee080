use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use threeport_store::{Key, Object, Resource};

use super::{Applied, Context, Entries, Refused, Writer, apply, created, updated};
use crate::registry::{Kind, Registry};

/// A kind with everything that ownership depends on; `v2` names another list type.
fn registry() -> Registry {
    let spec = |atoms: Value| {
        json!({"type": "object", "properties": {
            "image": {"type": "string"},
            "replicas": {"type": "integer", "default": 1},
            "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "atoms": atoms,
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "port": {"x-kubernetes-int-or-string": true},
            "inner": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "env": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "kind"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "kind": {"type": "string", "default": "plain"},
                    "value": {"type": "string"}}}}}})
    };
    let version = |name: &str, atoms: Value| {
        json!({"name": name, "served": true, "storage": name == "v1", "subresources": {"status": {}}, "schema": {"openAPIV3Schema":
            {"type": "object", "properties": {"spec": spec(atoms), "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}}})
    };
    let strings = json!({"type": "array", "items": {"type": "string"}});
    let mut set = strings.clone();
    set["x-kubernetes-list-type"] = "set".into();
    let mut definition = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [version("v1", strings), version("v2", set)]}});
    let registry = Registry::new();
    crate::registry::establish(&mut definition, &registry.taken("example.com", "things.example.com"), "now");
    registry.put(&Object {
        key: Key { resource: Resource::new("apiextensions.k8s.io", "crds"), namespace: None, name: "things".into() },
        uid: "u".into(),
        resource_version: 1,
        body: definition.to_string().into(),
    });
    registry
}

struct World {
    registry: Registry,
    object: Value,
    entries: Entries,
    second: i64,
}

/// One write: who, how, and what.
type Step<'a> = (&'a str, &'a str, Value);

impl World {
    fn new() -> Self {
        Self { registry: registry(), object: json!({}), entries: Entries::default(), second: 0 }
    }

    fn kind(&self, version: &str) -> Arc<Kind> {
        self.registry.find("example.com", version, "things").expect("the kind")
    }

    fn within<T>(&self, manager: &str, how: &str, call: impl FnOnce(Context<'_>) -> T) -> T {
        let version = if how.contains("v2") { "v2" } else { "v1" };
        let kind = self.kind(version);
        let other = |api_version: &str| self.registry.find("example.com", api_version.rsplit_once('/')?.1, "things");
        let status = how.contains("status");
        let writer = Writer {
            manager,
            api_version: &kind.api_version,
            subresource: if status { "status" } else { "" },
            now: Timestamp::from_second(self.second).expect("a moment"),
        };
        let outside: &[&str] = if status { &["metadata", "spec"] } else { &["status"] };
        call(Context { kind: &kind, other: &other, writer, outside })
    }

    /// Does one step; answers what is refused.
    fn step(&mut self, (manager, how, what): Step<'_>) -> Result<(), Refused> {
        self.second += 60;
        if how.starts_with("apply") {
            let applied = self.within(manager, how, |context| {
                apply(context, &self.object, &what, self.entries.clone(), how.contains("force"))
            });
            let Applied { object, entries } = applied?;
            (self.object, self.entries) = (object, entries);
            return Ok(());
        }
        let new = if how.starts_with("create") { what } else { merged(&self.object, &what) };
        let entries = self.entries.clone();
        self.entries = self.within(manager, how, |context| match how.starts_with("create") {
            true => created(context, &new, entries),
            false => updated(context, &self.object, &new, entries),
        });
        self.object = new;
        Ok(())
    }

    /// `manager operation[/subresource] second`: the fields.
    fn managers(&self) -> Value {
        let entries = self.entries.clone().into_value().unwrap_or_default();
        let entry = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            let version = text("apiVersion").trim_start_matches("example.com/");
            let name = format!("{} {}{} {version}", text("manager"), text("operation"), text("subresource"));
            (name, entry["fieldsV1"].clone())
        };
        Value::Object(entries.as_array().into_iter().flatten().map(entry).collect())
    }

    fn time(&self, manager: &str) -> Option<String> {
        let entries = self.entries.clone().into_value()?;
        let entry = entries.as_array()?.iter().find(|entry| entry["manager"] == manager)?.clone();
        entry["time"].as_str().map(str::to_owned)
    }
}

fn merged(old: &Value, patch: &Value) -> Value {
    let mut new = old.clone();
    json_patch::merge(&mut new, patch);
    new
}

fn after(steps: Vec<Step<'_>>) -> World {
    let mut world = World::new();
    for step in steps {
        let shown = format!("{step:?}");
        world.step(step).unwrap_or_else(|refused| panic!("{shown}: {refused:?}"));
    }
    world
}

#[test]
fn a_write_takes_what_it_changes() {
    let object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "status": {"phase": "Up"},
        "metadata": {"name": "a", "uid": "u", "labels": {"a/b": "c"}, "finalizers": ["f"], "ownerReferences": [{"uid": "x", "name": "n"}]},
        "spec": {"image": "i", "tags": ["x"], "atoms": [1], "labels": {"k": "v"}, "whole": {"k": "v"}, "port": 80, "inner": {},
            "free": {"a": {"b": [1]}, "c": null}, "env": [{"name": "N", "value": "v"}]}});
    let all = json!({
        "f:metadata": {"f:labels": {".": {}, "f:a/b": {}}, "f:finalizers": {".": {}, "v:\"f\"": {}},
            "f:ownerReferences": {".": {}, "k:{\"uid\":\"x\"}": {}}},
        "f:spec": {".": {}, "f:image": {}, "f:tags": {".": {}, "v:\"x\"": {}}, "f:atoms": {}, "f:labels": {".": {}, "f:k": {}}, "f:whole": {},
            "f:port": {}, "f:inner": {}, "f:free": {".": {}, "f:a": {".": {}, "f:b": {}}, "f:c": {}},
            "f:env": {".": {}, "k:{\"kind\":\"plain\",\"name\":\"N\"}": {".": {}, "f:name": {}, "f:value": {}}}}});
    let world = after(vec![("alice", "create", object.clone())]);
    assert_eq!(world.managers(), json!({"alice Update v1": all}));

    let cases: [(&str, Value, Value, Value); 7] = [
        ("a scalar", json!({"spec": {"image": "j"}}), json!({"f:spec": {"f:image": {}}}), json!(["f:image"])),
        ("a new field", json!({"spec": {"replicas": 2}}), json!({"f:spec": {"f:replicas": {}}}), json!([])),
        ("a removal", json!({"spec": {"image": null}}), Value::Null, json!(["f:image"])),
        ("a whole list", json!({"spec": {"atoms": [2]}}), json!({"f:spec": {"f:atoms": {}}}), json!(["f:atoms"])),
        ("a whole map", json!({"spec": {"whole": {"l": "m"}}}), json!({"f:spec": {"f:whole": {}}}), json!(["f:whole"])),
        (
            "an item of a set",
            json!({"spec": {"tags": ["x", "y"]}}),
            json!({"f:spec": {"f:tags": {"v:\"y\"": {}}}}),
            json!([]),
        ),
        (
            "what the way of writing leaves alone",
            json!({"status": {"phase": "Down"}, "metadata": {"resourceVersion": "2", "generation": 2}}),
            Value::Null,
            json!([]),
        ),
    ];
    for (name, patch, taken, lost) in cases {
        let world = after(vec![("alice", "create", object.clone()), ("bob", "update", patch)]);
        let managers = world.managers();
        assert_eq!(managers["bob Update v1"], taken, "{name}");
        let mut rest = all.clone();
        for field in lost.as_array().into_iter().flatten().filter_map(Value::as_str) {
            rest["f:spec"].as_object_mut().expect("a spec").remove(field);
        }
        assert_eq!(managers["alice Update v1"], rest, "{name}");
    }
}

#[test]
fn times_move_with_changes_only() {
    let base = || ("alice", "create", json!({"spec": {"image": "i"}}));
    let world = after(vec![base(), ("alice", "update", json!({"spec": {"image": "i"}}))]);
    assert_eq!(world.time("alice").as_deref(), Some("1970-01-01T00:01:00Z"));
    let world = after(vec![base(), ("alice", "update", json!({"spec": {"image": "j"}}))]);
    assert_eq!(world.time("alice").as_deref(), Some("1970-01-01T00:02:00Z"));
    let world = after(vec![base(), ("alice", "update", json!({"spec": {"image": null}}))]);
    assert_eq!(world.time("alice").as_deref(), Some("1970-01-01T00:01:00Z"), "a removal gives nothing");
    // Who applies what is already so has changed nothing, and never did.
    let config = json!({"spec": {"image": "i"}});
    let world = after(vec![base(), ("bob", "apply", config.clone())]);
    assert_eq!((world.time("bob"), &world.managers()["bob Apply v1"]), (None, &json!({"f:spec": {"f:image": {}}})));
    let world = after(vec![("bob", "apply", config.clone()), ("bob", "apply", config)]);
    assert_eq!(world.time("bob").as_deref(), Some("1970-01-01T00:01:00Z"));
}

#[test]
fn an_apply_takes_what_it_says_and_drops_what_it_no_longer_says() {
    let env = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Value>();
    let spec = |spec: Value| json!({"spec": spec});
    let cases = [
        (
            "a field nobody else has goes",
            vec![
                ("a", "apply", spec(json!({"image": "i", "inner": {"a": "1"}}))),
                ("a", "apply", spec(json!({"image": "i"}))),
            ],
            spec(json!({"image": "i"})),
        ),
        (
            "a field somebody else has stays",
            vec![
                ("a", "apply", spec(json!({"image": "i", "labels": {"x": "1"}}))),
                ("b", "apply", spec(json!({"image": "i"}))),
                ("a", "apply", json!({})),
            ],
            spec(json!({"image": "i"})),
        ),
        (
            "a field that was changed meanwhile stays",
            vec![
                ("a", "apply", spec(json!({"image": "i"}))),
                ("b", "update", spec(json!({"image": "j"}))),
                ("a", "apply", json!({})),
            ],
            spec(json!({"image": "j"})),
        ),
        (
            "items of a set",
            vec![
                ("a", "apply", spec(json!({"tags": ["x", "y"]}))),
                ("b", "apply", spec(json!({"tags": ["y", "z"]}))),
                ("a", "apply", spec(json!({"tags": ["x"]}))),
                ("b", "apply", spec(json!({"tags": ["z"]}))),
            ],
            spec(json!({"tags": ["x", "z"]})),
        ),
        (
            "items of a map",
            vec![
                ("a", "apply", spec(json!({"env": env(&["A", "B"])}))),
                ("b", "apply", spec(json!({"env": env(&["C", "A"])}))),
                ("a", "apply", spec(json!({"env": env(&["B"])}))),
            ],
            spec(json!({"env": env(&["C", "A", "B"])})),
        ),
        (
            "a part of an item",
            vec![
                ("a", "apply", spec(json!({"env": [{"name": "A", "value": "1"}]}))),
                ("b", "apply", spec(json!({"env": [{"name": "A"}]}))),
                ("a", "apply", json!({})),
            ],
            spec(json!({"env": env(&["A"])})),
        ),
        (
            "a whole list of one owner",
            vec![
                ("a", "apply", spec(json!({"atoms": ["x"], "image": "i"}))),
                ("a", "apply", spec(json!({"image": "i"}))),
            ],
            spec(json!({"image": "i"})),
        ),
        (
            "a field set empty by others keeps its parent",
            vec![
                ("b", "create", spec(json!({"inner": {}}))),
                ("a", "apply", spec(json!({"inner": {"a": "1"}}))),
                ("a", "apply", json!({})),
            ],
            spec(json!({"inner": {}})),
        ),
        (
            "fields that the schema does not name",
            vec![
                ("a", "apply", spec(json!({"free": {"p": {"q": 1, "r": 2}}}))),
                ("b", "apply", spec(json!({"free": {"p": {"s": 3}}}))),
                ("a", "apply", spec(json!({"free": {"p": {"q": 1}}}))),
            ],
            spec(json!({"free": {"p": {"q": 1, "s": 3}}})),
        ),
    ];
    for (name, steps, expected) in cases {
        assert_eq!(after(steps).object, expected, "{name}");
    }
}

#[test]
fn the_order_of_a_list_is_that_of_the_configuration_where_it_says_one() {
    let cases = [
        (json!(["a", "b", "c"]), json!(["c", "a"]), json!(["b", "c", "a"])),
        (json!(["a", "b", "c"]), json!(["x", "b"]), json!(["a", "x", "b", "c"])),
        (json!(["a", "b"]), json!(["a", "b"]), json!(["a", "b"])),
        (json!([]), json!(["b", "a"]), json!(["b", "a"])),
        (json!(["b", "b", "a"]), json!(["a", "b"]), json!(["a", "b"])),
    ];
    for (live, config, expected) in cases {
        let steps = vec![
            ("a", "create", json!({"spec": {"tags": live}})),
            ("b", "apply force", json!({"spec": {"tags": config}})),
        ];
        assert_eq!(after(steps).object["spec"]["tags"], expected, "{live} {config}");
    }
}

#[test]
fn what_another_has_with_another_value_is_a_conflict() {
    let mut world = after(vec![
        (
            "alice",
            "apply",
            json!({"metadata": {"labels": {"l": "1"}}, "spec": {"image": "i", "env": [{"name": "A", "value": "1"}]}}),
        ),
        ("kubectl", "update", json!({"spec": {"replicas": 3}})),
        ("ctl", "update status", json!({"status": {"phase": "Up"}})),
    ]);
    let config = json!({"metadata": {"labels": {"l": "2"}}, "spec": {"image": "j", "replicas": 3, "env": [{"name": "A", "value": "2"}]}});
    let Err(Refused::Conflicts(conflicts)) = world.step(("bob", "apply", config.clone())) else {
        panic!("no conflict")
    };
    let shown: Vec<String> = conflicts.iter().map(|c| format!("{} {}", c.manager, c.path)).collect();
    let expected =
        ["\"alice\" .metadata.labels.l", "\"alice\" .spec.image", r#""alice" .spec.env[kind="plain",name="A"].value"#];
    assert_eq!(shown, expected);
    let Err(Refused::Conflicts(conflicts)) = world.step(("bob", "apply", json!({"spec": {"replicas": 4}}))) else {
        panic!("none")
    };
    assert_eq!(conflicts[0].manager, "\"kubectl\" using example.com/v1");
    let Err(Refused::Conflicts(conflicts)) = world.step(("bob", "apply status", json!({"status": {"phase": "No"}})))
    else {
        panic!("none")
    };
    assert_eq!(conflicts[0].manager, "\"ctl\" with subresource \"status\" using example.com/v1");
    world.step(("bob", "apply force", config)).expect("forced");
    let managers = world.managers();
    assert_eq!(managers["kubectl Update v1"], json!({"f:spec": {"f:replicas": {}}}), "shared");
    assert_eq!(
        managers["alice Apply v1"],
        json!({"f:spec": {"f:env": {"k:{\"kind\":\"plain\",\"name\":\"A\"}": {".": {}, "f:name": {}}}}})
    );
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    let cases = [
        (json!({"spec": {"colour": "red"}}), ".spec.colour: field not declared in schema"),
        (json!({"spec": {"replicas": "x"}}), ".spec.replicas: expected numeric (int or float), got string"),
        (
            json!({"spec": {"env": [{"name": "A"}, {"name": "A"}]}}),
            r#".spec.env: duplicate entries for key [kind="plain",name="A"]"#,
        ),
        (
            json!({"spec": {"tags": ["a", null]}}),
            ".spec.tags: element 1: associative list without keys has an element that's an explicit null",
        ),
        (json!({"spec": {"labels": []}}), ".spec.labels: expected map, got list"),
        (
            json!({"spec": {"image": 1, "replicas": "x"}}),
            "errors:\n  .spec.image: expected string, got int64\n  .spec.replicas: ",
        ),
    ];
    for (config, expected) in cases {
        let Err(Refused::Type(why)) = World::new().step(("a", "apply", config)) else { panic!("accepted: {expected}") };
        let head = "failed to create typed patch object (/; example.com/v1, Kind=Thing): ";
        assert!(why.starts_with(&format!("{head}{expected}")), "{why}");
    }
}

#[test]
fn kubectl_goes_on_from_its_client_side_apply() {
    let last = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"image": "i", "replicas": 2}});
    let object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "spec": {"image": "i", "replicas": 2},
        "metadata": {"name": "a", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last.to_string()}}});
    let config = |image: &str, replicas: i64| json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"image": image, "replicas": replicas}});
    let created = || ("kubectl-client-side-apply", "create", object.clone());
    let world = after(vec![created(), ("kubectl", "apply", config("j", 2))]);
    assert_eq!(world.object["spec"], json!({"image": "j", "replicas": 2}));
    let written = &world.object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(*written, format!("{}\n", config("j", 2)));

    let mut world = after(vec![created(), ("other", "update", json!({"spec": {"replicas": 5}}))]);
    let Err(Refused::Conflicts(conflicts)) = world.step(("kubectl", "apply", config("j", 2))) else { panic!("none") };
    assert_eq!(conflicts.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), [".spec.replicas"]);
    let mut world = after(vec![created()]);
    assert!(world.step(("argocd", "apply", config("j", 2))).is_err(), "only kubectl takes over what it wrote");
}

#[test]
fn who_wrote_long_ago_is_forgotten() {
    let mut steps = vec![("m0", "create", json!({"spec": {"labels": {"m0": "x"}}}))];
    let names: Vec<String> = (1..12).map(|n| format!("m{n:02}")).collect();
    steps.extend(names.iter().map(|name| (name.as_str(), "update", json!({"spec": {"labels": {name: "x"}}}))));
    let managers = after(steps).managers();
    assert_eq!(managers.as_object().map(serde_json::Map::len), Some(10));
    let ancient = &managers["ancient-changes Update v1"]["f:spec"]["f:labels"];
    assert_eq!(*ancient, json!({".": {}, "f:m0": {}, "f:m01": {}, "f:m02": {}}));
}

#[test]
fn what_was_never_tracked_belongs_to_who_was_there_before() {
    let mut world = World::new();
    world.object = json!({"spec": {"image": "i", "replicas": 2}});
    world.step(("late", "update", json!({"spec": {"image": "j"}}))).expect("an update");
    assert_eq!(world.managers(), json!({}), "an object without managers is not tracked");
    let refused = world.step(("a", "apply", json!({"spec": {"image": "k"}}))).expect_err("a conflict");
    let Refused::Conflicts(conflicts) = refused else { panic!("{refused:?}") };
    assert_eq!(conflicts[0].manager, "\"before-first-apply\" using example.com/v1");
    world.step(("a", "apply", json!({"spec": {"image": "j"}}))).expect("the same");
    assert_eq!(world.managers()["a Apply v1"], json!({"f:spec": {"f:image": {}}}));
}

#[test]
fn each_version_names_its_own_fields() {
    let world = after(vec![
        ("a", "apply", json!({"spec": {"atoms": ["x"]}})),
        ("b", "apply v2 force", json!({"spec": {"atoms": ["y"]}})),
    ]);
    // In v1 the list is a whole: it changed, so its owner has it no more.
    assert_eq!(world.managers(), json!({"b Apply v2": {"f:spec": {"f:atoms": {"v:\"y\"": {}}}}}));
    assert_eq!(world.object["spec"]["atoms"], json!(["x", "y"]));
}

#[test]
fn what_became_a_whole_is_owned_as_one() {
    let mut world = World::new();
    world.object = json!({"spec": {"atoms": ["x"]}});
    let sent = json!([{"manager": "a", "operation": "Apply", "apiVersion": "example.com/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:atoms": {"v:\"x\"": {}}, "f:image": {}}}}]);
    world.entries = Entries::sent(&sent).expect("entries");
    world.step(("b", "update", json!({"spec": {"replicas": 2}}))).expect("an update");
    assert_eq!(world.managers()["a Apply v1"], json!({"f:spec": {"f:atoms": {}, "f:image": {}}}));
}

#[test]
fn entries_of_clients_are_checked() {
    let entry = |operation: &str, version: &str, kind: &str| {
        json!([{"manager": "a", "operation": operation, "apiVersion": version, "fieldsType": kind, "fieldsV1": {"f:a": {}},
            "time": "2026-01-01T01:00:00+01:00"}])
    };
    let read = Entries::sent(&entry("Update", "v1", "FieldsV1")).expect("entries").into_value().expect("one");
    assert_eq!(read[0]["time"], "2026-01-01T00:00:00Z");
    assert_eq!(Entries::stored(read.clone()).into_value(), Some(read));
    for wrong in
        [entry("Replace", "v1", "FieldsV1"), entry("Apply", "", "FieldsV1"), entry("Apply", "v1", ""), json!({})]
    {
        assert!(Entries::sent(&wrong).is_err(), "{wrong}");
    }
    assert!(Entries::is_reset(&json!([])) && Entries::is_reset(&json!([{}])) && !Entries::is_reset(&json!(null)));
}

//! Schemas, by tables of values and what is said about them.

use serde_json::{Value, json};

use super::*;

fn schema(source: &Value) -> Schema {
    compile(source, "schema").unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn errors(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<String> {
    let mut errors = Vec::new();
    validate(schema, value, old, "", &mut errors);
    errors.iter().map(ToString::to_string).collect()
}

/// A schema for `spec.x`.
fn about(x: Value) -> Schema {
    schema(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": x}}}}))
}

fn said(x: Value, value: Value) -> Vec<String> {
    errors(&about(x), &json!({"spec": {"x": value}}), None)
}

#[test]
fn validation_speaks_as_kubernetes_does() {
    let cases = [
        (
            json!({"type": "integer"}),
            json!("y"),
            "spec.x: Invalid value: \"string\": spec.x in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "string"}),
            json!(null),
            "spec.x: Invalid value: \"null\": spec.x in body must be of type string: \"null\"",
        ),
        (
            json!({"type": "integer", "minimum": 0}),
            json!(-1),
            "spec.x: Invalid value: -1: spec.x in body should be greater than or equal to 0",
        ),
        (
            json!({"type": "integer", "maximum": 5}),
            json!(6),
            "spec.x: Invalid value: 6: spec.x in body should be less than or equal to 5",
        ),
        (
            json!({"type": "number", "minimum": 0, "exclusiveMinimum": true}),
            json!(0),
            "spec.x: Invalid value: 0: spec.x in body should be greater than 0",
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            "spec.x: Invalid value: 7: spec.x in body should be a multiple of 5",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec.x: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            "spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'",
        ),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            "spec.x: Invalid value: \"\": spec.x in body should be at least 1 chars long",
        ),
        (json!({"type": "string", "maxLength": 2}), json!("abc"), "spec.x: Too long: may not be more than 2 bytes"),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            "spec.x: Invalid value: \"now\": spec.x in body must be of type date-time: \"now\"",
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
            json!(["a", "b"]),
            "spec.x: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            json!([1]),
            "spec.x[0]: Invalid value: \"integer\": spec.x[0] in body must be of type string: \"integer\"",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "a"]),
            "spec.x[1]: Duplicate value: \"a\"",
        ),
        (
            json!({"type": "object", "required": ["y"], "properties": {"y": {"type": "string"}}}),
            json!({}),
            "spec.x.y: Required value",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"a": "b"}),
            "spec.x.a: Invalid value: \"string\": spec.x.a in body must be of type integer: \"string\"",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "spec.x: Invalid value: \"boolean\": spec.x in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"kind": "A"}),
            "spec.x.apiVersion: Required value: must not be empty",
        ),
        (
            json!({"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]}),
            json!("c"),
            "spec.x: Invalid value: \"c\": spec.x in body must validate at least one schema (anyOf)",
        ),
        (
            json!({"type": "string", "not": {"enum": ["c"]}}),
            json!("c"),
            "spec.x: Invalid value: \"c\": spec.x in body must not validate the schema (not)",
        ),
    ];
    for (schema, value, expected) in cases {
        assert_eq!(said(schema.clone(), value), [expected], "{schema}");
    }
    let good = [
        (json!({"type": "integer"}), json!(1.0)),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"x-kubernetes-int-or-string": true}), json!("80%")),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), json!([{"a": 1}])),
        (json!({"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "^b"}]}), json!("b")),
    ];
    for (schema, value) in good {
        assert_eq!(said(schema.clone(), value), [""; 0], "{schema}");
    }
}

#[test]
fn pruning_keeps_what_the_schema_knows_or_preserves() {
    let schema = about(json!({"type": "object", "properties": {
        "known": {"type": "string"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"typed": {"type": "object"}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }}));
    let mut value = json!({"top": 1, "spec": {"x": {
        "known": "k", "stray": 1, "open": {"any": {"thing": 1}, "typed": {"stray": 1}},
        "map": {"k": {"a": "1", "b": 2}}, "list": [{"a": "1", "b": 2}],
    }}});
    let mut unknown = Vec::new();
    prune(&schema, &mut value, "", &mut unknown);
    unknown.sort();
    assert_eq!(unknown, ["spec.x.list[0].b", "spec.x.map.k.b", "spec.x.open.typed.stray", "spec.x.stray", "top"]);
    let expected = json!({"spec": {"x": {
        "known": "k", "open": {"any": {"thing": 1}, "typed": {}}, "map": {"k": {"a": "1"}}, "list": [{"a": "1"}],
    }}});
    assert_eq!(value, expected);
}

#[test]
fn defaults_fill_what_is_missing_at_every_depth() {
    let schema = about(json!({"type": "object", "default": {}, "properties": {
        "n": {"type": "integer", "default": 1},
        "m": {"type": "string", "nullable": true, "default": "m"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
    }}));
    let cases = [
        (json!({"spec": {}}), json!({"spec": {"x": {"n": 1, "m": "m"}}})),
        (json!({"spec": {"x": {"n": null, "m": null}}}), json!({"spec": {"x": {"n": 1, "m": null}}})),
        (
            json!({"spec": {"x": {"n": 2, "m": "y", "list": [{}]}}}),
            json!({"spec": {"x": {"n": 2, "m": "y", "list": [{"p": "TCP"}]}}}),
        ),
        (json!({}), json!({})),
    ];
    for (mut value, expected) in cases {
        apply_defaults(&schema, &mut value);
        assert_eq!(value, expected);
    }
}

/// Rules on a spec with all sorts of fields.
fn ruled(rules: Value) -> Result<Schema, Vec<FieldError>> {
    let spec = json!({
        "type": "object",
        "x-kubernetes-validations": rules,
        "properties": {
            "n": {"type": "integer"}, "f": {"type": "number"}, "s": {"type": "string"}, "b": {"type": "boolean"},
            "at": {"type": "string", "format": "date-time"}, "dash-ed": {"type": "string"}, "namespace": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "ios": {"x-kubernetes-int-or-string": true},
        },
    });
    compile(&json!({"type": "object", "properties": {"spec": spec}}), "schema")
}

#[test]
fn rules_that_people_write_are_evaluated() {
    let value = json!({"spec": {
        "n": 3, "f": 2, "s": "web", "b": true, "at": "2026-11-23T20:00:00Z", "dash-ed": "d", "namespace": "ns",
        "list": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "map": {"k": "v"}, "ios": "80%",
    }});
    let old = json!({"spec": {"n": 2, "s": "web"}});
    let cases = [
        ("self.n <= 3", true),
        ("self.n + 1 == 4", true),
        ("self.f == 2.0", true),
        ("self.n > 3", false),
        ("self.s.startsWith('w') && self.s.matches('^[a-z]+$')", true),
        ("size(self.list) == self.n - 1", true),
        ("self.list.all(p, p.port > 0)", true),
        ("self.list.exists(p, p.name == 'c')", false),
        ("self.list.exists_one(p, p.name == 'a')", true),
        ("self.list.map(p, p.name).join(',') == 'a,b'", true),
        ("self.list.filter(p, p.port > 1).size() == 1", true),
        ("self.list.all(p, self.list.exists_one(q, q.name == p.name))", true),
        ("has(self.s) && !has(self.missing)", true),
        ("'k' in self.map && self.map['k'] == 'v'", true),
        ("self.map.all(k, k.size() < 5)", true),
        ("type(self.ios) == string ? self.ios.endsWith('%') : self.ios > 0", true),
        ("self.at < timestamp('2027-01-01T00:00:00Z')", true),
        ("self.__dash__ed == 'x'", false),
        ("self.dash__dash__ed == 'd' && self.__namespace__ == 'ns'", true),
        ("self.s in ['web', 'api']", true),
        ("self.s.lowerAscii().split('e').size() == 2", true),
        ("self.n >= oldSelf.n", true),
        ("oldSelf.s != self.s", false),
        ("self.b ? self.n > 0 : self.n == 0", true),
    ];
    for (rule, expected) in cases {
        let schema = ruled(json!([{"rule": rule, "message": "no"}])).unwrap_or_else(|e| panic!("{rule}: {e:?}"));
        let said = errors(&schema, &value, Some(&old));
        assert_eq!(said.is_empty(), expected, "{rule}: {said:?}");
    }
}

#[test]
fn a_failed_rule_says_what_its_author_wrote() {
    let value = json!({"spec": {"n": 3, "s": "web"}});
    let cases = [
        (json!({"rule": "self.n == 4"}), "spec: Invalid value: failed rule: self.n == 4"),
        (json!({"rule": "self.n == 4", "message": "must be four"}), "spec: Invalid value: must be four"),
        (
            json!({"rule": "self.n == 4", "messageExpression": "'four, not ' + string(self.n)"}),
            "spec: Invalid value: four, not 3",
        ),
        (
            json!({"rule": "self.n == 4", "message": "m", "reason": "FieldValueForbidden", "fieldPath": ".n"}),
            "spec.n: Forbidden: m",
        ),
    ];
    for (rule, expected) in cases {
        let schema = ruled(json!([rule])).expect("compiles");
        assert_eq!(errors(&schema, &value, None), [expected]);
    }
    let schema = ruled(json!([{"rule": "self.b"}])).expect("compiles");
    let said = errors(&schema, &value, None);
    assert!(said[0].contains("rule evaluation error") && said[0].contains("self.b"), "{said:?}");
    let transition = ruled(json!([{"rule": "self.n == oldSelf.n", "message": "immutable"}])).expect("compiles");
    assert_eq!(errors(&transition, &value, None), [""; 0], "nothing to compare with on create");
    assert_eq!(errors(&transition, &value, Some(&json!({"spec": {"n": 1}}))).len(), 1);
}

#[test]
fn a_rule_that_cannot_work_is_refused_when_it_is_defined() {
    for (rule, why) in [
        ("self.n <", "compilation failed"),
        ("self.n.launch()", "launch"),
        ("launch(self.n)", "launch"),
        ("other.n == 1", "other"),
        ("self.list.all(p, q.port > 0)", "q"),
        ("", "required"),
    ] {
        let errors = ruled(json!([{"rule": rule}])).expect_err(rule);
        let text = errors[0].to_string();
        assert!(text.contains("x-kubernetes-validations[0].rule") && text.contains(why), "{rule}: {text}");
    }
}

#[test]
fn a_rule_that_would_run_for_long_is_not_run() {
    let rule = "self.list.all(a, self.list.all(b, self.list.all(c, a.port + b.port + c.port >= 0)))";
    let schema = ruled(json!([{"rule": rule}])).expect("compiles");
    let list = |n: i64| json!({"spec": {"list": (0..n).map(|i| json!({"port": i})).collect::<Vec<_>>()}});
    assert_eq!(errors(&schema, &list(20), None), [""; 0]);
    let started = std::time::Instant::now();
    let said = errors(&schema, &list(5000), None);
    assert!(said[0].contains("would cost too much"), "{said:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let cases = [
        (json!({"properties": {}}), "type"),
        (json!({"type": "array"}), "items"),
        (json!({"type": "object", "$ref": "x"}), "$ref"),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true}),
            "additionalProperties",
        ),
        (json!({"type": "text"}), "type"),
        (json!({"type": "string", "pattern": "("}), "pattern"),
        (json!({"type": "integer", "default": "x"}), "default"),
        (json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}), "list-map-keys"),
        (json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}), "uniqueItems"),
    ];
    for (source, field) in cases {
        let errors = compile(&source, "schema").expect_err(field);
        assert!(errors.iter().any(|e| e.field.contains(field)), "{field}: {errors:?}");
    }
}

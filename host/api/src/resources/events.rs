//! What an Event must say. Those that come through `events.k8s.io` must say more, as in Kubernetes, and change less.

use serde_json::Value;

use crate::registry::Kind;
use crate::schema::FieldError;
use crate::schema::names::qualified_name;

/// What may not change once it was said.
const LASTING: [&str; 12] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
];

/// What is wrong with an Event. The fields are named as in the core group, in whichever form it came; so Kubernetes does it.
pub(super) fn check(kind: &Kind, body: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Some(view) = &kind.view else { return check_any(body, "reportingComponent") };
    let stored = |shown: &Value| {
        let mut event = shown.clone();
        view.store(&mut event);
        event
    };
    let event = stored(body);
    let mut errors = check_any(&event, "reportingController");
    match old.map(stored) {
        None => check_new(&event, &mut errors),
        Some(old) => check_changed(&event, &old, &mut errors),
    }
    errors
}

/// What holds for each.
fn check_any(event: &Value, reporter: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let own = text(&event["metadata"]["namespace"]);
    let about = &event["involvedObject"]["namespace"];
    let timed = !text(&event["eventTime"]).is_empty();
    let fits = match text(about) {
        "" => own == "default" || timed && own == "kube-system",
        about => about == own || timed,
    };
    if !fits {
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            &text(about).into(),
            "does not match event.namespace",
        ));
    }
    if !timed {
        return errors;
    }
    let component = &event["reportingComponent"];
    if text(component).is_empty() {
        errors.push(FieldError::required(reporter, ""));
    }
    let named = qualified_name(text(component)).into_iter();
    errors.extend(named.map(|why| FieldError::invalid(reporter, &text(component).into(), why)));
    for (field, most, needed) in
        [("reportingInstance", 128, true), ("action", 128, true), ("reason", 128, true), ("message", 1024, false)]
    {
        let value = text(&event[field]);
        if needed && value.is_empty() {
            errors.push(FieldError::required(field, ""));
        }
        if value.len() > most {
            errors.push(FieldError::invalid(field, &"".into(), format!("can have at most {most} characters")));
        }
    }
    errors
}

/// What holds for one that is new through `events.k8s.io`.
fn check_new(event: &Value, errors: &mut Vec<FieldError>) {
    check_series(event, errors);
    if text(&event["eventTime"]).is_empty() {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = text(&event["type"]);
    if kind != "Normal" && kind != "Warning" {
        errors.push(FieldError::invalid("type", &"".into(), format!("has invalid value: {kind}")));
    }
    let source = &event["source"];
    let set = [
        ("firstTimestamp", !text(&event["firstTimestamp"]).is_empty()),
        ("lastTimestamp", !text(&event["lastTimestamp"]).is_empty()),
        ("count", event["count"].as_i64().is_some_and(|count| count != 0)),
        ("source", !text(&source["component"]).is_empty() || !text(&source["host"]).is_empty()),
    ];
    for (field, _) in set.into_iter().filter(|(_, set)| *set) {
        errors.push(FieldError::invalid(field, &"".into(), "needs to be unset"));
    }
}

/// What holds for a change through `events.k8s.io`: only the series goes on.
fn check_changed(event: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if event["series"] != old["series"] {
        check_series(event, errors);
    }
    for field in LASTING {
        let name = if field == "reportingController" { "reportingComponent" } else { field };
        if !same(&event[name], &old[name]) {
            errors.push(FieldError::invalid(field, &event[name], "field is immutable"));
        }
    }
    let time = |event: &Value| text(&event["eventTime"]).parse::<jiff::Timestamp>().ok();
    if time(event) != time(old) {
        errors.push(FieldError::invalid("eventTime", &event["eventTime"], "field is immutable"));
    }
}

fn check_series(event: &Value, errors: &mut Vec<FieldError>) {
    let series = &event["series"];
    if series.is_null() {
        return;
    }
    if series["count"].as_i64().unwrap_or(0) < 2 {
        errors.push(FieldError::invalid("series.count", &"".into(), "should be at least 2"));
    }
    if text(&series["lastObservedTime"]).is_empty() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}

/// Whether two values say the same: what is left out is empty.
fn same(one: &Value, other: &Value) -> bool {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    one == other || empty(one) && empty(other)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

//! An answer as people read it: what is empty is left out, what is a name is one word.

use serde_json::{Map, Value, json};

use crate::bindings::exports::threeport::reconciler::guest as export;
use crate::bindings::threeport::reconciler::types as wit;

pub(super) fn answer(answer: &Result<export::Plan, export::Failure>) -> Value {
    match answer {
        Ok(plan) => present(json!({
            "status": parsed(&plan.status),
            "conditions": conditions(&plan.conditions),
            "manifests": plan.manifests.iter().map(manifest).collect::<Vec<_>>(),
            "outputs": plan.outputs.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>(),
            "connection": plan.connection.as_ref().map(connection),
            "watches": plan.watches.iter().map(watch).collect::<Vec<_>>(),
            "events": plan.events.iter().map(|event| format!("{} {}: {}", event.kind, event.reason, event.message)).collect::<Vec<_>>(),
            "memory": plan.memory.as_deref().map(parsed),
            "requeueAfterMs": match plan.next {
                wit::Next::AwaitChange => None,
                wit::Next::RequeueAfterMs(after) => Some(after),
            },
        })),
        Err(failure) => present(json!({
            "failure": format!("{} {}: {}", failure.kind, failure.problem.code, failure.problem.message),
            "field": failure.problem.field,
            "objects": failure.problem.objects.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "status": failure.status.as_deref().map(parsed),
            "conditions": conditions(&failure.conditions),
            "watches": failure.watches.iter().map(watch).collect::<Vec<_>>(),
            "retryAfterMs": failure.problem.retry_after_ms,
        })),
    }
}

fn present(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    Value::Object(fields.into_iter().filter(|(_, value)| !empty(value)).collect())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| json!(format!("not JSON ({error}): {text}")))
}

fn conditions(conditions: &[wit::Condition]) -> Map<String, Value> {
    let shown =
        |condition: &wit::Condition| json!(format!("{} {}: {}", condition.status, condition.reason, condition.message));
    conditions.iter().map(|condition| (condition.kind.clone(), shown(condition))).collect()
}

fn connection(connection: &wit::Connection) -> String {
    let options = if connection.options == "{}" { String::new() } else { format!(" with {}", connection.options) };
    format!("{} key {}{options}", connection.secret, connection.key)
}

fn manifest(manifest: &wit::Manifest) -> Value {
    present(json!({
        "on": manifest.target.to_string(),
        "body": parsed(&manifest.body),
        "options": manifest.options,
        "after": manifest.after,
    }))
}

fn watch(watch: &wit::Watch) -> Value {
    let scope = watch.namespace.as_deref().unwrap_or("*");
    let selector = watch.selector.as_deref().map(|selector| format!(" where {selector}")).unwrap_or_default();
    json!(format!(
        "{} {} in {scope} on {}{selector}: {}",
        watch.api_version,
        watch.kind,
        watch.target,
        watch.fields.join(", ")
    ))
}

//! Events about an object.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use crate::connect::{Server, query};
use crate::output::columns;
use crate::time::ago;

/// The Events about an object, oldest first.
pub(crate) async fn about(server: &Server, object: &Value) -> Result<Vec<Value>> {
    let metadata = &object["metadata"];
    let uid = metadata["uid"].as_str().unwrap_or_default();
    // Those of objects without a namespace are in this one, as in Kubernetes.
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let selector = format!("involvedObject.uid={uid}");
    let path = format!("/api/v1/namespaces/{namespace}/events{}", query(&[("fieldSelector", &selector)]));
    let mut list = server.get(&path).await?;
    let Value::Array(mut events) = list["items"].take() else { return Ok(Vec::new()) };
    events.sort_by_key(last_seen);
    Ok(events)
}

fn last_seen(event: &Value) -> String {
    let times = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
    let created = &event["metadata"]["creationTimestamp"];
    times.into_iter().chain([created]).find_map(Value::as_str).unwrap_or_default().to_owned()
}

/// As kubectl lists them.
pub(crate) fn print(out: &mut impl Write, indent: &str, events: &[Value]) -> Result<()> {
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let times = match event["count"].as_u64() {
                Some(count) if count > 1 => format!("{} (x{count})", ago(&last_seen(event))),
                _ => ago(&last_seen(event)),
            };
            vec![text("type"), text("reason"), times, text("message").replace('\n', " ")]
        })
        .collect();
    columns(out, indent, &["TYPE", "REASON", "AGE", "MESSAGE"], &rows)
}

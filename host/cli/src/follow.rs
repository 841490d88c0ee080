//! One object followed until something holds for it.

use std::time::Duration;

use anyhow::Result;
use futures::TryStreamExt as _;
use serde_json::Value;
use threeport_kube::kube::core::WatchEvent;

use crate::connect::{Server, query};
use crate::kinds::Kind;

/// Between looks when the server ends watches at once.
const PAUSE: Duration = Duration::from_millis(200);

/// Where an object is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// Looks at the object now and at each change, None when it is not there, until the judge has an answer.
pub(crate) async fn follow<T>(
    server: &Server,
    place: Place<'_>,
    mut judge: impl FnMut(Option<&Value>) -> Option<T>,
) -> Result<T> {
    let collection = place.kind.collection(Some(place.namespace));
    let fields = format!("metadata.name={}", place.name);
    loop {
        let list = server.get(&format!("{collection}{}", query(&[("fieldSelector", &fields)]))).await?;
        if let Some(answer) = judge(list["items"].get(0)) {
            return Ok(answer);
        }
        let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let parameters = [("fieldSelector", fields.as_str()), ("watch", "true"), ("resourceVersion", version)];
        let stream = server.events(&format!("{collection}{}", query(&parameters)), false).await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.try_next().await? {
            let answer = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => judge(Some(&object)),
                WatchEvent::Deleted(_) => judge(None),
                WatchEvent::Bookmark(_) => None,
                // The log does not reach back so far any more: look anew.
                WatchEvent::Error(_) => break,
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A condition of the object, if it speaks of the object as it is now.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let condition = object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition["type"].as_str().is_some_and(|have| have.eq_ignore_ascii_case(kind)))?;
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let seen =
        condition["observedGeneration"].as_i64().or_else(|| object.pointer("/status/observedGeneration")?.as_i64());
    seen.is_none_or(|seen| seen >= generation).then_some(condition)
}

/// How the object is doing, in one line.
pub(crate) fn news(object: Option<&Value>) -> String {
    let Some(object) = object else { return "not there yet".to_owned() };
    let deleting = object["metadata"]["deletionTimestamp"].is_string();
    let Some(ready) = condition(object, "Ready") else {
        return if deleting { "being deleted" } else { "not looked at yet" }.to_owned();
    };
    let text = |key: &str| ready[key].as_str().unwrap_or_default();
    if deleting {
        return format!("being deleted: {}: {}", text("reason"), text("message"));
    }
    match text("status") {
        "True" => format!("Ready: {}", text("reason")),
        _ => format!("{}: {}", text("reason"), text("message")),
    }
}

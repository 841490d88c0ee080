//! Events about what goes and what does not.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use threeport_store::{Error, Key, Op, Precondition, Resource, lifecycle};

use crate::collector::Collector;

/// Longest message that Kubernetes takes.
const MESSAGE: usize = 1024;

/// One thing to tell.
pub(crate) struct Note {
    kind: &'static str,
    reason: &'static str,
    message: String,
}

impl Note {
    pub(crate) fn normal(reason: &'static str, message: String) -> Self {
        Self { kind: "Normal", reason, message }
    }

    pub(crate) fn warning(reason: &'static str, message: String) -> Self {
        Self { kind: "Warning", reason, message }
    }
}

impl Collector {
    /// Tells it about an object; what is said again is counted. Telling is not what this is for: that it fails is only logged.
    pub(crate) async fn tell(&self, object: &Value, note: &Note) {
        if let Err(error) = self.say(object, note).await {
            tracing::debug!(reason = note.reason, "an Event is not written: {error}");
        }
    }

    async fn say(&self, object: &Value, note: &Note) -> Result<(), Error> {
        let op = event(object, note, &self.instance, self.store.now());
        let Op::Put { key, body, .. } = &op else { return Ok(()) };
        let (key, body) = (key.clone(), body.clone());
        match self.store.write(vec![op]).await {
            Err(Error::AlreadyExists(_)) => {}
            result => return result.map(drop),
        }
        let Some(stored) = self.store.get(&key).await? else { return Ok(()) };
        let mut first = stored.value();
        first["count"] = (first["count"].as_i64().unwrap_or(1) + 1).into();
        first["lastTimestamp"] = body["lastTimestamp"].clone();
        let precondition = Precondition::Present { uid: None, resource_version: Some(stored.resource_version) };
        self.store.write(vec![Op::Put { key, body: first, precondition, edges: None, wake: None }]).await.map(drop)
    }
}

/// The same said again has the same name.
fn event(object: &Value, note: &Note, instance: &str, now: Timestamp) -> Op {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = metadata["namespace"].as_str().unwrap_or("default").to_owned();
    let said = [&text(&metadata["uid"]), note.kind, note.reason, &note.message].join("\0");
    let hash: String = Sha256::digest(said.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // A name has room for 253 characters; the tail keeps it unique.
    let stem: String = text(&metadata["name"]).chars().take(200).collect();
    let name = format!("{stem}.{hash}");
    let mut message: String = note.message.chars().take(MESSAGE).collect();
    if message.len() < note.message.len() {
        message.truncate(message.char_indices().rev().nth(3).map_or(0, |(end, _)| end));
        message.push_str("...");
    }
    let now = lifecycle::timestamp(now);
    let mut about = json!({"apiVersion": object["apiVersion"], "kind": object["kind"]});
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        if let Some(value) = metadata.get(field) {
            about[field] = value.clone();
        }
    }
    let body = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {
            "name": name, "namespace": namespace, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": now,
        },
        "involvedObject": about,
        "type": note.kind, "reason": note.reason, "message": message,
        "source": {"component": "threeport"}, "reportingComponent": "threeport", "reportingInstance": instance,
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    let key = Key { resource: Resource::new("", "events"), namespace: Some(namespace.into()), name: name.into() };
    Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_has_the_same_name_and_room_in_an_event() {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": "c", "uid": "u"}});
        let of = |message: &str| match event(
            &object,
            &Note::warning("InUse", message.to_owned()),
            "me",
            Timestamp::UNIX_EPOCH,
        ) {
            Op::Put { key, body, .. } => (key, body),
            _ => unreachable!(),
        };
        let long = "ü".repeat(2000);
        let (key, body) = of(&long);
        assert_eq!((&key, "a"), (&of(&long).0, key.namespace.as_deref().unwrap_or_default()));
        assert_ne!(key, of("other").0);
        assert!(
            body["message"]
                .as_str()
                .is_some_and(|message| message.chars().count() <= MESSAGE && message.ends_with("..."))
        );
        assert_eq!(body["involvedObject"]["uid"], "u");
    }
}

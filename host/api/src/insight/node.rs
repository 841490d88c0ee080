//! An object in a tree or a chain: what it is called and how it is.

use serde::Serialize;
use serde_json::Value;
use threeport_store::{Edge, Key, Object};

use super::Reference;
use crate::registry::{CRD_GROUP, CRD_PLURAL, PLUGIN};
use crate::router::App;
use crate::status::ApiResult;

/// An object, and how it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    #[serde(flatten)]
    pub(crate) reference: Reference,
    /// None: it does not exist, or is not theirs to see who ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<String>,
    /// True, False or Unknown. What has no conditions (a Secret) is ready by being there.
    pub(crate) ready: String,
    /// Why.
    pub(crate) reason: String,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    /// Since when it is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// Its deletion was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deleting: bool,
}

impl Node {
    pub(crate) fn exists(&self) -> bool {
        self.uid.is_some()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready == "True"
    }

    /// Not theirs to see who ask.
    pub(crate) fn is_unseen(&self) -> bool {
        self.uid.is_none() && self.reason == UNSEEN
    }

    /// `Widget shop/web`
    pub(crate) fn named(&self) -> String {
        match &self.reference.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.reference.kind, self.reference.name),
            None => format!("{} {}", self.reference.kind, self.reference.name),
        }
    }
}

/// Name of the Plugin that reconciles the objects of a collection.
pub(crate) async fn plugin_of(app: &App, key: &Key) -> ApiResult<Option<String>> {
    let definition = Key {
        resource: threeport_store::Resource::new(CRD_GROUP, CRD_PLURAL),
        namespace: None,
        name: key.resource.to_string().into(),
    };
    let Some(definition) = app.store.get(&definition).await? else { return Ok(None) };
    let definition = definition.value();
    let annotations = &definition["metadata"]["annotations"];
    Ok(annotations.get(PLUGIN).and_then(Value::as_str).map(str::to_owned))
}

/// The node of a key, whether there is such an object or not.
pub(crate) async fn node(app: &App, key: &Key) -> ApiResult<Node> {
    match app.store.get(key).await? {
        Some(object) => of_object(app, &object).await,
        None => Ok(missing(app, key)),
    }
}

fn missing(app: &App, key: &Key) -> Node {
    let (reference, served) = named(app, key);
    let message = if served {
        format!("{key} does not exist: create it")
    } else {
        format!("{key} does not exist, and nothing serves {}: push the plugin that does", key.resource)
    };
    let (ready, reason) = ("False".to_owned(), "NotFound".to_owned());
    Node { reference, uid: None, ready, reason, message, since: None, deleting: false }
}

/// Reason of a node that is not theirs to see who ask.
const UNSEEN: &str = "Forbidden";

/// The node of a key for somebody who may not get it: what it is called, and not even whether it is there.
pub(crate) fn unseen(app: &App, key: &Key) -> Node {
    let reference = named(app, key).0;
    let (ready, reason) = ("Unknown".to_owned(), UNSEEN.to_owned());
    Node { reference, uid: None, ready, reason, message: String::new(), since: None, deleting: false }
}

/// What a key is called, and whether its kind is served.
pub(super) fn named(app: &App, key: &Key) -> (Reference, bool) {
    let kinds = app.registry.kinds();
    let known = kinds.all().find(|kind| kind.resource == key.resource);
    let (api_version, kind) = match known {
        Some(kind) => (kind.api_version.to_string(), kind.kind.to_string()),
        None => (key.resource.group.to_string(), key.resource.plural.to_string()),
    };
    let namespace = key.namespace.as_deref().map(str::to_owned);
    (Reference { api_version, kind, namespace, name: key.name.to_string() }, known.is_some())
}

/// The node of a stored object.
pub(crate) async fn of_object(app: &App, object: &Object) -> ApiResult<Node> {
    let value = object.value();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (ready, reason, message, since) = match readiness(&value) {
        Some(said) => said,
        None if plugin_of(app, &object.key).await?.is_some() => (
            "Unknown".to_owned(),
            "NotReconciled".to_owned(),
            "nobody has looked at it yet".to_owned(),
            Some(text("/metadata/creationTimestamp")),
        ),
        None => ("True".to_owned(), "Exists".to_owned(), String::new(), Some(text("/metadata/creationTimestamp"))),
    };
    Ok(Node {
        reference: Reference {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: object.key.namespace.as_deref().map(str::to_owned),
            name: object.key.name.to_string(),
        },
        uid: Some(object.uid.to_string()),
        ready,
        reason,
        message,
        since: since.filter(|since| !since.is_empty()),
        deleting: value.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()),
    })
}

/// What the condition Ready says of the object as it is now: status, reason, message, since when.
fn readiness(object: &Value) -> Option<(String, String, String, Option<String>)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let seen = ready["observedGeneration"].as_i64().unwrap_or(generation);
    if seen < generation {
        let message =
            format!("its spec has changed since it was looked at (generation {generation}, looked at {seen})");
        return Some(("Unknown".to_owned(), "NotReconciled".to_owned(), message, None));
    }
    Some((text("status"), text("reason"), text("message"), ready["lastTransitionTime"].as_str().map(str::to_owned)))
}

/// How one object comes to another.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Link {
    /// The field that names it.
    pub(crate) field: String,
    /// `target`, `requires` or `uses`.
    pub(crate) role: String,
}

impl From<&Edge> for Link {
    fn from(edge: &Edge) -> Self {
        Self { field: edge.field.clone(), role: edge.role.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_of_an_older_spec_says_nothing_of_this_one() {
        let object = |seen| {
            json!({"metadata": {"generation": 2}, "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Served",
                "message": "it serves", "observedGeneration": seen}]}})
        };
        assert_eq!(readiness(&object(2)).map(|(ready, ..)| ready).as_deref(), Some("True"));
        let (ready, reason, message, _) = readiness(&object(1)).expect("a condition");
        assert_eq!((ready.as_str(), reason.as_str()), ("Unknown", "NotReconciled"));
        assert!(message.contains("generation 2"), "{message}");
        assert!(readiness(&json!({"status": {}})).is_none());
    }
}

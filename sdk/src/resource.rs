//! Kinds and their objects, typed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::threeport::reconciler::types as wit;
use crate::{Failure, ObjectRef};

/// A kind that a plugin serves.
pub trait Resource {
    /// `threeport.dev/v1`
    const API_VERSION: &'static str;
    /// `Workload`
    const KIND: &'static str;
    /// What the user wants. Defaults of the schema are filled in already.
    type Spec: DeserializeOwned;
    /// What is. Conditions are not part of it: they are the plan's.
    type Status: Serialize + DeserializeOwned + Default;
}

/// An object of a kind.
pub struct Object<R: Resource> {
    /// metadata.name
    pub name: String,
    /// metadata.namespace; None for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// metadata.uid
    pub uid: String,
    /// metadata.generation
    pub generation: u64,
    /// metadata.labels
    pub labels: BTreeMap<String, String>,
    /// metadata.annotations
    pub annotations: BTreeMap<String, String>,
    /// What the user wants.
    pub spec: R::Spec,
    /// What the last run left, or the default.
    pub status: R::Status,
    /// The object as JSON.
    pub body: Value,
}

impl<R: Resource> Object<R> {
    /// What other objects call this one.
    pub fn reference(&self) -> ObjectRef {
        reference(R::API_VERSION, R::KIND, self.namespace.as_deref(), &self.name)
    }

    pub(crate) fn decode(object: &wit::Object) -> Result<Self, Failure> {
        let mut body: Value = serde_json::from_str(&object.body)
            .map_err(|error| Failure::terminal("ObjectUnreadable", error.to_string()))?;
        let map = |pointer: &str| -> BTreeMap<String, String> {
            body.pointer(pointer).and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
        };
        let (labels, annotations) = (map("/metadata/labels"), map("/metadata/annotations"));
        let spec = body.get_mut("spec").map(Value::take).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let decoded = serde_json::from_value(spec.clone())
            .map_err(|error| Failure::invalid("spec", format!("the plugin cannot read this spec: {error}")))?;
        if let Some(place) = body.get_mut("spec") {
            *place = spec;
        }
        // A status that an older version of the plugin wrote may not fit any more: it is only what was seen.
        let status =
            body.get("status").and_then(|status| serde_json::from_value(status.clone()).ok()).unwrap_or_default();
        Ok(Self {
            name: object.ref_.name.clone(),
            namespace: object.ref_.namespace.clone(),
            uid: object.uid.clone(),
            generation: object.generation,
            labels,
            annotations,
            spec: decoded,
            status,
            body,
        })
    }
}

/// Names an object.
pub fn reference(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: namespace.map(Into::into),
        name: name.into(),
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

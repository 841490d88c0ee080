//! What a run leaves for the next one: in the work item's carried state and in the state of inventory entries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use threeport_store::InventoryEntry;
use threeport_wasm::{ObjectRef, Problem};

use crate::tenants::Options;

/// Carried state of an object of a plugin's kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Carried {
    /// The plugin's own memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<String>,
    /// For objects that refer to this one.
    pub(crate) outputs: BTreeMap<String, String>,
    /// How to reach the target that this object is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<Link>,
    /// Identities were made on the target that this object is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) rooted: bool,
    /// The generation for which everything on targets is as a plan wanted it, and nothing is left over from before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) settled: Option<i64>,
    /// What to watch beyond the inventory.
    pub(crate) watches: Vec<WatchRecord>,
    /// Digest of the component whose answer was accepted last.
    pub(crate) plugin: String,
    /// The plugin asked to be run again at a time.
    pub(crate) requeue: bool,
}

/// A connection: the Secret of this control plane that holds a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Namespace of the Secret.
    pub(crate) namespace: String,
    /// Name of the Secret.
    pub(crate) secret: String,
    /// Key in its data.
    pub(crate) key: String,
    /// Who may use what there.
    #[serde(default)]
    pub(crate) options: Options,
}

/// A watch that the plan asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WatchRecord {
    pub(crate) target: String,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) selector: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) fields: Vec<String>,
}

impl Carried {
    /// Reads what the store kept; nothing, or something of another make, is the empty state.
    pub(crate) fn read(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    pub(crate) fn write(&self) -> Value {
        serde_json::to_value(self).expect("plain data is JSON")
    }
}

/// State of one inventory entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ManifestState {
    /// Digest of the manifest as it was applied last; empty while it never was.
    pub(crate) hash: String,
    /// Our fields in the live object right after that.
    pub(crate) live: Value,
    /// Leave it where it is when it leaves the plan.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keep: bool,
    /// It was there before and was taken over: removing means letting go of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) adopted: bool,
    /// A run lost its lease when it was about to make it: until then (milliseconds since 1970) it is looked for, though it is not there.
    #[serde(skip_serializing_if = "none")]
    pub(crate) awaited: u64,
    /// Why the target refused it the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Refusal>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn none(until: &u64) -> bool {
    *until == 0
}

/// A target's refusal of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
    /// Digest of the manifest that was refused.
    pub(crate) hash: String,
}

impl Refusal {
    pub(crate) fn problem(&self) -> Problem {
        problem(&self.code, self.message.clone())
    }
}

impl ManifestState {
    pub(crate) fn of(entry: &InventoryEntry) -> Self {
        Self::deserialize(&entry.state).unwrap_or_default()
    }

    pub(crate) fn write(&self) -> Value {
        serde_json::to_value(self).expect("plain data is JSON")
    }
}

/// A problem with code and message only.
pub(crate) fn problem(code: &str, message: impl Into<String>) -> Problem {
    Problem { code: code.to_owned(), message: message.into(), field: None, objects: Vec::new(), retry_after_ms: None }
}

/// `apiVersion/kind/namespace/name`: how inventory and watches name a target.
pub(crate) fn target_name(target: &ObjectRef) -> String {
    format!(
        "{}/{}/{}/{}",
        target.api_version,
        target.kind,
        target.namespace.as_deref().unwrap_or_default(),
        target.name
    )
}

/// The way back from [`target_name`].
pub(crate) fn target_ref(name: &str) -> Option<ObjectRef> {
    let mut parts = name.rsplitn(4, '/');
    let (name, namespace, kind, api_version) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_is_found_again_by_its_name() {
        for namespace in [Some("a".to_owned()), None] {
            let target = ObjectRef {
                api_version: "example.org/v1".into(),
                kind: "Place".into(),
                namespace,
                name: "here".into(),
            };
            let back = target_ref(&target_name(&target)).unwrap();
            assert_eq!((target_name(&back), back.namespace), (target_name(&target), target.namespace));
        }
        assert!(target_ref("a/b").is_none());
    }

    #[test]
    fn carried_state_survives_the_store_and_the_empty_one_reads_as_default() {
        let carried = Carried { memory: Some("{}".into()), plugin: "sha256:a".into(), ..Carried::default() };
        assert_eq!(Carried::read(&carried.write()), carried);
        assert_eq!(Carried::read(&Value::Null), Carried::default());
        assert_eq!(Carried::read(&json!({})), Carried::default());
    }
}

//! Bodies on their way into the store: serialised once, in the caller's task, with a gap where the writer puts the resourceVersion.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde_json::Value;

use crate::error::Error;
use crate::lifecycle;
use crate::types::{Key, MAX_DEPTH, Object, deeper_than};

/// Nobody can guess it, so nobody can have it in a body.
static PLACEHOLDER: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().simple().to_string());

/// A serialised object without its resourceVersion.
pub(crate) struct Body {
    text: Vec<u8>,
    /// Where the resourceVersion goes; None for a text that is kept as it is.
    gap: Option<usize>,
    pub(crate) uid: Arc<str>,
    /// uids of its owners, each once.
    pub(crate) owners: Vec<Arc<str>>,
    /// The collector has to see to its going.
    pub(crate) collected: bool,
}

impl Body {
    pub(crate) fn new(key: &Key, value: Value) -> Result<Self, Error> {
        if deeper_than(&value, MAX_DEPTH) {
            return Err(Error::TooDeep(key.clone()));
        }
        Self::write(key, value)
    }

    /// How an object was last: whatever is stored can be removed, even what cannot be read.
    pub(crate) fn last(object: &Object) -> Self {
        Self::write(&object.key, object.value()).unwrap_or_else(|_| Self {
            text: object.body.to_vec(),
            gap: None,
            uid: object.uid.clone(),
            owners: Vec::new(),
            collected: false,
        })
    }

    /// Whatever is to be written, however deep.
    pub(crate) fn write(key: &Key, mut value: Value) -> Result<Self, Error> {
        let refused = |why: &str| Error::Corrupt(key.to_string(), why.to_string());
        let (owners, collected) = (lifecycle::owner_uids(&value), lifecycle::is_collected(key, &value));
        let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
        let metadata = metadata.ok_or_else(|| refused("the body to be written has no metadata"))?;
        let uid = metadata.get("uid").and_then(Value::as_str).filter(|uid| !uid.is_empty()).map(Arc::from);
        let uid = uid.ok_or_else(|| refused("the body to be written has no metadata.uid"))?;
        metadata.insert("resourceVersion".to_string(), Value::String(PLACEHOLDER.clone()));
        let mut text = serde_json::to_vec(&value).map_err(|error| refused(&error.to_string()))?;
        let gap = memchr::memmem::find(&text, PLACEHOLDER.as_bytes()).expect("it was just written");
        text.drain(gap..gap + PLACEHOLDER.len());
        Ok(Self { text, gap: Some(gap), uid, owners, collected })
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// The complete body at a resourceVersion.
    pub(crate) fn at(&self, resource_version: u64) -> Bytes {
        let Some(gap) = self.gap else { return Bytes::copy_from_slice(&self.text) };
        let digits = resource_version.to_string();
        let mut out = Vec::with_capacity(self.text.len() + digits.len());
        out.extend_from_slice(&self.text[..gap]);
        out.extend_from_slice(digits.as_bytes());
        out.extend_from_slice(&self.text[gap..]);
        out.into()
    }

    /// Whether a stored body says the same, whatever the order of its keys.
    pub(crate) fn says(&self, stored: &Bytes, resource_version: u64) -> bool {
        let same = self.at(resource_version);
        same.len() == stored.len() && (same == *stored || parse(&same) == parse(stored))
    }
}

pub(crate) fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

/// Whether two bodies differ in what others may depend on: anything but status, resourceVersion and managedFields.
pub(crate) fn differs_for_others(old: &[u8], new: &[u8]) -> bool {
    let strip = |body| {
        let mut value = parse(body);
        if let Some(object) = value.as_object_mut() {
            object.remove("status");
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("resourceVersion");
                metadata.remove("managedFields");
            }
        }
        value
    };
    strip(old) != strip(new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::types::Resource;

    fn key() -> Key {
        Key { resource: Resource::new("", "configmaps"), namespace: Some("a".into()), name: "b".into() }
    }

    #[test]
    fn the_resource_version_goes_into_the_metadata_and_nowhere_else() {
        let body = Body::new(&key(), json!({"data": {"resourceVersion": "x"}, "metadata": {"uid": "u"}})).unwrap();
        let expected = json!({"data": {"resourceVersion": "x"}, "metadata": {"uid": "u", "resourceVersion": "42"}});
        assert_eq!(parse(&body.at(42)), expected);
        assert!(body.says(&body.at(9), 9));
        assert!(!body.says(&body.at(9), 10));
    }

    #[test]
    fn what_is_nested_too_deep_to_be_read_again_is_refused() {
        let nested = |levels: usize| {
            let spec = (0..levels)
                .fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) });
            Body::new(&key(), json!({"metadata": {"uid": "u"}, "spec": spec}))
        };
        assert_eq!(parse(&nested(MAX_DEPTH - 1).unwrap().at(1))["metadata"]["uid"], "u");
        let refused = nested(MAX_DEPTH).err().unwrap();
        assert!(matches!(refused, Error::TooDeep(_)) && refused.to_string().contains("100"), "{refused}");
    }

    #[test]
    fn a_body_without_uid_is_refused() {
        assert!(Body::new(&key(), json!({"metadata": {"name": "b"}})).is_err());
        assert!(Body::new(&key(), json!({})).is_err());
    }

    #[test]
    fn status_and_bookkeeping_do_not_matter_to_others() {
        let a = br#"{"metadata":{"uid":"u","resourceVersion":"1","managedFields":[1]},"status":{"a":1},"data":1}"#;
        let b = br#"{"metadata":{"uid":"u","resourceVersion":"2"},"data":1}"#;
        let c = br#"{"metadata":{"uid":"u","resourceVersion":"2"},"data":2}"#;
        assert!(!differs_for_others(a, b));
        assert!(differs_for_others(b, c));
    }
}

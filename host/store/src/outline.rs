//! The end of a stored object, read without the rest of it.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::lifecycle::{FOREGROUND, ORPHAN, deleted, finalizers};
use crate::types::Object;

/// What a stored object's metadata says of its end. The rest of it is skimmed: it may be large, and there may be many.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outline<'a> {
    /// Its deletion was asked for.
    pub going: bool,
    /// What holds it.
    pub finalizers: Vec<Cow<'a, str>>,
}

impl<'a> Outline<'a> {
    /// Reads it.
    pub fn of(object: &'a Object) -> Self {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            metadata: Metadata<'a>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata<'a> {
            deletion_timestamp: Option<IgnoredAny>,
            #[serde(borrow)]
            finalizers: Option<Vec<Cow<'a, str>>>,
        }
        if let Ok(Whole { metadata }) = serde_json::from_slice(&object.body) {
            let finalizers = metadata.finalizers.unwrap_or_default();
            return Self { going: metadata.deletion_timestamp.is_some(), finalizers };
        }
        // It is not as the API would have it.
        let body = object.value();
        let held = finalizers(&body).iter().filter_map(Value::as_str);
        Self { going: deleted(&body), finalizers: held.map(|held| Cow::Owned(held.to_owned())).collect() }
    }

    /// It is going, others hold it, and it says nothing of what becomes of what it owns: deleting it in the background once more changes nothing.
    pub fn is_on_its_way(&self) -> bool {
        self.going
            && !self.finalizers.is_empty()
            && !self.finalizers.iter().any(|finalizer| matches!(&**finalizer, FOREGROUND | ORPHAN))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lifecycle::{Deletion, FINALIZER, Propagation, delete, is_going, namespace_key};

    #[test]
    fn what_is_on_its_way_is_told_as_its_deletion_would_tell() {
        let of = |body: &Value| {
            let body = body.to_string().into();
            let object = Object { key: namespace_key("a"), uid: "u".into(), resource_version: 1, body };
            (is_going(&object), Outline::of(&object).is_on_its_way())
        };
        let now: jiff::Timestamp = "2026-11-23T20:30:00Z".parse().unwrap();
        let stored = json!({"metadata": {"name": "a", "finalizers": [FINALIZER]}});
        assert_eq!(of(&stored), (false, false));
        assert_eq!(of(&json!({"metadata": {"deletionTimestamp": null}})), (false, false));
        assert_eq!(of(&json!({"metadata": {"deletionTimestamp": "x", "finalizers": [1]}})), (true, false));
        assert_eq!(of(&json!({"data": {"deletionTimestamp": "x"}, "metadata": {"name": "a"}})), (false, false));
        for (way, again) in [(None, true), (Some(Propagation::Foreground), false), (Some(Propagation::Orphan), false)] {
            let Deletion::Mark(marked) = delete(&stored, now, way) else { panic!("not marked") };
            assert_eq!(of(&marked), (true, again));
            let already = delete(&marked, now, Some(Propagation::Background)) == Deletion::Already;
            assert_eq!(already, again);
        }
    }
}

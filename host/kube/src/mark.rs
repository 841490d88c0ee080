//! Whose an object is: the labels and annotations that we put on it, and what they forbid.
//!
//! An object has one owner: label `threeport.dev/owner-uid`, annotations `threeport.dev/{owner,epoch,applied}`. A shared one has a set of each, with the
//! owner's uid as the name (`owner.threeport.dev/<uid>`), so that owners do not contend for a field. `applied` is a digest of what was asked for: as long as
//! it is the same and the values are there, nothing needs to be sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{ADOPTED, ApplyOptions, EPOCH, Error, MANAGED_BY, OWNER, OWNER_UID, Owner};

const APPLIED: &str = "threeport.dev/applied";
const SHARED_OWNER: &str = "owner.threeport.dev/";
const SHARED_EPOCH: &str = "epoch.threeport.dev/";
const SHARED_APPLIED: &str = "applied.threeport.dev/";

/// One owner's mark.
pub(crate) struct Mark<'a> {
    owner: &'a Owner,
    manager: String,
    owner_label: String,
    owner_key: String,
    epoch_key: String,
    applied_key: String,
    shared: bool,
}

impl<'a> Mark<'a> {
    /// Refuses a uid that no label can hold.
    pub(crate) fn new(step: &str, owner: &'a Owner, shared: bool) -> Result<Mark<'a>, Error> {
        let uid = owner.uid.as_str();
        let plain = |c: char| c.is_ascii_alphanumeric();
        let fits = !uid.is_empty() && uid.len() <= 63 && uid.starts_with(plain) && uid.ends_with(plain);
        if !fits || !uid.chars().all(|c| plain(c) || matches!(c, '-' | '_' | '.')) {
            return Err(Error::Invalid {
                step: step.to_owned(),
                why: format!("the owner's uid {uid:?} cannot be a label"),
            });
        }
        let key = |own: &str, each: &str| if shared { format!("{each}{uid}") } else { own.to_owned() };
        Ok(Mark {
            owner,
            manager: manager(uid),
            owner_label: key(OWNER_UID, SHARED_OWNER),
            owner_key: key(OWNER, SHARED_OWNER),
            epoch_key: key(EPOCH, SHARED_EPOCH),
            applied_key: key(APPLIED, SHARED_APPLIED),
            shared,
        })
    }

    pub(crate) fn uid(&self) -> &str {
        &self.owner.uid
    }

    pub(crate) fn manager(&self) -> &str {
        &self.manager
    }

    /// The manifest without what is not ours to say, with our labels and annotations but the epoch.
    pub(crate) fn intent(&self, step: &str, manifest: &Value) -> Result<Value, Error> {
        let mut body = manifest.clone();
        let invalid = |why: &str| Error::Invalid { step: step.to_owned(), why: why.to_owned() };
        let object = body.as_object_mut().ok_or_else(|| invalid("a manifest must be an object"))?;
        object.remove("status");
        if object.get("kind").and_then(Value::as_str) == Some("Secret") {
            encode_string_data(object);
        }
        let metadata =
            object.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(|| invalid("metadata is missing"))?;
        if metadata.contains_key("generateName") {
            return Err(invalid("metadata.generateName gives another object at each run; set metadata.name"));
        }
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"] {
            metadata.remove(field);
        }
        for field in ["labels", "annotations"] {
            if metadata.get(field).is_none_or(Value::is_null) {
                metadata.insert(field.to_owned(), json!({}));
            }
            let map =
                metadata[field].as_object().ok_or_else(|| invalid(&format!("metadata.{field} must be an object")))?;
            if let Some(key) = map.keys().find(|key| ours(key)) {
                return Err(invalid(&format!("metadata.{field}[{key}] is set by Threeport; leave it out")));
            }
        }
        let uid = if self.shared { "" } else { self.owner.uid.as_str() };
        metadata["labels"][MANAGED_BY] = "threeport".into();
        metadata["labels"][&self.owner_label] = uid.into();
        metadata["annotations"][&self.owner_key] = self.owner.name.as_str().into();
        if let Some(digest) = self.digest(&body) {
            body["metadata"]["annotations"][&self.applied_key] = digest.into();
        }
        Ok(body)
    }

    /// The intent with our epoch, bound to the live object that was checked.
    pub(crate) fn stamped(&self, intent: &Value, live: Option<&Value>) -> Value {
        let mut body = intent.clone();
        body["metadata"]["annotations"][&self.epoch_key] = self.owner.epoch.to_string().into();
        let Some(live) = live else { return body };
        if !self.shared && !self.is_ours(live) {
            body["metadata"]["annotations"][ADOPTED] = managers(live).into();
        }
        self.keep_adopted(&mut body, live);
        at(&body, live)
    }

    /// The intent with the epoch that the live object has: what would be there if nothing changed.
    pub(crate) fn kept(&self, intent: &Value, live: &Value) -> Value {
        let mut body = intent.clone();
        if let Some(epoch) = annotation(live, &self.epoch_key) {
            body["metadata"]["annotations"][&self.epoch_key] = epoch.into();
        }
        self.keep_adopted(&mut body, live);
        body
    }

    /// That it was there before us is told as long as it is ours.
    fn keep_adopted(&self, body: &mut Value, live: &Value) {
        if let Some(before) = annotation(live, ADOPTED).filter(|_| !self.shared) {
            body["metadata"]["annotations"][ADOPTED] = before.into();
        }
    }

    /// Our labels and annotations on an object, as far as they are this owner's.
    pub(crate) fn marks(&self, live: &Value) -> (Vec<String>, Vec<String>) {
        let mut labels = vec![self.owner_label.clone()];
        if other_owner(live, &self.owner.uid).is_none() && label(live, MANAGED_BY) == Some("threeport") {
            labels.push(MANAGED_BY.to_owned());
        }
        let mut annotations = vec![self.owner_key.clone(), self.epoch_key.clone(), self.applied_key.clone()];
        if !self.shared {
            annotations.push(ADOPTED.to_owned());
        }
        (labels, annotations)
    }

    /// Was exactly this asked for before?
    pub(crate) fn applied_is(&self, intent: &Value, live: &Value) -> bool {
        let wanted = annotation(intent, &self.applied_key);
        wanted.is_some() && wanted == annotation(live, &self.applied_key) && annotation(live, &self.epoch_key).is_some()
    }

    /// May we write? Ok(true): it is ours already. Ok(false): first touch of what is there.
    pub(crate) fn check(&self, step: &str, live: &Value, options: &ApplyOptions) -> Result<bool, Error> {
        let ours = self.is_ours(live);
        if !ours
            && !options.shared
            && let Some((owner, manager)) = other_owner(live, &self.owner.uid)
        {
            return Err(Error::OwnedByOther { step: step.to_owned(), owner, manager });
        }
        self.fence(step, live)?;
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            let finalizers = live.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
            let finalizers = finalizers.filter_map(Value::as_str).map(str::to_owned).collect();
            return Err(Error::Terminating {
                step: step.to_owned(),
                what: "the object of that name".to_owned(),
                finalizers,
            });
        }
        if !ours && !options.adopt && !options.shared {
            return Err(Error::AlreadyExists { step: step.to_owned(), managers: managers(live) });
        }
        Ok(ours)
    }

    /// Has a newer run of this owner been here?
    pub(crate) fn fence(&self, step: &str, live: &Value) -> Result<(), Error> {
        let theirs = annotation(live, &self.epoch_key).and_then(|e| e.parse::<u64>().ok()).unwrap_or(0);
        if theirs > self.owner.epoch && self.is_ours(live) {
            return Err(Error::Fenced { step: step.to_owned(), ours: self.owner.epoch, theirs });
        }
        Ok(())
    }

    /// By label; or by our field manager, when someone took the label off and nobody else put theirs.
    pub(crate) fn is_ours(&self, live: &Value) -> bool {
        let label = label(live, &self.owner_label);
        match label {
            Some(value) => self.shared || value == self.owner.uid,
            None => {
                entries(live).any(|e| e["manager"] == self.manager.as_str() && e["operation"] == "Apply")
                    && other_owner(live, &self.owner.uid).is_none()
            }
        }
    }

    /// Secrets get none: a digest on the object is readable where its values are not, and short values can be guessed from it.
    fn digest(&self, body: &Value) -> Option<String> {
        if body["kind"] == "Secret" {
            return None;
        }
        let mut hasher = Sha256::new();
        feed(&mut hasher, body);
        Some(hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The same for the same content: plugins may write the keys of an object in another order each time.
fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            hasher.update(format!("{{{}", fields.len()));
            for (key, value) in fields {
                hasher.update(Value::from(key.as_str()).to_string());
                feed(hasher, value);
            }
        }
        Value::Array(items) => {
            hasher.update(format!("[{}", items.len()));
            items.iter().for_each(|item| feed(hasher, item));
        }
        plain => hasher.update(format!("={plain};")),
    }
}

/// Of the owner's last change: as its only owner, or as one of several.
pub(crate) fn epoch(live: &Value, owner_uid: &str) -> u64 {
    let shared = annotation(live, &format!("{SHARED_EPOCH}{owner_uid}"));
    let own = || annotation(live, EPOCH).filter(|_| label(live, OWNER_UID) == Some(owner_uid));
    shared.or_else(own).and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}

/// Binds a body to nothing being there. No object has the first resourceVersion of a cluster, so where one is, this is a conflict; where none is, Kubernetes makes
/// it. Without that, a late create would be an apply over what a newer run of the same owner made.
pub(crate) fn absent(mut body: Value) -> Value {
    body["metadata"]["resourceVersion"] = "1".into();
    body
}

/// Binds a body to the object that was read: another one of the same name, or a later state of it, is a conflict.
pub(crate) fn at(body: &Value, live: &Value) -> Value {
    let mut body = body.clone();
    for field in ["resourceVersion", "uid"] {
        if let Some(value) = live.pointer(&format!("/metadata/{field}")) {
            body["metadata"][field] = value.clone();
        }
    }
    body
}

/// Was it there before us?
pub(crate) fn is_adopted(live: &Value) -> bool {
    annotation(live, ADOPTED).is_some()
}

/// The field manager of an owner.
pub(crate) fn manager(uid: &str) -> String {
    format!("threeport-{uid}")
}

/// All owners' uids on an object: the one of `threeport.dev/owner-uid`, and those that share it.
pub(crate) fn owners<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> impl Iterator<Item = &'a str> {
    labels.filter_map(|(key, value)| if key == OWNER_UID { Some(value) } else { key.strip_prefix(SHARED_OWNER) })
}

/// Does someone else of ours have it? Its name and field manager.
pub(crate) fn other_owner(live: &Value, uid: &str) -> Option<(String, String)> {
    let labels = live.pointer("/metadata/labels").and_then(Value::as_object)?;
    let other = owners(labels.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())))
        .find(|owner| *owner != uid)?;
    let name = annotation(live, OWNER).or_else(|| annotation(live, &format!("{SHARED_OWNER}{other}")));
    Some((name.map_or_else(|| format!("the owner with uid {other}"), str::to_owned), manager(other)))
}

/// Is it shared by that owner?
pub(crate) fn shared_by(live: &Value, uid: &str) -> bool {
    label(live, &format!("{SHARED_OWNER}{uid}")).is_some()
}

fn ours(key: &str) -> bool {
    matches!(key, OWNER_UID | OWNER | EPOCH | APPLIED | ADOPTED)
        || [SHARED_OWNER, SHARED_EPOCH, SHARED_APPLIED].iter().any(|prefix| key.starts_with(prefix))
}

fn label<'a>(live: &'a Value, key: &str) -> Option<&'a str> {
    live.pointer("/metadata/labels")?.get(key)?.as_str()
}

fn annotation<'a>(live: &'a Value, key: &str) -> Option<&'a str> {
    live.pointer("/metadata/annotations")?.get(key)?.as_str()
}

fn entries(live: &Value) -> impl Iterator<Item = &Value> {
    live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

fn managers(live: &Value) -> String {
    let mut names: Vec<&str> = entries(live).filter_map(|e| e["manager"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "nobody it names".to_owned() } else { names.join(", ") }
}

/// `stringData` is write-only and, applied, never gives a key back: say the same in `data`.
fn encode_string_data(object: &mut Map<String, Value>) {
    let Some(Value::Object(plain)) = object.remove("stringData") else { return };
    let data = object.entry("data").or_insert_with(|| json!({}));
    if let Some(data) = data.as_object_mut() {
        for (key, value) in plain {
            data.insert(key, value.as_str().map_or(value.clone(), |text| STANDARD.encode(text).into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Option<String> {
        let owner = Owner { uid: "u1".into(), name: "x".into(), epoch: 1 };
        let mark = Mark::new("apply", &owner, false).expect("a uid");
        mark.digest(&serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn the_digest_is_of_the_content_and_not_of_its_order() {
        assert_eq!(
            digest(r#"{"a": {"x": 1, "y": [1, 2]}, "b": "2"}"#),
            digest(r#"{"b": "2", "a": {"y": [1, 2], "x": 1}}"#)
        );
        for other in [
            r#"{"a": {"x": 1, "y": [2, 1]}, "b": "2"}"#,
            r#"{"a": {"x": 1, "y": [1, 2]}, "b": 2}"#,
            r#"{"a": {"x": 1}, "y": [1, 2], "b": "2"}"#,
        ] {
            assert_ne!(digest(r#"{"a": {"x": 1, "y": [1, 2]}, "b": "2"}"#), digest(other), "{other}");
        }
        assert_eq!(digest(r#"{"kind": "Secret", "data": {}}"#), None);
    }

    #[test]
    fn a_uid_that_no_label_can_hold_is_refused() {
        for uid in ["", "a b", "-a", "a/b", &"x".repeat(64)] {
            let owner = Owner { uid: uid.to_owned(), name: "x".into(), epoch: 1 };
            assert!(Mark::new("apply", &owner, false).is_err(), "{uid:?}");
        }
    }
}

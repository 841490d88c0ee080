//! What an object's metadata says of its owners and of its deletion: checked when it is written.

use serde_json::Value;
use threeport_store::lifecycle::{DELETE, FOREGROUND, ORPHAN, WITH_DEPENDANTS};

use crate::schema::{ErrorKind, FieldError};

const OWNERS: &str = "metadata.ownerReferences";

/// What is wrong, in Kubernetes' words.
pub(super) fn check(metadata: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let version = text("apiVersion").rsplit('/').next().unwrap_or_default();
        let mut empty = |field: &str, detail: &str| {
            errors.push(FieldError::invalid(format!("{OWNERS}.{field}"), &owner[field], detail));
        };
        if version.is_empty() {
            empty("apiVersion", "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if text(field).is_empty() {
                empty(field, "must not be empty");
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(OWNERS, owner, detail));
        }
        if owner["controller"] == true {
            let name = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                None => controller = Some(name),
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    );
                    errors.push(FieldError::invalid(OWNERS, &metadata["ownerReferences"], detail));
                }
            }
        }
    }
    let finalizers = metadata["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if [ORPHAN, FOREGROUND].iter().all(|one| finalizers.iter().any(|finalizer| finalizer == one)) {
        let detail = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(FieldError::invalid("metadata.finalizers", &metadata["finalizers"], detail));
    }
    if let Some(way) = metadata["annotations"][DELETE].as_str().filter(|way| !way.is_empty() && *way != WITH_DEPENDANTS)
    {
        let detail = format!("supported values: \"{WITH_DEPENDANTS}\"");
        errors.push(FieldError::new(
            ErrorKind::NotSupported,
            format!("metadata.annotations[{DELETE}]"),
            Some(way.into()),
            detail,
        ));
    }
    errors
}

/// Leaves each owner in once; warns of those that were there twice.
pub(super) fn once(metadata: &mut Value) -> Option<String> {
    let owners = metadata.get_mut("ownerReferences")?.as_array_mut()?;
    let (mut seen, mut twice) = (Vec::with_capacity(owners.len()), Vec::new());
    for owner in owners.drain(..) {
        if seen.contains(&owner) {
            twice.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            seen.push(owner);
        }
    }
    *owners = seen;
    let uids = twice.join(" ");
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early \
             as 1.24; please fix your requests; duplicate UID(s) observed: [{uids}]"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_owner_is_named_once() {
        let owner = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
        let mut metadata = json!({"ownerReferences": [owner("a", "u"), owner("a", "u"), owner("b", "u")]});
        assert!(once(&mut metadata).is_some_and(|warning| warning.ends_with("observed: [u]")));
        assert_eq!(metadata, json!({"ownerReferences": [owner("a", "u"), owner("b", "u")]}));
        assert_eq!(once(&mut metadata), None);
        let mut none = json!({});
        assert_eq!((once(&mut none), none), (None, json!({})), "nothing is added");
    }

    #[test]
    fn an_owner_says_who_it_is_and_one_of_them_controls() {
        let owner = |name: &str, controls: bool| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": "u", "controller": controls});
        assert!(check(&json!({"ownerReferences": [owner("a", true), owner("b", false)]})).is_empty());
        let two = check(&json!({"ownerReferences": [owner("a", true), owner("b", true)]}));
        assert!(two.len() == 1 && two[0].to_string().contains("for ConfigMap/a and ConfigMap/b"), "{two:?}");
        let empty = check(&json!({"ownerReferences": [{"apiVersion": "", "kind": "", "name": "", "uid": ""}]}));
        assert_eq!(empty.len(), 4, "{empty:?}");
        let event = json!({"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"});
        assert_eq!(check(&json!({"ownerReferences": [event]})).len(), 1);
        assert_eq!(check(&json!({"finalizers": [ORPHAN, FOREGROUND]})).len(), 1);
        assert_eq!(check(&json!({"annotations": {DELETE: "all"}})).len(), 1);
        assert!(check(&json!({"annotations": {DELETE: WITH_DEPENDANTS}})).is_empty());
    }
}

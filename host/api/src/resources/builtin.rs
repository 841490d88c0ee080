//! What the built-in kinds need beyond their schemas.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use threeport_store::lifecycle::CONTENT;
use threeport_store::{Error, Key, Op, Precondition, lifecycle};

use super::{events, secrets};
use crate::clock;
use crate::definitions;
use crate::registry::{self, CRD_GROUP, CRD_PLURAL, Kind, OWN_GROUP};
use crate::router::App;
use crate::schema::FieldError;
use crate::schema::names::qualified_name;
use crate::status::ApiResult;

/// Label with a namespace's own name, as Kubernetes sets it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Completes an object that came from a client.
pub(super) fn fold(kind: &Kind, body: &mut Value) {
    crate::auth::complete_rbac(kind, body);
    if kind.is_builtin("", "secrets") {
        // No map: left to the validation, which names the field.
        if !body["stringData"].is_object() {
            return;
        }
        let Some(Value::Object(texts)) = body.as_object_mut().and_then(|o| o.remove("stringData")) else { return };
        if texts.is_empty() {
            return;
        }
        let data = &mut body["data"];
        if !data.is_object() {
            *data = json!({});
        }
        for (key, text) in texts {
            data[key] = match text.as_str() {
                Some(text) => STANDARD.encode(text).into(),
                // No text: left to the validation, which names the field.
                None => text,
            };
        }
    } else if kind.is_builtin("", "namespaces") {
        let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !body["metadata"]["labels"].is_object() {
            body["metadata"]["labels"] = json!({});
        }
        body["metadata"]["labels"][NAME_LABEL] = name.into();
    } else if kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
        registry::fill_in(body);
    }
}

/// Whether a PUT makes what is not there, as Kubernetes has it of these kinds.
pub(super) fn made_by_update(kind: &Kind) -> bool {
    let stored = (&*kind.stored.group, &*kind.stored.plural);
    kind.builtin
        && matches!(stored, ("", "events") | ("coordination.k8s.io", "leases") | ("rbac.authorization.k8s.io", _))
}

/// Gives a new object the status that the host answers for; keeps it current on updates.
pub(super) fn host_status(app: &App, kind: &Kind, body: &mut Value) {
    if kind.is_builtin("", "namespaces") {
        body["spec"] = json!({"finalizers": ["kubernetes"]});
        body["status"] = json!({"phase": "Active"});
    } else if kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let taken = app.registry.taken(text("/spec/group"), text("/metadata/name"));
        registry::establish(body, &taken, &clock::now());
    }
}

/// Puts back what only the host changes.
pub(super) fn keep(kind: &Kind, old: &Value, body: &mut Value) {
    if kind.is_builtin("", "namespaces") {
        body["spec"] = old["spec"].clone();
    }
}

/// Takes over what a client may change of an object's metadata.
pub(super) fn describe(body: &mut Value, metadata: &Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        match metadata.get(field) {
            Some(value) => body["metadata"][field] = value.clone(),
            None => drop(body["metadata"].as_object_mut().and_then(|there| there.remove(field))),
        }
    }
}

/// What is wrong with what holds a namespace in its spec.
fn holders(body: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let list = |body: &Value| body["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
    let (now, before) = (list(body), old.map(list).unwrap_or_default());
    let content = Value::from(CONTENT);
    let mut errors = Vec::new();
    if before.contains(&content) && !now.contains(&content) {
        let detail = format!("{CONTENT} goes by itself when the namespace is deleted and nothing is left in it");
        errors.push(FieldError::forbidden("spec.finalizers", detail));
    }
    for (index, finalizer) in now.iter().enumerate().filter(|(_, finalizer)| !before.contains(finalizer)) {
        let (at, name) = (format!("spec.finalizers[{index}]"), finalizer.as_str().unwrap_or_default());
        errors.extend(qualified_name(name).into_iter().map(|why| FieldError::invalid(at.as_str(), finalizer, why)));
        if !name.contains('/') && name != CONTENT {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(at, finalizer, detail));
        }
    }
    errors
}

/// What a schema cannot say.
pub(super) async fn check(app: &App, kind: &Kind, body: &Value, old: Option<&Value>) -> ApiResult<Vec<FieldError>> {
    let mut errors = crate::auth::check_rbac(kind, body, old);
    if kind.is_builtin("", "namespaces") {
        errors.extend(holders(body, old));
    } else if kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
        errors.extend(registry::check_crd(body));
        if let Some(old) = old {
            for field in ["group", "scope"] {
                if old["spec"][field] != body["spec"][field] {
                    errors.push(FieldError::invalid(
                        format!("spec.{field}"),
                        &body["spec"][field],
                        "field is immutable",
                    ));
                }
            }
            for field in ["kind", "plural"] {
                let (before, now) = (&old["spec"]["names"][field], &body["spec"]["names"][field]);
                if before != now {
                    errors.push(FieldError::invalid(format!("spec.names.{field}"), now, "field is immutable"));
                }
            }
        } else {
            errors.extend(names_of_ours(&app.registry.kinds(), body));
        }
    } else if kind.is_builtin(OWN_GROUP, "plugins") {
        let digest = body["spec"]["component"].as_str().unwrap_or_default();
        let unchanged = old.is_some_and(|old| old["spec"]["component"] == digest);
        if !unchanged && !app.store.touch_blob(digest).await? {
            let detail = "no component with this digest has been uploaded: push it with `threeport plugin push FILE`, or POST its bytes to /blobs";
            errors.push(FieldError::invalid("spec.component", &digest.into(), detail));
        }
    } else if kind.is_builtin(OWN_GROUP, "definitions") || kind.is_builtin(OWN_GROUP, "definitionrevisions") {
        errors.extend(definitions::check(app, kind, body, old));
    } else if kind.is_builtin("coordination.k8s.io", "leases") {
        let spec = &body["spec"];
        for (field, least, why) in [
            ("leaseDurationSeconds", 1, "must be greater than 0"),
            ("leaseTransitions", 0, "must be greater than or equal to 0"),
        ] {
            if spec[field].as_i64().is_some_and(|value| value < least) {
                errors.push(FieldError::invalid(format!("spec.{field}"), &spec[field], why));
            }
        }
    } else if &*kind.stored.plural == "events" && kind.stored.group.is_empty() {
        errors.extend(events::check(kind, body, old));
    } else if kind.is_builtin("", "configmaps") || kind.is_builtin("", "secrets") {
        errors.extend(secrets::check(body, old));
    }
    Ok(errors)
}

/// What a definition wants to be called and a built-in kind is called: its objects would be that kind's.
fn names_of_ours(kinds: &registry::Kinds, definition: &Value) -> Vec<FieldError> {
    let spec = &definition["spec"];
    let (Some(group), Some(name), Some(plural)) =
        (spec["group"].as_str(), spec["names"]["kind"].as_str(), spec["names"]["plural"].as_str())
    else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    if kinds.by_kind(group, name).is_some_and(|kind| kind.builtin) {
        let detail = format!("{name} of group {group} is built in: choose another name or another group");
        errors.push(FieldError::invalid("spec.names.kind", &name.into(), detail));
    }
    if kinds.all().any(|kind| kind.is_builtin(group, plural)) {
        let detail = format!("{plural} of group {group} are built in: choose another name or another group");
        errors.push(FieldError::invalid("spec.names.plural", &plural.into(), detail));
    }
    errors
}

/// The key of a namespace.
pub(super) fn namespace_key(name: &str) -> Key {
    lifecycle::namespace_key(name)
}

/// Makes what must always be there: the namespace `default`.
pub(crate) async fn prepare_store(app: &Arc<App>) -> Result<(), Error> {
    let key = namespace_key("default");
    if app.store.get(&key).await?.is_some() {
        return Ok(());
    }
    let body = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "default", "labels": {NAME_LABEL: "default"}},
        "spec": {"finalizers": ["kubernetes"]},
    });
    let mut body = lifecycle::create(body, Timestamp::now(), &uuid::Uuid::new_v4().to_string(), true);
    body["status"] = json!({"phase": "Active"});
    let op = Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: None };
    match app.store.write(vec![op]).await {
        // Another host was faster.
        Ok(_) | Err(Error::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_definition_has_the_names_of_a_built_in_kind() {
        let kinds = registry::Registry::new().kinds();
        let fields = |group: &str, kind: &str, plural: &str| -> Vec<String> {
            let definition = json!({"spec": {"group": group, "names": {"kind": kind, "plural": plural}}});
            names_of_ours(&kinds, &definition).into_iter().map(|error| error.field.to_string()).collect()
        };
        let rbac = "rbac.authorization.k8s.io";
        assert_eq!(fields(rbac, "Other", "clusterrolebindings"), ["spec.names.plural"]);
        assert_eq!(fields(rbac, "ClusterRoleBinding", "others"), ["spec.names.kind"]);
        assert_eq!(fields(OWN_GROUP, "Plugin", "plugins"), ["spec.names.kind", "spec.names.plural"]);
        assert!(fields("example.com", "Plugin", "plugins").is_empty(), "another group");
    }
}

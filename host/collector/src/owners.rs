//! Owners as Kubernetes has them: what is owned goes after its last owner, before it, or stays.

use serde_json::{Value, json};
use threeport_store::lifecycle::{self, FINALIZER, FOREGROUND, ORPHAN, Propagation};
use threeport_store::{Error, Key, ListQuery, Object, Resource, Scope};

use crate::collector::{Collector, Outcome};
use crate::deletion::{delete, put};
use crate::events::Note;
use crate::meters;

/// What is to be thought of an owner reference.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The owner is there.
    Solid,
    /// It is gone, or never was.
    Dangling,
    /// It goes when what it owns is gone; whose need of it does not count for that reason.
    Waiting(Option<Key>),
    /// Nobody can tell: why.
    Unknown(String),
}

fn owners(body: &Value) -> &[Value] {
    body["metadata"]["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn group(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// Nobody manages the references to these owners any more.
fn disown(metadata: &mut Value, gone: impl Fn(&Value) -> bool) {
    const OWNERS: &str = "f:ownerReferences";
    let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    let keys: Vec<String> =
        owners.iter().filter(|owner| gone(owner)).map(|owner| format!("k:{}", json!({"uid": owner["uid"]}))).collect();
    let all = keys.len() == owners.len();
    let Some(Value::Array(entries)) = metadata.get_mut("managedFields") else { return };
    entries.retain_mut(|entry| {
        let Some(fields) = entry["fieldsV1"].as_object_mut() else { return true };
        let Some(inside) = fields.get_mut("f:metadata").and_then(Value::as_object_mut) else { return true };
        let Some(managed) = inside.get_mut(OWNERS).and_then(Value::as_object_mut) else { return true };
        keys.iter().for_each(|key| drop(managed.remove(key)));
        if all || managed.is_empty() {
            inside.remove(OWNERS);
        }
        if inside.is_empty() {
            fields.remove("f:metadata");
        }
        !fields.is_empty()
    });
    if entries.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("managedFields");
    }
}

/// Takes the references to these owners off.
fn without(body: &Value, gone: impl Fn(&Value) -> bool) -> Value {
    let mut body = body.clone();
    let metadata = &mut body["metadata"];
    disown(metadata, &gone);
    if let Some(owners) = metadata["ownerReferences"].as_array_mut() {
        owners.retain(|owner| !gone(owner));
        if owners.is_empty()
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.remove("ownerReferences");
        }
    }
    body
}

impl Collector {
    /// Whether an object that nobody has deleted has to go because of its owners.
    pub(crate) async fn judge(&self, object: &Object, body: &Value) -> Result<Outcome, Error> {
        let owners = owners(body);
        let (mut solid, mut waiting, mut but) = (0, 0, Vec::new());
        let mut leaving: Vec<&Value> = Vec::new();
        for owner in owners {
            match self.standing(object, owner).await? {
                Standing::Solid => solid += 1,
                Standing::Dangling => leaving.push(owner),
                Standing::Waiting(freed) => {
                    waiting += 1;
                    but.extend(freed);
                    leaving.push(owner);
                }
                Standing::Unknown(why) => {
                    self.tell(body, &Note::warning("OwnerRefInvalid", why)).await;
                    return Ok(Outcome::Waits);
                }
            }
        }
        if leaving.is_empty() {
            return Ok(Outcome::Settled);
        }
        if solid > 0 {
            let body = without(body, |owner| leaving.contains(&owner));
            self.write(vec![put(object, body)]).await?;
            return Ok(Outcome::Settled);
        }
        let owned = if waiting > 0 { self.store.owned(&object.uid).await? } else { Vec::new() };
        if owned.is_empty() {
            return self.collect(object, body, None, but).await;
        }
        // A circle would wait for itself: this one no longer holds its owners.
        let circle = owned.iter().any(|owned| {
            let body = owned.value();
            lifecycle::deleted(&body) && lifecycle::has_finalizer(&body, FOREGROUND)
        });
        if circle && owners.iter().any(|owner| owner["blockOwnerDeletion"] == true) {
            let mut free = body.clone();
            for owner in free["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
                owner["blockOwnerDeletion"] = false.into();
            }
            self.write(vec![put(object, free)]).await?;
            return Ok(Outcome::Again);
        }
        self.collect(object, body, Some(Propagation::Foreground), but).await
    }

    /// Deletes an object whose owners are gone, or wait for it. That it is needed by `but` does not count.
    async fn collect(
        &self,
        object: &Object,
        body: &Value,
        way: Option<Propagation>,
        but: Vec<Key>,
    ) -> Result<Outcome, Error> {
        let Some(ops) = delete(object, way, but, self.store.now()) else { return Ok(Outcome::Settled) };
        match self.write(ops.into()).await {
            Ok(()) => {
                meters::deleted("owner");
                tracing::debug!(object = %object.key, "deleted, as its owners are");
                Ok(Outcome::Settled)
            }
            Err(error @ Error::InUse { .. }) => {
                let message = format!("its owners are deleted, and it is not: {error}; delete them first");
                self.tell(body, &Note::warning("InUse", message)).await;
                Ok(Outcome::Waits)
            }
            Err(error) => Err(error),
        }
    }

    async fn standing(&self, object: &Object, owner: &Value) -> Result<Standing, Error> {
        let (kind, name) = (text(owner, "kind"), text(owner, "name"));
        let group = group(text(owner, "apiVersion"));
        if let Some(there) = self.store.by_uid(text(owner, "uid")).await? {
            let body = there.value();
            let named = text(&body, "kind") == kind && self::group(text(&body, "apiVersion")) == group;
            let at_hand = there.key.namespace.is_none() || there.key.namespace == object.key.namespace;
            if named && at_hand && &*there.key.name == name {
                let waits = lifecycle::deleted(&body) && lifecycle::has_finalizer(&body, FOREGROUND);
                if !waits {
                    return Ok(Standing::Solid);
                }
                // It may require what it owns, and each would wait for the other. Only its clean-up may still be in need of it.
                let cleaned = !lifecycle::has_finalizer(&body, FINALIZER);
                return Ok(Standing::Waiting(cleaned.then_some(there.key)));
            }
        }
        Ok(match self.namespaced(group, kind).await? {
            None => Standing::Unknown(format!(
                "its owner {kind} {name:?} is of a kind that is not served: whether it is there is not known"
            )),
            Some(true) if object.key.namespace.is_none() => Standing::Unknown(format!(
                "its owner {kind} {name:?} lies in a namespace, and what lies in none cannot be owned by it"
            )),
            Some(_) => Standing::Dangling,
        })
    }

    /// Whether objects of a kind lie in namespaces; None if there is no such kind.
    async fn namespaced(&self, group: &str, kind: &str) -> Result<Option<bool>, Error> {
        if let Some(known) = self.built_in.iter().find(|known| known.group == group && known.kind == kind) {
            return Ok(Some(known.namespaced));
        }
        let scope = Scope { resource: definitions(), namespace: None };
        let mut scopes = self.scopes.lock().await;
        if scopes.version != self.store.version() {
            let stored = self.store.list(ListQuery { scope, limit: None, after: None, at: None }).await?;
            scopes.follow(&stored.items, stored.resource_version);
        }
        Ok(scopes.namespaced(group, kind))
    }

    /// What an object owns that waits for it goes first.
    pub(crate) async fn foreground(&self, object: &Object, body: &Value) -> Result<Outcome, Error> {
        for owned in self.store.owned(&object.uid).await? {
            let body = owned.value();
            if lifecycle::deleted(&body) {
                continue;
            }
            match self.judge(&owned, &body).await {
                Ok(_) | Err(Error::Conflict { .. } | Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let left = self.store.owned(&object.uid).await?;
        let holds = |owner: &Value| owner["uid"] == *object.uid && owner["blockOwnerDeletion"] == true;
        if left.iter().any(|owned| owners(&owned.value()).iter().any(holds)) {
            return Ok(Outcome::Waits);
        }
        self.let_go(object, body, FOREGROUND, Vec::new()).await?;
        Ok(Outcome::Settled)
    }

    /// What an object owns stays, without it.
    pub(crate) async fn orphan(&self, object: &Object, body: &Value) -> Result<Outcome, Error> {
        for owned in self.store.owned(&object.uid).await? {
            let body = without(&owned.value(), |owner| owner["uid"] == *object.uid);
            match self.write(vec![put(&owned, body)]).await {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.let_go(object, body, ORPHAN, Vec::new()).await?;
        Ok(Outcome::Settled)
    }
}

/// The collection of CustomResourceDefinitions.
fn definitions() -> Resource {
    lifecycle::definition_key(&Resource::new("", "")).resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_is_taken_off_has_no_manager() {
        let owned = |uids: &[&str]| -> Value {
            let mut keys: serde_json::Map<String, Value> =
                uids.iter().map(|uid| (format!("k:{{\"uid\":\"{uid}\"}}"), json!({}))).collect();
            keys.insert(".".to_owned(), json!({}));
            json!({"fieldsV1": {"f:metadata": {"f:ownerReferences": keys}}})
        };
        let body = json!({"metadata": {"ownerReferences": [{"uid": "a"}, {"uid": "b"}], "managedFields": [owned(&["a", "b"])]}});
        let one = without(&body, |owner| owner["uid"] == "a");
        assert_eq!(one["metadata"]["managedFields"], json!([owned(&["b"])]));
        assert_eq!(without(&one, |_| true), json!({"metadata": {}}));
    }

    #[test]
    fn the_last_reference_goes_with_its_field() {
        let body = json!({"metadata": {"ownerReferences": [{"uid": "a"}, {"uid": "b"}]}});
        let one = without(&body, |owner| owner["uid"] == "a");
        assert_eq!(owners(&one), [json!({"uid": "b"})]);
        assert!(without(&one, |_| true)["metadata"].get("ownerReferences").is_none());
        assert_eq!((group("v1"), group("apps/v1")), ("", "apps"));
    }
}

//! Keeps the index, the default roles, the gathered roles and the roles of the plugins' kinds current.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use threeport_store::{Change, ChangeKind, Error, Key, Object, Op, Resource, Store};

use super::kinds::{self, Served};
use super::{CLUSTER_ROLES, GROUP, PLURALS, defaults};
use crate::auth::Auth;
use crate::auth::follow::{Follower, create, everything, exactly, passes, update};
use crate::registry::{CRD_GROUP, CRD_PLURAL};

/// Follows what decides about rights.
pub(crate) struct Rights {
    pub store: Store,
    pub auth: Arc<Auth>,
    served: Served,
}

/// The collections that it follows.
pub(crate) fn collections() -> Vec<Resource> {
    let mut all: Vec<Resource> = PLURALS.iter().map(|plural| Resource::new(GROUP, *plural)).collect();
    all.push(Resource::new(CRD_GROUP, CRD_PLURAL));
    all
}

impl Rights {
    /// Writes what is there from the start and loads the index: afterwards requests can be judged.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn prepare(store: Store, auth: Arc<Auth>) -> Result<Self, Error> {
        for (plural, name, default) in defaults::objects() {
            let key = role_key(plural, &name);
            let op = match store.get(&key).await? {
                None => Some(create(key, default)),
                Some(stored) => defaults::mended(&stored.value(), &default).map(|body| update(&stored, body)),
            };
            if let Some(op) = op {
                write(&store, &auth, op).await?;
            }
        }
        let mut rights = Self { store, auth, served: Served::new() };
        let (objects, version) = everything(&rights.store, &collections()).await?;
        rights.take(&objects, version);
        if let Err(error) = rights.settle().await {
            // What is there can be judged by; following begins with the rest.
            tracing::warn!(%error, "roles are not settled yet");
        }
        Ok(rights)
    }

    fn take(&mut self, objects: &[Object], version: u64) {
        let (definitions, rest): (Vec<&Object>, Vec<&Object>) =
            objects.iter().partition(|object| &*object.key.resource.plural == CRD_PLURAL);
        let known = |object: &&Object| Some((object.key.name.to_string(), kinds::served(&object.value())?));
        self.served = definitions.iter().filter_map(known).collect();
        let rest: Vec<Object> = rest.into_iter().cloned().collect();
        self.auth.rbac.change(|index| index.replace(&rest, version));
    }

    /// Writes the roles that follow from others, until they are what they should be. Fails when that is to be done again.
    async fn settle(&self) -> Result<(), Error> {
        match self.try_settle().await {
            Err(error) if !passes(&error) => {
                // Another host was faster: what it wrote comes as a change.
                tracing::debug!(%error, "roles are not settled yet");
                Ok(())
            }
            result => result,
        }
    }

    async fn try_settle(&self) -> Result<(), Error> {
        let wanted = kinds::roles(&self.served);
        let mut there = BTreeSet::new();
        for object in everything(&self.store, &[Resource::new(GROUP, CLUSTER_ROLES)]).await?.0 {
            if !kinds::is_ours(&object) {
                continue;
            }
            match wanted.get(&*object.key.name) {
                Some(body) => {
                    there.insert(object.key.name.to_string());
                    let stored = object.value();
                    if stored["rules"] != body["rules"] {
                        let mut new = stored;
                        new["rules"] = body["rules"].clone();
                        write(&self.store, &self.auth, update(&object, new)).await?;
                    }
                }
                None => {
                    let op = Op::Remove { key: object.key.clone(), precondition: exactly(&object) };
                    for removed in self.store.write(vec![op]).await? {
                        self.auth.rbac.removed(&removed.key, removed.resource_version);
                    }
                }
            }
        }
        for (name, body) in wanted.into_iter().filter(|(name, _)| !there.contains(name)) {
            write(&self.store, &self.auth, create(role_key(CLUSTER_ROLES, &name), body)).await?;
        }
        self.gather().await
    }

    /// Writes the roles that are gathered from others, one after the other: one that is gathered may be gathered from in its turn (edit into
    /// admin), and two may be from each other.
    async fn gather(&self) -> Result<(), Error> {
        let rounds = self.auth.rbac.read().rounds();
        for _ in 0..rounds {
            let Some((name, rules)) = self.auth.rbac.read().ungathered() else { return Ok(()) };
            let key = role_key(CLUSTER_ROLES, &name);
            // Before it is looked for: one that is made meanwhile is newer.
            let version = self.store.version();
            let Some(object) = self.store.get(&key).await? else {
                self.auth.rbac.removed(&key, version);
                continue;
            };
            let mut new = object.value();
            new["rules"] = json!(rules);
            write(&self.store, &self.auth, update(&object, new)).await?;
        }
        tracing::warn!(
            rounds,
            "roles that are gathered from each other do not come to rest; look at their aggregationRules"
        );
        Ok(())
    }
}

impl Follower for Rights {
    async fn all(&mut self, objects: Vec<Object>, version: u64) -> Result<(), Error> {
        self.take(&objects, version);
        self.settle().await
    }

    async fn changed(&mut self, change: Change, settled: u64) -> Result<(), Error> {
        let (key, version) = (&change.object.key, change.object.resource_version);
        let gone = change.kind == ChangeKind::Deleted;
        let unsettled = if &*key.resource.group == CRD_GROUP {
            let now = if gone { None } else { kinds::served(&change.object.value()) };
            let before = match &now {
                Some(known) => self.served.insert(key.name.to_string(), known.clone()),
                None => self.served.remove(&*key.name),
            };
            before != now
        } else {
            self.auth.rbac.change(|index| {
                if gone {
                    index.remove(key, version);
                } else {
                    index.put(&change.object);
                }
                index.settled(settled);
            });
            // Also when it is known already: who wrote it may be a client.
            &*key.resource.plural == CLUSTER_ROLES
        };
        if unsettled { self.settle().await } else { Ok(()) }
    }
}

fn role_key(plural: &str, name: &str) -> Key {
    Key { resource: Resource::new(GROUP, plural), namespace: None, name: name.into() }
}

async fn write(store: &Store, auth: &Auth, op: Op) -> Result<(), Error> {
    match store.write(vec![op]).await {
        Ok(written) => {
            written.iter().for_each(|object| auth.rbac.written(object));
            Ok(())
        }
        // Another host was faster.
        Err(Error::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use threeport_store::{Config, Key32};

    use super::*;
    use crate::auth::TokenKeys;

    async fn world(directory: &tempfile::TempDir) -> (Store, Arc<Auth>) {
        let store =
            Store::open(Config::new(directory.path().join("store.db"), Key32::generate())).await.expect("a store");
        let keys = Arc::new(TokenKeys::load_or_create(&directory.path().join("keys")).expect("keys"));
        let auth = Arc::new(Auth::new("t", keys, "https://issuer".into(), String::new()));
        (store, auth)
    }

    #[tokio::test]
    async fn what_the_store_could_not_do_is_to_be_done_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, auth) = world(&directory).await;
        let served = Served::from([("ws.g.io".into(), ("g.io".into(), "ws".into()))]);
        let rights = Rights { store: store.clone(), auth, served };
        rights.settle().await.expect("its roles are made");
        let roles = everything(&store, &[Resource::new(GROUP, CLUSTER_ROLES)]).await.expect("listed").0;
        let op = Op::Remove { key: roles[0].key.clone(), precondition: exactly(&roles[0]) };
        store.write(vec![op]).await.expect("removed");
        store.close().await.expect("closed");
        rights.settle().await.expect_err("a role could not be made");
    }

    #[tokio::test]
    async fn a_gathered_role_that_is_gone_meanwhile_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, auth) = world(&directory).await;
        let body = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "x"}}]},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        });
        let key = role_key(CLUSTER_ROLES, "x");
        let written = store.write(vec![create(key.clone(), body)]).await.expect("written").remove(0);
        auth.rbac.written(&written);
        // As another host does: nothing tells this one.
        store.write(vec![Op::Remove { key, precondition: exactly(&written) }]).await.expect("removed");
        let rights = Rights { store, auth: auth.clone(), served: Served::new() };
        tokio::time::timeout(Duration::from_secs(20), rights.gather()).await.expect("it ends").expect("gathered");
        assert!(auth.rbac.read().ungathered().is_none());
    }
}

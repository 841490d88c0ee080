//! What every namespace has from the start, put back when it is missing, and the tokens in Secrets that ask for one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use threeport_store::{Change, ChangeKind, Error, Key, Object, Op, Resource, Store};

use super::Auth;
use super::follow::{Follower, create, exactly, passes, update};
use super::token::Named;

const ACCOUNTS: &str = "serviceaccounts";
const CONFIG_MAPS: &str = "configmaps";
const SECRETS: &str = "secrets";
const NAMESPACES: &str = "namespaces";
/// The ServiceAccount of every namespace.
const DEFAULT: &str = "default";
/// The ConfigMap of every namespace.
const ROOT_CA: &str = "kube-root-ca.crt";
/// Type of Secrets that hold a token.
pub(crate) const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
/// Whose token.
pub(crate) const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// Whether an object is there because its namespace is.
fn comes_with_namespace(key: &Key) -> bool {
    key.resource.group.is_empty()
        && matches!((&*key.resource.plural, &*key.name), (ACCOUNTS, DEFAULT) | (CONFIG_MAPS, ROOT_CA))
}

/// Puts back what is missing.
pub(super) struct Keeper {
    store: Store,
    auth: Arc<Auth>,
}

/// The collections that it follows.
pub(super) fn collections() -> Vec<Resource> {
    [NAMESPACES, ACCOUNTS, CONFIG_MAPS, SECRETS].map(|plural| Resource::new("", plural)).into()
}

impl Keeper {
    pub(super) fn new(store: Store, auth: Arc<Auth>) -> Self {
        Self { store, auth }
    }

    /// One object is there now, or is not any more.
    async fn look(&self, object: &Object, gone: bool) -> Result<(), Error> {
        let key = &object.key;
        match (&*key.resource.plural, gone) {
            (NAMESPACES, false) => {
                self.account(&key.name).await?;
                self.root_ca(&key.name).await
            }
            (ACCOUNTS, true) => {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                self.drop_tokens(namespace, object).await?;
                if comes_with_namespace(key) { self.account(namespace).await } else { Ok(()) }
            }
            (CONFIG_MAPS, _) if comes_with_namespace(key) => {
                self.root_ca(key.namespace.as_deref().unwrap_or_default()).await
            }
            (SECRETS, false) => self.token(object).await,
            _ => Ok(()),
        }
    }

    /// The namespace, if it takes new objects.
    async fn open(&self, namespace: &str) -> Result<Option<Object>, Error> {
        let key = Key { resource: Resource::new("", NAMESPACES), namespace: None, name: namespace.into() };
        let there = self.store.get(&key).await?;
        Ok(there.filter(|there| !there.value()["metadata"]["deletionTimestamp"].is_string()))
    }

    async fn account(&self, namespace: &str) -> Result<(), Error> {
        let key = of(ACCOUNTS, namespace, DEFAULT);
        if self.store.get(&key).await?.is_some() {
            return Ok(());
        }
        let body = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT, "namespace": namespace}});
        self.create(key, body).await
    }

    async fn root_ca(&self, namespace: &str) -> Result<(), Error> {
        let key = of(CONFIG_MAPS, namespace, ROOT_CA);
        let data = json!({"ca.crt": self.auth.ca_pem});
        match self.store.get(&key).await? {
            Some(there) => {
                let mut body = there.value();
                let right = body["data"] == data && body.get("binaryData").is_none();
                if right || body["immutable"] == true || body["metadata"]["deletionTimestamp"].is_string() {
                    return Ok(());
                }
                body["data"] = data;
                if let Some(object) = body.as_object_mut() {
                    object.remove("binaryData");
                }
                self.update(&there, body).await
            }
            None => {
                let annotations = json!({"kubernetes.io/description":
                    "Contains a CA bundle that can be used to verify the server of this API. No other usage is guaranteed."});
                let body = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                    "metadata": {"name": ROOT_CA, "namespace": namespace, "annotations": annotations},
                });
                self.create(key, body).await
            }
        }
    }

    /// Fills in a Secret that asks for the token of an account; one whose account is not there goes.
    async fn token(&self, secret: &Object) -> Result<(), Error> {
        // Cheaper than reading every Secret.
        if memchr::memmem::find(&secret.body, TOKEN_TYPE.as_bytes()).is_none() {
            return Ok(());
        }
        let mut body = secret.value();
        if body["type"] != TOKEN_TYPE || body["metadata"]["deletionTimestamp"].is_string() {
            return Ok(());
        }
        let namespace = secret.key.namespace.as_deref().unwrap_or_default();
        let annotations = &body["metadata"]["annotations"];
        let name = annotations[ACCOUNT_NAME].as_str().unwrap_or_default();
        let account = self.store.get(&of(ACCOUNTS, namespace, name)).await?;
        let uid = annotations[ACCOUNT_UID].as_str().filter(|uid| !uid.is_empty());
        let Some(account) = account.filter(|account| uid.is_none_or(|uid| uid == &*account.uid)) else {
            return self.remove(secret).await;
        };
        let known = |field: &str| body["data"][field].as_str().is_some_and(|value| !value.is_empty());
        if uid.is_some() && ["token", "ca.crt", "namespace"].iter().all(|field| known(field)) {
            return Ok(());
        }
        if !known("token") {
            let bound = Named { name: secret.key.name.to_string(), uid: secret.uid.to_string() };
            let (tokens, now) = (&self.auth.tokens, self.store.now().as_second());
            let Some(token) = tokens.make(&account, Some(bound), &[tokens.issuer().to_owned()], now, None) else {
                return Ok(());
            };
            set(&mut body, "token", &token);
        }
        set(&mut body, "ca.crt", &self.auth.ca_pem);
        set(&mut body, "namespace", namespace);
        body["metadata"]["annotations"][ACCOUNT_UID] = (&*account.uid).into();
        self.update(secret, body).await
    }

    /// Removes the Secrets with tokens of an account that is gone.
    async fn drop_tokens(&self, namespace: &str, account: &Object) -> Result<(), Error> {
        let scope = threeport_store::Scope { resource: Resource::new("", SECRETS), namespace: Some(namespace.into()) };
        let query = threeport_store::ListQuery { scope, limit: None, after: None, at: None };
        for secret in self.store.list(query).await?.items {
            let body = secret.value();
            let named = &body["metadata"]["annotations"][ACCOUNT_NAME];
            if body["type"] == TOKEN_TYPE && named.as_str() == Some(&*account.key.name) {
                self.token(&secret).await?;
            }
        }
        Ok(())
    }

    async fn create(&self, key: Key, body: Value) -> Result<(), Error> {
        let Some(namespace) = self.open(key.namespace.as_deref().unwrap_or_default()).await? else { return Ok(()) };
        // Written as it is, which changes nothing: if it is going meanwhile, nothing is left behind in it.
        let (key_there, body_there) = (namespace.key.clone(), namespace.value());
        let same =
            Op::Put { key: key_there, body: body_there, precondition: exactly(&namespace), edges: None, wake: None };
        self.write(vec![same, create(key, body)]).await
    }

    async fn update(&self, there: &Object, body: Value) -> Result<(), Error> {
        self.write(vec![update(there, body)]).await
    }

    async fn remove(&self, there: &Object) -> Result<(), Error> {
        self.write(vec![Op::Remove { key: there.key.clone(), precondition: exactly(there) }]).await
    }

    async fn write(&self, ops: Vec<Op>) -> Result<(), Error> {
        match self.store.write(ops).await {
            // Somebody else wrote it; that comes as a change.
            Ok(_) | Err(Error::AlreadyExists(_) | Error::Conflict { .. } | Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Follower for Keeper {
    async fn all(&mut self, objects: Vec<Object>, _version: u64) -> Result<(), Error> {
        for object in &objects {
            self.tell(object, false).await?;
        }
        Ok(())
    }

    async fn changed(&mut self, change: Change, _settled: u64) -> Result<(), Error> {
        self.tell(&change.object, change.kind == ChangeKind::Deleted).await
    }
}

impl Keeper {
    /// Fails when it is to be told again. What can never be kept is said, and does not keep the rest from being kept.
    async fn tell(&self, object: &Object, gone: bool) -> Result<(), Error> {
        let Err(error) = self.look(object, gone).await else { return Ok(()) };
        tracing::warn!(object = %object.key, %error, "what a namespace has from the start could not be kept");
        if passes(&error) { Err(error) } else { Ok(()) }
    }
}

fn of(plural: &str, namespace: &str, name: &str) -> Key {
    Key { resource: Resource::new("", plural), namespace: Some(namespace.into()), name: name.into() }
}

fn set(secret: &mut Value, field: &str, text: &str) {
    if !secret["data"].is_object() {
        secret["data"] = json!({});
    }
    secret["data"][field] = STANDARD.encode(text).into();
}

#[cfg(test)]
mod tests {
    use threeport_store::{Config, Key32};

    use super::*;
    use crate::auth::TokenKeys;

    #[tokio::test]
    async fn what_the_store_could_not_do_is_to_be_done_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let store =
            Store::open(Config::new(directory.path().join("store.db"), Key32::generate())).await.expect("a store");
        let keys = Arc::new(TokenKeys::load_or_create(&directory.path().join("keys")).expect("keys"));
        let auth = Arc::new(Auth::new("t", keys, "https://issuer".into(), String::new()));
        let key = Key { resource: Resource::new("", NAMESPACES), namespace: None, name: "shop".into() };
        let namespace = store.write(vec![create(key, json!({"metadata": {"name": "shop"}}))]).await;
        let namespace = namespace.expect("written").remove(0);
        let mut keeper = Keeper::new(store.clone(), auth);
        keeper.all(vec![namespace.clone()], 0).await.expect("kept");
        store
            .write(vec![Op::Remove {
                key: of(ACCOUNTS, "shop", DEFAULT),
                precondition: threeport_store::Precondition::Present { uid: None, resource_version: None },
            }])
            .await
            .expect("removed");
        store.close().await.expect("closed");
        keeper.all(vec![namespace], 0).await.expect_err("its account could not be made");
    }
}

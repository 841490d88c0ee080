//! Secrets that all hosts of a database share: kept encrypted, under names that no request of the API can reach.

use serde_json::{Value, json};

use crate::error::Error;
use crate::store::Store;
use crate::types::{Key, Op, Precondition, Resource};

/// No kind of the core group is called so, and definitions are never in that group.
pub(crate) fn resource() -> Resource {
    Resource::new("", "host-secrets")
}

fn key(name: &str) -> Key {
    Key { resource: resource(), namespace: None, name: name.into() }
}

impl Store {
    /// What is kept under a name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn kept(&self, name: &str) -> Result<Option<Value>, Error> {
        Ok(self.get(&key(name)).await?.map(|object| object.value()["secret"].take()))
    }

    /// Keeps `offered` under a name, unless a host was faster: gives what is kept from now on, on every host the same.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep(&self, name: &str, offered: Value) -> Result<Value, Error> {
        let key = key(name);
        let uid = uuid::Uuid::new_v4().to_string();
        let body = json!({"metadata": {"name": name, "uid": uid}, "secret": offered});
        let op = Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: None };
        match self.write(vec![op]).await {
            Ok(_) | Err(Error::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(self.kept(name).await?.unwrap_or_default())
    }
}

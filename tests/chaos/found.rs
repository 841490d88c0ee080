//! How everything is in the end, as each host tells it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::ask::{Answer, ask};
use crate::record::{Kind, Story};

/// The objects of all kinds, by kind and name.
pub(crate) type Objects = BTreeMap<(Kind, String), Value>;

/// What one host tells.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) objects: Objects,
}

impl Found {
    /// Asks a host.
    pub(crate) async fn by(client: &kube::Client, namespace: &str) -> Result<Self> {
        let mut found = Self { objects: Objects::new() };
        for kind in Kind::ALL {
            let list = match ask(client, "GET", &kind.path(namespace), "application/json", None).await? {
                Answer::Done(list) => list,
                other => bail!("list {}: {other:?}", kind.plural()),
            };
            for item in list["items"].as_array().into_iter().flatten() {
                let name = item.pointer("/metadata/name").and_then(Value::as_str).context("a name")?.to_owned();
                found.objects.insert((kind, name), item.clone());
            }
        }
        Ok(found)
    }

    pub(crate) fn get(&self, story: &Story) -> Option<&Value> {
        self.objects.get(&(story.kind, story.name.clone()))
    }
}

/// The token in an object.
pub(crate) fn token(kind: Kind, object: &Value) -> Option<&str> {
    object.pointer(kind.token_path()).and_then(Value::as_str)
}

//! What a target goes through, seen from the target itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use kube::core::WatchEvent;
use serde_json::Value;

use crate::load::version;

const OWNER: &str = "/metadata/labels/threeport.dev~1owner-uid";
const EPOCH: &str = "/metadata/annotations/threeport.dev~1epoch";

/// A write of a run, as the target ordered it.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) version: u64,
    pub(crate) name: String,
    /// uid of the object on the target.
    pub(crate) uid: String,
    /// uid of the object whose run it was.
    pub(crate) owner: String,
    pub(crate) epoch: u64,
}

/// Follows the ConfigMaps of a namespace until it is told to stop.
pub(crate) async fn follow(client: kube::Client, namespace: String, stop: Arc<AtomicBool>) -> Result<Vec<Effect>> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let request = http::Request::get(&path).body(Vec::new()).context("make a request")?;
    let list: Value = client.request(request).await.context("list what is on the target")?;
    let mut at = version(&list).context("the list has no resourceVersion")?;
    let mut effects = Vec::new();
    // The epoch that each object had when it was last seen: a write of somebody else leaves it as it is.
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut events) = crate::ask::watch(&client, &path, at).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let object = match tokio::time::timeout(Duration::from_millis(500), events.next()).await {
                Err(_) => continue,
                Ok(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => object,
                Ok(Some(Ok(WatchEvent::Deleted(object)))) => {
                    at = version(&object).unwrap_or(at);
                    continue;
                }
                Ok(Some(Ok(WatchEvent::Bookmark(bookmark)))) => {
                    at = bookmark.metadata.resource_version.parse().unwrap_or(at);
                    continue;
                }
                Ok(Some(Ok(WatchEvent::Error(status)))) if status.code == 410 => {
                    bail!("the target forgot what happened: {}", status.message)
                }
                Ok(_) => break,
            };
            at = version(&object).unwrap_or(at);
            let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (uid, owner) = (text("/metadata/uid"), text(OWNER));
            let Ok(epoch) = text(EPOCH).parse::<u64>() else { continue };
            if known.insert(uid.clone(), epoch) != Some(epoch) {
                effects.push(Effect { version: at, name: text("/metadata/name"), uid, owner, epoch });
            }
        }
    }
    Ok(effects)
}

/// What Threeport has in a namespace: names of ConfigMaps, and their tokens.
pub(crate) async fn holds(client: &kube::Client, namespace: &str) -> Result<BTreeMap<String, String>> {
    let path =
        format!("/api/v1/namespaces/{namespace}/configmaps?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dthreeport");
    let request = http::Request::get(path).body(Vec::new()).context("make a request")?;
    let list: Value = client.request(request).await.context("list what is on the target")?;
    let text = |item: &Value, at: &str| item.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.map(|item| (text(item, "/metadata/name"), text(item, "/data/token"))).collect())
}

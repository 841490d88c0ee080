//! Every host serves what the Plugin objects say, whoever looked at them: each follows the objects and loads what it does not have.
//!
//! While a host does not have what serves, it leaves the objects of those kinds to the hosts that do.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use threeport_store::{Change, ChangeKind, Error, Key, ListQuery, Resource, Scope};
use threeport_wasm::Grants;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::brought::owned;
use crate::definition::plugin_of;
use crate::host::Host;
use crate::kinds::{definitions, plugins};
use crate::serving::{NotLoaded, approved, kinds_of};

/// Wait after what may pass.
const AGAIN: Duration = Duration::from_secs(1);

/// Compiling has limits of its own.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(86_400);

/// How far this host is behind what serves, by plugin.
#[derive(Default)]
pub(crate) struct Behind(Mutex<HashMap<String, State>>);

enum State {
    /// It is loading; these are the kinds.
    Loading(Vec<Resource>),
    /// This component does not load here: runs say so, unless a host of another version may know better.
    Unusable(String, Vec<Resource>),
}

impl Behind {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kinds that other hosts work on for now; `mixed`: some of them are of another version.
    pub(crate) fn kinds(&self, mixed: bool) -> Vec<Resource> {
        let all = self.lock();
        let loading = all.values().filter_map(|state| match state {
            State::Loading(kinds) => Some(kinds),
            State::Unusable(_, kinds) => mixed.then_some(kinds),
        });
        loading.flatten().cloned().collect()
    }

    /// Whether a component was found not to load here.
    fn is_unusable(&self, plugin: &str, digest: &str) -> bool {
        matches!(self.lock().get(plugin), Some(State::Unusable(tried, _)) if tried == digest)
    }
}

/// Whether another host serves a collection with a plugin that this one has not loaded yet.
pub(crate) async fn lags(host: &Host, resource: &Resource) -> Result<bool, Error> {
    let name = format!("{}.{}", resource.plural, resource.group);
    let definition = Key { resource: definitions(), namespace: None, name: name.into() };
    let Some(definition) = host.store.get(&definition).await? else { return Ok(false) };
    let body = definition.value();
    let Some(plugin) = plugin_of(&body) else { return Ok(false) };
    let Some(object) = host.store.get(&plugin_key(plugin)).await? else { return Ok(false) };
    let body = object.value();
    let Some(digest) = serving(&body) else { return Ok(false) };
    // What this version cannot load a newer one may serve: then its objects are that one's.
    let hopeless = host.behind.is_unusable(plugin, digest) && !host.mixed.load(Relaxed);
    Ok(!hopeless && !has(host, plugin, digest))
}

/// Follows the Plugin objects from a resourceVersion on; `ready` is told when this host can work on more than before.
pub(crate) async fn follow(host: Arc<Host>, since: u64, ready: Arc<Notify>) {
    if host.store.is_alone() {
        // Whoever looked at them was this host: to look again would take processor time from its runs while a version is swapped.
        return;
    }
    let mut tasks: HashMap<Arc<str>, AbortHandle> = HashMap::new();
    let mut since = Some(since);
    let scope = || Scope { resource: plugins(), namespace: None };
    let spawn = |tasks: &mut HashMap<Arc<str>, AbortHandle>, name: Arc<str>| {
        let task = tokio::spawn(catch_up(host.clone(), name.clone(), ready.clone())).abort_handle();
        // What is being compiled goes on without whoever waited for it.
        if let Some(older) = tasks.insert(name, task) {
            older.abort();
        }
    };
    loop {
        let mut changes = match host.store.watch(scope(), since).await {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!("Plugins are not followed: {error}; trying again");
                tokio::time::sleep(AGAIN).await;
                since = None;
                continue;
            }
        };
        if since.is_none() {
            // What happened meanwhile is seen in what is there.
            let all = ListQuery { scope: scope(), limit: None, after: None, at: None };
            match host.store.list(all).await {
                Ok(list) => list.items.into_iter().for_each(|object| spawn(&mut tasks, object.key.name)),
                Err(error) => tracing::warn!("Plugins are not listed: {error}"),
            }
        }
        while let Some(Ok(Change { kind, object, .. })) = changes.next().await {
            if kind == ChangeKind::Deleted
                && let Some(older) = tasks.remove(&object.key.name)
            {
                older.abort();
            }
            spawn(&mut tasks, object.key.name);
        }
        if host.store.is_closed() {
            return;
        }
        since = None;
    }
}

fn plugin_key(name: &str) -> Key {
    Key { resource: plugins(), namespace: None, name: name.into() }
}

/// Digest of what serves.
fn serving(plugin: &Value) -> Option<&str> {
    plugin.pointer("/status/digest").and_then(Value::as_str)
}

fn has(host: &Host, name: &str, digest: &str) -> bool {
    host.serving.registry.serving(name).is_some_and(|plugin| plugin.digest == digest)
}

/// Brings this host to what one Plugin says.
async fn catch_up(host: Arc<Host>, name: Arc<str>, ready: Arc<Notify>) {
    loop {
        match step(&host, &name).await {
            Ok(done) => {
                ready.notify_one();
                if done {
                    return;
                }
            }
            Err(why) => {
                tracing::warn!(plugin = &*name, "does not load: {why}; trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// True when there is nothing more to do; false to look again; an error that may pass.
async fn step(host: &Host, name: &str) -> Result<bool, String> {
    let said = |error: Error| error.to_string();
    let Some(object) = host.store.get(&plugin_key(name)).await.map_err(said)? else {
        host.behind.lock().remove(name);
        if host.serving.registry.serving(name).is_some() {
            host.kinds.install(name, &[]);
            host.serving.remove(name);
            tracing::info!(plugin = name, "no longer serving");
        }
        return Ok(true);
    };
    let body = object.value();
    let grants = Grants::parse(&approved(&body));
    if let Ok(grants) = grants {
        // At once, also what is taken back.
        host.serving.approve(name, grants);
    }
    let digest = serving(&body);
    if let Some(next) = body.pointer("/spec/component").and_then(Value::as_str)
        && Some(next) != digest
    {
        // Whichever host lets it serve, it is compiled on all by then.
        host.serving.prepare(&host.store, name, next);
    }
    let Some(digest) = digest.filter(|digest| !has(host, name, digest)) else {
        host.behind.lock().remove(name);
        return Ok(true);
    };
    let kinds = owned(&host.store, name).await.map_err(said)?.into_iter().map(|owned| owned.resource);
    let owned: Vec<Resource> = kinds.collect();
    host.behind.lock().insert(name.to_owned(), State::Loading(owned.clone()));
    let unusable = |why: String| {
        tracing::warn!(plugin = name, digest, "does not load: {why}");
        host.behind.lock().insert(name.to_owned(), State::Unusable(digest.to_owned(), owned.clone()));
        Ok(true)
    };
    let plugin = match host.serving.load(&host.store, name, digest, AS_LONG_AS_IT_TAKES).await {
        Ok(plugin) => plugin,
        Err(error @ (NotLoaded::Store(_) | NotLoaded::Pending(_))) => return Err(error.to_string()),
        Err(NotLoaded::Unusable(error)) if error.is_transient() => return Err(error.to_string()),
        Err(error @ (NotLoaded::Unusable(_) | NotLoaded::Missing(_))) => return unusable(error.to_string()),
    };
    let kinds = match kinds_of(&plugin, name) {
        Ok(kinds) => kinds,
        Err(bad) => return unusable(bad.to_string()),
    };
    // Another may serve by now.
    let now = host.store.get(&plugin_key(name)).await.map_err(said)?.map(|object| object.value());
    if now.as_ref().and_then(serving) == Some(digest) {
        host.kinds.install(name, &kinds);
        host.serving.registry.install(name, plugin);
        host.behind.lock().remove(name);
        tracing::info!(plugin = name, digest, "serving, as another host found");
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_load_here_is_left_to_a_host_of_another_version_while_there_is_one() {
        let (behind, kites) = (Behind::default(), Resource::new("example.org", "kites"));
        let kinds = || [behind.kinds(false).len(), behind.kinds(true).len()];
        behind.lock().insert("toys".to_owned(), State::Loading(vec![kites.clone()]));
        assert_eq!(kinds(), [1, 1]);
        behind.lock().insert("toys".to_owned(), State::Unusable("new".to_owned(), vec![kites]));
        assert_eq!(kinds(), [0, 1], "without another version, runs say what is wrong");
        assert!(behind.is_unusable("toys", "new") && !behind.is_unusable("toys", "newer"));
    }
}

//! Where the work on an object stands: how the last run ended, when the next one is, and why.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use threeport_store::{Class, Key, LastRun};

use super::node::plugin_of;
use crate::registry::OWN_GROUP;
use crate::router::App;
use crate::status::ApiResult;

/// Where the work on an object stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Work {
    /// The Plugin that plans it.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    /// A run is under way.
    running: bool,
    /// Failed runs in a row.
    attempts: u32,
    /// When the last run ended; None: this host does not know of any.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Last>,
    /// When it is looked at again; None: only when something happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_run: Option<String>,
    /// Why it is looked at then: `user`, `dependency`, `drift` or `resync`.
    class: Class,
    /// The same, where only the time has come: `retry`, `requeue`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

/// How a run ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Last {
    /// `succeeded` or `failed`.
    outcome: &'static str,
    /// Its verdict in a word: the reason of Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Arc<str>>,
    /// Who ran it.
    host: Arc<str>,
    /// From the claim to the end.
    took_seconds: f64,
    /// Why it was due.
    class: Class,
    /// The same, where only the time had come.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

impl From<LastRun> for Last {
    fn from(last: LastRun) -> Self {
        Self {
            outcome: if last.failed { "failed" } else { "succeeded" },
            verdict: last.verdict,
            host: last.host,
            took_seconds: last.took as f64 / 1e6,
            class: last.class,
            cause: last.reason.map(std::borrow::Cow::into_owned),
        }
    }
}

/// Name of the Plugin that plans an object.
pub(super) async fn planner(app: &App, key: &Key) -> ApiResult<Option<String>> {
    let is_plugin = &*key.resource.group == OWN_GROUP && &*key.resource.plural == "plugins";
    Ok(plugin_of(app, key).await?.filter(|_| !is_plugin))
}

/// How it stands; None: nobody works on it.
pub(super) fn work(app: &App, key: &Key, plugin: Option<String>) -> Option<Work> {
    let standing = app.store.standing(key)?;
    let now = Timestamp::now();
    let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    let shown = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
    Some(Work {
        plugin,
        running: standing.running,
        attempts: standing.attempts,
        last_run: standing.last_ago.and_then(|ago| now.checked_sub(signed(ago)).ok()).map(shown),
        next_run: standing.due_in.and_then(|due| now.checked_add(signed(due)).ok()).map(shown),
        last: standing.last.map(Last::from),
        class: standing.class,
        cause: standing.reason.map(std::borrow::Cow::into_owned),
    })
}

//! `GET /apis/threeport.dev/v1/queue`, and the same of one namespace: what is due, who holds what, and what is tried again after a failure.
//!
//! The queue is the same on all hosts of a database, so any of them answers. What it alone knows is left out or absent: since when a lease is held that is
//! older than this host.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use threeport_store::{Class, Key, Progress, Resource, Surveyed};

use super::node::{named, plugin_of};
use super::{Reference, may_get};
use crate::auth::User;
use crate::router::App;
use crate::status::{ApiError, ApiResult, json_response};

/// The last part of its paths.
pub(crate) const QUEUE: &str = "queue";

/// Items that are named, of each sort.
const NAMED: usize = 500;

/// The document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    api_version: &'static str,
    kind: &'static str,
    metadata: Value,
    /// Which host answers.
    host: String,
    /// When.
    time: String,
    /// Due and held by nobody.
    due: usize,
    /// How long the oldest of them has been due.
    oldest_seconds: f64,
    /// Runs under way.
    held: usize,
    /// Failed, and tried again later.
    backing_off: usize,
    by_class: Vec<Group>,
    by_plugin: Vec<Group>,
    by_cluster: Vec<Group>,
    by_host: Vec<Group>,
    /// What is due, oldest first.
    waiting: Vec<Item>,
    /// What is under way.
    holders: Vec<Item>,
    /// What failed, the next first.
    failing: Vec<Item>,
    /// Objects that are counted and not named, because who asks may not get them.
    unseen: usize,
    /// More than is named here.
    truncated: bool,
}

/// Counts of those that have something in common.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    /// What they have in common; empty: nothing, or nothing that is theirs to see who ask.
    name: String,
    due: usize,
    held: usize,
    backing_off: usize,
    oldest_seconds: f64,
}

impl Group {
    fn count(&mut self, progress: &Progress) {
        match progress {
            Progress::Due { waited } => {
                self.due += 1;
                self.oldest_seconds = self.oldest_seconds.max(seconds(*waited));
            }
            Progress::Held { .. } => self.held += 1,
            Progress::BacksOff { .. } => self.backing_off += 1,
        }
    }
}

/// A work item.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(flatten)]
    object: Reference,
    /// `user`, `dependency`, `drift` or `resync`.
    class: &'static str,
    /// The same, where only the time has come: `retry`, `requeue`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// Failed runs in a row.
    attempts: u32,
    /// Since when it is due, or held.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Who holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Until when the lease holds unless it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_until: Option<String>,
    /// When it is tried again if nothing happens before.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// What is in its way, as its condition Ready says.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Answers it, to somebody who may have it.
pub(crate) async fn queue(app: &Arc<App>, user: &User, namespace: Option<&str>) -> ApiResult<Response> {
    let now = Timestamp::now();
    let mut items = app.store.survey(namespace);
    let plugins = plugins(app, &items).await?;
    let mut targets: HashMap<&Key, bool> = HashMap::new();
    for target in items.iter().flat_map(|item| &item.targets) {
        targets.entry(target).or_insert_with(|| may_get(app, user, target));
    }
    let mut whole = Group::default();
    let mut by_class: BTreeMap<usize, Group> = (0..Class::ALL.len()).map(|class| (class, Group::default())).collect();
    let (mut by_plugin, mut by_cluster, mut by_host) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let count = |groups: &mut BTreeMap<String, Group>, name: String, progress: &Progress| {
        groups.entry(name).or_default().count(progress);
    };
    for item in &items {
        whole.count(&item.progress);
        by_class.entry(item.class as usize).or_default().count(&item.progress);
        count(&mut by_plugin, plugins.get(&item.key.resource).cloned().unwrap_or_default(), &item.progress);
        for target in &item.targets {
            let name = if targets.get(target) == Some(&true) { place(target) } else { String::new() };
            count(&mut by_cluster, name, &item.progress);
        }
        if let Progress::Held { host, .. } = &item.progress {
            count(&mut by_host, host.to_string(), &item.progress);
        }
    }
    // What has waited longest first, what is tried soonest first.
    items.sort_by_cached_key(|item| match &item.progress {
        Progress::Due { waited } | Progress::Held { since: Some(waited), .. } => {
            (u128::MAX - waited.as_micros(), item.key.clone())
        }
        Progress::Held { since: None, .. } => (0, item.key.clone()),
        Progress::BacksOff { next } => (next.as_micros(), item.key.clone()),
    });
    let (mut waiting, mut holders, mut failing) = (Vec::new(), Vec::new(), Vec::new());
    let (mut unseen, mut truncated) = (0, false);
    for item in &items {
        if !may_get(app, user, &item.key) {
            unseen += 1;
            continue;
        }
        let list = match item.progress {
            Progress::Due { .. } => &mut waiting,
            Progress::Held { .. } => &mut holders,
            Progress::BacksOff { .. } => &mut failing,
        };
        if list.len() < NAMED {
            list.push(shown(app, item, now).await?);
        } else {
            truncated = true;
        }
    }
    let document = Queue {
        api_version: "threeport.dev/v1",
        kind: "Queue",
        metadata: namespace.map_or(json!({}), |namespace| json!({"namespace": namespace})),
        host: app.insight.host(),
        time: seconds_of(now),
        due: whole.due,
        oldest_seconds: whole.oldest_seconds,
        held: whole.held,
        backing_off: whole.backing_off,
        by_class: by_class
            .into_iter()
            .zip(Class::ALL)
            .map(|((_, group), class)| Group { name: class.name().to_owned(), ..group })
            .collect(),
        by_plugin: list(by_plugin),
        by_cluster: list(by_cluster),
        by_host: list(by_host),
        waiting,
        holders,
        failing,
        unseen,
        truncated,
    };
    let body = serde_json::to_vec(&document);
    let body = body.map_err(|error| ApiError::internal(format!("the answer cannot be written: {error}")))?;
    Ok(json_response(StatusCode::OK, body))
}

fn list(groups: BTreeMap<String, Group>) -> Vec<Group> {
    groups.into_iter().map(|(name, group)| Group { name, ..group }).collect()
}

/// The Plugin of each collection.
async fn plugins(app: &App, items: &[Surveyed]) -> ApiResult<HashMap<Resource, String>> {
    let mut plugins = HashMap::new();
    for item in items {
        let resource = &item.key.resource;
        if !plugins.contains_key(resource) {
            plugins.insert(resource.clone(), plugin_of(app, &item.key).await?.unwrap_or_default());
        }
    }
    Ok(plugins)
}

/// `shop/prod`
fn place(key: &Key) -> String {
    match &key.namespace {
        Some(namespace) => format!("{namespace}/{}", key.name),
        None => key.name.to_string(),
    }
}

async fn shown(app: &App, item: &Surveyed, now: Timestamp) -> ApiResult<Item> {
    let before = |span: Duration| Some(seconds_of(now.checked_sub(signed(span)).unwrap_or(now)));
    let after = |span: Duration| Some(seconds_of(now.checked_add(signed(span)).unwrap_or(now)));
    let mut shown = Item {
        object: named(app, &item.key).0,
        class: item.class.name(),
        cause: item.reason.as_deref().map(str::to_owned),
        attempts: item.attempts,
        ..Item::default()
    };
    match &item.progress {
        Progress::Due { waited } => shown.since = before(*waited),
        Progress::Held { host, epoch, since, left } => {
            (shown.host, shown.epoch) = (Some(host.to_string()), Some(*epoch));
            (shown.since, shown.lease_until) = (since.and_then(before), after(*left));
        }
        Progress::BacksOff { next } => shown.next = after(*next),
    }
    if item.attempts > 0
        && let Some(object) = app.store.get(&item.key).await?
    {
        let object = object.value();
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        let text = |key: &str| ready.and_then(|ready| ready[key].as_str()).map(str::to_owned);
        (shown.reason, shown.message) = (text("reason"), text("message"));
    }
    Ok(shown)
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

fn seconds_of(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

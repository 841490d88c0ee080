//! `GET …/{name}/why`: the causal chain from an object to the first thing that is in its way.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;
use threeport_store::{Key, Object, Resource};

use super::node::{Link, Node, node};
use super::work::{Work, planner, work};
use super::{Metadata, Placed, Problem, Viewer, placed};
use crate::registry::OWN_GROUP;
use crate::status::ApiResult;

/// Longest chain.
const STEPS: usize = 16;
/// Objects around one that are looked at for what is in its way, of each sort.
const LOOKED_AT: usize = 500;
/// Objects that a step names beside the next one.
const NAMED: usize = 20;

/// The document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Why {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    /// True, False or Unknown.
    ready: String,
    /// The first cause, in one sentence.
    summary: String,
    /// From the object to the first cause.
    chain: Vec<Step>,
}

/// One object on the way.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    /// By which field the step before comes here; None for the first, and where it is no field that leads here.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<Link>,
    /// How it comes here otherwise: `plugin`, `child`, `user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    relation: Option<&'static str>,
    object: Node,
    /// All that is said of it, Ready aside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Value>,
    /// Who works on it, and how far that is; None for what nobody works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    work: Option<Work>,
    /// What is on targets because of it and is not as it should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<Placed>,
    /// What else is in its way, beside the next step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also_waits_for: Vec<Node>,
    /// How many more that are not named.
    #[serde(rename = "alsoWaitsForMore", skip_serializing_if = "is_none")]
    more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What is in the way of an object.
struct Blocker {
    key: Key,
    via: Option<Link>,
    relation: Option<&'static str>,
}

/// The chain of an object.
pub(super) async fn why(viewer: Viewer<'_>, object: &Object) -> ApiResult<Why> {
    let mut chain: Vec<Step> = Vec::new();
    let mut seen = HashSet::new();
    let mut next = Some(Blocker { key: object.key.clone(), via: None, relation: None });
    while let Some(blocker) = next.take() {
        if !seen.insert(blocker.key.clone()) || chain.len() >= STEPS {
            break;
        }
        let (mut step, blockers) = step(viewer, blocker).await?;
        let mut blockers = blockers.into_iter().filter(|blocker| !seen.contains(&blocker.key)).collect::<Vec<_>>();
        if !blockers.is_empty() {
            next = Some(blockers.remove(0));
        }
        step.more = blockers.len().saturating_sub(NAMED);
        for other in blockers.into_iter().take(NAMED) {
            step.also_waits_for.push(viewer.node(&other.key).await?);
        }
        chain.push(step);
    }
    let ready = chain.first().map_or_else(String::new, |step| step.object.ready.clone());
    Ok(Why {
        api_version: "threeport.dev/v1",
        kind: super::View::Why.kind(),
        metadata: Metadata::of(object),
        ready,
        summary: chain.last().map(summary).unwrap_or_default(),
        chain,
    })
}

/// An object on the way, and what is in its way, what counts most first.
async fn step(viewer: Viewer<'_>, blocker: Blocker) -> ApiResult<(Step, Vec<Blocker>)> {
    let Blocker { key, via, relation } = blocker;
    let app = viewer.app;
    let object = viewer.node(&key).await?;
    // What is not theirs to see ends the chain.
    let stored = if object.is_unseen() { None } else { app.store.get(&key).await? };
    let mut step = Step {
        via,
        relation,
        object,
        conditions: Vec::new(),
        work: None,
        targets: Vec::new(),
        also_waits_for: Vec::new(),
        more: 0,
    };
    let Some(stored) = stored else { return Ok((step, Vec::new())) };
    let plugin = planner(app, &key).await?;
    step.work = work(app, &key, plugin.clone());
    let value = stored.value();
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    step.conditions = conditions.into_iter().filter(|condition| condition["type"] != "Ready").collect();
    if step.object.is_ready() && !step.object.deleting {
        return Ok((step, Vec::new()));
    }
    let all = placed(app, &stored).await?;
    step.targets = all.into_iter().filter(|placed| placed.health != "current" || placed.error.is_some()).collect();
    let blockers = blockers(viewer, &stored, &step, plugin).await?;
    Ok((step, blockers))
}

async fn blockers(viewer: Viewer<'_>, object: &Object, step: &Step, plugin: Option<String>) -> ApiResult<Vec<Blocker>> {
    let app = viewer.app;
    let mut blockers = Vec::new();
    if let Some(plugin) = plugin {
        let key = Key { resource: Resource::new(OWN_GROUP, "plugins"), namespace: None, name: plugin.into() };
        if step.object.reason == "PluginNotLoaded" || app.store.get(&key).await?.is_none() {
            blockers.push(Blocker { key, via: None, relation: Some("plugin") });
        }
    }
    if step.object.deleting {
        for (key, edge) in app.store.dependants(&object.key).await?.into_iter().take(LOOKED_AT) {
            if edge.role != "uses" && key != object.key {
                blockers.push(Blocker { key, via: Some((&edge).into()), relation: Some("user") });
            }
        }
        return Ok(blockers);
    }
    // What a person has to mend in the object itself is the cause, whatever else is not ready.
    if step.conditions.iter().any(|condition| condition["type"] == "Stalled" && condition["status"] == "True") {
        return Ok(blockers);
    }
    let mut waiting = Vec::new();
    for edge in app.store.references(&object.key).await?.into_iter().take(LOOKED_AT) {
        let to = node(app, &edge.to).await?;
        if to.is_ready() || waiting.iter().any(|(_, known): &(bool, Blocker)| known.key == edge.to) {
            continue;
        }
        waiting.push((to.exists(), Blocker { key: edge.to.clone(), via: Some((&edge).into()), relation: None }));
    }
    for child in viewer.owned(object).await?.into_iter().take(LOOKED_AT) {
        if !node(app, &child.key).await?.is_ready() {
            waiting.push((true, Blocker { key: child.key, via: None, relation: Some("child") }));
        }
    }
    // What is not there at all comes before what is not ready yet.
    waiting.sort_by_key(|(exists, _)| *exists);
    blockers.extend(waiting.into_iter().map(|(_, blocker)| blocker));
    Ok(blockers)
}

/// The last step as a sentence.
fn summary(step: &Step) -> String {
    let Node { reason, message, .. } = &step.object;
    let name = step.object.named();
    if step.object.is_unseen() {
        return format!("{name} is in the way: ask somebody who may get it");
    }
    if step.object.deleting {
        return format!("{name} is being deleted: {reason}: {message}");
    }
    if step.object.is_ready() {
        return if message.is_empty() { format!("{name} is Ready") } else { format!("{name} is Ready: {message}") };
    }
    let refused = step.targets.iter().find_map(|placed| placed.error.as_ref().map(|error| (placed, error)));
    let mut text =
        if step.object.exists() { format!("{name} is not Ready: {reason}: {message}") } else { message.clone() };
    if let Some((placed, Problem { message: why, .. })) = refused
        && !message.contains(why.as_str())
    {
        text.push_str(&format!("; the target refused {} {}: {why}", placed.reference.kind, placed.reference.name));
    }
    text
}

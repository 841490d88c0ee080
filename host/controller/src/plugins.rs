//! Reconciling Plugin objects: from a component's digest to kinds that are served.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use threeport_store::{Claim, Key, Op, Precondition};
use threeport_wasm::{Grants, Plugin};
use uuid::Uuid;

use crate::conditions::{Claimed, READY};
use crate::definition::{definition, plugin_of};
use crate::host::Host;
use crate::kinds::{HOST_GROUP, Kind, definitions};
use crate::report::{self, Report};
use crate::serving::{NotLoaded, approved, kinds_of, references_of, requested};
use crate::trouble::{Pace, Stop, Trouble};

/// Versions that a Plugin remembers, the serving one included.
const HISTORY: usize = 3;

/// What this host does once the run is committed.
pub(crate) enum Install {
    /// This version serves the next runs.
    Serve { name: String, plugin: Arc<Plugin>, kinds: Vec<Kind>, grants: Grants },
    /// Nothing serves under this name any more.
    Remove { name: String },
}

/// A run for a Plugin object.
pub(crate) async fn run(host: &Host, claim: &Claim, body: &Value) -> Result<(Report, Option<Install>), Stop> {
    let name = claim.object.key.name.to_string();
    if body["metadata"].get("deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return remove(host, &name).await;
    }
    let grants = match Grants::parse(&approved(body)) {
        Ok(grants) => {
            // At once and whatever comes of the component: what is taken back must not go on.
            host.serving.approve(&name, grants.clone());
            grants
        }
        Err(wrong) => {
            return Ok(refuse(host, &name, None, &Trouble::stalled("GrantsInvalid", format!("spec.grants: {wrong}"))));
        }
    };
    let Some(digest) = body.pointer("/spec/component").and_then(Value::as_str) else {
        let message =
            "spec.component must name a component by its digest (sha256:...); upload one with `threeport plugin push`";
        return Ok(refuse(host, &name, None, &Trouble::stalled("ComponentMissing", message)));
    };
    let plugin = match host.serving.load(&host.store, &name, digest).await {
        Ok(plugin) => plugin,
        Err(NotLoaded::Store(error)) => return Err(error.into()),
        Err(NotLoaded::Unusable(error)) => {
            return Ok(refuse(host, &name, None, &Trouble::stalled(error.reason(), error.to_string())));
        }
        Err(error @ NotLoaded::Missing(_)) => {
            return Ok(refuse(host, &name, None, &Trouble::stalled("ComponentMissing", error.to_string())));
        }
    };
    if let Err(missing) = grants.covers(&plugin.requested) {
        let message = format!(
            "version {} asks for more than is approved; to approve, add to spec.grants: {}",
            plugin.descriptor.version,
            missing.join(", ")
        );
        return Ok(refuse(host, &name, Some(&plugin), &Trouble::stalled("GrantsNotApproved", message)));
    }
    let (kinds, ops) = match write_definitions(host, &name, &plugin).await? {
        Ok(written) => written,
        Err(trouble) => return Ok(refuse(host, &name, Some(&plugin), &trouble)),
    };
    let mut history: Vec<&str> = vec![&plugin.digest];
    let before = body.pointer("/status/history").and_then(Value::as_array);
    history.extend(before.into_iter().flatten().filter_map(Value::as_str).filter(|old| *old != plugin.digest));
    history.truncate(HISTORY);
    let fields = fields(&plugin, json!(history));
    let version = &plugin.descriptor.version;
    let claims = vec![
        Claimed::new(READY, "True", "Serving", format!("version {version} ({}) serves", plugin.digest)),
        Claimed::new(
            "Verified",
            "True",
            "Described",
            format!("the component is a plugin named {}", plugin.descriptor.name),
        ),
        Claimed::new("GrantsApproved", "True", "Approved", "everything it asks for is approved"),
    ];
    let report = Report { fields: Some(fields), ops, ..Report::new(claims, Pace::Within(host.config.resync)) };
    Ok((report, Some(Install::Serve { name, plugin, kinds, grants })))
}

/// The status of a Plugin whose component is this one.
fn fields(plugin: &Plugin, history: Value) -> Map<String, Value> {
    let kinds = plugin.kinds.iter().map(|crd| crd.spec.names.kind.clone()).collect::<Vec<_>>();
    let fields = json!({
        "version": plugin.descriptor.version,
        "digest": plugin.digest,
        "requestedGrants": requested(plugin),
        "kinds": kinds,
        "history": history,
    });
    fields.as_object().cloned().unwrap_or_default()
}

/// The version is not taken; whatever serves goes on.
fn refuse(host: &Host, name: &str, plugin: Option<&Plugin>, trouble: &Trouble) -> (Report, Option<Install>) {
    let mut trouble = trouble.clone();
    match host.serving.registry.serving(name) {
        Some(serving) => {
            let version = &serving.descriptor.version;
            trouble.message = format!("{}; version {version} ({}) serves on", trouble.message, serving.digest);
        }
        None => trouble.message.push_str("; no version serves"),
    }
    let mut claims = report::claims(&trouble);
    let approved = plugin.is_none_or(|_| trouble.reason != "GrantsNotApproved");
    if plugin.is_some() {
        claims.push(Claimed::new("Verified", "True", "Described", "the component is a plugin"));
    }
    if !approved {
        claims.push(Claimed::new("GrantsApproved", "False", &trouble.reason, &trouble.message));
    }
    let mut report = Report { keep_others: true, ..Report::new(claims, trouble.pace) };
    report.fields = plugin.map(|plugin| {
        let mut fields = Map::new();
        fields.insert("requestedGrants".to_owned(), requested(plugin));
        fields
    });
    report.merge_fields = true;
    (report, None)
}

/// The writes that make a plugin's kinds known, or why they may not be.
async fn write_definitions(
    host: &Host,
    name: &str,
    plugin: &Plugin,
) -> Result<Result<(Vec<Kind>, Vec<Op>), Trouble>, Stop> {
    let invalid = |message: String| Ok(Err(Trouble::stalled("SchemaInvalid", message)));
    let kinds = match kinds_of(plugin, name) {
        Ok(kinds) => kinds,
        Err(bad) => return invalid(bad.to_string()),
    };
    let mut ops = Vec::new();
    for (kind, described) in kinds.iter().zip(&plugin.descriptor.kinds) {
        if let Some(why) = reserved(&kind.resource.group, &kind.kind) {
            return Ok(Err(Trouble::stalled("KindConflict", why)));
        }
        let described: Value = serde_json::from_str(described).unwrap_or_default();
        let key = definition_key(kind);
        let stored = host.store.get(&key).await?;
        let before = stored.as_ref().map(threeport_store::Object::value);
        let other = match &before {
            Some(before) => Some(plugin_of(before)).filter(|owner| *owner != Some(name)),
            None => None,
        };
        if let Some(owner) = other {
            let owner = owner.map_or_else(
                || "a CustomResourceDefinition of its own".to_owned(),
                |owner| format!("plugin {owner:?}"),
            );
            let message = format!(
                "kind {} ({}) is served by {owner}; delete that first or rename the kind",
                kind.kind, kind.resource
            );
            return Ok(Err(Trouble::stalled("KindConflict", message)));
        }
        let uid = Uuid::new_v4().to_string();
        let body = match definition(&described, name, &references_of(plugin, &described), before.as_ref(), &uid) {
            Ok(body) => body,
            Err(bad) => return invalid(bad.to_string()),
        };
        if before.as_ref() == Some(&body) {
            continue;
        }
        let precondition = stored.map_or(Precondition::Absent, |stored| Precondition::Present {
            uid: Some(stored.uid),
            resource_version: Some(stored.resource_version),
        });
        ops.push(Op::Put { key, body, precondition, edges: None, wake: None });
    }
    for dropped in host.kinds.of_plugin(name) {
        if kinds.iter().any(|kind| kind.resource == dropped.resource) {
            continue;
        }
        if let Some(first) = host.any(&dropped.resource).await? {
            let message = format!(
                "this version no longer serves kind {}, and there are objects of it: {first}; delete them first",
                dropped.kind
            );
            return Ok(Err(Trouble::stalled("KindDropped", message)));
        }
        ops.extend(remove_definition(host, name, &dropped).await?);
    }
    Ok(Ok((kinds, ops)))
}

/// Why a plugin may not serve a kind of this name.
fn reserved(group: &str, kind: &str) -> Option<String> {
    let of_kubernetes = !group.contains('.') || group == "k8s.io" || group.ends_with(".k8s.io");
    let of_host = group == HOST_GROUP && matches!(kind, "Plugin" | "Definition");
    (of_kubernetes || of_host)
        .then(|| format!("kind {kind} in group {group:?} is the host's own; choose another name or group"))
}

fn definition_key(kind: &Kind) -> Key {
    Key {
        resource: definitions(),
        namespace: None,
        name: format!("{}.{}", kind.resource.plural, kind.resource.group).into(),
    }
}

async fn remove_definition(host: &Host, name: &str, kind: &Kind) -> Result<Option<Op>, Stop> {
    let key = definition_key(kind);
    let stored = host.store.get(&key).await?.filter(|stored| plugin_of(&stored.value()) == Some(name));
    Ok(stored.map(|stored| Op::Remove {
        key,
        precondition: Precondition::Present { uid: Some(stored.uid), resource_version: None },
    }))
}

/// A Plugin goes when no object of its kinds is left, and its kinds go with it.
async fn remove(host: &Host, name: &str) -> Result<(Report, Option<Install>), Stop> {
    let mut ops = Vec::new();
    for kind in host.kinds.of_plugin(name) {
        if let Some(first) = host.any(&kind.resource).await? {
            let message = format!(
                "objects of kind {} are left, and only this plugin can remove what they made: {first}; delete them",
                kind.kind
            );
            let mut trouble = Trouble::waiting("InUse", message);
            trouble.pace = Pace::Within(Duration::from_secs(2));
            return Ok((Report::trouble(&trouble), None));
        }
        ops.extend(remove_definition(host, name, &kind).await?);
    }
    let report = Report { ops, ..Report::finished(Vec::new()) };
    Ok((report, Some(Install::Remove { name: name.to_owned() })))
}

//! Reconciling Plugin objects: from a component's digest to kinds that are served.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use threeport_scheduler::Wake;
use threeport_store::{Claim, Class};
use threeport_wasm::{Grants, Plugin};

use crate::brought::{owned, writes};
use crate::conditions::{Claimed, READY};
use crate::gates::{self, Gate};
use crate::host::Host;
use crate::kinds::Kind;
use crate::pause;
use crate::report::{self, Report};
use crate::serving::{Job, NotLoaded, approved, history, requested};
use crate::trouble::{BACKSTOP, Pace, Stop, Trouble};

/// Versions that a Plugin remembers, the serving one included.
const HISTORY: usize = 3;

/// What this host does once the run is committed.
pub(crate) enum Install {
    /// This version serves the next runs.
    Serve {
        name: String,
        plugin: Arc<Plugin>,
        kinds: Vec<Kind>,
        grants: Grants,
        /// Digest of what served until now, on whichever host.
        before: Option<String>,
    },
    /// Nothing serves under this name any more.
    Remove { name: String },
}

/// A run for a Plugin object. It goes on where the plugin is paused: only the runs for its objects wait.
pub(crate) async fn run(host: &Host, claim: &Claim, body: &Value) -> Result<(Report, Option<Install>), Stop> {
    let (mut report, install) = match go(host, claim, body).await {
        Err(Stop::Trouble(trouble)) => (Report::trouble(&trouble), None),
        done => done?,
    };
    if !report.finished {
        report.claims.extend(pause::of_plugin(body));
    }
    Ok((report, install))
}

async fn go(host: &Host, claim: &Claim, body: &Value) -> Result<(Report, Option<Install>), Stop> {
    let name = claim.object.key.name.to_string();
    if body["metadata"].get("deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return remove(host, &name).await;
    }
    let refuse =
        |at: Gate, plugin: Option<&Plugin>, trouble: Trouble| Ok((refusal(host, &name, at, plugin, trouble), None));
    let grants = Grants::parse(&approved(body));
    if let Ok(grants) = &grants {
        // At once and whatever comes of the component: what is taken back must not go on.
        host.serving.approve(&name, grants.clone());
    }
    let Some(digest) = body.pointer("/spec/component").and_then(Value::as_str) else {
        let message =
            "spec.component must name a component by its digest (sha256:...); upload one with `threeport plugin push`";
        return refuse(Gate::Verified, None, Trouble::stalled("ComponentMissing", message));
    };
    let plugin = match host.serving.load(&host.store, &name, digest, host.config.compile_patience).await {
        Ok(plugin) => plugin,
        Err(NotLoaded::Pending(job)) => {
            look_again(host, claim, job);
            let trouble = Trouble::unknown("Compiling", "the component is being compiled");
            return refuse(Gate::Compiled, None, Trouble { pace: Pace::Within(BACKSTOP), ..trouble });
        }
        Err(error @ NotLoaded::Store(_)) => return Err(Trouble::again("StoreFailed", error.to_string()).into()),
        Err(NotLoaded::Unusable(error)) => {
            let trouble = if error.is_transient() { Trouble::again } else { Trouble::stalled };
            return refuse(Gate::of(&error), None, trouble(error.reason(), error.to_string()));
        }
        Err(error @ NotLoaded::Missing(_)) => {
            return refuse(Gate::Verified, None, Trouble::stalled("ComponentMissing", error.to_string()));
        }
    };
    let version = &plugin.descriptor.version;
    let grants = match grants {
        Ok(grants) => grants,
        Err(wrong) => {
            let trouble = Trouble::stalled("GrantsInvalid", format!("spec.grants: {wrong}"));
            return refuse(Gate::GrantsApproved, Some(&plugin), trouble);
        }
    };
    if let Err(missing) = grants.covers(&plugin.requested) {
        let missing = missing.join(", ");
        let message =
            format!("version {version} asks for more than is approved; to approve, add to spec.grants: {missing}");
        return refuse(Gate::GrantsApproved, Some(&plugin), Trouble::stalled("GrantsNotApproved", message));
    }
    let rollback = history(body).any(|before| before == plugin.digest);
    let (kinds, ops) = match writes(host, &name, &plugin, rollback).await? {
        Ok(written) => written,
        Err(trouble) => return refuse(Gate::SchemaCompatible, Some(&plugin), trouble),
    };
    let before = body.pointer("/status/digest").and_then(Value::as_str).map(str::to_owned);
    let serves = before.as_ref() == Some(&plugin.digest);
    if body.pointer("/spec/rollout/paused") == Some(&json!(true)) && !serves {
        let message = format!(
            "version {version} ({}) is ready to serve; set spec.rollout.paused to false to let it",
            plugin.digest
        );
        let trouble = Trouble { pace: Pace::Within(host.config.resync), ..Trouble::stalled("RolloutPaused", message) };
        return refuse(Gate::Serving, Some(&plugin), trouble);
    }
    let mut versions: Vec<&str> = vec![&plugin.digest];
    versions.extend(history(body).filter(|old| *old != plugin.digest));
    versions.truncate(HISTORY);
    let message = format!("version {version} ({}) serves", plugin.digest);
    let mut claims = gates::passed(&message);
    claims.push(Claimed::new(READY, "True", "Serving", &message));
    let fields = fields(&plugin, json!(versions));
    let report = Report { fields: Some(fields), ops, ..Report::new(claims, Pace::Within(host.config.resync)) };
    Ok((report, Some(Install::Serve { name, plugin, kinds, grants, before })))
}

/// Has the Plugin looked at when its component is compiled.
fn look_again(host: &Host, claim: &Claim, job: Job) {
    let (store, bell, uid) = (host.store.clone(), host.bell.clone(), claim.object.uid.clone());
    tokio::spawn(async move {
        // However it ends: the run says it.
        let _done = job.await;
        match store.wake(std::slice::from_ref(&uid), Class::User).await {
            Ok(()) => bell.ring(Wake::new(&*uid, Class::User.name())),
            Err(error) => {
                tracing::warn!("a Plugin whose component is compiled is not woken: {error}; it looks by itself")
            }
        }
    });
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
fn refusal(host: &Host, name: &str, at: Gate, plugin: Option<&Plugin>, mut trouble: Trouble) -> Report {
    let mut claims = gates::stopped(at, &trouble);
    match host.serving.registry.serving(name) {
        Some(serving) => {
            let version = &serving.descriptor.version;
            trouble.message = format!("{}; version {version} ({}) serves on", trouble.message, serving.digest);
        }
        None => trouble.message.push_str("; no version serves"),
    }
    claims.extend(report::claims(&trouble));
    let mut report = Report::new(claims, trouble.pace);
    report.fields = plugin.map(|plugin| {
        let mut fields = Map::new();
        fields.insert("requestedGrants".to_owned(), requested(plugin));
        fields
    });
    report.merge_fields = true;
    report
}

/// A Plugin goes when no object of its kinds is left, and its kinds go with it.
async fn remove(host: &Host, name: &str) -> Result<(Report, Option<Install>), Stop> {
    let mut ops = Vec::new();
    for kind in owned(&host.store, name).await? {
        if let Some(first) = host.any(&kind.resource).await? {
            let message = format!(
                "objects of kind {} are left, and only this plugin can remove what they made: {first}; delete them",
                kind.kind
            );
            let mut trouble = Trouble::waiting("InUse", message);
            trouble.pace = Pace::Within(Duration::from_secs(2));
            return Ok((Report::trouble(&trouble), None));
        }
        ops.extend(kind.remove());
    }
    let report = Report { ops, ..Report::finished(Vec::new()) };
    Ok((report, Some(Install::Remove { name: name.to_owned() })))
}

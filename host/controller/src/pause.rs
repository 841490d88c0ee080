//! What somebody has paused: an object by its annotation, a plugin's objects by its Plugin, those on a target by the annotation of the object that is the
//! target. A paused object is not run for: nothing is done on targets, and its deletion waits. What it is to be may be changed meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use threeport_store::{Claim, Completion, Key};

use crate::backoff::jittered;
use crate::carried::target_ref;
use crate::conditions::{self, Claimed, PAUSED, READY};
use crate::host::Host;
use crate::kinds::plugins;
use crate::report::Report;
use crate::request;
use crate::trouble::{Pace, Stop, Trouble};
use crate::wishes::{PAUSE, flag};

/// Reason of conditions.
const REASON: &str = "Paused";

/// Which of the objects that may pause others do so, by the version that was looked at.
#[derive(Default)]
pub(crate) struct Pauses(Mutex<HashMap<Key, (u64, bool)>>);

impl Pauses {
    /// Whether an object pauses those that belong to it.
    async fn pauses(&self, host: &Host, key: &Key) -> Result<bool, threeport_store::Error> {
        let Some(object) = host.store.get(key).await? else {
            self.lock().remove(key);
            return Ok(false);
        };
        if let Some((_, pauses)) = self.lock().get(key).filter(|(version, _)| *version == object.resource_version) {
            return Ok(*pauses);
        }
        let pauses = says(&object.value());
        self.lock().insert(key.clone(), (object.resource_version, pauses));
        Ok(pauses)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (u64, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an object says that it is paused, or a Plugin that its objects are. A value that means nothing pauses nothing; the object's own run tells it.
fn says(body: &Value) -> bool {
    let is_plugin = body["kind"] == "Plugin" && body["apiVersion"] == "threeport.dev/v1";
    flag(body, PAUSE).unwrap_or(false) || is_plugin && body.pointer("/spec/paused") == Some(&json!(true))
}

/// The report of an object that is paused; None: it is not.
pub(crate) async fn held(host: &Host, claim: &Claim, body: &Value) -> Result<Option<Report>, Stop> {
    Ok(why(host, claim, body).await?.map(|message| report(host, body, &message)))
}

/// Who paused an object, and how it goes on.
async fn why(host: &Host, claim: &Claim, body: &Value) -> Result<Option<String>, Stop> {
    let key = &claim.object.key;
    let own = flag(body, PAUSE).map_err(|value| {
        let message = format!("metadata.annotations[{PAUSE}] is {value:?}; it may be \"true\" or \"false\"");
        Trouble::stalled("AnnotationInvalid", message)
    })?;
    if own {
        return Ok(Some(format!("paused by its own annotation {PAUSE}; to go on: {}", resume(key))));
    }
    if let Some(kind) = host.kinds.get(&key.resource) {
        let plugin = Key { resource: plugins(), namespace: None, name: kind.plugin.clone() };
        if host.pauses.pauses(host, &plugin).await? {
            let name = &kind.plugin;
            return Ok(Some(format!(
                "paused with all objects of the Plugin {name}; to go on, set spec.paused of the Plugin to false and take its annotation {PAUSE} off: \
                 kubectl patch plugin {name} --type=merge -p '{{\"metadata\":{{\"annotations\":{{\"{PAUSE}\":null}}}},\"spec\":{{\"paused\":null}}}}'"
            )));
        }
    }
    for target in targets(host, claim).await? {
        if target != *key && host.pauses.pauses(host, &target).await? {
            let what = target.to_string();
            return Ok(Some(format!(
                "paused with everything on its target {what}, by the annotation {PAUSE} there; to go on: {}",
                resume(&target)
            )));
        }
    }
    Ok(None)
}

/// What an object refers to as a target, and where it still has something.
async fn targets(host: &Host, claim: &Claim) -> Result<BTreeSet<Key>, Stop> {
    let edges = host.store.references(&claim.object.key).await?;
    let mut targets: BTreeSet<Key> =
        edges.into_iter().filter(|edge| edge.role == "target").map(|edge| edge.to).collect();
    let names: BTreeSet<&str> = claim.inventory.iter().map(|entry| entry.target.as_str()).collect();
    targets.extend(names.into_iter().filter_map(|name| host.kinds.key(&target_ref(name)?)));
    Ok(targets)
}

/// The command that takes the annotation off.
fn resume(key: &Key) -> String {
    let namespace = key.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("kubectl annotate{namespace} {}/{} {PAUSE}-", key.resource, key.name)
}

/// It says that it is paused, and is as it was last seen otherwise: what was seen of this generation may be told still.
fn report(host: &Host, body: &Value, message: &str) -> Report {
    let generation = conditions::generation(body);
    let previous = conditions::of(body);
    let seen = conditions::find(&previous, READY).filter(|ready| {
        !request::deleting(body) && ready.observed_generation == Some(generation) && ready.reason != REASON
    });
    let ready = match seen {
        Some(ready) => Claimed::new(READY, &ready.status, &ready.reason, &ready.message),
        None => Claimed::new(READY, "False", REASON, message),
    };
    let claims = vec![ready, Claimed::new(PAUSED, "True", REASON, message)];
    let pace = Pace::Within(jittered(host.config.resync));
    Report { keep_others: true, next: Some("paused"), ..Report::new(claims, pace) }
}

/// For a Plugin's own run: what it says of being paused.
pub(crate) fn of_plugin(body: &Value) -> Option<Claimed> {
    let message = "no runs for objects of its kinds, on any host; versions are loaded and swapped all the same. To go on, set spec.paused to false and take \
                   the annotation threeport.dev/paused off";
    says(body).then(|| Claimed::new(PAUSED, "True", REASON, message))
}

/// Whether a completion pauses the object, or lets it go on.
pub(crate) fn turns(object: &Value, completion: &Completion) -> bool {
    let paused = |status: &Value| {
        let conditions = status["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == PAUSED && one["status"] == "True"))
    };
    completion.status.as_ref().is_some_and(|status| paused(status) != paused(&object["status"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_pauses_any_object_and_the_spec_a_plugin_only() {
        let body = |kind: &str, annotation: Option<&str>, spec: bool| {
            json!({"apiVersion": "threeport.dev/v1", "kind": kind, "spec": {"paused": spec},
                "metadata": {"annotations": annotation.map(|value| json!({PAUSE: value})).unwrap_or_default()}})
        };
        assert!(says(&body("Kite", Some("true"), false)) && says(&body("Plugin", Some("true"), false)));
        assert!(says(&body("Plugin", None, true)) && !says(&body("Kite", None, true)));
        for value in ["false", "", "yes"] {
            assert!(!says(&body("Kite", Some(value), false)), "{value}");
        }
    }

    #[test]
    fn turning_is_told_by_the_condition() {
        let status = |paused: bool| json!({"conditions": if paused { json!([{"type": "Paused", "status": "True"}]) } else { json!([]) }});
        let turns = |before: bool, after: Option<bool>| {
            let completion = Completion { status: after.map(status), ..Completion::default() };
            turns(&json!({"status": status(before)}), &completion)
        };
        assert!(turns(false, Some(true)) && turns(true, Some(false)));
        assert!(!turns(true, Some(true)) && !turns(false, Some(false)) && !turns(true, None));
    }
}

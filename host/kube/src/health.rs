//! Is a live object healthy: the kstatus rules, pure.
//!
//! Knows Kubernetes' own kinds; of any other it reads the standard conditions. A custom resource without conditions counts as current at once: whoever
//! knows the kind asks for more (`ready` of a manifest).

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// As wanted.
    Current,
    /// On the way.
    InProgress,
    /// Will not get there by itself.
    Failed,
    /// Being deleted.
    Terminating,
    /// Not there.
    NotFound,
    /// Cannot be told.
    Unknown,
}

impl State {
    /// As in the contract with plugins.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Current => "current",
            State::InProgress => "in-progress",
            State::Failed => "failed",
            State::Terminating => "terminating",
            State::NotFound => "not-found",
            State::Unknown => "unknown",
        }
    }
}

/// What the rules say about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The verdict.
    pub class: State,
    /// Why, for people; empty where there is nothing to say.
    pub message: String,
}

/// Health of a live object (`null`: not found), now.
pub fn health(live: &Value) -> Health {
    health_at(live, Timestamp::now())
}

/// A pod may be unschedulable for a moment while nodes come.
const SCHEDULING: SignedDuration = SignedDuration::from_secs(15);
/// Reasons of waiting containers that do not pass by themselves.
const STUCK: [&str; 7] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

fn health_at(live: &Value, now: Timestamp) -> Health {
    if live.is_null() {
        return is(State::NotFound, "it is not there");
    }
    if !live.is_object() {
        return is(State::Unknown, "it is not an object");
    }
    if live.pointer("/metadata/deletionTimestamp").is_some() {
        return is(State::Terminating, "it is being deleted");
    }
    let generation = live.pointer("/metadata/generation").and_then(Value::as_i64);
    if let (Some(generation), Some(observed)) =
        (generation, live.pointer("/status/observedGeneration").and_then(Value::as_i64))
        && observed < generation
    {
        return progress(format!("generation {generation} is not observed yet (last {observed})"));
    }
    if let Some(stalled) = condition(live, "Stalled").filter(|c| c["status"] == "True") {
        return is(State::Failed, &said(stalled));
    }
    if let Some(reconciling) = condition(live, "Reconciling").filter(|c| c["status"] == "True") {
        return progress(said(reconciling));
    }
    let group = crate::group(live["apiVersion"].as_str().unwrap_or_default());
    match (group, live["kind"].as_str().unwrap_or_default()) {
        ("apps", "Deployment") => deployment(live),
        ("apps", "StatefulSet") => stateful_set(live),
        ("apps", "DaemonSet") => daemon_set(live),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set(live),
        ("batch", "Job") => job(live),
        ("", "Pod") => pod(live, now),
        ("", "PersistentVolumeClaim") => phase(live, "Bound"),
        ("", "Namespace") => phase(live, "Active"),
        ("", "Service") => service(live),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(live),
        ("policy", "PodDisruptionBudget") => {
            if generation.is_some() && live.pointer("/status/observedGeneration").is_none() {
                progress("not observed yet".into())
            } else {
                current()
            }
        }
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(live),
        ("apiregistration.k8s.io", "APIService") => demand(live, "Available"),
        _ => generic(live),
    }
}

fn is(class: State, message: &str) -> Health {
    Health { class, message: message.to_owned() }
}

fn current() -> Health {
    is(State::Current, "")
}

fn progress(message: String) -> Health {
    Health { class: State::InProgress, message }
}

fn condition<'a>(live: &'a Value, kind: &str) -> Option<&'a Value> {
    live.pointer("/status/conditions")?.as_array()?.iter().find(|c| c["type"] == kind)
}

fn said(condition: &Value) -> String {
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    match (text("reason"), text("message")) {
        ("", "") => format!("{} is {}", text("type"), text("status")),
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn number(live: &Value, pointer: &str, default: i64) -> i64 {
    live.pointer(pointer).and_then(Value::as_i64).unwrap_or(default)
}

/// `wanted` of something must be there; the first that is short is told.
fn short(wanted: i64, have: &[(&str, i64)]) -> Option<Health> {
    have.iter().find(|(_, count)| *count != wanted).map(|(what, count)| progress(format!("{count} of {wanted} {what}")))
}

/// A condition must be there and True.
fn demand(live: &Value, kind: &str) -> Health {
    match condition(live, kind) {
        Some(condition) if condition["status"] == "True" => current(),
        Some(condition) => progress(said(condition)),
        None => progress(format!("{kind} is not reported yet")),
    }
}

/// Standard conditions of a kind that we do not know.
fn generic(live: &Value) -> Health {
    match condition(live, "Ready") {
        Some(_) => demand(live, "Ready"),
        None => current(),
    }
}

/// Controllers of these kinds always report what they observed; before that, status says nothing.
fn unobserved(live: &Value) -> Option<Health> {
    let missing =
        live.pointer("/status/observedGeneration").is_none() && live.pointer("/metadata/generation").is_some();
    missing.then(|| progress("its controller has not looked at it yet".into()))
}

fn deployment(live: &Value) -> Health {
    if let Some(condition) = condition(live, "Progressing").filter(|c| c["reason"] == "ProgressDeadlineExceeded") {
        return is(State::Failed, &said(condition));
    }
    let wanted = number(live, "/spec/replicas", 1);
    let [updated, total, available] =
        ["updatedReplicas", "replicas", "availableReplicas"].map(|f| number(live, &format!("/status/{f}"), 0));
    if let Some(health) = unobserved(live).or_else(|| short(wanted, &[("replicas updated", updated)])) {
        return health;
    }
    if total > updated {
        return progress(format!("{} old replicas still run", total - updated));
    }
    short(wanted, &[("replicas available", available)]).unwrap_or_else(|| demand(live, "Available"))
}

fn stateful_set(live: &Value) -> Health {
    if live.pointer("/spec/updateStrategy/type").is_some_and(|t| t == "OnDelete") {
        return current();
    }
    let wanted = number(live, "/spec/replicas", 1);
    let [total, ready, updated] =
        ["replicas", "readyReplicas", "updatedReplicas"].map(|f| number(live, &format!("/status/{f}"), 0));
    if let Some(health) =
        unobserved(live).or_else(|| short(wanted, &[("replicas exist", total), ("replicas ready", ready)]))
    {
        return health;
    }
    let partition = number(live, "/spec/updateStrategy/rollingUpdate/partition", 0);
    if partition > 0 {
        let wanted = (wanted - partition).max(0);
        return if updated < wanted {
            progress(format!("{updated} of {wanted} replicas above the partition updated"))
        } else {
            current()
        };
    }
    if live.pointer("/status/currentRevision") != live.pointer("/status/updateRevision") {
        return progress(format!("{updated} of {wanted} replicas updated"));
    }
    short(wanted, &[("replicas of the current revision", number(live, "/status/currentReplicas", 0))])
        .unwrap_or_else(current)
}

fn daemon_set(live: &Value) -> Health {
    let wanted = number(live, "/status/desiredNumberScheduled", 0);
    let have = [
        ("pods updated", "updatedNumberScheduled"),
        ("pods available", "numberAvailable"),
        ("pods ready", "numberReady"),
    ];
    let mut have = have.map(|(what, field)| (what, number(live, &format!("/status/{field}"), 0)));
    if live.pointer("/spec/updateStrategy/type").is_some_and(|t| t == "OnDelete") {
        have[0].1 = wanted;
    }
    unobserved(live).or_else(|| short(wanted, &have)).unwrap_or_else(current)
}

fn replica_set(live: &Value) -> Health {
    let wanted = number(live, "/spec/replicas", 1);
    let have = [
        ("replicas exist", "fullyLabeledReplicas"),
        ("replicas available", "availableReplicas"),
        ("replicas ready", "readyReplicas"),
    ];
    let have = have.map(|(what, field)| (what, number(live, &format!("/status/{field}"), 0)));
    unobserved(live).or_else(|| short(wanted, &have)).unwrap_or_else(current)
}

fn job(live: &Value) -> Health {
    if let Some(failed) = condition(live, "Failed").filter(|c| c["status"] == "True") {
        return is(State::Failed, &said(failed));
    }
    match condition(live, "Complete") {
        Some(complete) if complete["status"] == "True" => current(),
        _ => progress(format!(
            "{} pods run, {} succeeded",
            number(live, "/status/active", 0),
            number(live, "/status/succeeded", 0)
        )),
    }
}

fn pod(live: &Value, now: Timestamp) -> Health {
    let statuses = ["initContainerStatuses", "containerStatuses"]
        .map(|f| live.pointer(&format!("/status/{f}")).and_then(Value::as_array));
    let stuck = statuses.into_iter().flatten().flatten().find_map(|status| {
        let waiting = status.pointer("/state/waiting")?;
        waiting["reason"].as_str().filter(|reason| STUCK.contains(reason))?;
        Some(format!("container {}: {}", status["name"].as_str().unwrap_or_default(), said(waiting)))
    });
    if let Some(message) = stuck {
        return is(State::Failed, &message);
    }
    match live.pointer("/status/phase").and_then(Value::as_str) {
        Some("Succeeded") => return current(),
        Some("Failed") => return is(State::Failed, &said(&live["status"])),
        _ => {}
    }
    if let Some(scheduled) = condition(live, "PodScheduled").filter(|c| c["reason"] == "Unschedulable") {
        let since = scheduled["lastTransitionTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let long = since.is_some_and(|since| now.duration_since(since) > SCHEDULING);
        return Health { class: if long { State::Failed } else { State::InProgress }, message: said(scheduled) };
    }
    demand(live, "Ready")
}

fn phase(live: &Value, wanted: &str) -> Health {
    match live.pointer("/status/phase").and_then(Value::as_str) {
        Some(phase) if phase == wanted => current(),
        Some("Lost") => is(State::Failed, "Lost: its volume is gone"),
        Some(phase) => progress(format!("phase {phase}, not {wanted} yet")),
        None => progress(format!("not {wanted} yet")),
    }
}

fn service(live: &Value) -> Health {
    let balanced = live.pointer("/spec/type").is_some_and(|t| t == "LoadBalancer");
    let addresses = live.pointer("/status/loadBalancer/ingress").and_then(Value::as_array).map_or(0, Vec::len);
    if balanced && addresses == 0 { progress("no address from the load balancer yet".into()) } else { current() }
}

fn definition(live: &Value) -> Health {
    match condition(live, "NamesAccepted") {
        Some(names) if names["status"] == "False" => is(State::Failed, &said(names)),
        _ => demand(live, "Established"),
    }
}

fn autoscaler(live: &Value) -> Health {
    for kind in ["AbleToScale", "ScalingActive"] {
        // Scaling to or from zero switches ScalingActive off by intent.
        let short = condition(live, kind).filter(|c| c["status"] == "False" && c["reason"] != "ScalingDisabled");
        if let Some(condition) = short {
            return progress(said(condition));
        }
    }
    current()
}

#[cfg(test)]
mod tests;

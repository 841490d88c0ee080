//! Conditions of `.status`: Kubernetes' own type, merged so that a time of transition means one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The summary that `kubectl wait` looks at; always there.
pub(crate) const READY: &str = "Ready";
/// There while the host is on its way to what is wanted (kstatus).
pub(crate) const RECONCILING: &str = "Reconciling";
/// There while nothing will get better by itself (kstatus).
pub(crate) const STALLED: &str = "Stalled";

/// There while somebody has paused it.
pub(crate) const PAUSED: &str = "Paused";

/// A condition as somebody claims it, before it is merged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claimed {
    /// Its type.
    pub(crate) kind: String,
    /// True, False or Unknown.
    pub(crate) status: String,
    /// CamelCase.
    pub(crate) reason: String,
    /// For people: what is and what to do.
    pub(crate) message: String,
}

impl Claimed {
    pub(crate) fn new(kind: &str, status: &str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), status: status.to_owned(), reason: reason.into(), message: message.into() }
    }
}

/// Conditions in an object's status; what does not parse is as good as absent.
pub(crate) fn of(object: &Value) -> Vec<Condition> {
    let Some(conditions) = object.pointer("/status/conditions").and_then(Value::as_array) else { return Vec::new() };
    conditions.iter().filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect()
}

/// The condition of this type.
pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// metadata.generation
pub(crate) fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
}

/// Whether the object says that it is ready as it is now.
pub(crate) fn is_ready(object: &Value) -> bool {
    let conditions = of(object);
    find(&conditions, READY)
        .is_some_and(|ready| ready.status == "True" && ready.observed_generation.unwrap_or(0) == generation(object))
}

/// Longest message that Kubernetes takes in a condition.
const MESSAGE: usize = 32 << 10;

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE {
        message.truncate(message.floor_char_boundary(MESSAGE - 3));
        message.push_str("...");
    }
    message
}

/// `claimed` as the new list: the time of the last transition is kept where the status is. With `keep_others`, conditions that are not claimed and
/// not the host's own stay as they are.
pub(crate) fn merge(
    previous: &[Condition],
    claimed: Vec<Claimed>,
    keep_others: bool,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut merged: Vec<Condition> = Vec::with_capacity(claimed.len());
    for claim in claimed {
        let last_transition_time = match find(previous, &claim.kind) {
            Some(before) if before.status == claim.status => before.last_transition_time.clone(),
            _ => Time(now),
        };
        let condition = Condition {
            type_: claim.kind,
            status: claim.status,
            reason: claim.reason,
            message: cut(claim.message),
            observed_generation: Some(generation),
            last_transition_time,
        };
        // The last word counts: the host speaks after the plugin.
        match merged.iter_mut().find(|known| known.type_ == condition.type_) {
            Some(known) => *known = condition,
            None => merged.push(condition),
        }
    }
    if keep_others {
        let others = previous.iter().filter(|before| {
            !matches!(before.type_.as_str(), READY | RECONCILING | STALLED | PAUSED)
                && find(&merged, &before.type_).is_none()
        });
        let others: Vec<Condition> = others.cloned().collect();
        merged.extend(others);
    }
    merged.sort_by(|a, b| rank(&a.type_).cmp(&rank(&b.type_)).then_with(|| a.type_.cmp(&b.type_)));
    merged
}

/// Ready first, as `kubectl describe` readers expect; a stable order keeps equal statuses equal.
fn rank(kind: &str) -> u8 {
    match kind {
        READY => 0,
        RECONCILING => 1,
        STALLED => 2,
        _ => 3,
    }
}

/// A status of the plugin's own fields, these conditions and the generation they speak of.
pub(crate) fn status(fields: Map<String, Value>, conditions: &[Condition], generation: i64) -> Value {
    let mut status = fields;
    status.insert("observedGeneration".to_owned(), json!(generation));
    status.insert("conditions".to_owned(), json!(conditions));
    Value::Object(status)
}

/// The status's fields without what the host adds.
pub(crate) fn own_fields(object: &Value) -> Map<String, Value> {
    let mut fields = object.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    fields.remove("observedGeneration");
    fields.remove("conditions");
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_of_transition_moves_only_with_the_status() {
        let first = merge(&[], vec![Claimed::new(READY, "False", "A", "a")], false, 1, at(10));
        let second = merge(&first, vec![Claimed::new(READY, "False", "B", "b")], false, 2, at(20));
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("B", Some(2)));
        let third = merge(&second, vec![Claimed::new(READY, "True", "C", "")], false, 2, at(30));
        assert_eq!(third[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn merging_the_same_again_gives_the_same_value() {
        let claims = vec![Claimed::new("Zeal", "True", "A", ""), Claimed::new(READY, "True", "A", "")];
        let first = merge(&[], claims.clone(), false, 1, at(10));
        let stored: Vec<Condition> = serde_json::from_value(json!(first)).unwrap();
        assert_eq!(json!(merge(&stored, claims, false, 1, at(99))), json!(first));
        assert_eq!(first[0].type_, READY);
    }

    #[test]
    fn a_message_is_no_longer_than_kubernetes_takes_and_stays_equal_to_itself() {
        let claims = vec![Claimed::new(READY, "False", "A", "ä".repeat(MESSAGE))];
        let first = merge(&[], claims.clone(), false, 1, at(10));
        assert!(first[0].message.len() <= MESSAGE && first[0].message.ends_with("ä..."));
        assert_eq!(json!(merge(&first, claims, false, 1, at(99))), json!(first));
    }

    #[test]
    fn the_last_claim_of_a_type_wins() {
        let claims = vec![Claimed::new(READY, "True", "Plugin", ""), Claimed::new(READY, "False", "Host", "")];
        let merged = merge(&[], claims, false, 1, at(0));
        assert_eq!((merged.len(), merged[0].reason.as_str()), (1, "Host"));
    }

    #[test]
    fn what_is_not_judged_anew_stays_but_for_the_hosts_own_words() {
        let claims = vec![Claimed::new(STALLED, "True", "A", ""), Claimed::new("Zeal", "True", "A", "")];
        let first = merge(&[], claims, false, 1, at(10));
        let second = merge(&first, vec![Claimed::new(READY, "False", "B", "")], true, 2, at(20));
        let kinds: Vec<_> = second.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!((kinds, second[1].observed_generation), (vec![READY, "Zeal"], Some(1)));
    }

    #[test]
    fn ready_for_an_older_generation_is_not_ready() {
        let object = |observed| {
            json!({"metadata": {"generation": 2}, "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ok",
                "message": "", "observedGeneration": observed, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        };
        assert!(is_ready(&object(2)));
        assert!(!is_ready(&object(1)));
    }
}

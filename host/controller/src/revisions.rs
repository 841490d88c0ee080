//! A run for a Definition: who uses which of its revisions, and which of them may go.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use threeport_store::definitions::{self, TRACKS};
use threeport_store::{Claim, Class, Demand, Edge, Key, ListQuery, Object, Op, Precondition, Resource, Scope, Store};

use crate::conditions::{Claimed, READY, RECONCILING, STALLED, find, of};
use crate::host::Host;
use crate::merged::{DOES_NOT_FIT, RESOLVED};
use crate::report::Report;
use crate::request::deleting;
use crate::trouble::{Pace, Stop, Trouble};

/// Objects that a message names.
const NAMED: usize = 5;
/// Objects that are asked whether they can go on.
const ASKED: usize = 100;
/// How often to look while objects go on to a new revision.
const ON_THEIR_WAY: Duration = Duration::from_millis(300);
/// Kept where the Definition does not say.
const LIMIT: u64 = 10;

pub(crate) async fn run(host: &Host, claim: &Claim, body: &Value) -> Result<Report, Stop> {
    let key = &claim.object.key;
    let users: Vec<(Key, Edge)> = host.store.dependants(key).await?;
    let revisions = revisions(&host.store, key, &claim.object.uid).await?;
    if deleting(body) {
        if !users.is_empty() {
            let names = named(users.iter().map(|(user, _)| user));
            let trouble = Trouble::waiting("InUse", format!("it is used by {names}; delete them first"));
            return Ok(Report::trouble(&trouble));
        }
        let unused = Op::Check(Demand::Unused { key: key.clone(), but: Vec::new() });
        let ops = std::iter::once(unused).chain(revisions.values().map(remove)).collect();
        return Ok(Report { ops, ..Report::finished(Vec::new()) });
    }
    let newest = definitions::newest(body).unwrap_or(0);
    let mut counts = BTreeMap::new();
    let mut current: HashSet<Key> = HashSet::new();
    for (number, revision) in &revisions {
        let of_it = host.store.dependants(&revision.key).await?;
        let objects: HashSet<Key> = of_it.into_iter().map(|(user, _)| user).filter(|user| user != key).collect();
        counts.insert(*number, objects.len());
        if *number == newest {
            current = objects;
        }
    }
    let follows = users.iter().filter(|(_, edge)| edge.field == TRACKS).map(|(user, _)| user);
    let outdated: BTreeSet<&Key> = follows.filter(|user| !current.contains(user)).collect();
    let objects: HashSet<&Key> = users.iter().map(|(user, _)| user).collect();

    let (claims, pace) = judge(host, newest, &outdated, objects.len()).await?;
    let (kept, dropped) = sift(body, newest, &revisions, &counts);
    let listed: Vec<Value> = kept
        .iter()
        .rev()
        .map(|number| {
            let name = &revisions[number].key.name;
            json!({"revision": number, "name": &**name, "objects": counts[number]})
        })
        .collect();
    let fields = json!({
        "latestRevision": newest, "objects": objects.len(), "outdated": outdated.len(), "revisions": listed,
    });
    let mut report = Report::new(claims, pace);
    report.fields = fields.as_object().cloned();
    for number in dropped {
        let revision = &revisions[&number];
        // Somebody may have come to use it meanwhile.
        report.ops.push(Op::Check(Demand::Unused { key: revision.key.clone(), but: Vec::new() }));
        report.ops.push(remove(revision));
    }
    Ok(report)
}

/// An object that is gone is one user less: its Definition counts again.
pub(crate) async fn left(host: &Host, object: &Value) {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let Some(wish) = definitions::wish(object) else { return };
    let counted = async {
        if let Some(definition) = host.store.get(&definitions::definition_key(namespace, &wish.name)).await? {
            host.store.wake(std::slice::from_ref(&definition.uid), Class::Resync).await?;
            host.ring([&definition.uid], Class::Resync);
        }
        Ok::<(), threeport_store::Error>(())
    };
    if let Err(error) = counted.await {
        tracing::debug!("a Definition does not count its users at once: {error}; the resync does");
    }
}

/// Ready says whether all that follow have come to the newest revision.
async fn judge(
    host: &Host,
    newest: u64,
    outdated: &BTreeSet<&Key>,
    objects: usize,
) -> Result<(Vec<Claimed>, Pace), Stop> {
    if outdated.is_empty() {
        let message = match objects {
            0 => format!("revision {newest} is the newest; no object uses it yet"),
            _ => format!("all objects that track it use revision {newest}"),
        };
        return Ok((vec![Claimed::new(READY, "True", "UpToDate", message)], Pace::Within(host.config.resync)));
    }
    let mut misfits = Vec::new();
    for key in outdated.iter().take(ASKED) {
        let object = host.store.get(key).await?.map(|object| object.value()).unwrap_or_default();
        if find(&of(&object), RESOLVED).is_some_and(|it| it.status == "False" && it.reason == DOES_NOT_FIT) {
            misfits.push(*key);
        }
    }
    let stuck = misfits.len() == outdated.len();
    let (reason, message, other) = if stuck {
        let names = named(misfits.into_iter());
        let message = format!(
            "revision {newest} does not fit {names}, which stay on what they had; their condition {RESOLVED} says why"
        );
        (DOES_NOT_FIT, message, STALLED)
    } else {
        let names = named(outdated.iter().copied());
        let message =
            format!("{} of {objects} objects are to go on to revision {newest} still: {names}", outdated.len());
        ("Progressing", message, RECONCILING)
    };
    let claims = vec![Claimed::new(READY, "False", reason, &message), Claimed::new(other, "True", reason, message)];
    Ok((claims, Pace::Within(if stuck { crate::trouble::BACKSTOP } else { ON_THEIR_WAY })))
}

/// Which revisions stay and which go: those that nobody uses, the oldest first, down to the limit; never the newest.
fn sift(
    body: &Value,
    newest: u64,
    revisions: &BTreeMap<u64, Object>,
    counts: &BTreeMap<u64, usize>,
) -> (Vec<u64>, Vec<u64>) {
    let limit = body.pointer("/spec/revisionHistoryLimit").and_then(Value::as_u64).unwrap_or(LIMIT);
    let unused = |number: &&u64| **number != newest && counts.get(number).is_none_or(|count| *count == 0);
    let idle: Vec<u64> = revisions.keys().filter(unused).copied().collect();
    let excess = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    let dropped = idle[..excess].to_vec();
    (revisions.keys().filter(|number| !dropped.contains(number)).copied().collect(), dropped)
}

/// The revisions of a Definition, by number.
async fn revisions(store: &Store, key: &Key, uid: &Arc<str>) -> Result<BTreeMap<u64, Object>, Stop> {
    const PAGE: usize = 200;
    let resource = Resource::new(definitions::GROUP, "definitionrevisions");
    let mut after: Arc<str> = format!("{}-", key.name).into();
    let prefix = after.clone();
    let mut found = BTreeMap::new();
    loop {
        let scope = Scope { resource: resource.clone(), namespace: key.namespace.clone() };
        let query = ListQuery { scope, limit: Some(PAGE), after: Some((key.namespace.clone(), after)), at: None };
        let items = store.list(query).await?.items;
        let last = items.last().map(|last| last.key.name.clone());
        for revision in items {
            let owned = || revision.value()["metadata"]["ownerReferences"][0]["uid"] == **uid;
            if let Some(number) = definitions::number_of(&revision, &key.name).filter(|_| owned()) {
                found.insert(number, revision);
            }
        }
        match last {
            Some(last) if last.starts_with(&*prefix) => after = last,
            _ => return Ok(found),
        }
    }
}

fn remove(revision: &Object) -> Op {
    let precondition = Precondition::Present { uid: Some(revision.uid.clone()), resource_version: None };
    Op::Remove { key: revision.key.clone(), precondition }
}

fn named<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
    let all: BTreeSet<String> = keys.map(ToString::to_string).collect();
    let more = all.len().saturating_sub(NAMED);
    let mut shown: Vec<String> = all.into_iter().take(NAMED).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_nobody_uses_go_and_never_the_newest() {
        let object = |number: u64| Object {
            key: definitions::revision_key(Some("a"), "web", number),
            uid: "u".into(),
            resource_version: number,
            body: Default::default(),
        };
        let revisions: BTreeMap<u64, Object> = (1..=6).map(|number| (number, object(number))).collect();
        let counts = BTreeMap::from([(1, 1), (2, 0), (3, 0), (4, 2), (5, 0), (6, 0)]);
        let kept = |limit: u64| sift(&json!({"spec": {"revisionHistoryLimit": limit}}), 6, &revisions, &counts).0;
        assert_eq!(kept(1), [1, 4, 5, 6]);
        assert_eq!(kept(0), [1, 4, 6]);
        assert_eq!(kept(9), [1, 2, 3, 4, 5, 6]);
    }
}

//! Deleting many objects in the reverse order of their references: what others refer to outlives them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use threeport_store::lifecycle::Propagation;
use threeport_store::{Edge, Error, Key, Object, Op, Outline};

use crate::collector::Collector;
use crate::deletion::{delete, same};
use crate::events::Note;
use crate::meters;

/// Objects in one transaction.
const BATCH: usize = 64;
/// Objects after which others come to their turn.
pub(crate) const STRETCH: usize = 256;

/// Why objects are swept.
pub(crate) struct Why<'a> {
    /// The object that goes.
    pub(crate) of: &'a Object,
    /// For the meters.
    pub(crate) cause: &'static str,
    /// What becomes of what they own.
    pub(crate) way: Option<Propagation>,
    /// Said in an Event about each, where that is of use.
    pub(crate) note: Option<String>,
}

/// What came of a sweep.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// What was deleted by it, or marked.
    pub(crate) deleted: Vec<Key>,
    /// What others need, from outside, and who that is.
    pub(crate) held: Vec<(Key, Vec<(Key, Edge)>)>,
    /// Somebody else wrote meanwhile: there may be more to do.
    pub(crate) again: bool,
}

impl Collector {
    /// Deletes those that nobody needs any more; the others when they are looked at again.
    pub(crate) async fn sweep(&self, objects: &[Object], why: &Why<'_>) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let keys: HashSet<&Key> = objects.iter().map(|object| &object.key).collect();
        let mut batch: Vec<(&Object, [Op; 2])> = Vec::new();
        for (at, object) in objects.iter().enumerate() {
            if at % STRETCH == STRETCH - 1 {
                tokio::task::yield_now().await;
            }
            let users = self.store.dependants(&object.key).await?;
            let users: Vec<_> = users.into_iter().filter(|(user, _)| *user != object.key).collect();
            let outside: Vec<_> =
                users.iter().filter(|(user, edge)| !keys.contains(user) && edge.is_needed()).cloned().collect();
            if !outside.is_empty() {
                swept.held.push((object.key.clone(), outside));
                continue;
            }
            if Outline::of(object).is_on_its_way() {
                continue;
            }
            let mut but: Vec<Key> =
                users.into_iter().map(|(user, _)| user).filter(|user| keys.contains(user)).collect();
            if !but.is_empty() {
                // Those that need each other go together.
                let reached = self.reached(&object.key, &keys).await?;
                if !but.iter().all(|user| reached.contains(user)) {
                    continue;
                }
                but.dedup();
            }
            if let Some(ops) = delete(object, why.way, but, self.store.now()) {
                batch.push((object, ops));
            }
            if batch.len() == BATCH {
                self.carry_out(std::mem::take(&mut batch), why, &mut swept).await?;
            }
        }
        self.carry_out(batch, why, &mut swept).await?;
        Ok(swept)
    }

    async fn carry_out(&self, batch: Vec<(&Object, [Op; 2])>, why: &Why<'_>, swept: &mut Swept) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let only = |ops: &mut dyn Iterator<Item = Op>| std::iter::once(same(why.of)).chain(ops).collect::<Vec<_>>();
        let together = match self.write(only(&mut batch.iter().flat_map(|(_, ops)| ops.clone()))).await {
            Ok(()) => true,
            Err(error) if other_writes(&error) => false,
            Err(error) => return Err(error),
        };
        for (object, ops) in batch {
            if !together {
                match self.write(only(&mut ops.into_iter())).await {
                    Ok(()) => {}
                    Err(error) if other_writes(&error) => {
                        swept.again = true;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            meters::deleted(why.cause);
            tracing::debug!(object = %object.key, cause = why.cause, "deleted");
            if let Some(note) = &why.note {
                self.tell(&object.value(), &Note::normal("Deleting", note.clone())).await;
            }
            swept.deleted.push(object.key.clone());
        }
        Ok(())
    }

    /// What an object refers to, and what that refers to, among these.
    async fn reached(&self, from: &Key, among: &HashSet<&Key>) -> Result<HashSet<Key>, Error> {
        let (mut reached, mut ahead) = (HashSet::new(), vec![from.clone()]);
        while let Some(key) = ahead.pop() {
            for edge in self.store.references(&key).await? {
                if among.contains(&edge.to) && reached.insert(edge.to.clone()) {
                    ahead.push(edge.to);
                }
            }
        }
        Ok(reached)
    }

    /// Those who need one of these objects, and those who need them, without the objects themselves.
    pub(crate) async fn users_of(&self, objects: &[Object]) -> Result<Vec<Object>, Error> {
        let mut known: HashSet<Key> = objects.iter().map(|object| object.key.clone()).collect();
        let mut ahead: Vec<Key> = known.iter().cloned().collect();
        let mut users: HashMap<Key, Object> = HashMap::new();
        while let Some(key) = ahead.pop() {
            for (user, edge) in self.store.dependants(&key).await? {
                if edge.is_needed()
                    && known.insert(user.clone())
                    && let Some(object) = self.store.get(&user).await?
                {
                    users.insert(user.clone(), object);
                    ahead.push(user);
                }
            }
        }
        let mut users: Vec<Object> = users.into_values().collect();
        users.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(users)
    }
}

/// Whether a write failed because of what others wrote.
fn other_writes(error: &Error) -> bool {
    matches!(error, Error::Conflict { .. } | Error::NotFound(_) | Error::InUse { .. })
}

/// The first few of many names.
pub(crate) fn some<'a>(keys: impl ExactSizeIterator<Item = &'a Key>) -> String {
    const NAMED: usize = 10;
    let count = keys.len();
    let mut shown: Vec<String> = keys.take(NAMED).map(ToString::to_string).collect();
    if count > NAMED {
        shown.push(format!("{} more", count - NAMED));
    }
    shown.join(", ")
}

/// Who holds what, for people.
pub(crate) fn who_holds(held: &[(Key, Vec<(Key, Edge)>)]) -> String {
    const NAMED: usize = 5;
    let mut lines: Vec<String> = held
        .iter()
        .take(NAMED)
        .map(|(key, users)| format!("{key} is in use by {}", some(users.iter().map(|(user, _)| user))))
        .collect();
    if held.len() > NAMED {
        lines.push(format!("{} more are in use", held.len() - NAMED));
    }
    lines.join("; ")
}

/// Sets a condition; its time moves when its status does. True if something changed.
pub(crate) fn condition(status: &mut Value, kind: &str, holds: bool, reason: &str, message: &str, now: &str) -> bool {
    if !status.is_object() {
        *status = serde_json::json!({});
    }
    if !status["conditions"].is_array() {
        status["conditions"] = serde_json::json!([]);
    }
    let holds = if holds { "True" } else { "False" };
    let Some(conditions) = status["conditions"].as_array_mut() else { return false };
    let mut made = serde_json::json!({
        "type": kind, "status": holds, "reason": reason, "message": message, "lastTransitionTime": now,
    });
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(before) => {
            if before["status"] == holds {
                made["lastTransitionTime"] = before["lastTransitionTime"].clone();
            }
            let changed = *before != made;
            *before = made;
            changed
        }
        None => {
            conditions.push(made);
            true
        }
    }
}

//! A group of requests on its way into one transaction. Everything is decided here, in memory, against the committed state and the group so
//! far; the engine then writes what came of it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::body::Body;
use crate::error::Error;
use crate::layer::{Draft, InventoryWrite, Layer, Step};
use crate::lifecycle;
use crate::managers;
use crate::queue::{Queue, Work, span};
use crate::shares::{self, Shares};
use crate::state::{Entry, State};
use crate::trace::TraceContext;
use crate::types::{Class, Key, Object};
use crate::work::{Claim, Completed, Completion, HIGHEST_EPOCH, InventoryEntry, LastRun};

/// Requests that are committed together.
pub(crate) struct Group<'a> {
    pub(crate) state: &'a State,
    pub(crate) queue: &'a mut Queue,
    pub(crate) layer: Layer,
    pub(crate) next_id: i64,
    pub(crate) now: i64,
    /// Of the request at hand.
    pub(crate) trace: Option<TraceContext>,
}

/// A claimed item before its carried state and inventory are read.
pub(crate) struct Picked {
    pub(crate) id: i64,
    pub(crate) claim: Claim,
    /// When it was decided.
    pub(crate) at: Instant,
}

/// What of a claim the writer needs to know it by.
pub(crate) struct Lease {
    key: Key,
    uid: Arc<str>,
    owner: Arc<str>,
    epoch: u64,
    wanted: u64,
}

impl From<&Claim> for Lease {
    fn from(claim: &Claim) -> Self {
        let Object { key, uid, .. } = claim.object.clone();
        Self { key, uid, owner: claim.owner.clone(), epoch: claim.epoch, wanted: claim.wanted }
    }
}

impl Group<'_> {
    fn draft(&self) -> Draft<'_> {
        Draft { state: self.state, group: &self.layer, mine: Layer::default(), next_id: self.next_id }
    }

    /// Makes a request's changes part of the group.
    fn accept(&mut self, mut mine: Layer) {
        let wakes = std::mem::take(&mut mine.wakes);
        let mut aims: Vec<i64> = mine.edges.keys().copied().collect();
        for wake in wakes {
            if mine.removed.contains(&wake.id) {
                continue;
            }
            if let Some(key) = &wake.create
                && self.queue.ensure(wake.id, key)
            {
                aims.push(wake.id);
            }
            self.queue.wake(wake.id, wake.class, self.now, self.trace);
        }
        for id in &mine.removed {
            self.queue.remove(*id);
        }
        self.layer.absorb(mine);
        for id in aims {
            let targets = shares::targets(self.draft().edges_of(id));
            self.queue.aim(id, targets);
        }
    }

    /// All steps or none.
    pub(crate) fn write(&mut self, steps: &[Step]) -> Result<Vec<Object>, Error> {
        let mut draft = self.draft();
        let objects = steps.iter().filter_map(|step| draft.apply(step).transpose()).collect::<Result<_, _>>()?;
        let mine = draft.mine;
        self.accept(mine);
        Ok(objects)
    }

    /// [`write`](Self::write) while a lease holds.
    pub(crate) fn write_held(&mut self, claim: &Lease, steps: &[Step]) -> Result<Vec<Object>, Error> {
        self.held(&self.draft(), claim)?;
        self.write(steps)
    }

    pub(crate) fn claim(
        &mut self,
        owner: &Arc<str>,
        ttl: Duration,
        limit: usize,
        shares: Shares,
        sent: Instant,
    ) -> Vec<Picked> {
        let ids = self.queue.claim(owner, ttl, limit, shares, self.now);
        let traces: Vec<_> = ids.iter().map(|id| self.queue.take_trace(*id)).collect();
        let (draft, at) = (self.draft(), Instant::now());
        let picked = ids.into_iter().zip(traces).filter_map(|(id, trace)| {
            let work = self.queue.get(id)?;
            let entry = draft.get(&work.key)?;
            let waited = work.due_at.and_then(|due_at| u64::try_from(self.now - due_at).ok()).unwrap_or(0);
            let claim = Claim {
                object: entry.object.clone(),
                epoch: work.epoch,
                lapsed: work.lapsed,
                owner: owner.clone(),
                wanted: work.wanted,
                attempts: work.attempts,
                class: work.class,
                targets: work.targets.clone().unwrap_or_default(),
                trace,
                expires: sent + ttl,
                waited: Duration::from_micros(waited),
                carried: Value::Null,
                inventory: Vec::new(),
            };
            Some(Picked { id, claim, at })
        });
        picked.collect()
    }

    /// The object of a lease that still holds, as it is now.
    fn held(&self, draft: &Draft<'_>, claim: &Lease) -> Result<Entry, Error> {
        let entry = draft.get(&claim.key).filter(|entry| entry.object.uid == claim.uid);
        let holds = |entry: &&Entry| {
            let work = self.queue.get(entry.id);
            work.is_some_and(|work| work.owner.as_ref() == Some(&claim.owner) && work.epoch == claim.epoch)
        };
        let lost = || Error::LeaseLost { uid: claim.uid.to_string(), epoch: claim.epoch };
        entry.filter(holds).cloned().ok_or_else(lost)
    }

    /// Prolongs leases; tells which are lost.
    pub(crate) fn renew(&mut self, owner: &str, leases: &[(Arc<str>, u64)], ttl: Duration) -> Vec<Arc<str>> {
        let mut lost = Vec::new();
        for (uid, epoch) in leases {
            let id = self.draft().id_of(uid);
            let held = |work: &&Work| work.owner.as_deref() == Some(owner) && work.epoch == *epoch;
            match id.filter(|id| self.queue.get(*id).as_ref().is_some_and(held)) {
                Some(id) => self.queue.update(id, |work| work.until = self.now.saturating_add(span(ttl))),
                None => lost.push(uid.clone()),
            }
        }
        lost
    }

    pub(crate) fn intend(&mut self, claim: &Lease, entries: &Arc<Vec<InventoryEntry>>) -> Result<(), Error> {
        let entry = self.held(&self.draft(), claim)?;
        self.layer.inventory.push((entry.id, InventoryWrite::Extend(entries.clone())));
        Ok(())
    }

    pub(crate) fn release(&mut self, claim: &Lease) -> Result<(), Error> {
        let entry = self.held(&self.draft(), claim)?;
        self.queue.update(entry.id, Work::give_up);
        Ok(())
    }

    /// Settles suspects as they were seen.
    pub(crate) fn settle_suspects(&mut self, seen: &[(Arc<str>, u64)]) {
        let mut draft = self.draft();
        for (uid, seq) in seen {
            if let Some(id) = draft.id_of(uid) {
                draft.settle(id, *seq);
            }
        }
        let mine = draft.mine;
        self.accept(mine);
    }

    /// Wakes what has a work item; tells which those were.
    pub(crate) fn wake(&mut self, uids: &[Arc<str>], class: Class) {
        for uid in uids {
            if let Some(id) = self.draft().id_of(uid) {
                self.queue.wake(id, class, self.now, self.trace);
            }
        }
    }

    /// Makes due what nobody watches any more; tells which those are.
    pub(crate) fn unwatched(&mut self, gone: &HashSet<Arc<str>>, most: usize, apart: i64) -> Vec<Arc<str>> {
        let due = self.queue.unwatched(gone, most, apart, self.now);
        let draft = self.draft();
        due.into_iter().filter_map(|id| Some(draft.get(&self.queue.get(id)?.key)?.object.uid.clone())).collect()
    }

    pub(crate) fn complete(
        &mut self,
        claim: &Lease,
        completion: &Completion,
        steps: &[Step],
    ) -> Result<Completed, Error> {
        let mut draft = self.draft();
        let id = self.held(&draft, claim)?.id;
        for step in steps {
            draft.apply(step)?;
        }
        let key = &claim.key;
        // The steps may have written or even removed the object itself.
        let newest = draft.get(key).filter(|entry| entry.id == id).cloned();
        let mut removed = newest.is_none();
        if let Some(entry) = newest {
            removed = finish(&mut draft, &entry, completion)?;
        }
        if !removed {
            if let Some(carried) = &completion.carried {
                draft.mine.carried.insert(id, carried.to_string().into_bytes());
            }
            if let Some(inventory) = &completion.inventory {
                draft.mine.inventory.push((id, InventoryWrite::Replace(inventory.clone())));
            }
        }
        if completion.wake_dependants && !removed {
            draft.wake_referrers(key);
        }
        let mut woken: Vec<i64> = draft.mine.wakes.iter().map(|wake| wake.id).filter(|woken| *woken != id).collect();
        woken.sort_unstable();
        woken.dedup();
        let mine = draft.mine;
        self.accept(mine);
        self.settle(id, claim, completion);
        let draft = self.draft();
        let uid = |id: i64| Some(draft.get(&self.queue.get(id)?.key)?.object.uid.clone());
        let due_again = self.queue.get(id).is_some_and(|work| work.wanted != work.done);
        Ok(Completed { due_again, woken: woken.into_iter().filter_map(uid).collect(), removed })
    }

    /// Ends the lease and says when to look again.
    fn settle(&mut self, id: i64, claim: &Lease, completion: &Completion) {
        let now = self.now;
        self.queue.update(id, |work| {
            let held = work.held.take();
            work.last = Some(LastRun {
                ended: now,
                took: held.as_ref().map_or(0, |held| now.saturating_sub(held.since)),
                host: claim.owner.clone(),
                class: held.as_ref().map_or(work.class, |held| held.class),
                reason: held.as_ref().and_then(|held| held.reason.clone()),
                failed: completion.failed,
                verdict: completion.verdict.clone(),
            });
            work.owner = None;
            work.watcher = completion.watches.then(|| claim.owner.clone());
            work.done = claim.wanted;
            let raised = completion.raise_epoch.filter(|epoch| *epoch <= HIGHEST_EPOCH);
            work.epoch = work.epoch.max(raised.unwrap_or(0));
            work.attempts = if completion.failed { work.attempts.saturating_add(1) } else { 0 };
            if work.wanted == claim.wanted {
                work.due_at = completion.next.map(|next| now.saturating_add(span(next)));
                work.class = completion.next_class.unwrap_or(Class::Resync);
                work.reason = completion.next_reason.map(Cow::Borrowed);
            } else {
                work.due_at = Some(now);
                // Not that of the run that has ended: a user's change is urgent once.
                work.class = held.and_then(|held| held.woken).unwrap_or(work.class);
                work.reason = None;
            }
        });
    }
}

/// Writes a completion into the object as it is by now; true if that removed it.
fn finish(draft: &mut Draft<'_>, entry: &Entry, completion: &Completion) -> Result<bool, Error> {
    if completion.status.is_none() && completion.drop_finalizer.is_none() {
        return Ok(false);
    }
    let mut value = entry.object.value();
    let mut changed = false;
    if let Some(status) = &completion.status
        && value.get("status").unwrap_or(&Value::Null) != status
    {
        let before = value.get_mut("status").map(Value::take).unwrap_or_default();
        match status {
            Value::Null => drop(value.as_object_mut().map(|object| object.remove("status"))),
            status => value["status"] = status.clone(),
        }
        managers::host_wrote_status(&mut value, &before, jiff::Timestamp::now());
        changed = true;
    }
    if let Some(finalizer) = &completion.drop_finalizer {
        changed |= lifecycle::drop_finalizer(&mut value, finalizer);
    }
    let gone = completion.drop_finalizer.is_some() && lifecycle::finished(&value);
    if changed || gone {
        if gone {
            // However deep it is: what goes need not be read again.
            draft.remove(entry, &Body::write(&entry.object.key, value)?);
        } else {
            draft.modify(entry, &Body::new(&entry.object.key, value)?, false);
        }
    }
    Ok(gone)
}

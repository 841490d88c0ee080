//! The work items in memory: what is due, in which class, for which namespace and target, and who holds it. The writer changes it and writes
//! every changed item as a row in the same transaction; after a failed transaction it is read again from the rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::choice::{Due, Turns, choose};
use crate::shares::{Lot, Shares, Targets};
use crate::trace::TraceContext;
use crate::types::{Class, Key};
use crate::work::{LastRun, Standing};

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}

/// For adding to times: never overflows into the past.
pub(crate) fn span(duration: Duration) -> i64 {
    micros(duration).min(i64::MAX / 4)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn class(number: i64) -> Class {
    Class::ALL.get(usize::try_from(number).unwrap_or(usize::MAX)).copied().unwrap_or(Class::Resync)
}

/// A work item.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) key: Key,
    pub(crate) wanted: u64,
    pub(crate) done: u64,
    pub(crate) class: Class,
    pub(crate) due_at: Option<i64>,
    pub(crate) attempts: u32,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) epoch: u64,
    pub(crate) until: i64,
    /// The newest epoch whose lease ended without a result, as far as this process knows.
    pub(crate) lapsed: u64,
    /// Who ran it last, and watches what it has on targets.
    pub(crate) watcher: Option<Arc<str>>,
    /// Why it is due when nothing has happened, as the last run said; None: the class says it.
    pub(crate) reason: Option<Cow<'static, str>>,
    /// Of the lease that holds it, or of the last one, as far as this process knows.
    pub(crate) held: Option<Held>,
    /// How the last run ended, as far as this process knows.
    pub(crate) last: Option<LastRun>,
    /// Of the write that made it due, until a run has it.
    pub(crate) trace: Option<TraceContext>,
    /// Where its runs go, as its object's references say; not in the row.
    pub(crate) targets: Targets,
}

/// Since when an item is held, and what for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) since: i64,
    pub(crate) class: Class,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Cow<'static, str>>,
    /// What has happened since: the class of the next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) woken: Option<Class>,
}

impl Work {
    pub(crate) fn new(key: Key) -> Self {
        let class = Class::Resync;
        Self {
            key,
            wanted: 0,
            done: 0,
            class,
            due_at: None,
            attempts: 0,
            owner: None,
            epoch: 0,
            until: 0,
            lapsed: 0,
            watcher: None,
            reason: None,
            held: None,
            last: None,
            trace: None,
            targets: None,
        }
    }
}

impl Work {
    /// Its lease ends without a result.
    pub(crate) fn give_up(&mut self) {
        (self.owner, self.lapsed) = (None, self.epoch);
    }

    fn lot(&self) -> Lot {
        let Key { namespace, resource, .. } = self.key.clone();
        Lot { namespace, resource, targets: self.targets.clone() }
    }
}

/// What is due and what is leased, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Items due now and held by nobody.
    pub depth: usize,
    /// The same by class, in the order of [`Class`].
    pub by_class: [usize; 4],
    /// How long the oldest of them has been due.
    pub oldest: Duration,
    /// Items held by a lease that has not run out.
    pub leased: usize,
    /// All items.
    pub items: usize,
}

#[derive(Default)]
pub(crate) struct Queue {
    items: HashMap<i64, Work>,
    /// Free items by class and lot, by due time.
    due: [BTreeMap<Lot, Due>; 4],
    /// All free items by due time.
    timeline: Due,
    /// Held items by the end of their lease.
    leases: BTreeSet<(i64, i64)>,
    /// What each host watches.
    watched: HashMap<Arc<str>, BTreeSet<i64>>,
    dirty: HashSet<i64>,
    turns: Turns,
}

impl Queue {
    pub(crate) fn get(&self, id: i64) -> Option<&Work> {
        self.items.get(&id)
    }

    /// Puts an item in as it was stored.
    pub(crate) fn load(&mut self, id: i64, mut work: Work) {
        if let Some(watcher) = &mut work.watcher
            && let Some((known, _)) = self.watched.get_key_value(watcher)
        {
            // One allocation for all.
            *watcher = known.clone();
        }
        self.index(id, &work);
        self.items.insert(id, work);
    }

    fn index(&mut self, id: i64, work: &Work) {
        if let Some(watcher) = &work.watcher {
            self.watched.entry(watcher.clone()).or_default().insert(id);
        }
        if work.owner.is_some() {
            self.leases.insert((work.until, id));
        } else if let Some(due_at) = work.due_at {
            self.timeline.insert((due_at, id));
            self.due[work.class as usize].entry(work.lot()).or_default().insert((due_at, id));
        }
    }

    fn unindex(&mut self, id: i64, work: &Work) {
        if let Some(watcher) = &work.watcher
            && let Some(watched) = self.watched.get_mut(watcher)
        {
            watched.remove(&id);
            if watched.is_empty() {
                self.watched.remove(watcher);
            }
        }
        if work.owner.is_some() {
            self.leases.remove(&(work.until, id));
        } else if let Some(due_at) = work.due_at {
            self.timeline.remove(&(due_at, id));
            let of_class = &mut self.due[work.class as usize];
            let lot = work.lot();
            if let Some(due) = of_class.get_mut(&lot) {
                due.remove(&(due_at, id));
                if due.is_empty() {
                    of_class.remove(&lot);
                }
            }
        }
    }

    /// Changes an item; it will be written.
    pub(crate) fn update(&mut self, id: i64, change: impl FnOnce(&mut Work)) {
        let Some(mut work) = self.items.remove(&id) else { return };
        self.unindex(id, &work);
        change(&mut work);
        self.index(id, &work);
        self.items.insert(id, work);
        self.dirty.insert(id);
    }

    /// Puts an item as another host wrote it in the place of the one that is known.
    pub(crate) fn follow(&mut self, id: i64, mut work: Work) {
        if let Some(known) = self.items.remove(&id) {
            self.unindex(id, &known);
            work.targets = known.targets;
            work.last = work.last.or(known.last);
            work.held = work.held.or(known.held.filter(|_| work.owner == known.owner && work.epoch == known.epoch));
        }
        self.load(id, work);
    }

    /// Says where the runs of an item go.
    pub(crate) fn aim(&mut self, id: i64, targets: Targets) {
        if self.items.get(&id).is_none_or(|work| work.targets == targets) {
            return;
        }
        let Some(mut work) = self.items.remove(&id) else { return };
        self.unindex(id, &work);
        work.targets = targets;
        self.load(id, work);
    }

    /// Takes what rows do not say from what was known before.
    pub(crate) fn remember(&mut self, before: &Self) {
        for (id, work) in &mut self.items {
            let Some(known) = before.items.get(id) else { continue };
            work.last = work.last.take().or_else(|| known.last.clone());
            if work.owner == known.owner && work.epoch == known.epoch {
                work.held = work.held.take().or_else(|| known.held.clone());
            }
        }
    }

    /// Ends the leases of these owners; what they held is due as it was.
    pub(crate) fn hand_back(&mut self, owners: &HashSet<Arc<str>>) {
        let held = self.leases.iter().filter(|(_, id)| {
            self.items.get(id).and_then(|work| work.owner.as_ref()).is_some_and(|owner| owners.contains(owner))
        });
        for id in held.map(|(_, id)| *id).collect::<Vec<_>>() {
            self.update(id, Work::give_up);
        }
    }

    /// Hosts that watch something.
    pub(crate) fn watchers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.watched.keys()
    }

    /// What these hosts watched is due, one after the other, `apart`; at most so many. Tells which those are. What is held is watched by whoever runs it.
    pub(crate) fn unwatched(&mut self, gone: &HashSet<Arc<str>>, most: usize, apart: i64, now: i64) -> Vec<i64> {
        let watched = self.watched.iter().filter(|(watcher, _)| gone.contains(*watcher));
        let ids: Vec<i64> = watched.flat_map(|(_, ids)| ids).take(most).copied().collect();
        let mut at = now;
        for id in &ids {
            self.update(*id, |work| {
                work.watcher = None;
                if work.owner.is_some() || work.due_at.is_some_and(|due_at| due_at <= at) {
                    return;
                }
                work.class = Class::Drift;
                work.due_at = Some(at);
                at = at.saturating_add(apart);
            });
        }
        ids
    }

    pub(crate) fn remove(&mut self, id: i64) {
        if let Some(work) = self.items.remove(&id) {
            self.unindex(id, &work);
            self.dirty.remove(&id);
        }
    }

    /// Makes an item due now. A reason that a run in progress may not have seen counts as wanted, so that its completion makes it due again.
    /// The first trace that makes it due is kept for the run.
    pub(crate) fn wake(&mut self, id: i64, class: Class, now: i64, trace: Option<TraceContext>) {
        self.update(id, |work| {
            if class == Class::User || work.owner.is_some() {
                work.wanted += 1;
            }
            let due = work.due_at.is_some_and(|due_at| due_at <= now);
            work.trace = if due { work.trace.or(trace) } else { trace };
            if !due || work.class > class {
                // It is not the time that makes it due.
                work.reason = None;
            }
            work.class = if due { work.class.min(class) } else { class };
            if let Some(held) = work.held.as_mut().filter(|_| work.owner.is_some()) {
                held.woken = Some(held.woken.map_or(class, |woken| woken.min(class)));
            }
            work.due_at = Some(work.due_at.map_or(now, |due_at| due_at.min(now)));
        });
    }

    /// Makes sure there is an item for an object; true if there was none.
    pub(crate) fn ensure(&mut self, id: i64, key: &Key) -> bool {
        let new = !self.items.contains_key(&id);
        if new {
            self.load(id, Work::new(key.clone()));
            self.dirty.insert(id);
        }
        new
    }

    /// Hands the items whose lease is over back; their due time is in the past still.
    fn expire(&mut self, now: i64) {
        while let Some(&(until, id)) = self.leases.first() {
            if until > now {
                break;
            }
            self.update(id, Work::give_up);
        }
    }

    /// Takes leases on what is due, as [`choose`] has it.
    pub(crate) fn claim(
        &mut self,
        owner: &Arc<str>,
        ttl: Duration,
        limit: usize,
        shares: Shares,
        now: i64,
    ) -> Vec<i64> {
        self.expire(now);
        if limit == 0 || self.timeline.first().is_none_or(|(due_at, _)| *due_at > now) {
            return Vec::new();
        }
        let claimed = choose(&self.due, &mut self.turns, limit, shares, now);
        for id in &claimed {
            self.update(*id, |work| {
                work.owner = Some(owner.clone());
                work.held = Some(Held { since: now, class: work.class, reason: work.reason.take(), woken: None });
                work.epoch += 1;
                work.until = now.saturating_add(span(ttl));
            });
        }
        claimed
    }

    /// The trace of a claimed item is the run's from now on.
    pub(crate) fn take_trace(&mut self, id: i64) -> Option<TraceContext> {
        self.items.get_mut(&id).and_then(|work| work.trace.take())
    }

    /// The items changed since the last call, by id.
    pub(crate) fn take_dirty(&mut self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.dirty.drain().collect();
        ids.sort_unstable();
        ids
    }

    /// Until something is due: zero if it is already.
    pub(crate) fn next_due(&self, now: i64) -> Option<Duration> {
        let at = [self.timeline.first(), self.leases.first()].into_iter().flatten().map(|(at, _)| *at).min()?;
        Some(Duration::from_micros(u64::try_from(at - now).unwrap_or(0)))
    }

    /// [`next_due`](Self::next_due), of what one who has these shares may claim.
    pub(crate) fn next_within(&self, shares: &Shares, now: i64) -> Option<Duration> {
        let next = self.next_due(now)?;
        if !next.is_zero() {
            return Some(next);
        }
        let open = self.due.iter().flatten().filter(|(lot, _)| shares.has_room(lot));
        let open = open.filter_map(|(_, due)| due.first());
        let at = open.chain(self.leases.first()).map(|(at, _)| *at).min()?;
        Some(Duration::from_micros(u64::try_from(at - now).unwrap_or(0)))
    }

    /// Where the work on an item stands.
    pub(crate) fn standing(&self, id: i64, now: i64) -> Option<Standing> {
        let work = self.items.get(&id)?;
        let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Some(Standing {
            attempts: work.attempts,
            class: work.class,
            running: work.owner.is_some() && work.until > now,
            due_in: work.due_at.map(|due_at| micros(due_at - now)),
            reason: work.reason.clone(),
            last: work.last.clone(),
            last_ago: work.last.as_ref().map(|last| micros(now - last.ended)),
        })
    }

    /// All items, for who looks at them from outside.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Work> {
        self.items.values()
    }

    pub(crate) fn stats(&self, now: i64) -> QueueStats {
        let mut stats = QueueStats { items: self.items.len(), ..QueueStats::default() };
        for (class, namespaces) in self.due.iter().enumerate() {
            stats.by_class[class] = namespaces.values().map(|due| due.range(..=(now, i64::MAX)).count()).sum();
        }
        // A lease that ran out is work that waits, though no claim has picked it up yet.
        let expired: Vec<_> = self.leases.range(..=(now, i64::MAX)).filter_map(|(_, id)| self.items.get(id)).collect();
        for work in &expired {
            stats.by_class[work.class as usize] += 1;
        }
        stats.depth = stats.by_class.iter().sum();
        stats.leased = self.leases.len() - expired.len();
        let oldest = self
            .timeline
            .first()
            .map(|(at, _)| *at)
            .into_iter()
            .chain(expired.iter().filter_map(|work| work.due_at))
            .min();
        stats.oldest = Duration::from_micros(oldest.and_then(|at| u64::try_from(now - at).ok()).unwrap_or(0));
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Resource;

    fn queue(items: &[(i64, &str, Class, i64)]) -> Queue {
        let mut queue = Queue::default();
        for (id, namespace, class, due_at) in items {
            let work = Work { class: *class, due_at: Some(*due_at), ..Work::new(key(namespace, "things")) };
            queue.load(*id, work);
        }
        queue
    }

    const TTL: Duration = Duration::from_micros(100);

    #[test]
    fn urgent_classes_go_first_and_what_is_not_due_stays() {
        let mut queue = queue(&[
            (1, "a", Class::Resync, 1),
            (2, "a", Class::User, 5),
            (3, "a", Class::User, 11),
            (4, "a", Class::Drift, 2),
        ]);
        assert_eq!(queue.claim(&"me".into(), TTL, 2, Shares::default(), 10), [2, 4]);
        assert_eq!(queue.claim(&"me".into(), TTL, 9, Shares::default(), 10), [1]);
        assert_eq!(queue.next_due(10), Some(Duration::from_micros(1)));
        assert_eq!(queue.claim(&"me".into(), TTL, 9, Shares::default(), 10), [0i64; 0]);
    }

    fn key(namespace: &str, plural: &str) -> Key {
        Key { resource: Resource::new("", plural), namespace: Some(namespace.into()), name: "x".into() }
    }

    #[test]
    fn a_flood_in_one_namespace_leaves_the_others_their_share_and_what_they_do_not_want_it_has() {
        let mut items: Vec<_> = (0..100).map(|id| (id, "flood", Class::User, 1)).collect();
        items.push((100, "small", Class::Resync, 9));
        let mut queue = queue(&items);
        let claimed = queue.claim(&"me".into(), TTL, 10, Shares::default(), 10);
        assert_eq!(claimed, [0, 1, 2, 3, 4, 100, 5, 6, 7, 8]);
        assert_eq!(queue.claim(&"me".into(), TTL, 10, Shares::default(), 10).len(), 10);
    }

    #[test]
    fn a_slot_that_becomes_free_goes_to_who_has_less_however_long_the_others_have_waited() {
        let mut items: Vec<_> = (0..100).map(|id| (id, "storm", Class::User, 1)).collect();
        items.extend([(100, "small", Class::User, 9), (101, "small", Class::User, 9)]);
        let mut queue = queue(&items);
        let mut shares = Shares::default();
        (0..20).for_each(|_| shares.take(&Work::new(key("storm", "things")).lot()));
        for expected in [100, 101, 0] {
            let claimed = queue.claim(&"me".into(), TTL, 1, shares.clone(), 10);
            assert_eq!(claimed, [expected]);
            shares.take(&queue.get(expected).unwrap().lot());
        }
    }

    #[test]
    fn a_flood_of_user_changes_holds_up_no_class_for_ever() {
        let mut items: Vec<_> = (0..1000).map(|id| (id, "a", Class::User, 1)).collect();
        items.extend([(1001, "a", Class::Dependency, 9), (1002, "a", Class::Drift, 9), (1003, "a", Class::Resync, 9)]);
        items.extend((2000..2010).map(|id| (id, "a", Class::Dependency, 9)));
        let mut queue = queue(&items);
        let claimed: Vec<i64> =
            (0..60).flat_map(|_| queue.claim(&"me".into(), TTL, 1, Shares::default(), 10)).collect();
        let place = |id: i64| claimed.iter().position(|claimed| *claimed == id).unwrap();
        assert_eq!((place(1001), place(1002), place(1003)), (9, 10, 11), "each after nine that passed it over");
        let users = claimed.iter().filter(|id| **id < 1000).count();
        assert!(users >= 50, "a reserve is not a half: {users} of 60");
    }

    #[test]
    fn within_a_fair_share_the_more_urgent_class_goes_first_across_namespaces() {
        let mut items: Vec<_> = (0..50).map(|id| (id, "resyncs", Class::Resync, 1)).collect();
        items.extend((50..60).map(|id| (id, "user", Class::User, 9)));
        items.push((60, "waits", Class::Drift, 5));
        let mut queue = queue(&items);
        // Three namespaces, six slots: two each, in the order of classes; then who has less.
        assert_eq!(queue.claim(&"me".into(), TTL, 6, Shares::default(), 10), [50, 51, 60, 0, 1, 52]);
    }

    #[test]
    fn who_holds_its_share_gets_no_more_whatever_else_it_has() {
        let items: Vec<_> = (0..100).map(|id| (id, "a", Class::User, 1)).collect();
        let mut queue = queue(&items);
        queue.load(100, Work { due_at: Some(9), ..Work::new(key("b", "others")) });
        let things = Resource::new("", "things");
        let shares = |held: usize| {
            let mut shares = Shares::new(4);
            shares.belongs(things.clone(), "toys".into());
            (0..held).for_each(|_| shares.take(&Work::new(key("a", "things")).lot()));
            shares
        };
        assert_eq!(queue.claim(&"me".into(), TTL, 10, shares(1), 10), [0, 1, 2, 100]);
        assert_eq!(queue.claim(&"me".into(), TTL, 10, shares(4), 10), [0i64; 0]);
        assert_eq!(queue.next_within(&shares(3), 10), Some(Duration::ZERO));
        assert_eq!(queue.next_within(&shares(4), 10), Some(Duration::from_micros(100)), "the end of a lease");
    }

    #[test]
    fn what_goes_to_a_target_that_has_its_share_waits_unclaimed_and_the_rest_goes_on() {
        let mut items: Vec<_> = (0..100).map(|id| (id, "a", Class::User, 1)).collect();
        items.extend([(100, "a", Class::User, 8), (101, "a", Class::Resync, 9)]);
        let mut queue = queue(&items);
        let target = |name: &str| Some(Arc::from([Key { name: name.into(), ..key("a", "places") }]));
        (0..100).for_each(|id| queue.aim(id, target("slow")));
        queue.aim(100, target("quick"));
        assert!(queue.take_dirty().is_empty(), "where runs go is not in the row");
        let mut shares = Shares::default().at_each_target(3);
        let claimed = queue.claim(&"me".into(), TTL, 24, shares.clone(), 10);
        assert_eq!(claimed, [0, 1, 2, 100, 101]);
        claimed.iter().for_each(|id| shares.take(&queue.get(*id).unwrap().lot()));
        assert!(queue.claim(&"me".into(), TTL, 24, shares.clone(), 10).is_empty());
        assert_eq!(
            queue.next_within(&shares, 10),
            Some(Duration::from_micros(100)),
            "what is held back is no reason to look"
        );
        // It refers to another target now.
        queue.aim(50, target("quick"));
        assert_eq!(queue.claim(&"me".into(), TTL, 24, shares, 10), [50]);
    }

    #[test]
    fn a_lease_that_ran_out_is_claimed_again_with_a_higher_epoch() {
        let mut queue = queue(&[(1, "a", Class::User, 1)]);
        assert_eq!(queue.claim(&"one".into(), TTL, 1, Shares::default(), 10), [1]);
        assert_eq!(queue.stats(10), QueueStats { leased: 1, items: 1, ..QueueStats::default() });
        assert_eq!(queue.claim(&"two".into(), TTL, 1, Shares::default(), 109), [0i64; 0]);
        assert_eq!(queue.next_due(109), Some(Duration::from_micros(1)));
        assert_eq!(queue.claim(&"two".into(), TTL, 1, Shares::default(), 110), [1]);
        assert_eq!((queue.get(1).unwrap().epoch, queue.get(1).unwrap().owner.as_deref()), (2, Some("two")));
        assert_eq!(queue.get(1).unwrap().lapsed, 1, "the first may still be about to write on a target");
    }

    #[test]
    fn waking_what_waits_changes_its_time_and_waking_what_runs_counts_as_wanted() {
        let mut queue = queue(&[(1, "a", Class::Resync, 500)]);
        queue.wake(1, Class::Drift, 10, None);
        assert_eq!((queue.get(1).unwrap().wanted, queue.get(1).unwrap().class), (0, Class::Drift));
        queue.wake(1, Class::Resync, 11, None);
        assert_eq!((queue.get(1).unwrap().due_at, queue.get(1).unwrap().class), (Some(10), Class::Drift));
        queue.claim(&"me".into(), TTL, 1, Shares::default(), 12);
        queue.wake(1, Class::Drift, 13, None);
        assert_eq!(queue.get(1).unwrap().wanted, 1);
        assert_eq!(queue.take_dirty(), [1]);
    }
}

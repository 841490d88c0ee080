//! The objects of now, in memory: what every read but those of the past is served from. Only the writer changes it, after COMMIT.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::error::Error;
use crate::types::{Change, ChangeKind, Edge, Key, List, ListQuery, Object, Resource, Scope, Suspect};

/// Namespace and name, in the order of lists.
pub(crate) type Slot = (Option<Arc<str>>, Arc<str>);

pub(crate) fn slot(key: &Key) -> Slot {
    (key.namespace.clone(), key.name.clone())
}

/// A stored object and the number that SQL knows it by.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) object: Object,
}

/// A change as the log has it.
#[derive(Clone)]
pub(crate) struct Logged {
    pub(crate) kind: ChangeKind,
    pub(crate) object: Object,
    /// The object before it, for modifications and removals.
    pub(crate) previous: Option<Object>,
}

impl Logged {
    pub(crate) fn in_scope(&self, scope: &Scope) -> bool {
        in_scope(&self.object.key, &scope.resource, scope.namespace.as_ref())
    }

    pub(crate) fn change(&self) -> Change {
        let previous = self.previous.as_ref().filter(|_| self.kind == ChangeKind::Modified);
        Change { kind: self.kind, object: self.object.clone(), previous: previous.map(|object| object.body.clone()) }
    }

    fn size(&self) -> usize {
        self.object.body.len() + self.previous.as_ref().map_or(0, |previous| previous.body.len())
    }
}

pub(crate) fn in_scope(key: &Key, resource: &Resource, namespace: Option<&Arc<str>>) -> bool {
    key.resource == *resource && (namespace.is_none() || key.namespace.as_ref() == namespace)
}

/// How much of the log is held in memory as well.
const RECENT: usize = 8192;
const RECENT_BYTES: usize = 16 << 20;

/// Everything that exists.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) version: u64,
    /// Changes up to this one are no longer in the log.
    pub(crate) compacted: u64,
    objects: HashMap<Resource, BTreeMap<Slot, Entry>>,
    /// How many of them each namespace has: counting them with every page would cost more than the page.
    sizes: HashMap<Resource, HashMap<Option<Arc<str>>, usize>>,
    uids: HashMap<Arc<str>, Key>,
    keys: HashMap<i64, Key>,
    edges: HashMap<i64, Vec<Edge>>,
    referrers: HashMap<Key, BTreeSet<i64>>,
    owners: HashMap<i64, Vec<Arc<str>>>,
    owned: HashMap<Arc<str>, BTreeSet<i64>>,
    suspects: BTreeMap<i64, u64>,
    /// How many reasons to look at suspects there were.
    pub(crate) reasons: u64,
    recent: VecDeque<Logged>,
    recent_bytes: usize,
}

impl State {
    pub(crate) fn get(&self, key: &Key) -> Option<&Entry> {
        self.objects.get(&key.resource)?.get(&slot(key))
    }

    /// All objects.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.objects.values().flat_map(BTreeMap::values)
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many there are of each collection.
    pub(crate) fn counts(&self) -> Vec<(Resource, usize)> {
        self.objects.iter().map(|(resource, objects)| (resource.clone(), objects.len())).collect()
    }

    pub(crate) fn key_of(&self, uid: &str) -> Option<&Key> {
        self.uids.get(uid)
    }

    pub(crate) fn key_of_id(&self, id: i64) -> Option<&Key> {
        self.keys.get(&id)
    }

    pub(crate) fn edges_of(&self, id: i64) -> &[Edge] {
        self.edges.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Who refers to a key, by number.
    pub(crate) fn referrers(&self, key: &Key) -> impl Iterator<Item = i64> {
        self.referrers.get(key).into_iter().flatten().copied()
    }

    pub(crate) fn dependants(&self, key: &Key) -> Vec<(Key, Edge)> {
        let mut out = Vec::new();
        for id in self.referrers(key) {
            let from = self.keys.get(&id).expect("an edge ends with its object");
            out.extend(
                self.edges_of(id).iter().filter(|edge| edge.to == *key).map(|edge| (from.clone(), edge.clone())),
            );
        }
        out
    }

    /// Keys of objects of a collection, or of all, in a namespace, or in all.
    pub(crate) fn keys(&self, resource: Option<&Resource>, namespace: Option<&Arc<str>>) -> impl Iterator<Item = Key> {
        let collections =
            self.objects.iter().filter(move |(name, _)| resource.is_none_or(|resource| resource == *name));
        let start = match namespace {
            Some(namespace) => Bound::Included((Some(namespace.clone()), "".into())),
            None => Bound::Unbounded,
        };
        collections.flat_map(move |(_, slots)| {
            let within = slots.range((start.clone(), Bound::Unbounded));
            within
                .take_while(move |(slot, _)| namespace.is_none() || slot.0.as_ref() == namespace)
                .map(|(_, entry)| entry.object.key.clone())
        })
    }

    pub(crate) fn owners_of(&self, id: i64) -> &[Arc<str>] {
        self.owners.get(&id).map_or(&[], Vec::as_slice)
    }

    /// What names an owner, by number.
    pub(crate) fn owned_by(&self, uid: &str) -> impl Iterator<Item = i64> {
        self.owned.get(uid).into_iter().flatten().copied()
    }

    pub(crate) fn suspect(&self, id: i64) -> Option<u64> {
        self.suspects.get(&id).copied()
    }

    pub(crate) fn suspect_ids(&self) -> impl Iterator<Item = i64> {
        self.suspects.keys().copied()
    }

    pub(crate) fn no_suspects(&self) -> bool {
        self.suspects.is_empty()
    }

    /// What the collector has to look at.
    pub(crate) fn suspects(&self) -> Vec<Suspect> {
        let suspects = self.suspects.iter().filter_map(|(id, seq)| {
            let object = self.get(self.keys.get(id)?)?.object.clone();
            Some(Suspect { object, seq: *seq })
        });
        suspects.collect()
    }

    pub(crate) fn set_suspect(&mut self, id: i64, seq: Option<u64>) {
        match seq {
            Some(seq) => {
                self.reasons = self.reasons.max(seq);
                self.suspects.insert(id, seq);
            }
            None => drop(self.suspects.remove(&id)),
        }
    }

    pub(crate) fn set_owners(&mut self, id: i64, owners: Vec<Arc<str>>) {
        for old in self.owners.remove(&id).unwrap_or_default() {
            if let Some(ids) = self.owned.get_mut(&old) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.owned.remove(&old);
                }
            }
        }
        for owner in &owners {
            self.owned.entry(owner.clone()).or_default().insert(id);
        }
        if !owners.is_empty() {
            self.owners.insert(id, owners);
        }
    }

    pub(crate) fn put(&mut self, entry: Entry) {
        let key = entry.object.key.clone();
        self.uids.insert(entry.object.uid.clone(), key.clone());
        self.keys.insert(entry.id, key.clone());
        if self.objects.entry(key.resource.clone()).or_default().insert(slot(&key), entry).is_none() {
            *self.sizes.entry(key.resource).or_default().entry(key.namespace).or_default() += 1;
        }
    }

    /// How many objects a scope has.
    fn size(&self, scope: &Scope) -> usize {
        let Some(sizes) = self.sizes.get(&scope.resource) else { return 0 };
        match &scope.namespace {
            None => sizes.values().sum(),
            namespace => sizes.get(namespace).copied().unwrap_or(0),
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let Some(entry) = self.objects.get_mut(&key.resource).and_then(|slots| slots.remove(&slot(key))) else {
            return;
        };
        if let Some(sizes) = self.sizes.get_mut(&key.resource)
            && let Some(size) = sizes.get_mut(&key.namespace)
        {
            *size -= 1;
            if *size == 0 {
                sizes.remove(&key.namespace);
            }
        }
        self.uids.remove(&entry.object.uid);
        self.set_edges(entry.id, Vec::new());
        self.set_owners(entry.id, Vec::new());
        self.suspects.remove(&entry.id);
        self.keys.remove(&entry.id);
    }

    pub(crate) fn set_edges(&mut self, id: i64, edges: Vec<Edge>) {
        for old in self.edges.remove(&id).unwrap_or_default() {
            if let Some(ids) = self.referrers.get_mut(&old.to) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.referrers.remove(&old.to);
                }
            }
        }
        for edge in &edges {
            self.referrers.entry(edge.to.clone()).or_default().insert(id);
        }
        if !edges.is_empty() {
            self.edges.insert(id, edges);
        }
    }

    /// Appends to the log in memory and moves the version on.
    pub(crate) fn log(&mut self, logged: Logged) {
        debug_assert_eq!(logged.object.resource_version, self.version + 1);
        self.version = logged.object.resource_version;
        self.recent_bytes += logged.size();
        self.recent.push_back(logged);
        while self.recent.len() > RECENT || self.recent_bytes > RECENT_BYTES {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.size();
        }
    }

    /// Checks that a position can be read from.
    pub(crate) fn reaches(&self, asked: u64) -> Result<(), Error> {
        if asked < self.compacted || asked > self.version {
            return Err(Error::Gone { asked, oldest: self.compacted, newest: self.version });
        }
        Ok(())
    }

    /// The changes after a position, if memory holds them all.
    pub(crate) fn recent(&self, after: u64) -> Option<impl Iterator<Item = &Logged>> {
        if after >= self.version {
            return Some(self.recent.range(self.recent.len()..));
        }
        let first = self.recent.front()?.object.resource_version;
        let skip = (after + 1).checked_sub(first)?;
        Some(self.recent.range(skip as usize..))
    }

    /// A page of what is there now, corrected by what `undo` says was there at `at` instead.
    pub(crate) fn page(&self, query: &ListQuery, at: u64, undo: &BTreeMap<Slot, Option<Object>>) -> List {
        let start = match (&query.after, &query.scope.namespace) {
            (Some(after), Some(namespace)) if after.0.as_ref() < Some(namespace) => {
                Bound::Included((Some(namespace.clone()), "".into()))
            }
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(namespace)) => Bound::Included((Some(namespace.clone()), "".into())),
            (None, None) => Bound::Unbounded,
        };
        let inside = |slot: &Slot| query.scope.namespace.is_none() || slot.0 == query.scope.namespace;
        let empty = BTreeMap::new();
        let slots = self.objects.get(&query.scope.resource).unwrap_or(&empty);
        if undo.is_empty() {
            let first = query.after.is_none();
            let mut now = slots.range((start, Bound::Unbounded)).take_while(|(slot, _)| inside(slot));
            let limit = query.limit.unwrap_or(usize::MAX);
            let items: Vec<_> = now.by_ref().take(limit).map(|(_, entry)| entry.object.clone()).collect();
            let remaining = if first { self.size(&query.scope) - items.len() } else { now.count() };
            return List { items, resource_version: at, remaining };
        }
        let mut now = slots.range((start.clone(), Bound::Unbounded)).take_while(|(slot, _)| inside(slot)).peekable();
        let mut then = undo.range((start, Bound::Unbounded)).take_while(|(slot, _)| inside(slot)).peekable();
        let limit = query.limit.unwrap_or(usize::MAX);
        let mut list = List { items: Vec::new(), resource_version: at, remaining: 0 };
        loop {
            let object = match (now.peek(), then.peek()) {
                (None, None) => break,
                (Some((a, entry)), other) if other.is_none_or(|(b, _)| a < b) => {
                    let object = &entry.object;
                    now.next();
                    Some(object)
                }
                (a, Some((b, was))) => {
                    let both = a.is_some_and(|(a, _)| a == b);
                    let object = was.as_ref();
                    then.next();
                    if both {
                        now.next();
                    }
                    object
                }
                (Some(_), None) => unreachable!("taken by the second arm"),
            };
            match object {
                None => {}
                Some(object) if list.items.len() < limit => list.items.push(object.clone()),
                Some(_) => list.remaining += 1,
            }
        }
        list
    }
}

/// Collects what a change undoes: the first change after the snapshot tells what was there.
pub(crate) fn undo(into: &mut BTreeMap<Slot, Option<Object>>, logged: &Logged) {
    into.entry(slot(&logged.object.key)).or_insert_with(|| logged.previous.clone());
}

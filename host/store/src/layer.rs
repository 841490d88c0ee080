//! What a transaction would change, laid over what is committed. Requests of one group see those before them; a request that fails is dropped
//! without a trace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::blob::BlobWrite;
use crate::body::{Body, differs_for_others};
use crate::error::Error;
use crate::lifecycle;
use crate::state::{Entry, Logged, State};
use crate::types::{ChangeKind, Class, Demand, Edge, Key, Object, Op, Precondition};
use crate::work::InventoryEntry;

/// An [`Op`] with its body serialised.
pub(crate) enum Step {
    Put { key: Key, body: Body, precondition: Precondition, edges: Option<Vec<Edge>>, wake: Option<Class> },
    Remove { key: Key, precondition: Precondition },
    Check(Demand),
}

impl Step {
    pub(crate) fn new(op: Op) -> Result<Self, Error> {
        Ok(match op {
            Op::Put { key, body, precondition, edges, wake } => {
                let body = Body::new(&key, body)?;
                Self::Put { key, body, precondition, edges, wake }
            }
            Op::Remove { key, precondition } => Self::Remove { key, precondition },
            Op::Check(demand) => Self::Check(demand),
        })
    }

    /// Where it writes.
    pub(crate) fn namespace(&self) -> Option<Arc<str>> {
        match self {
            Self::Put { key, .. } | Self::Remove { key, .. } => key.namespace.clone(),
            Self::Check(_) => None,
        }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Put { body, .. } => body.len(),
            Self::Remove { .. } | Self::Check(_) => 0,
        }
    }
}

/// How an inventory changes.
pub(crate) enum InventoryWrite {
    /// Adds what is not there.
    Extend(Arc<Vec<InventoryEntry>>),
    /// Puts this in its place.
    Replace(Vec<InventoryEntry>),
}

/// A wake-up that happens if the transaction does.
pub(crate) struct Wake {
    pub(crate) id: i64,
    pub(crate) class: Class,
    /// Whose work item it is, to make it if there is none; None leaves it at that.
    pub(crate) create: Option<Key>,
}

/// Changes not yet committed.
#[derive(Default)]
pub(crate) struct Layer {
    pub(crate) objects: HashMap<Key, Option<Entry>>,
    pub(crate) uids: HashMap<Arc<str>, Option<Key>>,
    pub(crate) edges: HashMap<i64, Vec<Edge>>,
    pub(crate) owners: HashMap<i64, Vec<Arc<str>>>,
    /// What the collector has to look at; None: it is settled.
    pub(crate) suspects: HashMap<i64, Option<u64>>,
    /// How many reasons to look were counted.
    pub(crate) reasons: u64,
    /// With the numbers of the objects.
    pub(crate) log: Vec<(i64, Logged)>,
    pub(crate) wakes: Vec<Wake>,
    pub(crate) removed: HashSet<i64>,
    pub(crate) carried: HashMap<i64, Vec<u8>>,
    pub(crate) inventory: Vec<(i64, InventoryWrite)>,
    pub(crate) created: i64,
    pub(crate) blobs: Vec<BlobWrite>,
    /// Forget the log up to here.
    pub(crate) compact: Option<u64>,
}

impl Layer {
    /// Takes over what a request did after these changes.
    pub(crate) fn absorb(&mut self, later: Self) {
        self.objects.extend(later.objects);
        self.uids.extend(later.uids);
        self.edges.extend(later.edges);
        self.owners.extend(later.owners);
        self.suspects.extend(later.suspects);
        self.reasons += later.reasons;
        self.log.extend(later.log);
        self.wakes.extend(later.wakes);
        self.removed.extend(later.removed);
        self.carried.extend(later.carried);
        self.inventory.extend(later.inventory);
        self.created += later.created;
        self.blobs.extend(later.blobs);
        self.compact = self.compact.max(later.compact);
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        let nothing = self.log.is_empty() && self.edges.is_empty() && self.carried.is_empty();
        let nothing = nothing && self.owners.is_empty() && self.suspects.is_empty();
        nothing && self.inventory.is_empty() && self.blobs.is_empty() && self.compact.is_none()
    }
}

/// The committed state, the group so far, and the request at hand.
pub(crate) struct Draft<'a> {
    pub(crate) state: &'a State,
    pub(crate) group: &'a Layer,
    pub(crate) mine: Layer,
    /// First number for a new object, before the group.
    pub(crate) next_id: i64,
}

impl<'a> Draft<'a> {
    pub(crate) fn get(&self, key: &Key) -> Option<&Entry> {
        match self.mine.objects.get(key).or_else(|| self.group.objects.get(key)) {
            Some(entry) => entry.as_ref(),
            None => self.state.get(key),
        }
    }

    pub(crate) fn id_of(&self, uid: &str) -> Option<i64> {
        let key = match self.mine.uids.get(uid).or_else(|| self.group.uids.get(uid)) {
            Some(key) => key.as_ref(),
            None => self.state.key_of(uid),
        };
        self.get(key?).map(|entry| entry.id)
    }

    fn next_version(&self) -> u64 {
        self.state.version + (self.group.log.len() + self.mine.log.len()) as u64 + 1
    }

    pub(crate) fn edges_of(&self, id: i64) -> &[Edge] {
        let layered = self.mine.edges.get(&id).or_else(|| self.group.edges.get(&id));
        layered.map_or(self.state.edges_of(id), Vec::as_slice)
    }

    /// Who refers to a key now, by number.
    pub(crate) fn referrers(&self, key: &Key) -> Vec<i64> {
        let layered = |id: &i64| self.mine.edges.get(id).or_else(|| self.group.edges.get(id));
        let mut ids: Vec<i64> = self.state.referrers(key).filter(|id| layered(id).is_none()).collect();
        for layer in [&self.group.edges, &self.mine.edges] {
            ids.extend(
                layer.keys().filter(|id| layered(id).is_some_and(|edges| edges.iter().any(|edge| edge.to == *key))),
            );
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Wakes who refers to a key.
    pub(crate) fn wake_referrers(&mut self, key: &Key) {
        let ids = self.referrers(key);
        self.mine.wakes.extend(ids.into_iter().map(|id| Wake { id, class: Class::Dependency, create: None }));
    }

    /// Wakes what goes and was needed by an object that needs it no more: it may have waited for that.
    fn wake_left(&mut self, edges: &[Edge]) {
        for edge in edges {
            if let Some(entry) = self.get(&edge.to).filter(|entry| lifecycle::is_going(&entry.object)) {
                let wake = Wake { id: entry.id, class: Class::Dependency, create: None };
                self.mine.wakes.push(wake);
            }
        }
    }

    /// Applies one step of a write; a check gives no object.
    pub(crate) fn apply(&mut self, step: &Step) -> Result<Option<Object>, Error> {
        match step {
            Step::Check(demand) => self.demand(demand).map(|()| None),
            Step::Put { key, body, precondition, edges, wake } => {
                self.put(key, body, precondition, edges.as_ref(), *wake).map(Some)
            }
            Step::Remove { key, precondition } => {
                let entry = self.check(key, precondition)?.ok_or_else(|| Error::NotFound(key.clone()))?;
                let body = Body::last(&entry.object);
                Ok(Some(self.remove(&entry, &body)))
            }
        }
    }

    fn check(&self, key: &Key, precondition: &Precondition) -> Result<Option<Entry>, Error> {
        let stored = self.get(key).cloned();
        match (precondition, &stored) {
            (Precondition::Absent, None) => {}
            (Precondition::Absent, Some(_)) => return Err(Error::AlreadyExists(key.clone())),
            (Precondition::Present { .. }, None) => return Err(Error::NotFound(key.clone())),
            (Precondition::Present { uid, resource_version }, Some(Entry { object, .. })) => {
                let conflict = |what: &str, expected: &str, found: &str| {
                    let (expected, found) = (format!("{what} {expected}"), format!("{what} {found}"));
                    Err(Error::Conflict { key: key.clone(), expected, found })
                };
                if let Some(uid) = uid.as_ref().filter(|uid| **uid != object.uid) {
                    return conflict("uid", uid, &object.uid);
                }
                if let Some(version) = resource_version.filter(|version| *version != object.resource_version) {
                    return conflict("resourceVersion", &version.to_string(), &object.resource_version.to_string());
                }
            }
        }
        Ok(stored)
    }

    fn put(
        &mut self,
        key: &Key,
        body: &Body,
        precondition: &Precondition,
        edges: Option<&Vec<Edge>>,
        wake: Option<Class>,
    ) -> Result<Object, Error> {
        let stored = self.check(key, precondition)?;
        if let Some(entry) = stored.as_ref().filter(|entry| entry.object.uid != body.uid) {
            let (expected, found) = (format!("uid {}", body.uid), format!("uid {}", entry.object.uid));
            return Err(Error::Conflict { key: key.clone(), expected, found });
        }
        let entry = match &stored {
            Some(entry) if body.says(&entry.object.body, entry.object.resource_version) => entry.clone(),
            Some(entry) => self.modify(entry, body, true),
            None => self.add(key, body),
        };
        if let Some(edges) = edges
            && self.edges_of(entry.id) != edges
        {
            let around = self.edges_of(entry.id).iter().chain(edges).map(|edge| edge.to.clone()).collect();
            self.bump_all(around);
            let kept: HashSet<&Key> = edges.iter().filter(|edge| edge.is_needed()).map(|edge| &edge.to).collect();
            let left = self.edges_of(entry.id).iter().filter(|edge| !kept.contains(&edge.to)).cloned();
            self.wake_left(&left.collect::<Vec<_>>());
            self.mine.edges.insert(entry.id, edges.clone());
        }
        if let Some(class) = wake {
            self.mine.wakes.push(Wake { id: entry.id, class, create: Some(key.clone()) });
        }
        Ok(entry.object)
    }

    fn add(&mut self, key: &Key, body: &Body) -> Entry {
        let id = self.next_id + self.group.created + self.mine.created;
        self.mine.created += 1;
        self.mine.uids.insert(body.uid.clone(), Some(key.clone()));
        self.wake_referrers(key);
        let entry = self.record(ChangeKind::Added, key, id, body, None);
        self.relate(id, body);
        self.bump_around(&entry);
        entry
    }

    /// Writes a new body of an object; `tell` wakes those who refer to it if it matters to them.
    pub(crate) fn modify(&mut self, entry: &Entry, body: &Body, tell: bool) -> Entry {
        let key = entry.object.key.clone();
        let changed = self.record(ChangeKind::Modified, &key, entry.id, body, Some(entry.object.clone()));
        if tell && !self.referrers(&key).is_empty() && differs_for_others(&entry.object.body, &changed.object.body) {
            self.wake_referrers(&key);
        }
        self.relate(entry.id, body);
        self.bump_around(&changed);
        changed
    }

    /// Removes an object; `body` is how it was last.
    pub(crate) fn remove(&mut self, entry: &Entry, body: &Body) -> Object {
        let key = entry.object.key.clone();
        self.bump_around(entry);
        let gone = self.record(ChangeKind::Deleted, &key, entry.id, body, Some(entry.object.clone()));
        self.mine.objects.insert(key.clone(), None);
        self.mine.uids.insert(entry.object.uid.clone(), None);
        let left = self.edges_of(entry.id).to_vec();
        self.wake_left(&left);
        self.mine.edges.insert(entry.id, Vec::new());
        self.mine.owners.insert(entry.id, Vec::new());
        self.mine.suspects.insert(entry.id, None);
        self.mine.removed.insert(entry.id);
        self.wake_referrers(&key);
        self.suspect_owned(&entry.object.uid);
        gone.object
    }

    fn record(&mut self, kind: ChangeKind, key: &Key, id: i64, body: &Body, previous: Option<Object>) -> Entry {
        let resource_version = self.next_version();
        let uid = body.uid.clone();
        let object = Object { key: key.clone(), uid, resource_version, body: body.at(resource_version) };
        let entry = Entry { id, object: object.clone() };
        self.mine.objects.insert(key.clone(), Some(entry.clone()));
        self.mine.log.push((id, Logged { kind, object, previous }));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Resource;

    #[test]
    fn what_cannot_be_read_any_more_can_be_removed() {
        let key = Key { resource: Resource::new("", "things"), namespace: None, name: "a".into() };
        let object = Object {
            key: key.clone(),
            uid: "u".into(),
            resource_version: 1,
            body: bytes::Bytes::from_static(b"{torn"),
        };
        let mut state = State::default();
        state.put(Entry { id: 1, object });
        let group = Layer::default();
        let mut draft = Draft { state: &state, group: &group, mine: Layer::default(), next_id: 2 };
        let precondition = Precondition::Present { uid: None, resource_version: None };
        let gone = draft.apply(&Step::Remove { key: key.clone(), precondition }).unwrap().unwrap();
        assert_eq!((gone.uid.as_ref(), gone.body.as_ref()), ("u", b"{torn".as_slice()));
        assert!(draft.get(&key).is_none());
    }
}

//! Who owns what, and what the collector has to look at because of a write.
//!
//! A suspect is an object that may have to go, or that waits for others to go. It is one when its owners change or one of them is removed, and when
//! its deletion is asked for in a way that concerns others. It stays one until the collector settles it; until then, whatever happens to what it may
//! wait for (what it owns, what refers to it, what is in it) counts as a new reason to look.

use std::collections::HashSet;
use std::sync::Arc;

use crate::body::Body;
use crate::layer::Draft;
use crate::lifecycle;
use crate::state::Entry;
use crate::types::Key;

impl Draft<'_> {
    pub(crate) fn owners_of(&self, id: i64) -> &[Arc<str>] {
        let layered = self.mine.owners.get(&id).or_else(|| self.group.owners.get(&id));
        layered.map_or(self.state.owners_of(id), Vec::as_slice)
    }

    /// What names an owner, by number.
    fn owned_by(&self, uid: &Arc<str>) -> Vec<i64> {
        let layered = |id: &i64| self.mine.owners.get(id).or_else(|| self.group.owners.get(id));
        let mut ids: HashSet<i64> = self.state.owned_by(uid).filter(|id| layered(id).is_none()).collect();
        for layer in [&self.group.owners, &self.mine.owners] {
            ids.extend(layer.keys().filter(|id| layered(id).is_some_and(|owners| owners.contains(uid))));
        }
        ids.into_iter().collect()
    }

    fn is_suspect(&self, id: i64) -> bool {
        let layered = self.mine.suspects.get(&id).or_else(|| self.group.suspects.get(&id));
        layered.map_or(self.state.suspect(id), |seq| *seq).is_some()
    }

    fn no_suspects(&self) -> bool {
        self.mine.suspects.is_empty() && self.group.suspects.is_empty() && self.state.no_suspects()
    }

    /// A reason to look at an object.
    fn suspect(&mut self, id: i64) {
        self.mine.reasons += 1;
        let seq = self.state.reasons + self.group.reasons + self.mine.reasons;
        self.mine.suspects.insert(id, Some(seq));
    }

    /// The collector has seen to it, if nothing happened since.
    pub(crate) fn settle(&mut self, id: i64, seq: u64) {
        let layered = self.mine.suspects.get(&id).or_else(|| self.group.suspects.get(&id));
        if layered.map_or(self.state.suspect(id), |seq| *seq) == Some(seq) {
            self.mine.suspects.insert(id, None);
        }
    }

    /// Notes what a new body says of owners and deletion.
    pub(crate) fn relate(&mut self, id: i64, body: &Body) {
        let before = self.owners_of(id);
        let changed = before != body.owners;
        if changed {
            let dropped = before.iter().filter(|uid| !body.owners.contains(uid)).cloned().collect::<Vec<_>>();
            self.mine.owners.insert(id, body.owners.clone());
            for uid in dropped {
                self.bump_uid(&uid);
            }
        }
        if body.collected || changed && !body.owners.is_empty() {
            self.suspect(id);
        }
    }

    /// What a removed object owned is to be looked at.
    pub(crate) fn suspect_owned(&mut self, uid: &Arc<str>) {
        for id in self.owned_by(uid) {
            self.suspect(id);
        }
    }

    /// What the collector has in hand around an object is to be looked at again: the object itself, its owners, its namespace, its definition; and the
    /// same of what it refers to, because who holds that may hold all of them.
    pub(crate) fn bump_around(&mut self, entry: &Entry) {
        if self.no_suspects() {
            return;
        }
        if lifecycle::is_definition(&entry.object.key) {
            // Of what refers to its kind, it can be told now whether it is there.
            self.bump_everything();
        }
        let (mut reached, mut ahead) = (HashSet::new(), vec![entry.object.key.clone()]);
        while let Some(key) = ahead.pop() {
            if !reached.insert(key.clone()) {
                continue;
            }
            let Some(id) = self.get(&key).map(|entry| entry.id) else { continue };
            ahead.extend(self.edges_of(id).iter().map(|edge| edge.to.clone()));
            for uid in self.owners_of(id).to_vec() {
                self.bump_uid(&uid);
            }
        }
        reached.remove(&entry.object.key);
        let places = reached.iter().chain([&entry.object.key]).flat_map(|key| {
            let namespace = key.namespace.as_deref().map(lifecycle::namespace_key);
            namespace.into_iter().chain([lifecycle::definition_key(&key.resource)])
        });
        let mut around: Vec<Key> = places.collect();
        around.extend(reached);
        around.sort();
        around.dedup();
        self.bump_all(around);
    }

    fn bump_everything(&mut self) {
        let layers = self.group.suspects.keys().chain(self.mine.suspects.keys());
        let mut ids: Vec<i64> = layers.copied().chain(self.state.suspect_ids()).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if self.is_suspect(id) {
                self.suspect(id);
            }
        }
    }

    pub(crate) fn bump_all(&mut self, keys: Vec<Key>) {
        if self.no_suspects() {
            return;
        }
        for key in keys {
            if let Some(id) = self.get(&key).map(|entry| entry.id).filter(|id| self.is_suspect(*id)) {
                self.suspect(id);
            }
        }
    }

    fn bump_uid(&mut self, uid: &str) {
        if let Some(id) = self.id_of(uid).filter(|id| self.is_suspect(*id)) {
            self.suspect(id);
        }
    }
}

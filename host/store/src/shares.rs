//! How claims are shared among tenants, workers and targets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::types::{Edge, Key, Resource};
use crate::work::Claim;

/// How many claims one worker, for one namespace and in all, and one target may have at a time. Without anything said, every collection is a worker of its own, and
/// everybody may have any number.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// Of a worker. None: any number.
    most: Option<usize>,
    /// Of a worker for each namespace.
    most_in: Option<usize>,
    /// The same for each target.
    most_at: Option<usize>,
    workers: HashMap<Resource, Arc<str>>,
    refused: HashSet<Resource>,
    held: HashMap<Arc<str>, usize>,
    held_by: HashMap<(Arc<str>, Option<Arc<str>>), usize>,
    held_in: HashMap<Option<Arc<str>>, usize>,
    held_at: HashMap<Key, usize>,
    total: usize,
}

/// What shares are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lot {
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) resource: Resource,
    pub(crate) targets: Targets,
}

/// The objects that an object refers to as its targets, in order; None: there are none.
pub(crate) type Targets = Option<Arc<[Key]>>;

/// The targets among an object's references.
pub(crate) fn targets(edges: &[Edge]) -> Targets {
    let mut keys: Vec<&Key> = edges.iter().filter(|edge| edge.is_target()).map(|edge| &edge.to).collect();
    keys.sort_unstable();
    keys.dedup();
    (!keys.is_empty()).then(|| keys.into_iter().cloned().collect())
}

impl Shares {
    /// No worker holds more than `most`.
    pub fn new(most: usize) -> Self {
        Self { most: Some(most), ..Self::default() }
    }

    /// No worker holds more than `most` for one namespace.
    #[must_use]
    pub fn in_each_namespace(self, most: usize) -> Self {
        Self { most_in: Some(most), ..self }
    }

    /// No more than `most` is held for what goes to one target.
    #[must_use]
    pub fn at_each_target(self, most: usize) -> Self {
        Self { most_at: Some(most), ..self }
    }

    /// A collection is worked on by `worker`, perhaps with others.
    pub fn belongs(&mut self, resource: Resource, worker: Arc<str>) {
        self.workers.insert(resource, worker);
    }

    /// Nothing of this collection is claimed.
    pub fn refuse(&mut self, resource: Resource) {
        self.refused.insert(resource);
    }

    /// This claim is held already.
    pub fn hold(&mut self, claim: &Claim) {
        let Key { resource, namespace, .. } = &claim.object.key;
        self.count(resource, namespace.as_ref(), &claim.targets);
    }

    /// One more claim of a lot.
    pub(crate) fn take(&mut self, lot: &Lot) {
        self.count(&lot.resource, lot.namespace.as_ref(), lot.targets.as_deref().unwrap_or_default());
    }

    fn count(&mut self, resource: &Resource, namespace: Option<&Arc<str>>, targets: &[Key]) {
        self.total += 1;
        *self.held_in.entry(namespace.cloned()).or_default() += 1;
        if self.by_worker() {
            let worker = self.worker(resource);
            *self.held.entry(worker.clone()).or_default() += 1;
            *self.held_by.entry((worker, namespace.cloned())).or_default() += 1;
        }
        for target in targets {
            *self.held_at.entry(target.clone()).or_default() += 1;
        }
    }

    fn by_worker(&self) -> bool {
        self.most.is_some() || self.most_in.is_some()
    }

    fn worker(&self, resource: &Resource) -> Arc<str> {
        self.workers.get(resource).cloned().unwrap_or_else(|| resource.to_string().into())
    }

    /// Whether one more of this lot may be claimed.
    pub(crate) fn has_room(&self, lot: &Lot) -> bool {
        let below =
            |most: Option<usize>, held: Option<&usize>| most.is_none_or(|most| held.is_none_or(|held| *held < most));
        let at = |target: &Key| below(self.most_at, self.held_at.get(target));
        if self.refused.contains(&lot.resource) || !lot.targets.iter().flat_map(|targets| targets.iter()).all(at) {
            return false;
        }
        if !self.by_worker() {
            return true;
        }
        let worker = self.worker(&lot.resource);
        below(self.most, self.held.get(&worker))
            && below(self.most_in, self.held_by.get(&(worker, lot.namespace.clone())))
    }

    /// How much is held for a namespace.
    pub(crate) fn held_in(&self, namespace: &Option<Arc<str>>) -> usize {
        self.held_in.get(namespace).copied().unwrap_or(0)
    }

    /// The namespaces for which something is held.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Option<Arc<str>>> {
        self.held_in.keys()
    }

    /// How much is held in all.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

//! How claims are shared among those who work on them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::types::Resource;

/// How many claims one worker may hold at a time. Without anything said, every collection is a worker of its own that may hold any number.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// None: any number.
    most: Option<usize>,
    workers: HashMap<Resource, Arc<str>>,
    held: HashMap<Arc<str>, usize>,
    refused: HashSet<Resource>,
}

impl Shares {
    /// No worker holds more than `most`.
    pub fn new(most: usize) -> Self {
        Self { most: Some(most), ..Self::default() }
    }

    /// A collection is worked on by `worker`, perhaps with others.
    pub fn belongs(&mut self, resource: Resource, worker: Arc<str>) {
        self.workers.insert(resource, worker);
    }

    /// Nothing of this collection is claimed.
    pub fn refuse(&mut self, resource: Resource) {
        self.refused.insert(resource);
    }

    /// One claim of this collection is held already.
    pub fn hold(&mut self, resource: &Resource) {
        self.take(resource, 1);
    }

    /// Whether somebody holds all that it may: then what is due may stay unclaimed.
    pub fn exhausted(&self) -> bool {
        !self.refused.is_empty() || self.most.is_some_and(|most| self.held.values().any(|held| *held >= most))
    }

    fn worker(&self, resource: &Resource) -> Arc<str> {
        self.workers.get(resource).cloned().unwrap_or_else(|| resource.to_string().into())
    }

    pub(crate) fn room(&self, resource: &Resource) -> usize {
        if self.refused.contains(resource) {
            return 0;
        }
        let Some(most) = self.most else { return usize::MAX };
        most.saturating_sub(self.held.get(&self.worker(resource)).copied().unwrap_or(0))
    }

    pub(crate) fn take(&mut self, resource: &Resource, count: usize) {
        if self.most.is_some() {
            *self.held.entry(self.worker(resource)).or_default() += count;
        }
    }
}

//! What must hold for a write to happen, beside what stands in the way of the written object itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::Error;
use crate::layer::Draft;
use crate::lifecycle;
use crate::state::in_scope;
use crate::types::{Demand, Edge, Key, Resource};

/// How many objects an error lists.
const LISTED: usize = 11;

impl Draft<'_> {
    pub(crate) fn demand(&self, demand: &Demand) -> Result<(), Error> {
        match demand {
            Demand::Unused { key, but } => {
                let users = self.users(key, |user| user == key || but.contains(user));
                if users.is_empty() { Ok(()) } else { Err(Error::InUse { key: key.clone(), users }) }
            }
            Demand::NamespaceUnused(namespace) => {
                let inside = |user: &Key| user.namespace.as_ref() == Some(namespace);
                let keys = self.keys(None, Some(namespace), usize::MAX);
                let users: Vec<_> = keys.iter().flat_map(|key| self.users(key, inside)).collect();
                let key = lifecycle::namespace_key(namespace);
                if users.is_empty() { Ok(()) } else { Err(Error::InUse { key, users }) }
            }
            Demand::Stays(key) => {
                let entry = self.get(key).ok_or_else(|| Error::NotFound(key.clone()))?;
                if lifecycle::is_going(&entry.object) { Err(Error::Going(key.clone())) } else { Ok(()) }
            }
            Demand::Same { key, uid } => {
                let entry = self.get(key).ok_or_else(|| Error::NotFound(key.clone()))?;
                if entry.object.uid == *uid {
                    return Ok(());
                }
                let (expected, found) = (format!("uid {uid}"), format!("uid {}", entry.object.uid));
                Err(Error::Conflict { key: key.clone(), expected, found })
            }
            Demand::Lasting { from, edges } => self.lasting(from, edges),
            Demand::None(scope) => self.none(Some(&scope.resource), scope.namespace.as_ref()),
            Demand::NoneIn(namespace) => self.none(None, Some(namespace)),
        }
    }

    /// Who needs an object, without those who do not count.
    fn users(&self, key: &Key, counts_not: impl Fn(&Key) -> bool) -> Vec<(Key, Edge)> {
        let mut users = Vec::new();
        for id in self.referrers(key) {
            let Some(user) = self.key_of_id(id).filter(|user| !counts_not(user)) else { continue };
            let needs = self.edges_of(id).iter().filter(|edge| edge.to == *key && edge.is_needed());
            users.extend(needs.map(|edge| (user.clone(), edge.clone())));
        }
        users
    }

    /// Whether what an object newly needs will be there for it.
    fn lasting(&self, from: &Key, edges: &[Edge]) -> Result<(), Error> {
        let before = self.get(from).map_or(&[][..], |entry| self.edges_of(entry.id));
        let needed_before = |to: &Key| before.iter().any(|edge| edge.to == *to && edge.is_needed());
        for edge in edges.iter().filter(|edge| edge.is_needed() && edge.to != *from && !needed_before(&edge.to)) {
            // What goes with a namespace may still be changed in it.
            let elsewhere = edge.to.namespace.as_deref().filter(|_| edge.to.namespace != from.namespace);
            for key in std::iter::once(edge.to.clone()).chain(elsewhere.map(lifecycle::namespace_key)) {
                if self.get(&key).is_some_and(|entry| lifecycle::is_going(&entry.object)) {
                    return Err(Error::Leaving {
                        from: from.clone(),
                        edge: Box::new(edge.clone()),
                        going: Box::new(key),
                    });
                }
            }
        }
        Ok(())
    }

    fn key_of_id(&self, id: i64) -> Option<&Key> {
        let new = || {
            let layers = self.mine.objects.values().chain(self.group.objects.values());
            layers.flatten().find(|entry| entry.id == id).map(|entry| &entry.object.key)
        };
        self.state.key_of_id(id).or_else(new)
    }

    fn none(&self, resource: Option<&Resource>, namespace: Option<&Arc<str>>) -> Result<(), Error> {
        let found = self.keys(resource, namespace, LISTED);
        if found.is_empty() { Ok(()) } else { Err(Error::NotEmpty(found)) }
    }

    /// Keys of objects that are there, the first of each.
    fn keys(&self, resource: Option<&Resource>, namespace: Option<&Arc<str>>, limit: usize) -> Vec<Key> {
        let layered = |key: &Key| self.mine.objects.get(key).or_else(|| self.group.objects.get(key));
        let inside = |key: &&Key| match resource {
            Some(resource) => in_scope(key, resource, namespace),
            None => namespace.is_none_or(|namespace| key.namespace.as_ref() == Some(namespace)),
        };
        let new = self.group.objects.keys().chain(self.mine.objects.keys()).filter(inside);
        let mut keys: BTreeSet<Key> =
            new.filter(|key| layered(key).is_some_and(Option::is_some)).take(limit).cloned().collect();
        let old = self.state.keys(resource, namespace).filter(|key| layered(key).is_none_or(Option::is_some));
        keys.extend(old.take(limit));
        keys.into_iter().take(limit).collect()
    }
}

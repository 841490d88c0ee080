//! Rows as they are read, and what they mean. Both engines have these columns.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use sqlx::FromRow;

use crate::crypt::{self, Crypt, carried_place, inventory_place, place};
use crate::engine::Left;
use crate::error::Error;
use crate::queue::{Queue, Work, class};
use crate::shares::targets;
use crate::state::{Entry, Logged, State};
use crate::trace::TraceContext;
use crate::types::{ChangeKind, Edge, Key, Object, Resource};
use crate::work::InventoryEntry;

/// An object of now: its number and the row of its newest change.
#[derive(FromRow)]
pub(crate) struct StoredObject {
    id: i64,
    grp: String,
    plural: String,
    #[sqlx(flatten)]
    change: StoredChange,
}

/// What a row of `change` says of the object.
#[derive(FromRow)]
pub(crate) struct StoredChange {
    rv: i64,
    namespace: Option<String>,
    name: String,
    uid: String,
    key_id: Option<String>,
    sum: Option<i64>,
    body: Vec<u8>,
}

/// A row of `change` with the body that it superseded.
#[derive(FromRow)]
pub(crate) struct StoredLogged {
    kind: i64,
    #[sqlx(flatten)]
    change: StoredChange,
    prev_rv: Option<i64>,
    prev_key_id: Option<String>,
    prev_sum: Option<i64>,
    prev_body: Option<Vec<u8>>,
}

pub(crate) fn kind_of(number: i64) -> ChangeKind {
    match number {
        0 => ChangeKind::Added,
        1 => ChangeKind::Modified,
        _ => ChangeKind::Deleted,
    }
}

impl StoredChange {
    pub(crate) fn object(self, resource: Resource, crypt: &Crypt) -> Result<Object, Error> {
        let key = Key { resource, namespace: self.namespace.map(Into::into), name: self.name.into() };
        let body = opened_body(crypt, &key, &self.uid, self.key_id.as_deref(), self.sum, self.body)?;
        Ok(Object { key, uid: self.uid.into(), resource_version: self.rv.unsigned_abs(), body })
    }
}

impl StoredLogged {
    pub(crate) fn logged(self, resource: Resource, crypt: &Crypt) -> Result<Logged, Error> {
        let object = self.change.object(resource, crypt)?;
        let previous = match (self.prev_rv, self.prev_body) {
            (Some(version), Some(stored)) => {
                let key_id = self.prev_key_id.as_deref();
                let body = opened_body(crypt, &object.key, &object.uid, key_id, self.prev_sum, stored)?;
                Some(Object { resource_version: version.unsigned_abs(), body, ..object.clone() })
            }
            _ => None,
        };
        Ok(Logged { kind: kind_of(self.kind), object, previous })
    }
}

fn opened_body(
    crypt: &Crypt,
    key: &Key,
    uid: &str,
    key_id: Option<&str>,
    sum: Option<i64>,
    stored: Vec<u8>,
) -> Result<Bytes, Error> {
    let place = place(key, uid);
    if sum.is_some_and(|expected| expected != i64::from(crypt::sum(&place, &stored))) {
        return Err(Error::Corrupt(key.to_string(), "it is not what was stored".to_owned()));
    }
    match key_id {
        None => Ok(stored.into()),
        Some(key_id) => Ok(crypt.open(&place, key_id, &stored)?.into()),
    }
}

/// A reference.
#[derive(FromRow)]
pub(crate) struct StoredEdge {
    object: i64,
    grp: String,
    plural: String,
    namespace: Option<String>,
    name: String,
    role: String,
    field: String,
}

/// Puts a state together from rows.
#[derive(Default)]
pub(crate) struct Loading {
    pub(crate) state: State,
    pub(crate) next_id: i64,
    /// Thousands of objects share a few resources and namespaces: one allocation for each.
    resources: HashMap<(String, String), Resource>,
    edges: HashMap<i64, Vec<Edge>>,
    owners: HashMap<i64, Vec<Arc<str>>>,
}

impl Loading {
    pub(crate) fn resource(&mut self, group: String, plural: String) -> Resource {
        let named = self.resources.entry((group, plural));
        named.or_insert_with_key(|(group, plural)| Resource::new(&**group, &**plural)).clone()
    }

    pub(crate) fn object(&mut self, row: StoredObject, crypt: &Crypt) -> Result<(), Error> {
        let resource = self.resource(row.grp, row.plural);
        let object = row.change.object(resource, crypt)?;
        self.next_id = self.next_id.max(row.id + 1);
        self.state.put(Entry { id: row.id, object });
        Ok(())
    }

    /// Objects without a body cannot be told from objects that are not there, but that there should be some.
    pub(crate) fn all_there(&self, listed: i64) -> Result<(), Error> {
        if usize::try_from(listed).ok() == Some(self.state.len()) {
            return Ok(());
        }
        let why = format!("{listed} objects are listed but {} have a body", self.state.len());
        Err(Error::Corrupt("the object table".to_string(), why))
    }

    /// In the order of positions.
    pub(crate) fn edge(&mut self, row: StoredEdge) {
        let resource = Resource::new(row.grp, row.plural);
        let to = Key { resource, namespace: row.namespace.map(Into::into), name: row.name.into() };
        self.edges.entry(row.object).or_default().push(Edge { to, role: row.role, field: row.field });
    }

    pub(crate) fn owner(&mut self, object: i64, uid: String) {
        self.owners.entry(object).or_default().push(uid.into());
    }

    pub(crate) fn suspect(&mut self, object: i64, seq: i64) {
        self.state.set_suspect(object, Some(seq.unsigned_abs()));
    }

    /// The state, and the first number for a new object.
    pub(crate) fn finish(self) -> (State, i64) {
        let mut state = self.state;
        self.edges.into_iter().for_each(|(id, edges)| state.set_edges(id, edges));
        self.owners.into_iter().for_each(|(id, owners)| state.set_owners(id, owners));
        (state, self.next_id.max(1))
    }
}

/// A work item.
#[derive(FromRow)]
pub(crate) struct StoredWork {
    object: i64,
    wanted: i64,
    done: i64,
    class: i64,
    due_at: Option<i64>,
    attempts: i64,
    owner: Option<String>,
    epoch: i64,
    until: i64,
    trace: Option<String>,
    watcher: Option<String>,
}

/// The work items that rows are.
pub(crate) fn queue(rows: Vec<StoredWork>, state: &State) -> Queue {
    let mut queue = Queue::default();
    for row in rows {
        let Some(key) = state.key_of_id(row.object).cloned() else { continue };
        let work = Work {
            wanted: row.wanted.unsigned_abs(),
            done: row.done.unsigned_abs(),
            class: class(row.class),
            due_at: row.due_at,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            owner: row.owner.map(Into::into),
            epoch: row.epoch.unsigned_abs(),
            until: row.until,
            watcher: row.watcher.map(Into::into),
            trace: row.trace.as_deref().and_then(TraceContext::parse),
            targets: targets(state.edges_of(row.object)),
            ..Work::new(key)
        };
        queue.load(row.object, work);
    }
    queue
}

/// What an object carries.
#[derive(FromRow)]
pub(crate) struct StoredCarried {
    object: i64,
    key_id: String,
    value: Vec<u8>,
}

/// An entry of an inventory.
#[derive(FromRow)]
pub(crate) struct StoredInventory {
    object: i64,
    target: String,
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: Option<String>,
    stage: i32,
    key_id: String,
    state: Vec<u8>,
}

impl Left {
    pub(crate) fn carries(&mut self, row: &StoredCarried, crypt: &Crypt) {
        match opened(crypt, &carried_place(row.object), &row.key_id, &row.value) {
            Ok(value) => drop(self.carried.insert(row.object, value)),
            Err(error) => drop(self.unreadable.insert(row.object, error)),
        }
    }

    /// In the order of application.
    pub(crate) fn has(&mut self, row: StoredInventory, crypt: &Crypt) {
        let mut entry = InventoryEntry {
            target: row.target,
            api_version: row.api_version,
            kind: row.kind,
            namespace: Some(row.namespace).filter(|namespace| !namespace.is_empty()),
            name: row.name,
            uid: row.uid,
            stage: row.stage,
            state: Value::Null,
        };
        match opened(crypt, &inventory_place(row.object, &entry), &row.key_id, &row.state) {
            Ok(state) => {
                entry.state = state;
                self.inventory.entry(row.object).or_default().push(entry);
            }
            Err(error) => drop(self.unreadable.insert(row.object, error)),
        }
    }
}

/// The JSON that a row keeps sealed.
fn opened(crypt: &Crypt, place: &str, key_id: &str, sealed: &[u8]) -> Result<Value, Error> {
    let plain = crypt.open(place, key_id, sealed)?;
    serde_json::from_slice(&plain).map_err(|error| Error::Corrupt(place.to_string(), error.to_string()))
}

/// Where an object is.
#[derive(FromRow)]
pub(crate) struct StoredKey {
    grp: String,
    plural: String,
    namespace: String,
    name: String,
}

impl From<StoredKey> for Key {
    fn from(row: StoredKey) -> Self {
        let namespace = Some(row.namespace).filter(|namespace| !namespace.is_empty());
        Self {
            resource: Resource::new(row.grp, row.plural),
            namespace: namespace.map(Into::into),
            name: row.name.into(),
        }
    }
}

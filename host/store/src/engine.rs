//! An open database: what is in memory, and whom to ask for what is not. Which engine it is shows here and nowhere above.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sqlx::{PgPool, SqlitePool};

use crate::crypt::Crypt;
use crate::error::Error;
use crate::group::Picked;
use crate::memory::Memory;
use crate::state::{Logged, undo};
use crate::types::{Key, List, ListQuery, Resource, Scope};
use crate::work::{Claim, InventoryEntry};
use crate::{postgres, sqlite};

pub(crate) struct Engine {
    pub(crate) memory: Memory,
    pub(crate) crypt: Crypt,
    pub(crate) reader: Reader,
    /// What others acknowledged before is seen after this; None: there are no others.
    pub(crate) gate: Option<postgres::Gate>,
}

/// Connections for what is read beside the writer.
pub(crate) enum Reader {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What the last runs left, by object; and whose rows cannot be read.
#[derive(Default)]
pub(crate) struct Left {
    pub(crate) carried: HashMap<i64, Value>,
    pub(crate) inventory: HashMap<i64, Vec<InventoryEntry>>,
    pub(crate) unreadable: HashMap<i64, Error>,
}

impl Engine {
    /// A page of now, or of a snapshot: what is there now with everything undone that happened since.
    pub(crate) async fn list(&self, query: &ListQuery) -> Result<List, Error> {
        let from = {
            let state = self.memory.read();
            let at = query.at.unwrap_or(state.version);
            state.reaches(at)?;
            if let Some(changes) = state.recent(at) {
                let mut undone = BTreeMap::new();
                changes.filter(|logged| logged.in_scope(&query.scope)).for_each(|logged| undo(&mut undone, logged));
                return Ok(state.page(query, at, &undone));
            }
            at
        };
        let mut undone = BTreeMap::new();
        let mut after = from;
        loop {
            let upto = self.memory.read().version;
            let logged = self.log(&query.scope.resource, after, upto, None).await?;
            logged.iter().filter(|logged| logged.in_scope(&query.scope)).for_each(|logged| undo(&mut undone, logged));
            let state = self.memory.read();
            // What the log forgot while it was read is missing.
            state.reaches(from)?;
            if let Some(changes) = state.recent(upto) {
                changes.filter(|logged| logged.in_scope(&query.scope)).for_each(|logged| undo(&mut undone, logged));
                return Ok(state.page(query, from, &undone));
            }
            after = upto;
        }
    }

    /// Changes in scope after a position, and up to where these are all.
    pub(crate) async fn changes(&self, scope: &Scope, after: u64, limit: usize) -> Result<(Vec<Logged>, u64), Error> {
        let upto = {
            let state = self.memory.read();
            state.reaches(after)?;
            if let Some(changes) = state.recent(after) {
                let found: Vec<_> = changes.filter(|logged| logged.in_scope(scope)).take(limit).cloned().collect();
                return Ok(bounded(found, limit, state.version));
            }
            state.version
        };
        let logged = self.log(&scope.resource, after, upto, Some(limit)).await?;
        self.memory.read().reaches(after)?;
        let (mut logged, upto) = bounded(logged, limit, upto);
        logged.retain(|logged| logged.in_scope(scope));
        Ok((logged, upto))
    }

    /// The changes of a collection after a position, in order, from disk.
    async fn log(
        &self,
        resource: &Resource,
        after: u64,
        upto: u64,
        limit: Option<usize>,
    ) -> Result<Vec<Logged>, Error> {
        match &self.reader {
            Reader::Sqlite(pool) => sqlite::log::read(pool, &self.crypt, resource, after, upto, limit).await,
            Reader::Postgres(pool) => postgres::log::read(pool, &self.crypt, resource, after, upto, limit).await,
        }
    }

    /// Completes claims with what their objects carry; those whose rows cannot be read are told apart, since they must not hold up the others. The
    /// leases see to it that nobody changes it meanwhile.
    pub(crate) async fn fill(&self, picked: Vec<Picked>) -> Result<(Vec<Claim>, Vec<(Claim, Error)>), Error> {
        if picked.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let ids: Vec<i64> = picked.iter().map(|picked| picked.id).collect();
        let mut left = self.left(&ids).await?;
        let (mut complete, mut unreadable) = (Vec::with_capacity(picked.len()), Vec::new());
        for Picked { id, claim, at } in picked {
            match left.unreadable.remove(&id) {
                Some(error) => unreadable.push((claim, error)),
                None => complete.push(Claim {
                    carried: left.carried.remove(&id).unwrap_or(Value::Null),
                    inventory: left.inventory.remove(&id).unwrap_or_default(),
                    waited: claim.waited + at.elapsed(),
                    ..claim
                }),
            }
        }
        Ok((complete, unreadable))
    }

    /// Where there may be other hosts: connections to ask for them.
    pub(crate) fn servers(&self) -> Option<&PgPool> {
        match &self.reader {
            Reader::Postgres(pool) => Some(pool),
            Reader::Sqlite(_) => None,
        }
    }

    async fn left(&self, ids: &[i64]) -> Result<Left, Error> {
        match &self.reader {
            Reader::Sqlite(pool) => sqlite::claims::left(pool, &self.crypt, ids).await,
            Reader::Postgres(pool) => postgres::claims::left(pool, &self.crypt, ids).await,
        }
    }

    /// Whose inventory has entries on a target.
    pub(crate) async fn on_target(&self, target: &str, limit: usize) -> Result<Vec<Key>, Error> {
        match &self.reader {
            Reader::Sqlite(pool) => sqlite::claims::on_target(pool, target, limit).await,
            Reader::Postgres(pool) => postgres::claims::on_target(pool, target, limit).await,
        }
    }

    /// What is on targets because of one object.
    pub(crate) async fn inventory(&self, id: i64) -> Result<Vec<InventoryEntry>, Error> {
        let mut left = match &self.reader {
            Reader::Sqlite(pool) => sqlite::claims::inventories(pool, &self.crypt, &[id]).await?,
            Reader::Postgres(pool) => postgres::claims::inventories(pool, &self.crypt, &[id]).await?,
        };
        match left.unreadable.remove(&id) {
            Some(error) => Err(error),
            None => Ok(left.inventory.remove(&id).unwrap_or_default()),
        }
    }

    /// What an object carries; null if nothing.
    pub(crate) async fn carried(&self, id: i64) -> Result<Value, Error> {
        let mut left = match &self.reader {
            Reader::Sqlite(pool) => sqlite::claims::carried(pool, &self.crypt, &[id]).await?,
            Reader::Postgres(pool) => postgres::claims::carried(pool, &self.crypt, &[id]).await?,
        };
        match left.unreadable.remove(&id) {
            Some(error) => Err(error),
            None => Ok(left.carried.remove(&id).unwrap_or(Value::Null)),
        }
    }

    pub(crate) async fn has_blob(&self, digest: &str) -> Result<bool, Error> {
        match &self.reader {
            Reader::Sqlite(pool) => sqlite::blobs::has(pool, digest).await,
            Reader::Postgres(pool) => postgres::blobs::has(pool, digest).await,
        }
    }

    pub(crate) async fn blob(&self, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        match &self.reader {
            Reader::Sqlite(pool) => sqlite::blobs::read(pool, digest).await,
            Reader::Postgres(pool) => postgres::blobs::read(pool, digest).await,
        }
    }

    pub(crate) async fn old_blobs(&self, keep: &[String], before: i64) -> Result<usize, Error> {
        match &self.reader {
            Reader::Sqlite(pool) => sqlite::blobs::old(pool, keep, before).await,
            Reader::Postgres(pool) => postgres::blobs::old(pool, keep, before).await,
        }
    }
}

/// A batch that is full tells only up to its last change.
fn bounded(found: Vec<Logged>, limit: usize, upto: u64) -> (Vec<Logged>, u64) {
    let upto = found.last().filter(|_| found.len() == limit).map_or(upto, |last| last.object.resource_version);
    (found, upto)
}

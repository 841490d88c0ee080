//! The store as others see it. Nothing here tells which engine is behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use crate::config::{Config, Database};
use crate::engine::Engine;
use crate::error::Error;
use crate::layer::Step;
use crate::queue::QueueStats;
use crate::requests::{Asked, Request};
use crate::shares::Shares;
use crate::types::{Class, Edge, Key, List, ListQuery, Object, Op, Resource, Scope, Suspect};
use crate::watch::Watch;
use crate::work::{Claim, Completed, Completion, InventoryEntry, Standing};
use crate::{postgres, sqlite};

/// How long something is left alone whose rows cannot be read.
const UNREADABLE: Duration = Duration::from_secs(60);

/// All state of a control plane. Cheap to clone; open until [`close`](Self::close) or until the last clone is gone.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    requests: mpsc::Sender<Asked>,
}

impl Store {
    /// Opens or makes the database and takes it for this process.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let (engine, requests) = match &config.database.clone() {
            Database::Sqlite(path) => sqlite::open(config, path).await?,
            Database::Postgres(url) => postgres::open(config, url).await?,
        };
        Ok(Self { engine, requests })
    }

    /// Finishes what was asked for and closes the database; everything after this fails.
    pub async fn close(&self) -> Result<(), Error> {
        self.ask(Request::Close).await
    }

    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let closed = || Error::Database("the store is closed".to_string());
        self.requests.send(request(reply).asked()).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Asks for something whose end nobody waits for; it is not done when the writer is busy.
    pub(crate) fn tell(&self, request: Request) {
        // Busy, or closed.
        let _told = self.requests.try_send(request.asked());
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// An object as it is now.
    pub async fn get(&self, key: &Key) -> Result<Option<Object>, Error> {
        Ok(self.engine.memory.read().get(key).map(|entry| entry.object.clone()))
    }

    /// An object by its uid.
    pub async fn by_uid(&self, uid: &str) -> Result<Option<Object>, Error> {
        let state = self.engine.memory.read();
        Ok(state.key_of(uid).and_then(|key| state.get(key)).map(|entry| entry.object.clone()))
    }

    /// Waits until reads here see everything that any host has acknowledged before this was called. Reads are of memory, which follows other hosts a
    /// moment later; what one host reads of its own writes needs no waiting, nor does anything on SQLite.
    ///
    /// # Errors
    /// [`Error::Away`] when the database does not answer.
    pub async fn fresh(&self) -> Result<(), Error> {
        match &self.engine.gate {
            Some(gate) => gate.pass().await,
            None => Ok(()),
        }
    }

    /// Why nothing can be written now, and for how long it may be so nobody knows; None: it can, as far as anybody tried.
    pub fn trouble(&self) -> Option<String> {
        self.engine.memory.trouble()
    }

    /// Waits for a position that this host may not have seen yet.
    async fn reach(&self, version: Option<u64>) -> Result<(), Error> {
        if version.is_some_and(|version| version > self.version()) { self.fresh().await } else { Ok(()) }
    }

    /// Says when another host has made work due.
    pub fn due_elsewhere(&self) -> tokio::sync::watch::Receiver<()> {
        self.engine.memory.due()
    }

    /// A page of a collection, of now or of a snapshot that the log still reaches.
    pub async fn list(&self, query: ListQuery) -> Result<List, Error> {
        self.reach(query.at).await?;
        self.engine.list(&query).await
    }

    /// The changes after a resourceVersion, or from now on. [`Error::Gone`] when the log does not reach it.
    pub async fn watch(&self, scope: Scope, since: Option<u64>) -> Result<Watch, Error> {
        self.reach(since).await?;
        Watch::new(&self.engine, scope, since)
    }

    /// The newest committed resourceVersion.
    pub fn version(&self) -> u64 {
        self.engine.memory.read().version
    }

    /// Follows [`version`](Self::version); told once more when the store closes.
    pub fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.engine.memory.versions()
    }

    /// Another host has committed changes up to this resourceVersion: they are followed at once instead of when this host looks next. Of no use where one
    /// host has the database for itself.
    pub fn committed_elsewhere(&self, upto: u64) {
        if upto > self.version() {
            self.engine.memory.news.notify_one();
        }
    }

    /// Does all steps or none, in order; each sees those before it. One object for each step but the checks: as it is stored, or as it was removed.
    pub async fn write(&self, ops: Vec<Op>) -> Result<Vec<Object>, Error> {
        let span = tracing::debug_span!("commit", what = "write", steps = ops.len());
        let steps = ops.into_iter().map(Step::new).collect::<Result<_, _>>()?;
        self.ask(|reply| Request::Write(steps, reply)).instrument(span).await
    }

    /// [`write`](Self::write) as a part of a run: [`Error::LeaseLost`] and no effect when another host may have the object by now. That nothing was written
    /// since the claim is no proof of that: what a newer run decided need not have changed the object.
    pub async fn write_held(&self, claim: &Claim, ops: Vec<Op>) -> Result<Vec<Object>, Error> {
        let span = tracing::debug_span!("commit", what = "write", steps = ops.len());
        let steps = ops.into_iter().map(Step::new).collect::<Result<_, _>>()?;
        self.ask(|reply| Request::WriteHeld(claim.into(), steps, reply)).instrument(span).await
    }

    /// Who refers to an object, whether it exists or not.
    pub async fn dependants(&self, key: &Key) -> Result<Vec<(Key, Edge)>, Error> {
        Ok(self.engine.memory.read().dependants(key))
    }

    /// Objects that have something on a target, whatever they refer to now; in no order, at most `limit`.
    pub async fn on_target(&self, target: &str, limit: usize) -> Result<Vec<Key>, Error> {
        self.engine.on_target(target, limit).await
    }

    /// Whom an object refers to.
    pub async fn references(&self, key: &Key) -> Result<Vec<Edge>, Error> {
        let state = self.engine.memory.read();
        Ok(state.get(key).map(|entry| state.edges_of(entry.id).to_vec()).unwrap_or_default())
    }

    /// What names an object among its owners, in the order of keys.
    pub async fn owned(&self, uid: &str) -> Result<Vec<Object>, Error> {
        let state = self.engine.memory.read();
        let keys = state.owned_by(uid).filter_map(|id| state.key_of_id(id));
        let mut owned: Vec<Object> = keys.filter_map(|key| Some(state.get(key)?.object.clone())).collect();
        owned.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(owned)
    }

    /// Everything in a namespace, of whatever kind, in the order of keys.
    pub async fn in_namespace(&self, namespace: &Arc<str>) -> Result<Vec<Object>, Error> {
        let state = self.engine.memory.read();
        let mut inside: Vec<Object> =
            state.keys(None, Some(namespace)).filter_map(|key| Some(state.get(&key)?.object.clone())).collect();
        inside.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(inside)
    }

    /// What the collector has to look at.
    pub async fn suspects(&self) -> Result<Vec<Suspect>, Error> {
        Ok(self.engine.memory.read().suspects())
    }

    /// Says when there is something new to look at, and when the store closes.
    pub fn suspected(&self) -> tokio::sync::watch::Receiver<()> {
        self.engine.memory.suspected()
    }

    /// Whether the store is closed: nothing can be read or written any more.
    pub fn is_closed(&self) -> bool {
        self.engine.memory.closed()
    }

    /// Whether no other process can use the database meanwhile.
    pub fn is_alone(&self) -> bool {
        self.engine.gate.is_none()
    }

    /// Forgets suspects, by uid, as they were seen: one for which there was a new reason since stays.
    pub async fn settle(&self, seen: Vec<(Arc<str>, u64)>) -> Result<(), Error> {
        self.ask(|reply| Request::Settle(seen, reply)).await
    }

    /// Takes leases on what is due, most urgent class first. Nobody waits for a namespace that has its share of `limit`.
    pub async fn claim(&self, owner: &str, ttl: Duration, limit: usize) -> Result<Vec<Claim>, Error> {
        self.claim_within(owner, ttl, limit, Shares::default()).await
    }

    /// [`claim`](Self::claim), counting what is held already: whoever has less goes first, and nobody gets more than these shares say.
    pub async fn claim_within(
        &self,
        owner: &str,
        ttl: Duration,
        limit: usize,
        shares: Shares,
    ) -> Result<Vec<Claim>, Error> {
        let (owner, sent, shares) = (Arc::from(owner), Instant::now(), Box::new(shares));
        let picked = self.ask(|reply| Request::Claim { owner, ttl, limit, shares, sent, reply }).await?;
        let (claims, unreadable) = self.engine.fill(picked).await?;
        for (claim, error) in unreadable {
            tracing::error!(object = %claim.object.key, "what its last run left cannot be read, so it is not worked on: {error}");
            let later = Completion { failed: true, next: Some(UNREADABLE), ..Completion::default() };
            if let Err(error) = self.complete(&claim, later).await {
                tracing::warn!(object = %claim.object.key, "it cannot be given back: {error}; its lease runs out");
            }
        }
        Ok(claims)
    }

    /// Prolongs leases by uid and epoch. Answers which are lost: what runs under them must stop.
    pub async fn renew(&self, owner: &str, leases: &[(Arc<str>, u64)], ttl: Duration) -> Result<Vec<Arc<str>>, Error> {
        let (owner, leases) = (Arc::from(owner), leases.to_vec());
        self.ask(|reply| Request::Renew { owner, leases, ttl, reply }).await
    }

    /// Adds what is about to be applied to the inventory, before it is. An entry that is there already stays as it is.
    pub async fn intend(&self, claim: &Claim, entries: Vec<InventoryEntry>) -> Result<(), Error> {
        let span = tracing::debug_span!("commit", what = "intend", entries = entries.len());
        self.ask(|reply| Request::Intend(claim.into(), Arc::new(entries), reply)).instrument(span).await
    }

    /// Writes what came of a run and ends its lease, in one transaction. [`Error::LeaseLost`] and no effect when it was lost.
    pub async fn complete(&self, claim: &Claim, mut completion: Completion) -> Result<Completed, Error> {
        let span = tracing::debug_span!("commit", what = "complete", steps = completion.ops.len());
        let steps = std::mem::take(&mut completion.ops).into_iter().map(Step::new).collect::<Result<_, _>>()?;
        self.ask(|reply| Request::Complete(claim.into(), Box::new(completion), steps, reply)).instrument(span).await
    }

    /// Hands a claim back without a result: it is due again at once.
    pub async fn release(&self, claim: &Claim) -> Result<(), Error> {
        self.ask(|reply| Request::Release(claim.into(), reply)).await
    }

    /// Makes work items due now. One that is being run becomes due again after the run. Unknown uids are passed over.
    pub async fn wake(&self, uids: &[Arc<str>], class: Class) -> Result<(), Error> {
        let uids = uids.to_vec();
        self.ask(|reply| Request::Wake(uids, class, reply)).await
    }

    /// Until the next item is due or a lease runs out; zero when something is due, None when nothing ever will be.
    pub fn next_due(&self) -> Option<Duration> {
        self.engine.memory.queue().next_due(self.engine.memory.now())
    }

    /// [`next_due`](Self::next_due), of what [`claim_within`](Self::claim_within) these shares would claim: what somebody's share holds back does not count.
    pub fn next_due_within(&self, shares: &Shares) -> Option<Duration> {
        self.engine.memory.queue().next_within(shares, self.engine.memory.now())
    }

    /// What is due and what is leased.
    pub fn queue(&self) -> QueueStats {
        self.engine.memory.queue().stats(self.engine.memory.now())
    }

    /// What the last accepted run of an object left; null when there is nothing or no such object.
    pub async fn carried(&self, key: &Key) -> Result<Value, Error> {
        let id = self.engine.memory.read().get(key).map(|entry| entry.id);
        match id {
            Some(id) => self.engine.carried(id).await,
            None => Ok(Value::Null),
        }
    }

    /// What is on targets because of an object, in the order of application; empty when there is no such object.
    pub async fn inventory(&self, key: &Key) -> Result<Vec<InventoryEntry>, Error> {
        let id = self.engine.memory.read().get(key).map(|entry| entry.id);
        match id {
            Some(id) => self.engine.inventory(id).await,
            None => Ok(Vec::new()),
        }
    }

    /// Where the work on an object stands; None: nobody works on objects of its kind, or there is no such object.
    pub fn standing(&self, key: &Key) -> Option<Standing> {
        let id = self.engine.memory.read().get(key).map(|entry| entry.id)?;
        self.engine.memory.queue().standing(id, self.engine.memory.now())
    }

    /// Forgets the change log up to a resourceVersion. It is also kept at the configured length by itself.
    pub async fn compact(&self, upto: u64) -> Result<(), Error> {
        self.ask(|reply| Request::Compact(upto, reply)).await
    }

    /// How many objects each collection has.
    pub fn counts(&self) -> Vec<(Resource, usize)> {
        self.engine.memory.read().counts()
    }

    /// How many transactions were committed since the store was opened: writes per commit is the size of the groups.
    pub fn commits(&self) -> u64 {
        self.engine.memory.commits()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::config::Key32;

    #[tokio::test]
    async fn only_what_is_not_known_yet_is_a_reason_to_look_what_others_did() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Config::new(dir.path().join("db"), Key32::generate())).await.unwrap();
        let looks = || store.engine.memory.news.notified().now_or_never().is_some();
        store.committed_elsewhere(store.version());
        assert!(!looks());
        store.committed_elsewhere(store.version() + 1);
        assert!(looks() && !looks());
    }
}

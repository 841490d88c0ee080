//! The one writer. Requests that arrive while a transaction is being written to disk form the next group: one transaction, one fdatasync, and
//! nobody hears an answer before it.

use std::collections::HashSet;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoints;
use super::rows::{self, Sealing};
use super::{Engine, load};
use crate::blob::BlobWrite;
use crate::error::Error;
use crate::group::{Group, Lease, Picked};
use crate::layer::{Layer, Step};
use crate::meters;
use crate::queue;
use crate::shares::Shares;
use crate::trace::TraceContext;
use crate::types::{Class, Object, Resource};
use crate::work::{Completed, Completion, InventoryEntry};

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked for.
pub(crate) enum Request {
    Write(Vec<Step>, Reply<Vec<Object>>),
    Claim { owner: Arc<str>, ttl: Duration, limit: usize, shares: Shares, sent: Instant, reply: Reply<Vec<Picked>> },
    Renew { owner: Arc<str>, leases: Vec<(Arc<str>, u64)>, ttl: Duration, reply: Reply<Vec<Arc<str>>> },
    Intend(Lease, Vec<InventoryEntry>, Reply<()>),
    Complete(Lease, Box<Completion>, Vec<Step>, Reply<Completed>),
    Release(Lease, Reply<()>),
    Wake(Vec<Arc<str>>, Class, Reply<()>),
    Settle(Vec<(Arc<str>, u64)>, Reply<()>),
    Blob(BlobWrite, Reply<()>),
    Compact(u64, Reply<()>),
    Close(Reply<()>),
}

/// A request on its way to the writer.
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// What it belongs to.
    pub(crate) trace: Option<TraceContext>,
}

impl Request {
    /// From the span that is entered.
    pub(crate) fn asked(self) -> Asked {
        Asked { request: self, trace: TraceContext::current() }
    }

    fn size(&self) -> usize {
        match self {
            Self::Write(steps, _) | Self::Complete(_, _, steps, _) => steps.iter().map(Step::size).sum(),
            Self::Blob(write, _) => write.size(),
            _ => 0,
        }
    }
}

/// A group is closed at so many requests or bytes.
const GROUP: usize = 512;
const GROUP_BYTES: usize = 4 << 20;

/// The log is compacted by so many changes at a time, so that no group waits long for it.
const COMPACT: u64 = 1000;

/// An answer that waits for COMMIT.
type Answer = Box<dyn FnOnce(Result<(), &Error>) + Send>;

fn answer<T: Send + 'static>(reply: Reply<T>, result: Result<T, Error>) -> Answer {
    Box::new(move |committed| {
        // Whoever asked may have gone away.
        let _ = reply.send(match committed {
            Ok(()) => result,
            Err(why) => Err(why.clone()),
        });
    })
}

pub(super) struct Writer {
    pub(super) engine: Arc<Engine>,
    pub(super) conn: SqliteConnection,
    pub(super) requests: mpsc::Receiver<Asked>,
    pub(super) encrypted: HashSet<Resource>,
    pub(super) keep_changes: u64,
    pub(super) next_id: i64,
    /// The work items in memory are not those on disk: read them before anything else.
    pub(super) stale: bool,
    pub(super) checkpoints: Checkpoints,
    /// Held as long as the database is open.
    pub(super) lock: File,
}

impl Writer {
    pub(super) async fn run(mut self) {
        let mut closing = Vec::new();
        while let Some(first) = self.requests.recv().await {
            let mut bytes = first.request.size();
            let mut group = vec![first];
            while group.len() < GROUP && bytes < GROUP_BYTES {
                let Ok(next) = self.requests.try_recv() else { break };
                bytes += next.request.size();
                group.push(next);
            }
            for asked in group.extract_if(.., |asked| matches!(asked.request, Request::Close(_))) {
                if let Request::Close(reply) = asked.request {
                    // What was asked before is answered, what comes later finds the door closed.
                    self.requests.close();
                    closing.push(reply);
                }
            }
            self.serve(group).await;
        }
        self.engine.readers.close().await;
        self.checkpoints.close().await;
        // Watches look up and see that it is over.
        self.engine.version.send_modify(|_| ());
        self.engine.suspected.send_replace(());
        if let Err(error) = self.conn.close().await {
            tracing::warn!(%error, "the database did not close cleanly; it will recover at the next start");
        }
        drop(self.lock);
        for reply in closing {
            let _ = reply.send(Ok(()));
        }
    }

    async fn serve(&mut self, requests: Vec<Asked>) {
        let asked = requests.len();
        let committed = match self.refresh().await {
            // Memory is wrong, but what is decided on it is only thrown away: this is how everybody gets an answer.
            Err(error) => Err((self.decide(requests).1, error)),
            Ok(()) => {
                let (layer, answers) = self.decide(requests);
                match self.commit(&layer, asked).await {
                    Ok(()) => {
                        self.publish(layer);
                        Ok(answers)
                    }
                    Err(error) => {
                        meters::commit_failed();
                        tracing::error!(%error, "a transaction failed; nothing of it was written");
                        self.stale = true;
                        if let Err(error) = self.refresh().await {
                            tracing::error!(%error, "the database cannot be read either; trying again with the next request");
                        }
                        Err((answers, super::failed(error)))
                    }
                }
            }
        };
        match committed {
            Ok(answers) => answers.into_iter().for_each(|answer| answer(Ok(()))),
            Err((answers, why)) => answers.into_iter().for_each(|answer| answer(Err(&why))),
        }
    }

    /// After a failed transaction: what was decided in memory did not happen.
    async fn refresh(&mut self) -> Result<(), Error> {
        if self.stale {
            // There may be none to roll back.
            let _ = sqlx::query("rollback").execute(&mut self.conn).await;
            let positions = load::positions(&mut self.conn).await?;
            let known = {
                let state = self.engine.read();
                (state.version, state.compacted)
            };
            if positions != known {
                // COMMIT failed, yet the transaction is there.
                let (loaded, next_id) = load::state(&mut self.conn, &self.engine.crypt).await?;
                *self.engine.state.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                self.next_id = next_id;
            }
            let rows = load::work(&mut self.conn).await?;
            let queue = load::queue(rows, &self.engine.read());
            *self.engine.queue() = queue;
            self.stale = false;
        }
        Ok(())
    }

    fn decide(&mut self, requests: Vec<Asked>) -> (Layer, Vec<Answer>) {
        let state = self.engine.read();
        let mut queue = self.engine.queue();
        let mut group = Group {
            state: &state,
            queue: &mut queue,
            layer: Layer::default(),
            next_id: self.next_id,
            now: queue::now(),
            trace: None,
        };
        let answers = requests.into_iter().map(|asked| one(&mut group, asked)).collect();
        let mut layer = group.layer;
        let version = state.version + layer.log.len() as u64;
        let batch = COMPACT.min(self.keep_changes / 10 + 1).max(2 * layer.log.len() as u64);
        if !layer.log.is_empty() && version > state.compacted + self.keep_changes + batch {
            let upto = (version - self.keep_changes).min(state.compacted + 2 * batch);
            layer.compact = layer.compact.max(Some(upto));
        }
        // Never past what is there, and never back.
        layer.compact = layer.compact.map(|upto| upto.min(version)).filter(|upto| *upto > state.compacted);
        (layer, answers)
    }

    async fn commit(&mut self, layer: &Layer, requests: usize) -> Result<(), sqlx::Error> {
        let work: Vec<_> = {
            let mut queue = self.engine.queue();
            let ids = queue.take_dirty();
            ids.into_iter().filter_map(|id| Some((id, queue.get(id)?.clone()))).collect()
        };
        if layer.is_empty() && work.is_empty() {
            return Ok(());
        }
        let sealing = Sealing { crypt: &self.engine.crypt, encrypted: &self.encrypted };
        let began = Instant::now();
        sqlx::query("begin immediate").execute(&mut self.conn).await?;
        rows::write(&mut self.conn, layer, work, &sealing).await?;
        sqlx::query("commit").execute(&mut self.conn).await?;
        self.engine.commits.fetch_add(1, Ordering::Relaxed);
        meters::committed(requests, began.elapsed());
        Ok(())
    }

    /// Shows readers what is on disk now.
    fn publish(&mut self, layer: Layer) {
        self.next_id += layer.created;
        if layer.is_empty() {
            return;
        }
        let mut suspected = false;
        let version = {
            let mut state = self.engine.state.write().unwrap_or_else(PoisonError::into_inner);
            for (key, entry) in layer.objects {
                match entry {
                    Some(entry) => {
                        // The same name with another uid: the old one was removed within the group.
                        if state.get(&key).is_some_and(|old| old.id != entry.id) {
                            state.remove(&key);
                        }
                        state.put(entry);
                    }
                    None => state.remove(&key),
                }
            }
            for (id, edges) in layer.edges {
                if !layer.removed.contains(&id) {
                    state.set_edges(id, edges);
                }
            }
            for (id, owners) in layer.owners {
                if !layer.removed.contains(&id) {
                    state.set_owners(id, owners);
                }
            }
            for (id, seq) in layer.suspects {
                if !layer.removed.contains(&id) {
                    suspected |= seq.is_some();
                    state.set_suspect(id, seq);
                }
            }
            for logged in layer.log {
                state.log(logged);
            }
            state.compacted = layer.compact.unwrap_or(state.compacted);
            state.version
        };
        self.engine.version.send_replace(version);
        if suspected {
            self.engine.suspected.send_replace(());
        }
    }
}

fn one(group: &mut Group<'_>, Asked { request, trace }: Asked) -> Answer {
    group.trace = trace;
    match request {
        Request::Write(steps, reply) => answer(reply, group.write(&steps)),
        Request::Claim { owner, ttl, limit, shares, sent, reply } => {
            answer(reply, Ok(group.claim(&owner, ttl, limit, shares, sent)))
        }
        Request::Renew { owner, leases, ttl, reply } => answer(reply, Ok(group.renew(&owner, &leases, ttl))),
        Request::Intend(claim, entries, reply) => answer(reply, group.intend(&claim, entries)),
        Request::Complete(claim, completion, steps, reply) => {
            answer(reply, group.complete(&claim, &completion, &steps))
        }
        Request::Release(claim, reply) => answer(reply, group.release(&claim)),
        Request::Wake(uids, class, reply) => {
            group.wake(&uids, class);
            answer(reply, Ok(()))
        }
        Request::Settle(seen, reply) => {
            group.settle_suspects(&seen);
            answer(reply, Ok(()))
        }
        Request::Blob(write, reply) => {
            group.layer.blobs.push(write);
            answer(reply, Ok(()))
        }
        Request::Compact(upto, reply) => {
            group.layer.compact = group.layer.compact.max(Some(upto));
            answer(reply, Ok(()))
        }
        Request::Close(reply) => answer(reply, Ok(())),
    }
}

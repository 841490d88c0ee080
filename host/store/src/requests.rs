//! What the writer is asked for, and what it answers. A request stays as it is until its group is committed: a group that is known not to have been
//! written can be decided again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::blob::BlobWrite;
use crate::error::Error;
use crate::group::{Group, Lease, Picked};
use crate::layer::{Layer, Step};
use crate::memory::Memory;
use crate::shares::Shares;
use crate::trace::TraceContext;
use crate::types::{Class, Object};
use crate::work::{Completed, Completion, InventoryEntry};

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked for.
pub(crate) enum Request {
    Write(Vec<Step>, Reply<Vec<Object>>),
    WriteHeld(Lease, Vec<Step>, Reply<Vec<Object>>),
    Claim {
        owner: Arc<str>,
        ttl: Duration,
        limit: usize,
        shares: Box<Shares>,
        sent: Instant,
        reply: Reply<Vec<Picked>>,
    },
    Renew {
        owner: Arc<str>,
        leases: Vec<(Arc<str>, u64)>,
        ttl: Duration,
        reply: Reply<Vec<Arc<str>>>,
    },
    Intend(Lease, Arc<Vec<InventoryEntry>>, Reply<()>),
    Complete(Lease, Box<Completion>, Vec<Step>, Reply<Completed>),
    Release(Lease, Reply<()>),
    Wake(Vec<Arc<str>>, Class, Reply<()>),
    Settle(Vec<(Arc<str>, u64)>, Reply<()>),
    Unwatched {
        gone: HashSet<Arc<str>>,
        most: usize,
        apart: i64,
        reply: Reply<Vec<Arc<str>>>,
    },
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

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Write(steps, _) | Self::WriteHeld(_, steps, _) | Self::Complete(_, _, steps, _) => {
                steps.iter().map(Step::size).sum()
            }
            Self::Blob(write, _) => write.size(),
            _ => 0,
        }
    }
}

/// A group is closed at so many requests or bytes.
pub(crate) const GROUP: usize = 512;
pub(crate) const GROUP_BYTES: usize = 4 << 20;

/// The log is compacted by so many changes at a time, so that no group waits long for it.
const COMPACT: u64 = 1000;

/// What a request comes to, if its group is committed.
pub(crate) enum Outcome {
    Written(Result<Vec<Object>, Error>),
    Claimed(Vec<Picked>),
    Renewed(Vec<Arc<str>>),
    Completed(Result<Completed, Error>),
    Unwatched(Vec<Arc<str>>),
    Done(Result<(), Error>),
}

impl Asked {
    /// Answers; whoever asked may have gone away.
    pub(crate) fn answer(self, outcome: Outcome) {
        match (self.request, outcome) {
            (Request::Write(_, reply) | Request::WriteHeld(_, _, reply), Outcome::Written(result)) => {
                drop(reply.send(result));
            }
            (Request::Claim { reply, .. }, Outcome::Claimed(picked)) => drop(reply.send(Ok(picked))),
            (Request::Renew { reply, .. }, Outcome::Renewed(lost)) => drop(reply.send(Ok(lost))),
            (Request::Complete(_, _, _, reply), Outcome::Completed(result)) => drop(reply.send(result)),
            (Request::Unwatched { reply, .. }, Outcome::Unwatched(due)) => drop(reply.send(Ok(due))),
            (
                Request::Intend(_, _, reply)
                | Request::Release(_, reply)
                | Request::Wake(_, _, reply)
                | Request::Settle(_, reply)
                | Request::Blob(_, reply)
                | Request::Compact(_, reply)
                | Request::Close(reply),
                Outcome::Done(result),
            ) => drop(reply.send(result)),
            (request, _) => Self { request, trace: None }.refuse(&Error::Database("a mixed-up answer".into())),
        }
    }

    /// Says why it was not done.
    pub(crate) fn refuse(self, why: &Error) {
        let why = why.clone();
        match self.request {
            Request::Write(_, reply) | Request::WriteHeld(_, _, reply) => drop(reply.send(Err(why))),
            Request::Claim { reply, .. } => drop(reply.send(Err(why))),
            Request::Renew { reply, .. } | Request::Unwatched { reply, .. } => drop(reply.send(Err(why))),
            Request::Complete(_, _, _, reply) => drop(reply.send(Err(why))),
            Request::Intend(_, _, reply)
            | Request::Release(_, reply)
            | Request::Wake(_, _, reply)
            | Request::Settle(_, reply)
            | Request::Blob(_, reply)
            | Request::Compact(_, reply)
            | Request::Close(reply) => drop(reply.send(Err(why))),
        }
    }
}

/// Where a group starts from.
pub(crate) struct Start {
    /// First number for a new object.
    pub(crate) next_id: i64,
    /// Microseconds since 1970, on the clock that leases are measured with.
    pub(crate) now: i64,
    /// How many changes the log keeps.
    pub(crate) keep_changes: u64,
}

/// Decides a group of requests against what is committed: what is to be written, and what they are answered once it is.
pub(crate) fn decide<'a>(
    memory: &Memory,
    requests: impl IntoIterator<Item = &'a Asked>,
    start: &Start,
) -> (Layer, Vec<Outcome>) {
    let state = memory.read();
    let mut queue = memory.queue();
    let mut group = Group {
        state: &state,
        queue: &mut queue,
        layer: Layer::default(),
        next_id: start.next_id,
        now: start.now,
        trace: None,
    };
    let outcomes = requests.into_iter().map(|asked| one(&mut group, asked)).collect();
    let mut layer = group.layer;
    let version = state.version + layer.log.len() as u64;
    let batch = COMPACT.min(start.keep_changes / 10 + 1).max(2 * layer.log.len() as u64);
    if !layer.log.is_empty() && version > state.compacted + start.keep_changes + batch {
        let upto = (version - start.keep_changes).min(state.compacted + 2 * batch);
        layer.compact = layer.compact.max(Some(upto));
    }
    // Never past what is there, and never back.
    layer.compact = layer.compact.map(|upto| upto.min(version)).filter(|upto| *upto > state.compacted);
    (layer, outcomes)
}

fn one(group: &mut Group<'_>, asked: &Asked) -> Outcome {
    group.trace = asked.trace;
    match &asked.request {
        Request::Write(steps, _) => Outcome::Written(group.write(steps)),
        Request::WriteHeld(claim, steps, _) => Outcome::Written(group.write_held(claim, steps)),
        Request::Claim { owner, ttl, limit, shares, sent, .. } => {
            Outcome::Claimed(group.claim(owner, *ttl, *limit, (**shares).clone(), *sent))
        }
        Request::Renew { owner, leases, ttl, .. } => Outcome::Renewed(group.renew(owner, leases, *ttl)),
        Request::Intend(claim, entries, _) => Outcome::Done(group.intend(claim, entries)),
        Request::Complete(claim, completion, steps, _) => Outcome::Completed(group.complete(claim, completion, steps)),
        Request::Release(claim, _) => Outcome::Done(group.release(claim)),
        Request::Wake(uids, class, _) => {
            group.wake(uids, *class);
            Outcome::Done(Ok(()))
        }
        Request::Settle(seen, _) => {
            group.settle_suspects(seen);
            Outcome::Done(Ok(()))
        }
        Request::Unwatched { gone, most, apart, .. } => Outcome::Unwatched(group.unwatched(gone, *most, *apart)),
        Request::Blob(write, _) => {
            group.layer.blobs.push(write.clone());
            Outcome::Done(Ok(()))
        }
        Request::Compact(upto, _) => {
            group.layer.compact = group.layer.compact.max(Some(*upto));
            Outcome::Done(Ok(()))
        }
        Request::Close(_) => Outcome::Done(Ok(())),
    }
}

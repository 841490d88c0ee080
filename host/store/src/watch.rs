//! Following changes: each watch reads the log at its own pace. It holds nothing but a position, so a slow one costs nobody anything; one that
//! is so slow that the log forgot its position hears [`Error::Gone`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::watch::Receiver;

use crate::engine::Engine;
use crate::error::Error;
use crate::state::Logged;
use crate::types::{Change, Scope};

/// How many changes a watch takes at once.
const BATCH: usize = 256;

/// The changes in a [`Scope`], each once and in order, until the store closes. Ends after an error.
pub struct Watch {
    changes: BoxStream<'static, Result<Change, Error>>,
    position: Arc<AtomicU64>,
}

impl Watch {
    /// Everything in scope up to this resourceVersion has been delivered; rises with foreign changes too, as bookmarks do.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    pub(crate) fn new(engine: &Arc<Engine>, scope: Scope, since: Option<u64>) -> Result<Self, Error> {
        let versions = engine.memory.versions();
        let from = {
            let state = engine.memory.read();
            let from = since.unwrap_or(state.version);
            state.reaches(from)?;
            from
        };
        let position = Arc::new(AtomicU64::new(from));
        let follower = Follower {
            engine: engine.clone(),
            versions,
            scope,
            read: from,
            batch: VecDeque::new(),
            position: position.clone(),
            over: false,
        };
        let changes = unfold(follower, |mut follower| async move {
            let next = follower.next().await?;
            Some((next, follower))
        });
        Ok(Self { changes: changes.boxed(), position })
    }
}

impl Stream for Watch {
    type Item = Result<Change, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.changes.poll_next_unpin(cx)
    }
}

struct Follower {
    engine: Arc<Engine>,
    versions: Receiver<u64>,
    scope: Scope,
    /// The log is read up to here.
    read: u64,
    batch: VecDeque<Logged>,
    position: Arc<AtomicU64>,
    over: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Change, Error>> {
        while !self.over {
            if let Some(logged) = self.batch.pop_front() {
                self.position.store(logged.object.resource_version, Ordering::Relaxed);
                return Some(Ok(logged.change()));
            }
            self.position.store(self.read, Ordering::Relaxed);
            // Seen before it is read: a commit in between wakes us once too often, never too seldom.
            self.versions.borrow_and_update();
            match self.engine.changes(&self.scope, self.read, BATCH).await {
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
                Ok((changes, upto)) if changes.is_empty() && upto == self.read => {
                    // Fails when the store has closed.
                    self.over = self.engine.memory.closed()
                        || self.versions.changed().await.is_err()
                        || self.engine.memory.closed();
                }
                Ok((changes, upto)) => {
                    self.batch = changes.into();
                    self.read = upto;
                }
            }
        }
        None
    }
}

//! The one writer. Requests that arrive while a transaction is being written to disk form the next group: one transaction, one fdatasync, and
//! nobody hears an answer before it.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::mpsc;

use super::checkpoint::Checkpoints;
use super::{WAITING, load, rows};
use crate::engine::{Engine, Reader};
use crate::error::Error;
use crate::layer::Layer;
use crate::requests::{Asked, GROUP, GROUP_BYTES, Outcome, Reply, Request, Start, decide};
use crate::rows::{Rows, Sealing};
use crate::types::Resource;
use crate::waiting::Waiting;
use crate::{meters, queue, stored};

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
        let (mut waiting, mut closing) = (Waiting::default(), Vec::new());
        let mut open = true;
        while open || !waiting.is_empty() {
            if waiting.is_empty() {
                match self.requests.recv().await {
                    Some(asked) => self.take(asked, &mut waiting, &mut closing),
                    None => open = false,
                }
            }
            // Everybody who waits is looked at: whose turn it is has nothing to do with who came first.
            while waiting.len() < WAITING
                && let Ok(asked) = self.requests.try_recv()
            {
                self.take(asked, &mut waiting, &mut closing);
            }
            let group = waiting.group(GROUP, GROUP_BYTES);
            if !group.is_empty() {
                self.serve(group.into_iter().map(|(_, asked)| asked).collect()).await;
            }
        }
        if let Reader::Sqlite(readers) = &self.engine.reader {
            readers.close().await;
        }
        self.checkpoints.close().await;
        self.engine.memory.close();
        if let Err(error) = self.conn.close().await {
            tracing::warn!(%error, "the database did not close cleanly; it will recover at the next start");
        }
        drop(self.lock);
        for reply in closing {
            let _ = reply.send(Ok(()));
        }
    }

    fn take(&mut self, asked: Asked, waiting: &mut Waiting, closing: &mut Vec<Reply<()>>) {
        match asked.request {
            Request::Close(reply) => {
                // What was asked before is answered, what comes later finds the door closed.
                self.requests.close();
                closing.push(reply);
            }
            _ => waiting.push((Instant::now(), asked)),
        }
    }

    async fn serve(&mut self, requests: Vec<Asked>) {
        match self.written(&requests).await {
            Ok(outcomes) => requests.into_iter().zip(outcomes).for_each(|(asked, outcome)| asked.answer(outcome)),
            Err(why) => requests.into_iter().for_each(|asked| asked.refuse(&why)),
        }
    }

    async fn written(&mut self, requests: &[Asked]) -> Result<Vec<Outcome>, Error> {
        self.refresh().await?;
        let start = Start { next_id: self.next_id, now: queue::now(), keep_changes: self.keep_changes };
        let (layer, outcomes) = decide(&self.engine.memory, requests, &start);
        if let Err(error) = self.commit(&layer, requests.len()).await {
            meters::commit_failed();
            tracing::error!(%error, "a transaction failed; nothing of it was written");
            self.stale = true;
            if let Err(error) = self.refresh().await {
                tracing::error!(%error, "the database cannot be read either; trying again with the next request");
            }
            return Err(super::failed(error));
        }
        self.next_id += layer.created;
        self.engine.memory.publish(layer);
        Ok(outcomes)
    }

    /// After a failed transaction: what was decided in memory did not happen.
    async fn refresh(&mut self) -> Result<(), Error> {
        if !self.stale {
            return Ok(());
        }
        let memory = &self.engine.memory;
        // There may be none to roll back.
        let _ = sqlx::query("rollback").execute(&mut self.conn).await;
        let positions = load::positions(&mut self.conn).await?;
        let known = {
            let state = memory.read();
            (state.version, state.compacted)
        };
        if positions != known {
            // COMMIT failed, yet the transaction is there.
            let (loaded, next_id) = load::state(&mut self.conn, &self.engine.crypt).await?;
            *memory.write() = loaded;
            self.next_id = next_id;
        }
        let rows = load::work(&mut self.conn).await?;
        let queue = stored::queue(rows, &memory.read());
        memory.replace_queue(queue);
        self.stale = false;
        Ok(())
    }

    async fn commit(&mut self, layer: &Layer, requests: usize) -> Result<(), sqlx::Error> {
        let work = self.engine.memory.changed_work();
        if layer.is_empty() && work.is_empty() {
            return Ok(());
        }
        let crypt = &self.engine.crypt;
        let rows = Rows::new(layer, work, &Sealing { crypt, encrypted: &self.encrypted });
        let began = Instant::now();
        sqlx::query("begin immediate").execute(&mut self.conn).await?;
        rows::write(&mut self.conn, rows, crypt.key_id()).await?;
        sqlx::query("commit").execute(&mut self.conn).await?;
        self.engine.memory.count_commit();
        meters::committed(requests, began.elapsed());
        Ok(())
    }
}

//! The one writer of this host. It takes the lock of all hosts, follows what they did, and only then decides what everybody who waits here asked for: the
//! longer the wait, the larger the group.
//!
//! A group that is known not to have been written is decided again. When the answer to COMMIT is lost, it is found out whether it happened before
//! anything else is done: by the row of the journal, read under the lock, when the lost session cannot commit any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::connect::{self, Address, failed, passes};
use super::journal::{self, CHANNEL, FORMAT, Followed, Head, News, follow};
use super::{WAITING, history, load, rows, tell_of};
use crate::config::Config;
use crate::engine::{Engine, Reader};
use crate::error::Error;
use crate::layer::Layer;
use crate::meters;
use crate::requests::{Asked, GROUP, GROUP_BYTES, Outcome, Request, Start, decide};
use crate::rows::{Rows, Sealing};
use crate::stored;
use crate::types::Resource;
use crate::waiting::Waiting;

/// What others did is looked for at least this often.
const POLL: Duration = Duration::from_millis(900);

/// A group that takes longer is given up with its connection: the server has hung.
const PATIENCE: Duration = Duration::from_secs(15);

/// Requests wait this long for a server that is away.
const WAIT: Duration = Duration::from_secs(15);

/// So many groups are read under the lock of all hosts at most.
const BEHIND: i64 = 100;

/// Reasons that come and go are not all said.
const REMINDER: Duration = Duration::from_millis(500);

/// Between attempts to reach it.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Writer {
    engine: Arc<Engine>,
    address: Address,
    /// Taken while it is used, so that it is gone when that fails.
    conn: Option<PgConnection>,
    requests: mpsc::Receiver<Asked>,
    waiting: Waiting,
    /// The requests of the group under way.
    group: Vec<(Instant, Asked)>,
    /// The group whose COMMIT is not answered yet.
    sent: Option<Sent>,
    closing: Vec<Asked>,
    encrypted: HashSet<Resource>,
    keep_changes: u64,
    /// Who this process is, in the journal.
    name: String,
    /// Memory is as of this group.
    reached: watch::Sender<i64>,
    /// The work items in memory are not those of that group: read them before anything else.
    stale: bool,
    /// Who claimed anything through this process.
    owners: HashSet<Arc<str>>,
    /// How many are decided one by one, because the server refused a group that they were in.
    alone: usize,
    /// What was said last of why the server cannot be used, and when.
    away: Option<(String, Instant)>,
    /// Which history the server had; memory is of that one.
    history: Option<i64>,
    /// It is another one, or may be: read everything before anything else.
    anew: bool,
}

/// A group that may have been committed.
struct Sent {
    seq: i64,
    layer: Layer,
    outcomes: Vec<Outcome>,
}

/// Why nothing was written, unless there is something [`Sent`].
enum Failure {
    /// It may be tried again on another connection.
    Passing(Error),
    /// Trying again is of no use.
    Lasting(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if passes(&error) { Self::Passing(failed(error)) } else { Self::Lasting(failed(error)) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Corrupt(..) => Self::Lasting(error),
            error => Self::Passing(error),
        }
    }
}

impl Writer {
    pub(super) fn new(
        engine: Arc<Engine>,
        address: Address,
        (conn, history): (PgConnection, Option<i64>),
        requests: mpsc::Receiver<Asked>,
        config: &Config,
        name: String,
        reached: watch::Sender<i64>,
    ) -> Self {
        Self {
            engine,
            address,
            conn: Some(conn),
            requests,
            waiting: Waiting::default(),
            group: Vec::new(),
            sent: None,
            closing: Vec::new(),
            encrypted: config.encrypted.iter().cloned().collect(),
            keep_changes: config.keep_changes,
            name,
            reached,
            stale: false,
            owners: HashSet::new(),
            alone: 0,
            away: None,
            history,
            anew: false,
        }
    }

    pub(super) async fn run(mut self, news: Arc<Notify>, listening: JoinHandle<()>) {
        let mut open = true;
        while open {
            tokio::select! {
                biased;
                asked = self.requests.recv() => match asked {
                    Some(asked) => self.take(asked),
                    None => open = false,
                },
                () = news.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            self.take_waiting();
            self.work().await;
        }
        listening.abort();
        let handing_back = tokio::time::timeout(PATIENCE, self.hand_back());
        if !matches!(handing_back.await, Ok(Ok(()))) {
            tracing::warn!("what this host worked on could not be handed back; its leases run out");
        }
        if let Some(conn) = self.conn.take() {
            connect::close(conn).await;
        }
        if let Reader::Postgres(readers) = &self.engine.reader {
            // Whoever reads still may wait for a server that no longer answers.
            let _timed_out = tokio::time::timeout(Duration::from_secs(2), readers.close()).await;
        }
        self.engine.memory.close();
        self.closing.into_iter().for_each(|asked| asked.answer(Outcome::Done(Ok(()))));
    }

    fn seq(&self) -> i64 {
        *self.reached.borrow()
    }

    fn reach(&self, seq: i64) {
        self.reached.send_if_modified(|reached| std::mem::replace(reached, seq) != seq);
    }

    /// Everybody who waits by now.
    fn take_waiting(&mut self) {
        while self.waiting.len() < WAITING
            && let Ok(asked) = self.requests.try_recv()
        {
            self.take(asked);
        }
    }

    fn take(&mut self, asked: Asked) {
        if matches!(asked.request, Request::Close(_)) {
            // What was asked before is answered, what comes later finds the door closed.
            self.requests.close();
            self.closing.push(asked);
        } else {
            self.waiting.push((Instant::now(), asked));
        }
    }

    /// Does what was asked for, or looks what others did.
    async fn work(&mut self) {
        loop {
            let done = tokio::time::timeout(PATIENCE, self.attempt()).await;
            let done = done.unwrap_or_else(|_elapsed| Err(Failure::Passing(self.address.silent())));
            match done {
                Ok(()) => {
                    self.back();
                    if self.waiting.is_empty() {
                        return;
                    }
                    continue;
                }
                Err(Failure::Lasting(why)) if self.group.len() > 1 && !matches!(why, Error::Full(_)) => {
                    // One of them cannot be written; the others must not suffer for it.
                    self.alone = self.group.len();
                    self.put_back();
                    continue;
                }
                Err(Failure::Lasting(why)) => {
                    meters::commit_failed();
                    tracing::error!(error = %why, "a transaction failed; nothing of it was written");
                    let mut refused = std::mem::take(&mut self.group);
                    if refused.is_empty() {
                        // It did not come to a group: there will be none for anybody.
                        refused.extend(self.waiting.drain());
                    }
                    // Nobody hears of it before what was decided in memory is forgotten; if that fails as well, it is done before anything else.
                    let _tried = tokio::time::timeout(PATIENCE, self.look()).await;
                    refused.into_iter().for_each(|(_, asked)| asked.refuse(&why));
                }
                Err(Failure::Passing(why)) => {
                    self.tell_trouble(&why);
                    self.put_off(&why);
                }
            }
            let settled = self.sent.is_none() || self.requests.is_closed();
            if self.waiting.is_empty() && settled {
                return;
            }
            tokio::time::sleep(AGAIN).await;
            self.take_waiting();
        }
    }

    /// Says why the server cannot be used: once, and again when it is for another reason.
    fn tell_trouble(&mut self, why: &Error) {
        let said = why.to_string();
        if self.away.is_none() {
            meters::commit_failed();
        }
        if self.away.as_ref().is_none_or(|(last, since)| *last != said && since.elapsed() > REMINDER) {
            tracing::warn!(error = %why, "the database cannot be used; trying again");
            self.away = Some((said.clone(), Instant::now()));
        }
        self.engine.memory.set_trouble(Some(said));
    }

    /// The server can be used.
    fn back(&mut self) {
        if self.away.take().is_some() {
            self.engine.memory.set_trouble(None);
            tracing::info!("the database is back");
        }
    }

    /// Nothing of the group was written, so it can be decided again.
    fn put_back(&mut self) {
        self.waiting.put_back(std::mem::take(&mut self.group));
    }

    /// After a failure that may pass: who has waited too long hears of it, the others wait on.
    fn put_off(&mut self, why: &Error) {
        if self.sent.is_none() {
            self.put_back();
        } else if self.group.first().is_some_and(|(since, _)| since.elapsed() > WAIT) {
            let undecided = Error::Undecided(why.to_string());
            self.group.drain(..).for_each(|(_, asked)| asked.refuse(&undecided));
        }
        for asked in self.waiting.expired(WAIT) {
            asked.refuse(&Error::Away(why.to_string()));
        }
    }

    /// Does what is asked for by now, once.
    async fn attempt(&mut self) -> Result<(), Failure> {
        if self.nothing_due() {
            self.waiting.drain().into_iter().for_each(|(_, asked)| asked.answer(Outcome::Claimed(Vec::new())));
        }
        if self.waiting.is_empty() {
            return self.look().await;
        }
        let mut conn = self.connected().await?;
        let head = Head::lock(&mut conn).await?;
        let mut served = Ok(());
        if head.seq - self.seq() > BEHIND {
            // Reading that much must not hold up the other hosts.
            sqlx::raw_sql("rollback").execute(&mut conn).await?;
            self.catch_up(&mut conn, &head, false).await?;
        } else if self.catch_up(&mut conn, &head, true).await? {
            served = self.serve(&mut conn, head).await;
            match served {
                Err(Failure::Lasting(_)) => {
                    sqlx::raw_sql("rollback").execute(&mut conn).await?;
                }
                Err(Failure::Passing(_)) => return served,
                Ok(()) => {}
            }
        }
        self.conn = Some(conn);
        served
    }

    /// Looks what others did.
    async fn look(&mut self) -> Result<(), Failure> {
        let mut conn = self.connected().await?;
        if self.stale {
            let head = Head::lock(&mut conn).await?;
            if self.catch_up(&mut conn, &head, true).await? {
                sqlx::raw_sql("rollback").execute(&mut conn).await?;
            }
        } else {
            let head = Head::read(&mut conn).await?;
            self.catch_up(&mut conn, &head, false).await?;
        }
        self.conn = Some(conn);
        Ok(())
    }

    /// A connection, after which it is known what became of everything that was sent.
    async fn connected(&mut self) -> Result<PgConnection, Failure> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let mut conn = self.address.connect().await?;
                self.address.writable(&mut conn).await?;
                self.same_history(&mut conn).await?;
                conn
            }
        };
        if self.sent.is_some() {
            self.find_out(&mut conn).await?;
        }
        if self.anew {
            self.load(&mut conn).await?;
        }
        Ok(conn)
    }

    /// Whether the server knows all that this host does; if it does not, what is in memory is not what is there.
    async fn same_history(&mut self, conn: &mut PgConnection) -> Result<(), Failure> {
        let (history, version) = (history::of(conn).await?, self.engine.memory.read().version);
        let leap = history::settle(conn, history, self.seq(), version).await?;
        self.anew |= leap.is_some() || history != self.history;
        self.history = history;
        if let Some(leap) = leap {
            let state = self.engine.memory.read();
            let lost = state.recent(leap.from).into_iter().flatten().take(10);
            let names: Vec<String> = lost.map(|logged| logged.object.key.to_string()).collect();
            tell_of(&leap, version.saturating_sub(leap.from), &names);
        }
        Ok(())
    }

    /// Reads everything in the place of what is in memory.
    async fn load(&mut self, conn: &mut PgConnection) -> Result<(), Failure> {
        let (state, queue, head) = load::everything(conn, &self.engine.crypt).await?;
        self.engine.memory.replace(state, queue);
        (self.stale, self.anew) = (false, false);
        self.reach(head.seq);
        Ok(())
    }

    /// Whether all that is asked for is work, and there is none: that costs no trip to the server. What others make due is heard of.
    fn nothing_due(&self) -> bool {
        let memory = &self.engine.memory;
        let nothing = |asked: &Asked| match &asked.request {
            Request::Claim { shares, .. } => {
                memory.queue().next_within(shares, memory.now()).is_none_or(|wait| !wait.is_zero())
            }
            _ => false,
        };
        !self.waiting.is_empty() && !self.stale && self.sent.is_none() && self.waiting.iter().all(nothing)
    }

    /// Whether the group happened whose COMMIT was not answered.
    async fn find_out(&mut self, conn: &mut PgConnection) -> Result<(), Failure> {
        // Whoever has the lock knows that the lost session is over: what it did not commit by now, it never will.
        let head = Head::lock(conn).await?;
        let Some(Sent { seq, .. }) = &self.sent else { return Ok(()) };
        let (seq, writer) = (*seq, journal::writer_of(conn, *seq).await?);
        sqlx::raw_sql("rollback").execute(conn).await?;
        let Some(sent) = self.sent.take() else { return Ok(()) };
        if writer.as_deref() == Some(self.name.as_str()) {
            self.committed(seq, sent.layer, sent.outcomes);
        } else if writer.is_none() && head.seq >= seq {
            let why = Error::Undecided(
                "the answer of the database was lost, and it was away for too long to find out".into(),
            );
            self.group.drain(..).for_each(|(_, asked)| asked.refuse(&why));
        } else {
            self.put_back();
        }
        Ok(())
    }

    /// Brings memory to where the journal is; false if that ended the transaction.
    async fn catch_up(&mut self, conn: &mut PgConnection, head: &Head, locked: bool) -> Result<bool, Failure> {
        head.understood().map_err(Failure::Lasting)?;
        if head.seq < self.seq() {
            // The next connection finds out what that means.
            return Err(Failure::Passing(Error::Database("the database lacks what was in it before".to_owned())));
        }
        let engine = &self.engine;
        engine.memory.set_clock(head.now);
        match follow(conn, &engine.memory, &engine.crypt, self.seq(), head).await? {
            Followed::Upto(seq) => self.reach(seq),
            Followed::Lost => {
                if locked {
                    sqlx::raw_sql("rollback").execute(&mut *conn).await?;
                }
                tracing::info!("too much has happened since: reading everything again");
                self.load(conn).await?;
                return Ok(false);
            }
        }
        if self.stale && locked {
            let rows = load::work(conn).await?;
            let queue = stored::queue(rows, &engine.memory.read());
            engine.memory.replace_queue(queue);
            self.stale = false;
        }
        Ok(true)
    }

    /// Decides for everybody who waits, under the lock, and commits.
    async fn serve(&mut self, conn: &mut PgConnection, head: Head) -> Result<(), Failure> {
        // Whoever came while the lock was waited for comes along.
        self.take_waiting();
        let most = if self.alone > 0 { 1 } else { GROUP };
        self.alone = self.alone.saturating_sub(1);
        self.group.extend(self.waiting.group(most, GROUP_BYTES));
        let claims = self.group.iter().filter_map(|(_, asked)| match &asked.request {
            Request::Claim { owner, .. } => Some(owner.clone()),
            _ => None,
        });
        self.owners.extend(claims);
        let start = Start { next_id: head.next_id, now: head.now, keep_changes: self.keep_changes };
        // If this is not committed, the work items are not those in memory.
        self.stale = true;
        let asked: Vec<&Asked> = self.group.iter().map(|(_, asked)| asked).collect();
        let (layer, outcomes) = decide(&self.engine.memory, asked, &start);
        self.commit(conn, &head, layer, outcomes).await
    }

    async fn commit(
        &mut self,
        conn: &mut PgConnection,
        head: &Head,
        layer: Layer,
        outcomes: Vec<Outcome>,
    ) -> Result<(), Failure> {
        let work = self.engine.memory.changed_work();
        if layer.is_empty() && work.is_empty() {
            sqlx::raw_sql("rollback").execute(&mut *conn).await?;
            self.stale = false;
            self.answer(outcomes);
            return Ok(());
        }
        let began = Instant::now();
        let crypt = &self.engine.crypt;
        let rows = Rows::new(&layer, work, &Sealing { crypt, encrypted: &self.encrypted });
        let (news, reasons) = (News::of(&rows), self.engine.memory.read().reasons + layer.reasons);
        let next = Head {
            seq: head.seq + 1,
            rv: head.rv + layer.log.len() as i64,
            next_id: head.next_id + layer.created,
            compacted: layer.compact.map_or(head.compacted, |upto| i64::try_from(upto).unwrap_or(i64::MAX)),
            reasons: i64::try_from(reasons).unwrap_or(i64::MAX),
            format: FORMAT,
            now: head.now,
        };
        rows::write(conn, rows, crypt.key_id()).await?;
        journal::append(conn, &next, &self.name, &news).await?;
        self.sent = Some(Sent { seq: next.seq, layer, outcomes });
        let sql = format!("select pg_notify('{CHANNEL}', '{}'); commit", self.name);
        // Whatever goes wrong here, only the journal can tell whether it happened.
        let answered = sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await;
        answered.map_err(|error| Failure::Passing(failed(error)))?;
        meters::committed(self.group.len(), began.elapsed());
        if let Some(Sent { seq, layer, outcomes }) = self.sent.take() {
            self.committed(seq, layer, outcomes);
        }
        Ok(())
    }

    /// Shows readers what is on disk, and answers.
    fn committed(&mut self, seq: i64, layer: Layer, outcomes: Vec<Outcome>) {
        self.engine.memory.count_commit();
        self.engine.memory.publish(layer);
        self.stale = false;
        self.reach(seq);
        self.answer(outcomes);
    }

    fn answer(&mut self, outcomes: Vec<Outcome>) {
        // Before anybody hears that it was used.
        self.back();
        self.group.drain(..).zip(outcomes).for_each(|((_, asked), outcome)| asked.answer(outcome));
    }

    /// What was claimed through this process is free again: whoever worked on it is gone with it.
    async fn hand_back(&mut self) -> Result<(), Failure> {
        let Some(mut conn) = self.conn.take().filter(|_| self.sent.is_none()) else { return Ok(()) };
        let head = Head::lock(&mut conn).await?;
        if self.catch_up(&mut conn, &head, true).await? {
            self.engine.memory.queue().hand_back(&self.owners);
            self.commit(&mut conn, &head, Layer::default(), Vec::new()).await?;
        }
        self.conn = Some(conn);
        Ok(())
    }
}

//! The embedded engine: SQLite through sqlx, one writer, everything of now in memory.

mod blobs;
mod checkpoint;
mod claims;
mod load;
mod log;
mod rows;
mod writer;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use checkpoint::Checkpoints;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::crypt::Crypt;
use crate::error::Error;
use crate::group::Picked;
use crate::queue::Queue;
use crate::state::{Logged, State, undo};
use crate::types::{Key, List, ListQuery, Scope};
use crate::work::{Claim, InventoryEntry};
use serde_json::Value;
use writer::Writer;
pub(crate) use writer::{Asked, Request};

pub(crate) fn failed(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some(FULL | NO_ROOM_TO_SHARE) => Error::Full(error.to_string()),
        _ => Error::Database(error.to_string()),
    }
}

/// SQLITE_FULL
const FULL: &str = "13";
/// SQLITE_IOERR_SHMSIZE: the index of the write-ahead log does not grow.
const NO_ROOM_TO_SHARE: &str = "4874";

/// What to do about a damaged file.
const RESTORE: &str = "the file is damaged: keep a copy of it, and restore it from a backup";

/// An open database.
pub(crate) struct Engine {
    state: RwLock<State>,
    queue: Mutex<Queue>,
    crypt: Crypt,
    readers: SqlitePool,
    /// The newest committed version; whoever waits for changes waits on this.
    version: watch::Sender<u64>,
    /// Told when there is something new for the collector to look at.
    suspected: watch::Sender<()>,
    commits: AtomicU64,
}

/// Waiting requests; more wait at the door.
const WAITING: usize = 4096;

impl Engine {
    pub(crate) async fn open(config: Config) -> Result<(Arc<Self>, mpsc::Sender<Asked>), Error> {
        let lock = lock(&config.path)?;
        let options = SqliteConnectOptions::new()
            .filename(&config.path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .pragma("wal_autocheckpoint", checkpoint::WRITER_PAGES)
            // What is read stands in memory already; pages are cached by the system as well.
            .pragma("cache_size", "-4000")
            .disable_statement_logging();
        let named = |error: Error| match error {
            Error::Database(why) => damaged(&config.path, why),
            Error::Corrupt(what, why) => {
                Error::Corrupt(format!("{} ({what})", config.path.display()), format!("{why}; {RESTORE}"))
            }
            other => other,
        };
        let mut conn = options.connect().await.map_err(failed).map_err(named)?;
        let found: Vec<String> =
            sqlx::query_scalar("pragma quick_check(3)").fetch_all(&mut conn).await.map_err(failed).map_err(named)?;
        if found != ["ok"] {
            return Err(Error::Corrupt(config.path.display().to_string(), format!("{}; {RESTORE}", found.join(", "))));
        }
        let migrated = sqlx::migrate!("./migrations").run(&mut conn).await;
        migrated.map_err(|error| named(Error::Database(format!("migrating {}: {error}", config.path.display()))))?;
        let crypt = Crypt::new(&config.key);
        own_key(&mut conn, &crypt, &config.path).await?;
        let (state, next_id) = load::state(&mut conn, &crypt).await.map_err(named)?;
        // Whoever held leases held this database's lock as well, and is gone: its work need not wait for them to run out.
        sqlx::query("update workitem set owner = null where owner is not null")
            .execute(&mut conn)
            .await
            .map_err(failed)?;
        let queue = load::queue(load::work(&mut conn).await.map_err(named)?, &state);
        let beside = options.connect().await.map_err(failed).map_err(named)?;
        let readers = SqlitePoolOptions::new().max_connections(4).min_connections(1).test_before_acquire(false);
        let readers = readers.connect_with(options.read_only(true).create_if_missing(false)).await.map_err(failed)?;
        let engine = Arc::new(Self {
            version: watch::Sender::new(state.version),
            suspected: watch::Sender::new(()),
            state: RwLock::new(state),
            queue: Mutex::new(queue),
            crypt,
            readers,
            commits: AtomicU64::new(0),
        });
        let (sender, requests) = mpsc::channel(WAITING);
        let writer = Writer {
            checkpoints: Checkpoints::start(beside, engine.versions()),
            engine: engine.clone(),
            conn,
            requests,
            encrypted: config.encrypted.into_iter().collect(),
            keep_changes: config.keep_changes,
            next_id,
            stale: false,
            lock,
        };
        tokio::spawn(writer.run());
        Ok((engine, sender))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn suspected(&self) -> watch::Receiver<()> {
        self.suspected.subscribe()
    }

    /// Whether the writer has ended.
    pub(crate) fn closed(&self) -> bool {
        self.readers.is_closed()
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A page of now, or of a snapshot: what is there now with everything undone that happened since.
    pub(crate) async fn list(&self, query: &ListQuery) -> Result<List, Error> {
        let from = {
            let state = self.read();
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
            let upto = self.read().version;
            let logged = log::read(&self.readers, &self.crypt, &query.scope.resource, after, upto, -1).await?;
            logged.iter().filter(|logged| logged.in_scope(&query.scope)).for_each(|logged| undo(&mut undone, logged));
            let state = self.read();
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
            let state = self.read();
            state.reaches(after)?;
            if let Some(changes) = state.recent(after) {
                let found: Vec<_> = changes.filter(|logged| logged.in_scope(scope)).take(limit).cloned().collect();
                return Ok(bounded(found, limit, state.version));
            }
            state.version
        };
        let sql_limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let logged = log::read(&self.readers, &self.crypt, &scope.resource, after, upto, sql_limit).await?;
        self.read().reaches(after)?;
        let (mut logged, upto) = bounded(logged, limit, upto);
        logged.retain(|logged| logged.in_scope(scope));
        Ok((logged, upto))
    }

    /// Complete claims, and those whose rows cannot be read, with the reason.
    pub(crate) async fn fill(&self, picked: Vec<Picked>) -> Result<(Vec<Claim>, Vec<(Claim, Error)>), Error> {
        if picked.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        claims::fill(&self.readers, &self.crypt, picked).await
    }

    pub(crate) async fn on_target(&self, target: &str, limit: usize) -> Result<Vec<Key>, Error> {
        claims::on_target(&self.readers, target, limit).await
    }

    pub(crate) async fn inventory(&self, id: i64) -> Result<Vec<InventoryEntry>, Error> {
        claims::inventory(&self.readers, &self.crypt, id).await
    }

    pub(crate) async fn carried(&self, id: i64) -> Result<Value, Error> {
        claims::carried(&self.readers, &self.crypt, id).await
    }
}

/// A batch that is full tells only up to its last change.
fn bounded(found: Vec<Logged>, limit: usize, upto: u64) -> (Vec<Logged>, u64) {
    let upto = found.last().filter(|_| found.len() == limit).map_or(upto, |last| last.object.resource_version);
    (found, upto)
}

/// Takes the data directory for this process, until the file is closed.
fn lock(path: &Path) -> Result<File, Error> {
    let refused = |why: String| Error::Database(format!("{}: {why}", path.display()));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|error| refused(format!("cannot make its directory: {error}")))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(|error| refused(format!("cannot open its lock file: {error}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refused(
            "another server has this database open: stop it first, or use another data directory".to_string(),
        )),
        Err(TryLockError::Error(error)) => {
            Err(refused(format!("cannot be locked (is it on a network disk?): {error}")))
        }
    }
}

/// The database's key is this one, or becomes it when there is none yet.
async fn own_key(conn: &mut SqliteConnection, crypt: &Crypt, path: &Path) -> Result<(), Error> {
    let keys: Vec<String> =
        sqlx::query_scalar("select key_id from keyring").fetch_all(&mut *conn).await.map_err(failed)?;
    match keys.first() {
        None => {
            let added = sqlx::query("insert into keyring (key_id) values (?)").bind(crypt.key_id()).execute(conn).await;
            added.map(drop).map_err(failed)
        }
        Some(_) if keys.iter().all(|key| key == crypt.key_id()) => Ok(()),
        Some(expected) => Err(Error::WrongKey {
            path: path.display().to_string(),
            expected: expected.clone(),
            given: crypt.key_id().to_owned(),
        }),
    }
}

/// SQLite's words for a damaged file, with the file's name.
fn damaged(path: &Path, why: String) -> Error {
    if why.contains("malformed") || why.contains("not a database") || why.contains("corrupt") {
        return Error::Corrupt(path.display().to_string(), format!("{why}; {RESTORE}"));
    }
    Error::Database(format!("{}: {why}", path.display()))
}

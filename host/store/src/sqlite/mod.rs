//! The embedded engine: SQLite through sqlx, one writer, everything of now in memory.

pub(crate) mod blobs;
mod checkpoint;
pub(crate) mod claims;
pub(crate) mod export;
mod load;
pub(crate) mod log;
mod rows;
mod writer;

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::Checkpoints;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::mpsc;
use writer::Writer;

use crate::config::Config;
use crate::crypt::Crypt;
use crate::engine::{Engine, Reader};
use crate::error::Error;
use crate::memory::Memory;
use crate::requests::Asked;
use crate::stored;

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

/// Waiting requests; more wait at the door.
const WAITING: usize = 4096;

/// A database that is this process's own.
struct Place {
    lock: File,
    options: SqliteConnectOptions,
    conn: SqliteConnection,
}

/// An error with the file's name, and what to do when it is damaged.
fn named(path: &Path, error: Error) -> Error {
    match error {
        Error::Database(why) => damaged(path, why),
        Error::Corrupt(what, why) => {
            Error::Corrupt(format!("{} ({what})", path.display()), format!("{why}; {RESTORE}"))
        }
        other => other,
    }
}

/// Opens or makes the database, checks it, and brings it to this version.
async fn enter(path: &Path) -> Result<Place, Error> {
    let named = |error: Error| named(path, error);
    let lock = lock(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .pragma("wal_autocheckpoint", checkpoint::WRITER_PAGES)
        // What is read stands in memory already; pages are cached by the system as well.
        .pragma("cache_size", "-4000")
        .disable_statement_logging();
    let mut conn = options.connect().await.map_err(failed).map_err(named)?;
    let found: Vec<String> =
        sqlx::query_scalar("pragma quick_check(3)").fetch_all(&mut conn).await.map_err(failed).map_err(named)?;
    if found != ["ok"] {
        return Err(Error::Corrupt(path.display().to_string(), format!("{}; {RESTORE}", found.join(", "))));
    }
    let migrated = sqlx::migrate!("./migrations/sqlite").run(&mut conn).await;
    migrated.map_err(|error| named(Error::Database(format!("migrating {}: {error}", path.display()))))?;
    Ok(Place { lock, options, conn })
}

/// Opens or makes the database and takes it for this process.
pub(crate) async fn open(config: Config, path: &Path) -> Result<(Arc<Engine>, mpsc::Sender<Asked>), Error> {
    let named = |error: Error| named(path, error);
    let Place { lock, options, mut conn } = enter(path).await?;
    let crypt = Crypt::new(&config.key);
    own_key(&mut conn, &crypt, path).await?;
    let (state, next_id) = load::state(&mut conn, &crypt).await.map_err(named)?;
    // Whoever held leases held this database's lock as well, and is gone: its work need not wait for them to run out.
    sqlx::query("update workitem set owner = null where owner is not null").execute(&mut conn).await.map_err(failed)?;
    let queue = stored::queue(load::work(&mut conn).await.map_err(named)?, &state);
    let beside = options.connect().await.map_err(failed).map_err(named)?;
    let readers = SqlitePoolOptions::new().max_connections(4).min_connections(1).test_before_acquire(false);
    let readers = readers.connect_with(options.read_only(true).create_if_missing(false)).await.map_err(failed)?;
    let engine =
        Arc::new(Engine { memory: Memory::new(state, queue), crypt, reader: Reader::Sqlite(readers), gate: None });
    let (sender, requests) = mpsc::channel(WAITING);
    let writer = Writer {
        checkpoints: Checkpoints::start(beside, engine.memory.versions()),
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

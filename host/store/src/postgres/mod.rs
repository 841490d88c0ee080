//! The engine for many hosts: PostgreSQL through sqlx. Each host holds everything of now in memory and follows the others by the journal; who writes
//! holds a lock while it decides, so that all decide as one host would.

pub(crate) mod blobs;
pub(crate) mod claims;
mod connect;
mod gate;
mod history;
pub(crate) mod hosts;
pub(crate) mod import;
mod journal;
mod listen;
mod load;
pub(crate) mod log;
mod rows;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use connect::{Address, failed};
pub(crate) use gate::Gate;
use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{mpsc, watch};
use writer::Writer;

use crate::config::Config;
use crate::crypt::Crypt;
use crate::engine::{Engine, Reader};
use crate::error::Error;
use crate::memory::Memory;
use crate::meters;
use crate::requests::Asked;

/// The newest migration that is known here.
fn known(migrator: &sqlx::migrate::Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Waiting requests; more wait at the door.
const WAITING: usize = 4096;

/// Opens the database, and makes what is missing in it.
pub(crate) async fn open(config: Config, url: &str) -> Result<(Arc<Engine>, mpsc::Sender<Asked>), Error> {
    let address = Address::parse(url)?;
    let mut conn = address.connect().await?;
    address.check(&mut conn).await?;
    migrate(&mut conn, &address).await?;
    let crypt = Crypt::new(&config.key);
    own_key(&mut conn, &crypt, &address).await?;
    let history = history::of(&mut conn).await.map_err(failed)?;
    if let Some(leap) = history::settle(&mut conn, history, 0, 0).await.map_err(failed)? {
        tell_of(&leap, 0, &[]);
    }
    let (state, queue, head) = load::everything(&mut conn, &crypt).await?;
    let readers = PgPoolOptions::new().max_connections(6).min_connections(1).acquire_timeout(Duration::from_secs(10));
    let readers = readers.after_connect(|conn, _| Box::pin(async move { connect::prepare(conn).await }));
    let readers = readers.connect_with(address.options.clone()).await.map_err(|error| address.named(&error))?;
    let (sender, requests) = mpsc::channel(WAITING);
    let memory = Memory::new(state, queue);
    memory.set_clock(head.now);
    let (name, news) = (uuid::Uuid::new_v4().simple().to_string(), memory.news.clone());
    let (reached, follows) = watch::channel(head.seq);
    let gate = Some(Gate::start(readers.clone(), follows, news.clone()));
    let engine = Arc::new(Engine { memory, crypt, reader: Reader::Postgres(readers), gate });
    let listening = listen::listen(address.clone(), name.clone(), news.clone());
    let writer = Writer::new(engine.clone(), address, (conn, history), requests, &config, name, reached);
    tokio::spawn(writer.run(news, listening));
    Ok((engine, sender))
}

/// Says what became of a history that was not the known one; `lost` changes, of these objects among others, were known here and are not there.
fn tell_of(leap: &history::Leap, lost: u64, objects: &[String]) {
    meters::leapt(lost);
    tracing::error!(
        server_knew = leap.from,
        goes_on_from = leap.to,
        lost,
        objects = objects.join(", "),
        "the database is not the one it was: a standby took over, or a backup was restored. What it lacks is lost; resourceVersions go on further up, \
         watches begin anew, and every object is looked at again. Repeat what was written last, and see that standbys are synchronous \
         (synchronous_standby_names) if that must not happen"
    );
}

/// Makes what is missing, one host at a time; others go on meanwhile. A newer schema is no obstacle as long as it says that this version may use it.
async fn migrate(conn: &mut PgConnection, address: &Address) -> Result<(), Error> {
    let mut migrator = sqlx::migrate!("./migrations/postgres");
    migrator.set_ignore_missing(true);
    let needs = needed(conn).await?;
    let known = known(&migrator);
    if needs > known {
        return Err(Error::Database(format!(
            "{} was made by a newer version of threeport (its schema is {needs}, this version knows {known}): upgrade this host",
            address.shown
        )));
    }
    migrator.run(conn).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => address.named(&error),
        error => Error::Database(format!("migrating {}: {error}", address.shown)),
    })
}

/// Which migrations a host must know; none when the database is new.
async fn needed(conn: &mut PgConnection) -> Result<i64, Error> {
    let made: bool =
        sqlx::query_scalar("select to_regclass('meta') is not null").fetch_one(&mut *conn).await.map_err(failed)?;
    if !made {
        return Ok(0);
    }
    let sql = "select coalesce(max(value), 0) from meta where name = 'needs'";
    sqlx::query_scalar(sql).fetch_one(conn).await.map_err(failed)
}

/// The database's key is this one, or becomes it when there is none yet.
async fn own_key(conn: &mut PgConnection, crypt: &Crypt, address: &Address) -> Result<(), Error> {
    let sql = "insert into keyring (key_id) select $1 where not exists (select 1 from keyring)";
    sqlx::query(sql).bind(crypt.key_id()).execute(&mut *conn).await.map_err(failed)?;
    let keys: Vec<String> = sqlx::query_scalar("select key_id from keyring").fetch_all(conn).await.map_err(failed)?;
    match keys.into_iter().find(|key| key != crypt.key_id()) {
        None => Ok(()),
        Some(expected) => {
            Err(Error::WrongKey { path: address.shown.clone(), expected, given: crypt.key_id().to_owned() })
        }
    }
}

//! The table of hosts: each says now and then that it is there, beside the order of commits, so that it is heard whatever the others write.

use std::time::Duration;

use sqlx::{FromRow, PgPool};

use super::connect::failed;
use crate::error::Error;
use crate::hosts::HostInfo;
use crate::queue::span;

const NOW: &str = "(extract(epoch from clock_timestamp()) * 1000000)::bigint";

/// Microseconds that a host is remembered after it was heard of last.
const KEPT: &str = "3600000000";

#[derive(FromRow)]
struct Stored {
    name: String,
    version: String,
    started: i64,
    lease: i64,
    ahead: i64,
    ago: i64,
}

impl From<Stored> for HostInfo {
    fn from(row: Stored) -> Self {
        let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Self {
            name: row.name.into(),
            version: row.version,
            started: jiff::Timestamp::from_microsecond(row.started).unwrap_or_default(),
            heard_ago: micros(row.ago),
            lease: micros(row.lease),
            clock_ahead: row.ahead,
        }
    }
}

/// Says that a host is there, and gives all.
pub(crate) async fn beat(pool: &PgPool, own: HostInfo) -> Result<Vec<HostInfo>, Error> {
    // All parts see the table as it was before: what this host says of itself comes into the answer by hand.
    let sql = format!(
        "with said as (insert into host (name, version, started, lease, ahead, heard) values ($1, $2, $3, $4, $5, {NOW}) \
           on conflict (name) do update set lease = excluded.lease, ahead = excluded.ahead, heard = excluded.heard returning started), \
         forgotten as (delete from host where heard < {NOW} - {KEPT} and name <> $1) \
         select name, version, started, lease, ahead, {NOW} - heard as ago from host where name <> $1 and heard >= {NOW} - {KEPT} \
         union all select $1, $2, started, $4, $5, 0 from said order by started, name"
    );
    let query = sqlx::query_as::<_, Stored>(sqlx::AssertSqlSafe(sql)).bind(&*own.name).bind(&own.version);
    let query = query.bind(own.started.as_microsecond()).bind(span(own.lease)).bind(own.clock_ahead);
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    Ok(rows.into_iter().map(HostInfo::from).collect())
}

/// All of them.
pub(crate) async fn all(pool: &PgPool) -> Result<Vec<HostInfo>, Error> {
    let sql = format!(
        "select name, version, started, lease, ahead, {NOW} - heard as ago from host where heard >= {NOW} - {KEPT} order by started, name"
    );
    let rows: Vec<Stored> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.map_err(failed)?;
    Ok(rows.into_iter().map(HostInfo::from).collect())
}

/// A host is gone.
pub(crate) async fn leave(pool: &PgPool, name: &str) -> Result<(), Error> {
    sqlx::query("delete from host where name = $1").bind(name).execute(pool).await.map(drop).map_err(failed)
}

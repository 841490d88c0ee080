//! The change log on disk: for those who fell out of what memory holds, and its compaction.

use sqlx::{SqliteConnection, SqlitePool};

use super::failed;
use crate::crypt::Crypt;
use crate::error::Error;
use crate::state::Logged;
use crate::stored::StoredLogged;
use crate::types::Resource;

const READ: &str = "select c.rv, c.kind, c.namespace, c.name, c.uid, c.key_id, c.sum, c.body, \
     p.rv as prev_rv, p.key_id as prev_key_id, p.sum as prev_sum, p.body as prev_body \
     from change c left join change p on p.rv = c.prev \
     where c.rv > ? and c.rv <= ? and c.grp = ? and c.plural = ? order by c.rv limit ?";

/// The changes of a resource after a position, in order.
pub(crate) async fn read(
    pool: &SqlitePool,
    crypt: &Crypt,
    resource: &Resource,
    after: u64,
    upto: u64,
    limit: Option<usize>,
) -> Result<Vec<Logged>, Error> {
    let position = |version: u64| i64::try_from(version).unwrap_or(i64::MAX);
    let limit = limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let query = sqlx::query_as::<_, StoredLogged>(READ).bind(position(after)).bind(position(upto));
    let query = query.bind(&*resource.group).bind(&*resource.plural).bind(limit);
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    rows.into_iter().map(|row| row.logged(resource.clone(), crypt)).collect()
}

/// Forgets the log up to a position. A row goes when the change that superseded it is forgotten, a removal when it is itself: what stays is
/// every object of now, and the previous body of every change that stays.
pub(super) async fn compact(conn: &mut SqliteConnection, upto: u64) -> Result<(), sqlx::Error> {
    let from: i64 = sqlx::query_scalar("select value from meta where name = 'compacted'").fetch_one(&mut *conn).await?;
    let upto = i64::try_from(upto).unwrap_or(i64::MAX);
    let superseded = "delete from change where rv in (select prev from change where rv > ? and rv <= ?)";
    sqlx::query(superseded).bind(from).bind(upto).execute(&mut *conn).await?;
    let removals = "delete from change where kind = 2 and rv > ? and rv <= ?";
    sqlx::query(removals).bind(from).bind(upto).execute(&mut *conn).await?;
    sqlx::query("update meta set value = ? where name = 'compacted'").bind(upto).execute(conn).await?;
    Ok(())
}

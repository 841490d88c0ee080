//! The change log on disk: for those who fell out of what memory holds, and its compaction.

use sqlx::{PgConnection, PgPool};

use super::connect::failed;
use crate::crypt::Crypt;
use crate::error::Error;
use crate::state::Logged;
use crate::stored::StoredLogged;
use crate::types::Resource;

const READ: &str = "select c.rv, c.kind, c.namespace, c.name, c.uid, c.key_id, c.sum, c.body, \
     p.rv as prev_rv, p.key_id as prev_key_id, p.sum as prev_sum, p.body as prev_body \
     from change c left join change p on p.rv = c.prev \
     where c.rv > $1 and c.rv <= $2 and c.grp = $3 and c.plural = $4 order by c.rv limit $5";

fn position(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// The changes of a resource after a position, in order.
pub(crate) async fn read(
    pool: &PgPool,
    crypt: &Crypt,
    resource: &Resource,
    after: u64,
    upto: u64,
    limit: Option<usize>,
) -> Result<Vec<Logged>, Error> {
    let limit = limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let query = sqlx::query_as::<_, StoredLogged>(READ).bind(position(after)).bind(position(upto));
    let query = query.bind(&*resource.group).bind(&*resource.plural).bind(limit);
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    rows.into_iter().map(|row| row.logged(resource.clone(), crypt)).collect()
}

/// Forgets the log up to a position. A row goes when the change that superseded it is forgotten, a removal when it is itself: what stays is
/// every object of now, and the previous body of every change that stays.
pub(super) async fn compact(conn: &mut PgConnection, upto: u64) -> Result<(), sqlx::Error> {
    let from: i64 =
        sqlx::query_scalar("select compacted from journal order by seq desc limit 1").fetch_one(&mut *conn).await?;
    let superseded = "delete from change where rv in (select prev from change where rv > $1 and rv <= $2)";
    sqlx::query(superseded).bind(from).bind(position(upto)).execute(&mut *conn).await?;
    let removals = "delete from change where kind = 2 and rv > $1 and rv <= $2";
    sqlx::query(removals).bind(from).bind(position(upto)).execute(conn).await?;
    Ok(())
}

//! Reading everything into memory: at start, and the work items again after a failed transaction.

use futures::TryStreamExt;
use sqlx::SqliteConnection;

use super::failed;
use crate::crypt::Crypt;
use crate::error::Error;
use crate::state::State;
use crate::stored::{Loading, StoredEdge, StoredObject, StoredWork};

/// The committed state, and the first number for a new object.
pub(super) async fn state(conn: &mut SqliteConnection, crypt: &Crypt) -> Result<(State, i64), Error> {
    let mut loading = Loading::default();
    let sql = "select o.id, c.rv, c.grp, c.plural, c.namespace, c.name, c.uid, c.key_id, c.sum, c.body \
               from object o join change c on c.rv = o.rv";
    let mut rows = sqlx::query_as::<_, StoredObject>(sql).fetch(&mut *conn);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        loading.object(row, crypt)?;
    }
    drop(rows);
    let count: i64 = sqlx::query_scalar("select count(*) from object").fetch_one(&mut *conn).await.map_err(failed)?;
    loading.all_there(count)?;
    let sql = "select object, grp, plural, namespace, name, role, field from edge order by object, position";
    let mut rows = sqlx::query_as::<_, StoredEdge>(sql).fetch(&mut *conn);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        loading.edge(row);
    }
    drop(rows);
    let owners: Vec<(i64, String)> = sqlx::query_as("select object, uid from owner order by object, uid")
        .fetch_all(&mut *conn)
        .await
        .map_err(failed)?;
    owners.into_iter().for_each(|(id, uid)| loading.owner(id, uid));
    let suspects: Vec<(i64, i64)> =
        sqlx::query_as("select object, seq from suspect").fetch_all(&mut *conn).await.map_err(failed)?;
    suspects.into_iter().for_each(|(id, seq)| loading.suspect(id, seq));
    (loading.state.version, loading.state.compacted) = positions(conn).await?;
    Ok(loading.finish())
}

/// The newest version, and up to where the log is forgotten.
pub(super) async fn positions(conn: &mut SqliteConnection) -> Result<(u64, u64), Error> {
    let newest: Option<i64> =
        sqlx::query_scalar("select max(rv) from change").fetch_one(&mut *conn).await.map_err(failed)?;
    let compacted: i64 =
        sqlx::query_scalar("select value from meta where name = 'compacted'").fetch_one(conn).await.map_err(failed)?;
    Ok((newest.unwrap_or(0).unsigned_abs().max(compacted.unsigned_abs()), compacted.unsigned_abs()))
}

/// The rows of the work items.
pub(super) async fn work(conn: &mut SqliteConnection) -> Result<Vec<StoredWork>, Error> {
    let sql = "select object, wanted, done, class, due_at, attempts, owner, epoch, until, trace from workitem";
    sqlx::query_as(sql).fetch_all(conn).await.map_err(failed)
}

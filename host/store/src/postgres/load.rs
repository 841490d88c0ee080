//! Reading everything into memory, as of one group.

use futures::TryStreamExt;
use sqlx::PgConnection;

use super::connect::failed;
use super::journal::Head;
use crate::crypt::Crypt;
use crate::error::Error;
use crate::queue::Queue;
use crate::state::State;
use crate::stored::{self, Loading, StoredEdge, StoredObject, StoredWork};

/// The committed state with its work items, and where the journal stands there.
pub(super) async fn everything(conn: &mut PgConnection, crypt: &Crypt) -> Result<(State, Queue, Head), Error> {
    begin(conn).await?;
    let head = Head::read(conn).await.map_err(failed)?;
    head.understood()?;
    let state = state(conn, crypt, &head).await?;
    let queue = stored::queue(work(conn).await?, &state);
    end(conn).await?;
    Ok((state, queue, head))
}

async fn begin(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::raw_sql("begin isolation level repeatable read read only").execute(conn).await.map(drop).map_err(failed)
}

async fn end(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::raw_sql("commit").execute(conn).await.map(drop).map_err(failed)
}

async fn state(conn: &mut PgConnection, crypt: &Crypt, head: &Head) -> Result<State, Error> {
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
    let sql = "select object, uid from owner order by object, uid collate \"C\"";
    let owners: Vec<(i64, String)> = sqlx::query_as(sql).fetch_all(&mut *conn).await.map_err(failed)?;
    owners.into_iter().for_each(|(id, uid)| loading.owner(id, uid));
    let suspects: Vec<(i64, i64)> =
        sqlx::query_as("select object, seq from suspect").fetch_all(&mut *conn).await.map_err(failed)?;
    suspects.into_iter().for_each(|(id, seq)| loading.suspect(id, seq));
    let (mut state, _) = loading.finish();
    state.version = head.rv.unsigned_abs();
    state.compacted = head.compacted.unsigned_abs();
    state.reasons = head.reasons.unsigned_abs();
    Ok(state)
}

/// The rows of the work items.
pub(super) async fn work(conn: &mut PgConnection) -> Result<Vec<StoredWork>, Error> {
    let sql = "select object, wanted, done, class, due_at, attempts, owner, epoch, until, trace, watcher from workitem";
    sqlx::query_as(sql).fetch_all(conn).await.map_err(failed)
}

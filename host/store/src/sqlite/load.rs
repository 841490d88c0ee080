//! Reading everything into memory: at start, and the work items again after a failed transaction.

use futures::TryStreamExt;
use sqlx::{Connection as _, SqliteConnection};

use super::failed;
use crate::crypt::Crypt;
use crate::error::Error;
use crate::lifecycle;
use crate::state::{Entry, State};
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
    (loading.state.version, loading.state.compacted) = positions(&mut *conn).await?;
    let (mut state, next_id) = loading.finish();
    fill_owners(conn, &mut state).await?;
    Ok((state, next_id))
}

/// The newest version, and up to where the log is forgotten.
pub(super) async fn positions(conn: &mut SqliteConnection) -> Result<(u64, u64), Error> {
    let newest: Option<i64> =
        sqlx::query_scalar("select max(rv) from change").fetch_one(&mut *conn).await.map_err(failed)?;
    let compacted: i64 =
        sqlx::query_scalar("select value from meta where name = 'compacted'").fetch_one(conn).await.map_err(failed)?;
    Ok((newest.unwrap_or(0).unsigned_abs().max(compacted.unsigned_abs()), compacted.unsigned_abs()))
}

/// Puts objects from before there was a table of owners into it, once. Whether their owners are still there is for the collector to see.
async fn fill_owners(conn: &mut SqliteConnection, state: &mut State) -> Result<(), Error> {
    let filled = sqlx::query_scalar("select value from meta where name = 'owners_filled'");
    let filled: i64 = filled.fetch_one(&mut *conn).await.map_err(failed)?;
    if filled != 0 {
        return Ok(());
    }
    let says = |entry: &&Entry| memchr::memmem::find(&entry.object.body, b"\"ownerReferences\"").is_some();
    let owned = |entry: &Entry| (entry.id, lifecycle::owner_uids(&entry.object.value()));
    let all = state.entries().filter(says).map(owned);
    let missing: Vec<_> = all.filter(|(id, owners)| state.owners_of(*id) != owners.as_slice()).collect();
    let mut transaction = conn.begin().await.map_err(failed)?;
    for (id, owners) in &missing {
        for uid in owners {
            let sql = "insert into owner (object, uid) values (?, ?) on conflict do nothing";
            sqlx::query(sql).bind(id).bind(&**uid).execute(&mut *transaction).await.map_err(failed)?;
        }
        let sql = "insert into suspect (object, seq) values (?, 1) on conflict do nothing";
        sqlx::query(sql).bind(id).execute(&mut *transaction).await.map_err(failed)?;
    }
    let sql = "update meta set value = 1 where name = 'owners_filled'";
    sqlx::query(sql).execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    for (id, owners) in missing {
        state.set_owners(id, owners);
        if state.suspect(id).is_none() {
            state.set_suspect(id, Some(1));
        }
    }
    Ok(())
}

/// The rows of the work items.
pub(super) async fn work(conn: &mut SqliteConnection) -> Result<Vec<StoredWork>, Error> {
    let sql = "select object, wanted, done, class, due_at, attempts, owner, epoch, until, trace, null as watcher from workitem";
    sqlx::query_as(sql).fetch_all(conn).await.map_err(failed)
}

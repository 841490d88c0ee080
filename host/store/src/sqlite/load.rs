//! Reading everything into memory: at start, and the work items again after a failed transaction.

use std::collections::HashMap;

use futures::TryStreamExt;
use sqlx::{Row, SqliteConnection};

use super::{failed, log};
use crate::crypt::Crypt;
use crate::error::Error;
use crate::queue::{Queue, Work, class};
use crate::state::{Entry, State};
use crate::trace::TraceContext;
use crate::types::{Edge, Key, Resource};

/// The committed state, and the first number for a new object.
pub(super) async fn state(conn: &mut SqliteConnection, crypt: &Crypt) -> Result<(State, i64), Error> {
    let mut state = State::default();
    let mut next_id = 1;
    // Thousands of objects share a few resources and namespaces: one allocation for each.
    let mut resources: HashMap<(String, String), Resource> = HashMap::new();
    let sql = "select o.id, c.rv, c.grp, c.plural, c.namespace, c.name, c.uid, c.key_id, c.sum, c.body \
               from object o join change c on c.rv = o.rv";
    let mut rows = sqlx::query(sql).fetch(&mut *conn);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let named: (String, String) = (row.try_get("grp").map_err(failed)?, row.try_get("plural").map_err(failed)?);
        let resource =
            resources.entry(named).or_insert_with_key(|(group, plural)| Resource::new(&**group, &**plural)).clone();
        let id = row.try_get("id").map_err(failed)?;
        let object = log::object(&row, resource, crypt)?;
        next_id = next_id.max(id + 1);
        state.put(Entry { id, object });
    }
    drop(rows);
    let count: i64 = sqlx::query_scalar("select count(*) from object").fetch_one(&mut *conn).await.map_err(failed)?;
    if usize::try_from(count).ok() != Some(state.len()) {
        let why = format!("{count} objects are listed but {} have a body", state.len());
        return Err(Error::Corrupt("the object table".to_string(), why));
    }
    edges(conn, &mut state).await?;
    owners(conn, &mut state).await?;
    let suspects: Vec<(i64, i64)> =
        sqlx::query_as("select object, seq from suspect").fetch_all(&mut *conn).await.map_err(failed)?;
    suspects.into_iter().for_each(|(id, seq)| state.set_suspect(id, Some(seq.unsigned_abs())));
    (state.version, state.compacted) = positions(conn).await?;
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

async fn edges(conn: &mut SqliteConnection, state: &mut State) -> Result<(), Error> {
    let sql = "select object, grp, plural, namespace, name, role, field from edge order by object, position";
    type Columns = (i64, String, String, Option<String>, String, String, String);
    let mut by_object: HashMap<i64, Vec<Edge>> = HashMap::new();
    let mut rows = sqlx::query_as::<_, Columns>(sql).fetch(conn);
    while let Some((id, group, plural, namespace, name, role, field)) = rows.try_next().await.map_err(failed)? {
        let resource = Resource::new(group, plural);
        let to = Key { resource, namespace: namespace.map(Into::into), name: name.into() };
        by_object.entry(id).or_default().push(Edge { to, role, field });
    }
    for (id, edges) in by_object {
        state.set_edges(id, edges);
    }
    Ok(())
}

async fn owners(conn: &mut SqliteConnection, state: &mut State) -> Result<(), Error> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("select object, uid from owner order by object, uid").fetch_all(conn).await.map_err(failed)?;
    let mut by_object: HashMap<i64, Vec<std::sync::Arc<str>>> = HashMap::new();
    for (id, uid) in rows {
        by_object.entry(id).or_default().push(uid.into());
    }
    for (id, owners) in by_object {
        state.set_owners(id, owners);
    }
    Ok(())
}

type WorkColumns = (i64, i64, i64, i64, Option<i64>, i64, Option<String>, i64, i64, Option<String>);

/// The rows of the work items.
pub(super) async fn work(conn: &mut SqliteConnection) -> Result<Vec<WorkColumns>, Error> {
    let sql = "select object, wanted, done, class, due_at, attempts, owner, epoch, until, trace from workitem";
    sqlx::query_as(sql).fetch_all(conn).await.map_err(failed)
}

/// The work items that these rows are.
pub(super) fn queue(rows: Vec<WorkColumns>, state: &State) -> Queue {
    let mut queue = Queue::default();
    for (id, wanted, done, number, due_at, attempts, owner, epoch, until, trace) in rows {
        let Some(key) = state.key_of_id(id).cloned() else { continue };
        let work = Work {
            key,
            wanted: wanted.unsigned_abs(),
            done: done.unsigned_abs(),
            class: class(number),
            due_at,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            owner: owner.map(Into::into),
            epoch: epoch.unsigned_abs(),
            until,
            ran: None,
            trace: trace.as_deref().and_then(TraceContext::parse),
        };
        queue.load(id, work);
    }
    queue
}

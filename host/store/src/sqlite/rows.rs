//! Writing a group into the database: few statements with many rows, because each statement costs a trip to SQLite's thread.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::rows::{ChangeRow, InventoryRows, ObjectRow, Rows};
use crate::types::{Edge, Resource};

/// A value to bind.
enum Cell {
    Int(i64),
    Text(Arc<str>),
    Blob(Vec<u8>),
    Null,
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Arc<str>> for Cell {
    fn from(value: Arc<str>) -> Self {
        Self::Text(value)
    }
}

const CHANGE: &str = "insert into change (rv, kind, grp, plural, namespace, name, uid, prev, key_id, sum, body)";
const OBJECT: &str = "insert into object (id, grp, plural, namespace, name, uid, rv)";
const WORK: &str = "insert into workitem (object, wanted, done, class, due_at, attempts, owner, epoch, until, trace)";
const EDGE: &str = "insert into edge (object, position, grp, plural, namespace, name, role, field)";
const OWNER: &str = "insert into owner (object, uid)";
const SUSPECT: &str = "insert into suspect (object, seq)";
const CARRIED: &str = "insert into carried (object, key_id, value)";
const INVENTORY: &str =
    "insert into inventory (object, target, api_version, kind, namespace, name, uid, stage, key_id, state)";

const WORK_UPSERT: &str = "on conflict (object) do update set wanted = excluded.wanted, done = excluded.done, class = excluded.class, \
     due_at = excluded.due_at, attempts = excluded.attempts, owner = excluded.owner, epoch = excluded.epoch, until = excluded.until, \
     trace = excluded.trace";

/// Writes everything a group decided. The caller has begun the transaction.
pub(super) async fn write(conn: &mut SqliteConnection, rows: Rows<'_>, key_id: &str) -> Result<(), sqlx::Error> {
    let changes = rows.changes.into_iter().map(|row| change(row, key_id));
    insert(conn, CHANGE, "", changes.collect()).await?;
    delete(conn, "delete from object where id in (select value from json_each(?))", rows.removed).await?;
    let objects = rows.objects.into_iter().map(object);
    insert(conn, OBJECT, "on conflict (id) do update set rv = excluded.rv", objects.collect()).await?;
    let work = rows.work.into_iter().map(|(id, work)| {
        let due_at = work.due_at.map_or(Cell::Null, Cell::Int);
        let (class, attempts) = (Cell::Int(work.class as i64), Cell::Int(work.attempts.into()));
        let owner = work.owner.into();
        vec![
            Cell::Int(id),
            work.wanted.into(),
            work.done.into(),
            class,
            due_at,
            attempts,
            owner,
            work.epoch.into(),
            Cell::Int(work.until),
            work.trace.map(|trace| Arc::from(trace.to_string())).map_or(Cell::Null, Cell::Text),
        ]
    });
    insert(conn, WORK, WORK_UPSERT, work.collect()).await?;
    edges(conn, rows.edges).await?;
    let ids = rows.owners.iter().map(|(id, _)| *id).collect();
    delete(conn, "delete from owner where object in (select value from json_each(?))", ids).await?;
    let owners = rows.owners.into_iter();
    let owners = owners.flat_map(|(id, owners)| owners.iter().map(move |uid| vec![Cell::Int(id), uid.clone().into()]));
    insert(conn, OWNER, "", owners.collect()).await?;
    delete(conn, "delete from suspect where object in (select value from json_each(?))", rows.settled).await?;
    let suspects = rows.suspects.into_iter().map(|(id, seq)| vec![Cell::Int(id), seq.into()]);
    insert(conn, SUSPECT, "on conflict (object) do update set seq = excluded.seq", suspects.collect()).await?;
    let carried = rows.carried.into_iter().map(|(id, sealed)| vec![Cell::Int(id), key_id.into(), Cell::Blob(sealed)]);
    let upsert = "on conflict (object) do update set key_id = excluded.key_id, value = excluded.value";
    insert(conn, CARRIED, upsert, carried.collect()).await?;
    for write in rows.inventory {
        inventory(conn, write, key_id).await?;
    }
    for blob in rows.blobs {
        super::blobs::write(conn, blob).await?;
    }
    if let Some(upto) = rows.compact {
        super::log::compact(conn, upto).await?;
    }
    Ok(())
}

fn change(row: ChangeRow, key_id: &str) -> Vec<Cell> {
    let Resource { group, plural } = row.key.resource;
    vec![
        row.rv.into(),
        Cell::Int(row.kind),
        group.into(),
        plural.into(),
        row.key.namespace.into(),
        row.key.name.into(),
        row.uid.into(),
        row.prev.into(),
        row.sealed.then_some(key_id).into(),
        Cell::Int(row.sum),
        Cell::Blob(row.body),
    ]
}

fn object(row: ObjectRow) -> Vec<Cell> {
    let Resource { group, plural } = row.key.resource;
    let namespace = row.key.namespace.unwrap_or_else(|| "".into());
    vec![
        Cell::Int(row.id),
        group.into(),
        plural.into(),
        namespace.into(),
        row.key.name.into(),
        row.uid.into(),
        row.rv.into(),
    ]
}

async fn edges(conn: &mut SqliteConnection, edges: Vec<(i64, &[Edge])>) -> Result<(), sqlx::Error> {
    let ids = edges.iter().map(|(id, _)| *id).collect();
    delete(conn, "delete from edge where object in (select value from json_each(?))", ids).await?;
    let rows =
        edges.into_iter().flat_map(|(id, edges)| (0u64..).zip(edges).map(move |(position, edge)| (id, position, edge)));
    let rows = rows.map(|(id, position, edge)| {
        let Resource { group, plural } = edge.to.resource.clone();
        let (namespace, name) = (edge.to.namespace.clone(), edge.to.name.clone());
        let (role, field) = (edge.role.as_str(), edge.field.as_str());
        vec![
            Cell::Int(id),
            position.into(),
            group.into(),
            plural.into(),
            namespace.into(),
            name.into(),
            role.into(),
            field.into(),
        ]
    });
    insert(conn, EDGE, "", rows.collect()).await
}

async fn inventory(conn: &mut SqliteConnection, write: InventoryRows<'_>, key_id: &str) -> Result<(), sqlx::Error> {
    let id = write.object;
    let tail = if write.replace {
        sqlx::query("delete from inventory where object = ?").bind(id).execute(&mut *conn).await?;
        "on conflict do update set uid = excluded.uid, stage = excluded.stage, key_id = excluded.key_id, state = excluded.state"
    } else {
        "on conflict do nothing"
    };
    let rows = write.entries.into_iter().map(|(entry, sealed)| {
        vec![
            Cell::Int(id),
            entry.target.as_str().into(),
            entry.api_version.as_str().into(),
            entry.kind.as_str().into(),
            entry.namespace.as_deref().unwrap_or("").into(),
            entry.name.as_str().into(),
            entry.uid.as_deref().into(),
            Cell::Int(entry.stage.into()),
            key_id.into(),
            Cell::Blob(sealed),
        ]
    });
    insert(conn, INVENTORY, tail, rows.collect()).await
}

/// Rows in one statement are powers of two, so that a few prepared statements serve all.
const MOST_ROWS: usize = 64;

async fn insert(conn: &mut SqliteConnection, head: &str, tail: &str, rows: Vec<Vec<Cell>>) -> Result<(), sqlx::Error> {
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    while left > 0 {
        let count = MOST_ROWS.min(1 << left.ilog2());
        left -= count;
        let chunk: Vec<_> = rows.by_ref().take(count).collect();
        let row = format!("({})", vec!["?"; chunk[0].len()].join(","));
        let sql = format!("{head} values {} {tail}", vec![row.as_str(); count].join(","));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for cell in chunk.into_iter().flatten() {
            query = match cell {
                Cell::Int(value) => query.bind(value),
                Cell::Text(value) => query.bind(value),
                Cell::Blob(value) => query.bind(value),
                Cell::Null => query.bind(None::<i64>),
            };
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

async fn delete(conn: &mut SqliteConnection, sql: &'static str, ids: Vec<i64>) -> Result<(), sqlx::Error> {
    if !ids.is_empty() {
        let ids = serde_json::Value::from(ids).to_string();
        sqlx::query(sql).bind(ids).execute(&mut *conn).await?;
    }
    Ok(())
}

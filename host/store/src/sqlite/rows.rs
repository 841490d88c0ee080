//! Writing a group into the database: few statements with many rows, because each statement costs a trip to SQLite's thread.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::crypt::{Crypt, place, sum};
use crate::layer::{InventoryWrite, Layer};
use crate::queue::Work;
use crate::types::{ChangeKind, Resource};
use crate::work::InventoryEntry;

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

/// How secrets of a group are written.
pub(super) struct Sealing<'a> {
    pub(super) crypt: &'a Crypt,
    pub(super) encrypted: &'a HashSet<Resource>,
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
pub(super) async fn write(
    conn: &mut SqliteConnection,
    layer: &Layer,
    work: Vec<(i64, Work)>,
    sealing: &Sealing<'_>,
) -> Result<(), sqlx::Error> {
    insert(conn, CHANGE, "", changes(layer, sealing)).await?;
    delete(conn, "delete from object where id in (select value from json_each(?))", layer.removed.iter().copied())
        .await?;
    let objects = layer.objects.values().flatten().map(|entry| {
        let (id, object) = (entry.id, &entry.object);
        let Resource { group, plural } = object.key.resource.clone();
        let namespace = object.key.namespace.clone().unwrap_or_else(|| "".into());
        let version = object.resource_version;
        vec![
            Cell::Int(id),
            group.into(),
            plural.into(),
            namespace.into(),
            object.key.name.clone().into(),
            object.uid.clone().into(),
            version.into(),
        ]
    });
    insert(conn, OBJECT, "on conflict (id) do update set rv = excluded.rv", objects.collect()).await?;
    let work = work.into_iter().map(|(id, work)| {
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
    edges(conn, layer).await?;
    relations(conn, layer).await?;
    let carried = layer.carried.iter().filter(|(id, _)| !layer.removed.contains(id)).map(|(id, value)| {
        let sealed = sealing.crypt.seal(&carried_place(*id), value);
        vec![Cell::Int(*id), sealing.crypt.key_id().into(), Cell::Blob(sealed)]
    });
    let upsert = "on conflict (object) do update set key_id = excluded.key_id, value = excluded.value";
    insert(conn, CARRIED, upsert, carried.collect()).await?;
    for (id, write) in layer.inventory.iter().filter(|(id, _)| !layer.removed.contains(id)) {
        inventory(conn, *id, write, sealing.crypt).await?;
    }
    for blob in &layer.blobs {
        super::blobs::write(conn, blob).await?;
    }
    if let Some(upto) = layer.compact {
        super::log::compact(conn, upto).await?;
    }
    Ok(())
}

fn changes(layer: &Layer, sealing: &Sealing<'_>) -> Vec<Vec<Cell>> {
    let rows = layer.log.iter().map(|logged| {
        let object = &logged.object;
        let kind = match logged.kind {
            ChangeKind::Added => 0,
            ChangeKind::Modified => 1,
            ChangeKind::Deleted => 2,
        };
        let place = place(&object.key, &object.uid);
        let (key_id, body) = if sealing.encrypted.contains(&object.key.resource) {
            let sealed = sealing.crypt.seal(&place, &object.body);
            (sealing.crypt.key_id().into(), sealed)
        } else {
            (Cell::Null, object.body.to_vec())
        };
        let Resource { group, plural } = object.key.resource.clone();
        let (namespace, name) = (object.key.namespace.clone(), object.key.name.clone());
        let previous = logged.previous.as_ref().map(|previous| previous.resource_version);
        vec![
            object.resource_version.into(),
            Cell::Int(kind),
            group.into(),
            plural.into(),
            namespace.into(),
            name.into(),
            object.uid.clone().into(),
            previous.into(),
            key_id,
            Cell::Int(sum(&place, &body).into()),
            Cell::Blob(body),
        ]
    });
    rows.collect()
}

async fn edges(conn: &mut SqliteConnection, layer: &Layer) -> Result<(), sqlx::Error> {
    let written = || layer.edges.iter().filter(|(id, _)| !layer.removed.contains(id));
    delete(conn, "delete from edge where object in (select value from json_each(?))", written().map(|(id, _)| *id))
        .await?;
    let rows =
        written().flat_map(|(id, edges)| edges.iter().enumerate().map(|(position, edge)| (*id, position as u64, edge)));
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

/// Owners, and what the collector has to look at.
async fn relations(conn: &mut SqliteConnection, layer: &Layer) -> Result<(), sqlx::Error> {
    let written = || layer.owners.iter().filter(|(id, _)| !layer.removed.contains(id));
    delete(conn, "delete from owner where object in (select value from json_each(?))", written().map(|(id, _)| *id))
        .await?;
    let rows = written().flat_map(|(id, owners)| owners.iter().map(|uid| vec![Cell::Int(*id), uid.clone().into()]));
    insert(conn, OWNER, "", rows.collect()).await?;
    let (mut suspects, mut settled) = (Vec::new(), Vec::new());
    for (id, seq) in layer.suspects.iter().filter(|(id, _)| !layer.removed.contains(id)) {
        match seq {
            Some(seq) => suspects.push(vec![Cell::Int(*id), (*seq).into()]),
            None => settled.push(*id),
        }
    }
    delete(conn, "delete from suspect where object in (select value from json_each(?))", settled.into_iter()).await?;
    insert(conn, SUSPECT, "on conflict (object) do update set seq = excluded.seq", suspects).await
}

async fn inventory(
    conn: &mut SqliteConnection,
    id: i64,
    write: &InventoryWrite,
    crypt: &Crypt,
) -> Result<(), sqlx::Error> {
    let (entries, tail) = match write {
        InventoryWrite::Extend(entries) => (entries, "on conflict do nothing"),
        InventoryWrite::Replace(entries) => {
            sqlx::query("delete from inventory where object = ?").bind(id).execute(&mut *conn).await?;
            (
                entries,
                "on conflict do update set uid = excluded.uid, stage = excluded.stage, key_id = excluded.key_id, state = excluded.state",
            )
        }
    };
    let rows = entries.iter().map(|entry| {
        let sealed = crypt.seal(&inventory_place(id, entry), entry.state.to_string().as_bytes());
        vec![
            Cell::Int(id),
            entry.target.as_str().into(),
            entry.api_version.as_str().into(),
            entry.kind.as_str().into(),
            entry.namespace.as_deref().unwrap_or("").into(),
            entry.name.as_str().into(),
            entry.uid.as_deref().into(),
            Cell::Int(entry.stage.into()),
            crypt.key_id().into(),
            Cell::Blob(sealed),
        ]
    });
    insert(conn, INVENTORY, tail, rows.collect()).await
}

/// Where an object's carried state belongs, for the encryption.
pub(super) fn carried_place(id: i64) -> String {
    format!("carried|{id}")
}

/// Where an inventory entry's state belongs, for the encryption.
pub(super) fn inventory_place(id: i64, entry: &InventoryEntry) -> String {
    let namespace = entry.namespace.as_deref().unwrap_or("");
    format!("inventory|{id}|{}|{}|{}|{namespace}|{}", entry.target, entry.api_version, entry.kind, entry.name)
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

async fn delete(
    conn: &mut SqliteConnection,
    sql: &'static str,
    ids: impl Iterator<Item = i64>,
) -> Result<(), sqlx::Error> {
    let ids: Vec<i64> = ids.collect();
    if !ids.is_empty() {
        let ids = serde_json::Value::from(ids).to_string();
        sqlx::query(sql).bind(ids).execute(&mut *conn).await?;
    }
    Ok(())
}

//! Writing a group into the database: one statement for each table, whose rows are columns of arrays, so that a few prepared statements serve groups of
//! every size.

use std::sync::Arc;

use sqlx::PgConnection;

use crate::queue::Work;
use crate::rows::{ChangeRow, InventoryRows, ObjectRow, Rows};
use crate::types::Edge;

type Done = Result<(), sqlx::Error>;

fn position(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// A column of the rows.
fn column<'a, R, T>(rows: &'a [R], cell: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(cell).collect()
}

/// Writes everything a group decided. The caller has begun the transaction.
pub(super) async fn write(conn: &mut PgConnection, rows: Rows<'_>, key_id: &str) -> Done {
    changes(conn, rows.changes, key_id).await?;
    removed(conn, rows.removed).await?;
    objects(conn, &rows.objects).await?;
    work(conn, &rows.work).await?;
    edges(conn, &rows.edges).await?;
    owners(conn, &rows.owners).await?;
    suspects(conn, &rows.suspects, &rows.settled).await?;
    carried(conn, rows.carried, key_id).await?;
    for write in &rows.inventory {
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

async fn changes(conn: &mut PgConnection, mut rows: Vec<ChangeRow>, key_id: &str) -> Done {
    if rows.is_empty() {
        return Ok(());
    }
    let bodies: Vec<Vec<u8>> = rows.iter_mut().map(|row| std::mem::take(&mut row.body)).collect();
    let sql = "insert into change (rv, object, kind, grp, plural, namespace, name, uid, prev, key_id, sum, body) \
        select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
        $9::bigint[], $10::text[], $11::bigint[], $12::bytea[])";
    let query = sqlx::query(sql)
        .bind(column(&rows, |row| position(row.rv)))
        .bind(column(&rows, |row| row.id))
        .bind(column(&rows, |row| row.kind))
        .bind(column(&rows, |row| &*row.key.resource.group))
        .bind(column(&rows, |row| &*row.key.resource.plural))
        .bind(column(&rows, |row| row.key.namespace.as_deref()))
        .bind(column(&rows, |row| &*row.key.name))
        .bind(column(&rows, |row| &*row.uid))
        .bind(column(&rows, |row| row.prev.map(position)))
        .bind(column(&rows, |row| row.sealed.then_some(key_id)))
        .bind(column(&rows, |row| row.sum))
        .bind(bodies);
    query.execute(conn).await.map(drop)
}

async fn removed(conn: &mut PgConnection, ids: Vec<i64>) -> Done {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = "with w as (delete from workitem where object = any($1)), e as (delete from edge where object = any($1)), \
        o as (delete from owner where object = any($1)), s as (delete from suspect where object = any($1)), \
        c as (delete from carried where object = any($1)), i as (delete from inventory where object = any($1)) \
        delete from object where id = any($1)";
    sqlx::query(sql).bind(ids).execute(conn).await.map(drop)
}

async fn objects(conn: &mut PgConnection, rows: &[ObjectRow]) -> Done {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "insert into object (id, grp, plural, namespace, name, uid, rv) \
        select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[]) \
        on conflict (id) do update set rv = excluded.rv";
    let query = sqlx::query(sql)
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| &*row.key.resource.group))
        .bind(column(rows, |row| &*row.key.resource.plural))
        .bind(column(rows, |row| row.key.namespace.as_deref().unwrap_or("")))
        .bind(column(rows, |row| &*row.key.name))
        .bind(column(rows, |row| &*row.uid))
        .bind(column(rows, |row| position(row.rv)));
    query.execute(conn).await.map(drop)
}

async fn work(conn: &mut PgConnection, rows: &[(i64, Work)]) -> Done {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "insert into workitem (object, wanted, done, class, due_at, attempts, owner, epoch, until, trace, watcher) \
        select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], \
        $9::bigint[], $10::text[], $11::text[]) \
        on conflict (object) do update set wanted = excluded.wanted, done = excluded.done, class = excluded.class, due_at = excluded.due_at, \
        attempts = excluded.attempts, owner = excluded.owner, epoch = excluded.epoch, until = excluded.until, trace = excluded.trace, \
        watcher = excluded.watcher";
    let query = sqlx::query(sql)
        .bind(column(rows, |(id, _)| *id))
        .bind(column(rows, |(_, work)| position(work.wanted)))
        .bind(column(rows, |(_, work)| position(work.done)))
        .bind(column(rows, |(_, work)| work.class as i64))
        .bind(column(rows, |(_, work)| work.due_at))
        .bind(column(rows, |(_, work)| i64::from(work.attempts)))
        .bind(column(rows, |(_, work)| work.owner.as_deref()))
        .bind(column(rows, |(_, work)| position(work.epoch)))
        .bind(column(rows, |(_, work)| work.until))
        .bind(column(rows, |(_, work)| work.trace.map(|trace| trace.to_string())))
        .bind(column(rows, |(_, work)| work.watcher.as_deref()));
    query.execute(conn).await.map(drop)
}

async fn edges(conn: &mut PgConnection, of: &[(i64, &[Edge])]) -> Done {
    clear(conn, "delete from edge where object = any($1)", column(of, |(id, _)| *id)).await?;
    let rows: Vec<(i64, i64, &Edge)> = of
        .iter()
        .flat_map(|(id, edges)| (0..).zip(*edges).map(move |(position, edge)| (*id, position, edge)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "insert into edge (object, position, grp, plural, namespace, name, role, field) \
        select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])";
    let query = sqlx::query(sql)
        .bind(column(&rows, |(id, _, _)| *id))
        .bind(column(&rows, |(_, position, _)| *position))
        .bind(column(&rows, |(_, _, edge)| &*edge.to.resource.group))
        .bind(column(&rows, |(_, _, edge)| &*edge.to.resource.plural))
        .bind(column(&rows, |(_, _, edge)| edge.to.namespace.as_deref()))
        .bind(column(&rows, |(_, _, edge)| &*edge.to.name))
        .bind(column(&rows, |(_, _, edge)| edge.role.as_str()))
        .bind(column(&rows, |(_, _, edge)| edge.field.as_str()));
    query.execute(conn).await.map(drop)
}

async fn owners(conn: &mut PgConnection, of: &[(i64, &[Arc<str>])]) -> Done {
    clear(conn, "delete from owner where object = any($1)", column(of, |(id, _)| *id)).await?;
    let rows: Vec<(i64, &str)> = of.iter().flat_map(|(id, owners)| owners.iter().map(|uid| (*id, &**uid))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let query = sqlx::query("insert into owner (object, uid) select * from unnest($1::bigint[], $2::text[])");
    query.bind(column(&rows, |(id, _)| *id)).bind(column(&rows, |(_, uid)| *uid)).execute(conn).await.map(drop)
}

async fn suspects(conn: &mut PgConnection, suspects: &[(i64, u64)], settled: &[i64]) -> Done {
    clear(conn, "delete from suspect where object = any($1)", settled.to_vec()).await?;
    if suspects.is_empty() {
        return Ok(());
    }
    let sql = "insert into suspect (object, seq) select * from unnest($1::bigint[], $2::bigint[]) \
        on conflict (object) do update set seq = excluded.seq";
    let query =
        sqlx::query(sql).bind(column(suspects, |(id, _)| *id)).bind(column(suspects, |(_, seq)| position(*seq)));
    query.execute(conn).await.map(drop)
}

async fn carried(conn: &mut PgConnection, rows: Vec<(i64, Vec<u8>)>, key_id: &str) -> Done {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "insert into carried (object, key_id, value) select object, $2, value from unnest($1::bigint[], $3::bytea[]) as r (object, value) \
        on conflict (object) do update set key_id = excluded.key_id, value = excluded.value";
    let (ids, values): (Vec<i64>, Vec<Vec<u8>>) = rows.into_iter().unzip();
    sqlx::query(sql).bind(ids).bind(key_id).bind(values).execute(conn).await.map(drop)
}

async fn inventory(conn: &mut PgConnection, write: &InventoryRows<'_>, key_id: &str) -> Done {
    if write.replace {
        clear(conn, "delete from inventory where object = any($1)", vec![write.object]).await?;
    }
    // The same entry may be named twice, once by what is intended and once by what was done; a statement may write a row but once.
    let mut rows: Vec<_> = write.entries.iter().collect();
    let name = |row: &&(&crate::work::InventoryEntry, Vec<u8>)| {
        let entry = row.0;
        (
            entry.target.clone(),
            entry.api_version.clone(),
            entry.kind.clone(),
            entry.namespace.clone(),
            entry.name.clone(),
        )
    };
    if write.replace {
        rows.reverse();
    }
    rows.sort_by_key(name);
    rows.dedup_by_key(|row| name(row));
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "insert into inventory (object, target, api_version, kind, namespace, name, uid, stage, key_id, state) \
        select $1, target, api_version, kind, namespace, name, uid, stage, $2, state \
        from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::integer[], $10::bytea[]) \
        as r (target, api_version, kind, namespace, name, uid, stage, state) on conflict do nothing";
    let query = sqlx::query(sql)
        .bind(write.object)
        .bind(key_id)
        .bind(column(&rows, |(entry, _)| entry.target.as_str()))
        .bind(column(&rows, |(entry, _)| entry.api_version.as_str()))
        .bind(column(&rows, |(entry, _)| entry.kind.as_str()))
        .bind(column(&rows, |(entry, _)| entry.namespace.as_deref().unwrap_or("")))
        .bind(column(&rows, |(entry, _)| entry.name.as_str()))
        .bind(column(&rows, |(entry, _)| entry.uid.as_deref()))
        .bind(column(&rows, |(entry, _)| entry.stage))
        .bind(column(&rows, |(_, sealed)| sealed.as_slice()));
    query.execute(conn).await.map(drop)
}

async fn clear(conn: &mut PgConnection, sql: &'static str, ids: Vec<i64>) -> Done {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(sql).bind(ids).execute(conn).await.map(drop)
}

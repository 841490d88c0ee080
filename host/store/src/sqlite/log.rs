//! The change log on disk: for those who fell out of what memory holds, and its compaction.

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::failed;
use crate::crypt::{self, Crypt, place};
use crate::error::Error;
use crate::state::Logged;
use crate::types::{ChangeKind, Key, Object, Resource};

const READ: &str = "select c.rv, c.kind, c.grp, c.plural, c.namespace, c.name, c.uid, c.key_id, c.sum, c.body, \
     p.rv as prev_rv, p.key_id as prev_key_id, p.sum as prev_sum, p.body as prev_body \
     from change c left join change p on p.rv = c.prev \
     where c.rv > ? and c.rv <= ? and c.grp = ? and c.plural = ? order by c.rv limit ?";

/// The changes of a resource after a position, in order.
pub(super) async fn read(
    pool: &SqlitePool,
    crypt: &Crypt,
    resource: &Resource,
    after: u64,
    upto: u64,
    limit: i64,
) -> Result<Vec<Logged>, Error> {
    let position = |version: u64| i64::try_from(version).unwrap_or(i64::MAX);
    let query = sqlx::query(READ).bind(position(after)).bind(position(upto));
    let query = query.bind(&*resource.group).bind(&*resource.plural).bind(limit);
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(|row| logged(row, resource, crypt)).collect()
}

fn logged(row: &SqliteRow, resource: &Resource, crypt: &Crypt) -> Result<Logged, Error> {
    let kind = match row.try_get::<i64, _>("kind").map_err(failed)? {
        0 => ChangeKind::Added,
        1 => ChangeKind::Modified,
        _ => ChangeKind::Deleted,
    };
    let object = object(row, resource.clone(), crypt)?;
    let previous = match row.try_get::<Option<i64>, _>("prev_rv").map_err(failed)? {
        None => None,
        Some(version) => {
            let body = body(row, ["prev_key_id", "prev_sum", "prev_body"], &object.key, &object.uid, crypt)?;
            Some(Object { resource_version: version.unsigned_abs(), body, ..object.clone() })
        }
    };
    Ok(Logged { kind, object, previous })
}

/// The object of a row with the columns of `change`.
pub(super) fn object(row: &SqliteRow, resource: Resource, crypt: &Crypt) -> Result<Object, Error> {
    let namespace: Option<String> = row.try_get("namespace").map_err(failed)?;
    let name: String = row.try_get("name").map_err(failed)?;
    let uid: String = row.try_get("uid").map_err(failed)?;
    let key = Key { resource, namespace: namespace.map(Into::into), name: name.into() };
    let version: i64 = row.try_get("rv").map_err(failed)?;
    let body = body(row, ["key_id", "sum", "body"], &key, &uid, crypt)?;
    Ok(Object { key, uid: uid.into(), resource_version: version.unsigned_abs(), body })
}

fn body(row: &SqliteRow, columns: [&str; 3], key: &Key, uid: &str, crypt: &Crypt) -> Result<Bytes, Error> {
    let [key_id, sum, body] = columns;
    let stored: Vec<u8> = row.try_get(body).map_err(failed)?;
    let place = place(key, uid);
    let expected: Option<i64> = row.try_get(sum).map_err(failed)?;
    if expected.is_some_and(|expected| expected != i64::from(crypt::sum(&place, &stored))) {
        return Err(Error::Corrupt(key.to_string(), "it is not what was stored".to_owned()));
    }
    match row.try_get::<Option<&str>, _>(key_id).map_err(failed)? {
        None => Ok(stored.into()),
        Some(key_id) => Ok(crypt.open(&place, key_id, &stored)?.into()),
    }
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

//! What a run needs beside the object: read after the claim is committed, by connections of their own.

use sqlx::PgPool;

use super::connect::failed;
use crate::crypt::Crypt;
use crate::engine::Left;
use crate::error::Error;
use crate::stored::{StoredCarried, StoredInventory, StoredKey};
use crate::types::Key;

/// All that objects have.
pub(crate) async fn left(pool: &PgPool, crypt: &Crypt, ids: &[i64]) -> Result<Left, Error> {
    let left = carried(pool, crypt, ids).await?;
    let Left { inventory, unreadable, .. } = inventories(pool, crypt, ids).await?;
    Ok(Left { carried: left.carried, inventory, unreadable: left.unreadable.into_iter().chain(unreadable).collect() })
}

/// What objects carry.
pub(crate) async fn carried(pool: &PgPool, crypt: &Crypt, ids: &[i64]) -> Result<Left, Error> {
    let sql = "select object, key_id, value from carried where object = any($1)";
    let rows: Vec<StoredCarried> = sqlx::query_as(sql).bind(ids).fetch_all(pool).await.map_err(failed)?;
    let mut left = Left::default();
    rows.iter().for_each(|row| left.carries(row, crypt));
    Ok(left)
}

/// What is on targets because of objects.
pub(crate) async fn inventories(pool: &PgPool, crypt: &Crypt, ids: &[i64]) -> Result<Left, Error> {
    // The order of bytes, as on SQLite.
    let sql = "select object, target, api_version, kind, namespace, name, uid, stage, key_id, state from inventory where object = any($1) \
        order by object, stage, target collate \"C\", api_version collate \"C\", kind collate \"C\", namespace collate \"C\", name collate \"C\"";
    let rows: Vec<StoredInventory> = sqlx::query_as(sql).bind(ids).fetch_all(pool).await.map_err(failed)?;
    let mut left = Left::default();
    rows.into_iter().for_each(|row| left.has(row, crypt));
    Ok(left)
}

/// Whose inventory has entries on a target.
pub(crate) async fn on_target(pool: &PgPool, target: &str, limit: usize) -> Result<Vec<Key>, Error> {
    let sql = "select grp, plural, namespace, name from object where id in (select object from inventory where target = $1) limit $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<StoredKey> = sqlx::query_as(sql).bind(target).bind(limit).fetch_all(pool).await.map_err(failed)?;
    Ok(rows.into_iter().map(Key::from).collect())
}

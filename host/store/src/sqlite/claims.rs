//! What a run needs beside the object: read after the claim is committed, by connections of their own.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::failed;
use super::rows::{carried_place, inventory_place};
use crate::crypt::Crypt;
use crate::error::Error;
use crate::group::Picked;
use crate::types::{Key, Resource};
use crate::work::{Claim, InventoryEntry};

/// Completes claims with what their objects carry; those whose rows cannot be read are told apart, since they must not hold up the others. The leases see
/// to it that nobody changes it meanwhile.
pub(super) async fn fill(
    pool: &SqlitePool,
    crypt: &Crypt,
    picked: Vec<Picked>,
) -> Result<(Vec<Claim>, Vec<(Claim, Error)>), Error> {
    let ids = Value::from(picked.iter().map(|picked| picked.id).collect::<Vec<_>>()).to_string();
    let mut bad: HashMap<i64, Error> = HashMap::new();
    let mut carried: HashMap<i64, Value> = HashMap::new();
    let sql = "select object, key_id, value from carried where object in (select value from json_each(?))";
    for row in sqlx::query(sql).bind(&ids).fetch_all(pool).await.map_err(failed)? {
        let id: i64 = row.try_get("object").map_err(failed)?;
        match opened(crypt, &carried_place(id), &row, "value") {
            Ok(value) => drop(carried.insert(id, value)),
            Err(error) => drop(bad.insert(id, error)),
        }
    }
    let mut inventory = inventories(pool, crypt, &ids, &mut bad).await?;
    let (mut complete, mut unreadable) = (Vec::with_capacity(picked.len()), Vec::new());
    for Picked { id, claim } in picked {
        match bad.remove(&id) {
            Some(error) => unreadable.push((claim, error)),
            None => complete.push(Claim {
                carried: carried.remove(&id).unwrap_or(Value::Null),
                inventory: inventory.remove(&id).unwrap_or_default(),
                ..claim
            }),
        }
    }
    Ok((complete, unreadable))
}

/// Whose inventory has entries on a target.
pub(super) async fn on_target(pool: &SqlitePool, target: &str, limit: usize) -> Result<Vec<Key>, Error> {
    let sql = "select grp, plural, namespace, name from object where id in (select object from inventory where target = ?) limit ?";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(target).bind(limit).fetch_all(pool).await.map_err(failed)?;
    let keys = rows.iter().map(|row| {
        let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
        let namespace = Some(text("namespace")?).filter(|namespace| !namespace.is_empty());
        Ok(Key {
            resource: Resource::new(text("grp")?, text("plural")?),
            namespace: namespace.map(Into::into),
            name: text("name")?.into(),
        })
    });
    keys.collect()
}

async fn inventories(
    pool: &SqlitePool,
    crypt: &Crypt,
    ids: &str,
    bad: &mut HashMap<i64, Error>,
) -> Result<HashMap<i64, Vec<InventoryEntry>>, Error> {
    let sql = "select object, target, api_version, kind, namespace, name, uid, stage, key_id, state from inventory \
               where object in (select value from json_each(?)) order by object, stage, target, api_version, kind, namespace, name";
    let mut inventory: HashMap<i64, Vec<InventoryEntry>> = HashMap::new();
    for row in sqlx::query(sql).bind(ids).fetch_all(pool).await.map_err(failed)? {
        let id: i64 = row.try_get("object").map_err(failed)?;
        match inventory_entry(crypt, id, &row) {
            Ok(entry) => inventory.entry(id).or_default().push(entry),
            Err(error) => drop(bad.insert(id, error)),
        }
    }
    Ok(inventory)
}

fn inventory_entry(crypt: &Crypt, id: i64, row: &SqliteRow) -> Result<InventoryEntry, Error> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    let mut entry = InventoryEntry {
        target: text("target")?,
        api_version: text("api_version")?,
        kind: text("kind")?,
        namespace: Some(text("namespace")?).filter(|namespace| !namespace.is_empty()),
        name: text("name")?,
        uid: row.try_get("uid").map_err(failed)?,
        stage: row.try_get("stage").map_err(failed)?,
        state: Value::Null,
    };
    entry.state = opened(crypt, &inventory_place(id, &entry), row, "state")?;
    Ok(entry)
}

/// What is on targets because of one object.
pub(super) async fn inventory(pool: &SqlitePool, crypt: &Crypt, id: i64) -> Result<Vec<InventoryEntry>, Error> {
    let mut bad = HashMap::new();
    let mut found = inventories(pool, crypt, &format!("[{id}]"), &mut bad).await?;
    match bad.remove(&id) {
        Some(error) => Err(error),
        None => Ok(found.remove(&id).unwrap_or_default()),
    }
}

/// What an object carries; null if nothing.
pub(super) async fn carried(pool: &SqlitePool, crypt: &Crypt, id: i64) -> Result<Value, Error> {
    let sql = "select key_id, value from carried where object = ?";
    match sqlx::query(sql).bind(id).fetch_optional(pool).await.map_err(failed)? {
        None => Ok(Value::Null),
        Some(row) => opened(crypt, &carried_place(id), &row, "value"),
    }
}

/// The JSON that a column of a row keeps sealed.
fn opened(crypt: &Crypt, place: &str, row: &SqliteRow, column: &str) -> Result<Value, Error> {
    let (key_id, sealed) = (row.try_get("key_id").map_err(failed)?, row.try_get(column).map_err(failed)?);
    let plain = crypt.open(place, key_id, sealed)?;
    serde_json::from_slice(&plain).map_err(|error| Error::Corrupt(place.to_string(), error.to_string()))
}

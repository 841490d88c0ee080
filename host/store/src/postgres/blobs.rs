//! Blobs in SQL.

use sqlx::{PgConnection, PgPool, Row as _};

use super::connect::failed;
use crate::blob::BlobWrite;
use crate::error::Error;

/// What is old and not kept: bind `before` and the kept digests.
const OLD: &str = "touched < $1 and (digest is null or digest <> all($2))";

pub(super) async fn write(conn: &mut PgConnection, write: &BlobWrite) -> Result<(), sqlx::Error> {
    match write {
        BlobWrite::Chunk { id, position, bytes, now } => {
            if *position == 0 {
                let sql = "insert into blob (id, size, touched) values ($1, 0, $2)";
                sqlx::query(sql).bind(id).bind(now).execute(&mut *conn).await?;
            }
            // Nothing, when the upload was collected: its end finds out.
            let sql = "insert into blob_chunk (blob, position, bytes) select id, $1, $2 from blob where id = $3";
            sqlx::query(sql).bind(position).bind(&bytes[..]).bind(id).execute(&mut *conn).await?;
        }
        BlobWrite::Finish { id, digest, size, now } => {
            let sql = "update blob set digest = $1, size = $2 where id = $3 and not exists (select 1 from blob where digest = $1)";
            sqlx::query(sql).bind(digest).bind(size).bind(id).execute(&mut *conn).await?;
            // It was there before.
            sqlx::query("delete from blob where id = $1 and digest is null").bind(id).execute(&mut *conn).await?;
            touch(conn, digest, *now).await?;
        }
        BlobWrite::Abandon { id } => {
            sqlx::query("delete from blob where id = $1 and digest is null").bind(id).execute(&mut *conn).await?;
        }
        BlobWrite::Touch { digest, now } => touch(conn, digest, *now).await?,
        BlobWrite::Collect { keep, before } => {
            let sql = format!("delete from blob where {OLD}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(before).bind(keep).execute(&mut *conn).await?;
        }
    }
    Ok(())
}

async fn touch(conn: &mut PgConnection, digest: &str, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query("update blob set touched = $1 where digest = $2").bind(now).bind(digest).execute(conn).await.map(|_| ())
}

pub(crate) async fn has(pool: &PgPool, digest: &str) -> Result<bool, Error> {
    let query = sqlx::query_scalar("select exists (select 1 from blob where digest = $1)").bind(digest);
    query.fetch_one(pool).await.map_err(failed)
}

pub(crate) async fn read(pool: &PgPool, digest: &str) -> Result<Option<Vec<u8>>, Error> {
    let sql = "select blob.size, blob_chunk.bytes from blob join blob_chunk on blob_chunk.blob = blob.id where digest = $1 order by position";
    let mut rows = sqlx::query(sql).bind(digest).fetch(pool);
    let mut whole: Option<Vec<u8>> = None;
    while let Some(row) = futures::TryStreamExt::try_next(&mut rows).await.map_err(failed)? {
        let size: i64 = row.try_get(0).map_err(failed)?;
        let bytes: &[u8] = row.try_get(1).map_err(failed)?;
        let capacity = usize::try_from(size).unwrap_or(0).min(1 << 30);
        whole.get_or_insert_with(|| Vec::with_capacity(capacity)).extend_from_slice(bytes);
    }
    Ok(whole)
}

pub(crate) async fn old(pool: &PgPool, keep: &[String], before: i64) -> Result<usize, Error> {
    let sql = format!("select count(*) from blob where {OLD}");
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(before).bind(keep);
    let count: i64 = query.fetch_one(pool).await.map_err(failed)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

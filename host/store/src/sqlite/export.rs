//! Everything that a stopped server left, row by row.

use std::fs::File;
use std::path::{Path, PathBuf};

use futures::stream::{BoxStream, StreamExt};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::{Place, failed, load};
use crate::copy::{Cell, Positions, Row, Table, Type};
use crate::crypt::{self, place};
use crate::error::Error;
use crate::types::{Key, Resource};

/// A database that nobody else has open.
pub(crate) struct Source {
    path: PathBuf,
    conn: SqliteConnection,
    _lock: File,
}

impl Source {
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::Database(format!("{} is not there", path.display())));
        }
        let Place { lock, conn, .. } = super::enter(path).await?;
        Ok(Self { path: path.to_owned(), conn, _lock: lock })
    }

    /// The rows of a table; of damaged ones, the error says which.
    pub(crate) fn rows(&mut self, table: &'static Table) -> BoxStream<'_, Result<Row, Error>> {
        let sql = table.sqlite.map_or_else(|| format!("select {} from {}", table.named(), table.name), str::to_owned);
        let path = self.path.clone();
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.conn);
        let rows = rows.map(move |row| {
            let row = row.map_err(failed)?;
            let mut cells =
                table.columns.iter().map(|(name, kind)| cell(&row, name, *kind)).collect::<Result<Row, _>>()?;
            if table.name == "change" {
                check(&row, &mut cells, &path)?;
            }
            Ok(cells)
        });
        rows.boxed()
    }

    pub(crate) async fn positions(&mut self) -> Result<Positions, Error> {
        let (version, compacted) = load::positions(&mut self.conn).await?;
        let sql = "select (select coalesce(max(id), 0) + 1 from object), (select coalesce(max(seq), 0) from suspect)";
        let (next_id, reasons) = sqlx::query_as(sql).fetch_one(&mut self.conn).await.map_err(failed)?;
        Ok(Positions { version, compacted, next_id, reasons })
    }
}

fn cell(row: &SqliteRow, name: &str, kind: Type) -> Result<Cell, Error> {
    Ok(match kind {
        Type::Int | Type::Small => Cell::Int(row.try_get(name).map_err(failed)?),
        Type::Text => Cell::Text(row.try_get(name).map_err(failed)?),
        Type::Bytes => Cell::Bytes(row.try_get(name).map_err(failed)?),
    })
}

/// What is damaged is not carried on; rows of earlier versions get their sum.
fn check(row: &SqliteRow, cells: &mut Row, path: &Path) -> Result<(), Error> {
    let text = |name: &str| row.try_get::<String, _>(name).map_err(failed);
    let namespace: Option<String> = row.try_get("namespace").map_err(failed)?;
    let resource = Resource::new(text("grp")?, text("plural")?);
    let key = Key { resource, namespace: namespace.map(Into::into), name: text("name")?.into() };
    let body: &[u8] = row.try_get("body").map_err(failed)?;
    let sum = i64::from(crypt::sum(&place(&key, &text("uid")?), body));
    let stored: Option<i64> = row.try_get("sum").map_err(failed)?;
    if stored.is_some_and(|stored| stored != sum) {
        let why = "it is not what was stored; start the server on it to learn more, or restore the file from a backup";
        return Err(Error::Corrupt(format!("{} ({key})", path.display()), why.to_owned()));
    }
    let at = cells.len() - 2;
    cells[at] = Cell::Int(Some(sum));
    Ok(())
}

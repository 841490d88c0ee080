//! An empty database that is filled from another engine's, in one transaction.

use futures::stream::{BoxStream, StreamExt};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::connect::{self, Address, failed};
use super::journal::Head;
use crate::copy::{Cell, Positions, Row, Table, Type};
use crate::error::Error;

/// A database that nobody has written to, under the lock of writers.
pub(crate) struct Target {
    address: Address,
    conn: PgConnection,
}

impl Target {
    pub(crate) async fn open(url: &str) -> Result<Self, Error> {
        let address = Address::parse(url)?;
        let mut conn = address.connect().await?;
        address.check(&mut conn).await?;
        super::migrate(&mut conn, &address).await?;
        let head = Head::lock(&mut conn).await.map_err(failed)?;
        // The reading back of a large table may take its time.
        sqlx::raw_sql("set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0")
            .execute(&mut conn)
            .await
            .map_err(failed)?;
        let used =
            "select exists (select 1 from keyring) or exists (select 1 from object) or exists (select 1 from blob)";
        let used: bool = sqlx::query_scalar(used).fetch_one(&mut conn).await.map_err(failed)?;
        if used || head.seq != 1 {
            let why = format!("{} is not empty: a server has used it; name a new database", address.shown);
            return Err(Error::Database(why));
        }
        Ok(Self { address, conn })
    }

    pub(crate) async fn write(&mut self, table: &Table, rows: Vec<Row>) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let numbered = table.columns.iter().zip(1..);
        let arrays: Vec<String> =
            numbered.map(|((_, kind), number)| format!("${number}::{}[]", named(*kind))).collect();
        let sql = format!("insert into {} ({}) select * from unnest({})", table.name, table.named(), arrays.join(", "));
        let mut columns: Vec<Vec<Cell>> = table.columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            columns.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
        }
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (column, (_, kind)) in columns.into_iter().zip(table.columns) {
            query = match kind {
                Type::Int => query.bind(column.into_iter().map(int).collect::<Vec<_>>()),
                Type::Small => {
                    let small = |cell| int(cell).map(|value| i32::try_from(value).unwrap_or(i32::MAX));
                    query.bind(column.into_iter().map(small).collect::<Vec<_>>())
                }
                Type::Text => query.bind(column.into_iter().map(text).collect::<Vec<_>>()),
                Type::Bytes => query.bind(column.into_iter().map(bytes).collect::<Vec<_>>()),
            };
        }
        query.execute(&mut self.conn).await.map(drop).map_err(failed)
    }

    /// The rows of a table, as they are now.
    pub(crate) fn rows(&mut self, table: &'static Table) -> BoxStream<'_, Result<Row, Error>> {
        let sql = format!("select {} from {}", table.named(), table.name);
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.conn);
        let rows = rows.map(move |row| {
            let row = row.map_err(failed)?;
            table.columns.iter().map(|(name, kind)| cell(&row, name, *kind)).collect()
        });
        rows.boxed()
    }

    /// Says where numbers go on, and keeps it all.
    pub(crate) async fn finish(mut self, positions: &Positions) -> Result<(), Error> {
        let sql = "update journal set rv = $1, compacted = $2, next_id = $3, reasons = $4 where seq = 1";
        let position = |version: u64| i64::try_from(version).unwrap_or(i64::MAX);
        let query = sqlx::query(sql).bind(position(positions.version)).bind(position(positions.compacted));
        let query = query.bind(positions.next_id).bind(positions.reasons);
        query.execute(&mut self.conn).await.map_err(failed)?;
        let committed = sqlx::raw_sql("commit").execute(&mut self.conn).await;
        committed.map_err(|error| Error::Undecided(format!("{}: {error}", self.address.shown)))?;
        connect::close(self.conn).await;
        Ok(())
    }
}

fn named(kind: Type) -> &'static str {
    match kind {
        Type::Int => "bigint",
        Type::Small => "integer",
        Type::Text => "text",
        Type::Bytes => "bytea",
    }
}

fn int(cell: Cell) -> Option<i64> {
    if let Cell::Int(value) = cell { value } else { None }
}

fn text(cell: Cell) -> Option<String> {
    if let Cell::Text(value) = cell { value } else { None }
}

fn bytes(cell: Cell) -> Option<Vec<u8>> {
    if let Cell::Bytes(value) = cell { value } else { None }
}

fn cell(row: &PgRow, name: &str, kind: Type) -> Result<Cell, Error> {
    Ok(match kind {
        Type::Int => Cell::Int(row.try_get(name).map_err(failed)?),
        Type::Small => Cell::Int(row.try_get::<Option<i32>, _>(name).map_err(failed)?.map(i64::from)),
        Type::Text => Cell::Text(row.try_get(name).map_err(failed)?),
        Type::Bytes => Cell::Bytes(row.try_get(name).map_err(failed)?),
    })
}

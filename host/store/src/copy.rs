//! Moving everything from a file of SQLite to a database of PostgreSQL, for whoever outgrows one machine. Rows are copied as they are: uids and
//! resourceVersions stay, and what is sealed stays sealed, so that no key is needed here.

use std::path::Path;

use futures::{Stream, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::config::Database;
use crate::error::Error;
use crate::postgres::import::Target;
use crate::sqlite::export::Source;

/// A table as both engines have it.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Type)],
    /// How SQLite gives it, where that is not its columns.
    pub(crate) sqlite: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    /// `integer` on PostgreSQL.
    Small,
    Text,
    Bytes,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

pub(crate) type Row = Vec<Cell>;

use Type::{Bytes, Int, Small, Text};

/// Everything but the journal, which begins anew.
pub(crate) const TABLES: [Table; 11] = [
    Table {
        name: "change",
        columns: &[
            ("rv", Int),
            ("object", Int),
            ("kind", Int),
            ("grp", Text),
            ("plural", Text),
            ("namespace", Text),
            ("name", Text),
            ("uid", Text),
            ("prev", Int),
            ("key_id", Text),
            ("sum", Int),
            ("body", Bytes),
        ],
        // A change of what is gone has no number any more.
        sqlite: Some(
            "select c.rv, coalesce(o.id, 0) as object, c.kind, c.grp, c.plural, c.namespace, c.name, c.uid, c.prev, c.key_id, c.sum, c.body \
             from change c left join object o on o.grp = c.grp and o.plural = c.plural and o.namespace = coalesce(c.namespace, '') \
             and o.name = c.name and o.uid = c.uid order by c.rv",
        ),
    },
    Table {
        name: "object",
        columns: &[
            ("id", Int),
            ("grp", Text),
            ("plural", Text),
            ("namespace", Text),
            ("name", Text),
            ("uid", Text),
            ("rv", Int),
        ],
        sqlite: None,
    },
    Table {
        name: "workitem",
        columns: &[
            ("object", Int),
            ("wanted", Int),
            ("done", Int),
            ("class", Int),
            ("due_at", Int),
            ("attempts", Int),
            ("owner", Text),
            ("epoch", Int),
            ("until", Int),
            ("trace", Text),
        ],
        // Whoever held a lease has stopped: the file could not be had otherwise.
        sqlite: Some(
            "select object, wanted, done, class, due_at, attempts, null as owner, epoch, until, trace from workitem",
        ),
    },
    Table {
        name: "edge",
        columns: &[
            ("object", Int),
            ("position", Int),
            ("grp", Text),
            ("plural", Text),
            ("namespace", Text),
            ("name", Text),
            ("role", Text),
            ("field", Text),
        ],
        sqlite: None,
    },
    Table { name: "owner", columns: &[("object", Int), ("uid", Text)], sqlite: None },
    Table { name: "suspect", columns: &[("object", Int), ("seq", Int)], sqlite: None },
    Table { name: "carried", columns: &[("object", Int), ("key_id", Text), ("value", Bytes)], sqlite: None },
    Table {
        name: "inventory",
        columns: &[
            ("object", Int),
            ("target", Text),
            ("api_version", Text),
            ("kind", Text),
            ("namespace", Text),
            ("name", Text),
            ("uid", Text),
            ("stage", Small),
            ("key_id", Text),
            ("state", Bytes),
        ],
        sqlite: None,
    },
    Table { name: "blob", columns: &[("id", Int), ("digest", Text), ("size", Int), ("touched", Int)], sqlite: None },
    Table { name: "blob_chunk", columns: &[("blob", Int), ("position", Int), ("bytes", Bytes)], sqlite: None },
    Table { name: "keyring", columns: &[("key_id", Text)], sqlite: None },
];

impl Table {
    pub(crate) fn named(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// Where numbers go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Positions {
    pub(crate) version: u64,
    pub(crate) compacted: u64,
    pub(crate) next_id: i64,
    pub(crate) reasons: i64,
}

/// Rows that are written in one statement.
const ROWS: usize = 1000;
const BYTES: usize = 4 << 20;

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Rows of each table, as they were found in the source and in the copy.
    pub rows: Vec<(&'static str, u64)>,
    /// The resourceVersion that the copy goes on from.
    pub version: u64,
}

/// Copies everything that a stopped server's database holds into an empty one, reads it back, and compares. All or nothing.
///
/// # Errors
/// When the source is in use, damaged or not there, or the target is not empty or cannot be reached; [`Error::Undecided`] when the connection was lost
/// in the last moment.
pub async fn copy(from: &Database, to: &Database) -> Result<Copied, Error> {
    let (Database::Sqlite(path), Database::Postgres(url)) = (from, to) else {
        return Err(Error::Database("a store is copied from sqlite:PATH to postgres://…".to_owned()));
    };
    copy_between(path, url).await
}

async fn copy_between(path: &Path, url: &str) -> Result<Copied, Error> {
    let mut source = Source::open(path).await?;
    let mut target = Target::open(url).await?;
    let mut sums = Vec::with_capacity(TABLES.len());
    for table in &TABLES {
        let (mut sum, mut batch, mut bytes) = (Sum::default(), Vec::new(), 0);
        let mut rows = source.rows(table);
        while let Some(row) = rows.try_next().await? {
            sum.add(&row);
            bytes += size(&row);
            batch.push(row);
            if batch.len() >= ROWS || bytes >= BYTES {
                target.write(table, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        target.write(table, batch).await?;
        sums.push(sum);
    }
    for (table, expected) in TABLES.iter().zip(&sums) {
        let found = Sum::of(target.rows(table)).await?;
        if found != *expected {
            let why = format!(
                "{} rows were copied and {} read back, or not the same ones; nothing was kept",
                expected.rows, found.rows
            );
            return Err(Error::Corrupt(format!("the copy of table {}", table.name), why));
        }
    }
    let positions = source.positions().await?;
    target.finish(&positions).await?;
    let rows = TABLES.iter().zip(sums).map(|(table, sum)| (table.name, sum.rows));
    Ok(Copied { rows: rows.collect(), version: positions.version })
}

fn size(row: &Row) -> usize {
    row.iter()
        .map(|cell| match cell {
            Cell::Int(_) => 8,
            Cell::Text(text) => text.as_ref().map_or(0, String::len),
            Cell::Bytes(bytes) => bytes.as_ref().map_or(0, Vec::len),
        })
        .sum()
}

/// Tells two sets of rows apart, in whatever order they come.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    digests: [u64; 4],
}

impl Sum {
    fn add(&mut self, row: &Row) {
        let mut digest = Sha256::new();
        for cell in row {
            let bytes = match cell {
                Cell::Int(value) => value.map(|value| value.to_be_bytes().to_vec()),
                Cell::Text(value) => value.as_ref().map(|value| value.as_bytes().to_vec()),
                Cell::Bytes(value) => value.clone(),
            };
            // The length before each, so that no cell runs into the next; null is longer than anything.
            digest.update(bytes.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64).to_be_bytes());
            digest.update(bytes.unwrap_or_default());
        }
        self.rows += 1;
        for (sum, part) in self.digests.iter_mut().zip(digest.finalize().chunks_exact(8)) {
            *sum = sum.wrapping_add(part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        }
    }

    async fn of(mut rows: impl Stream<Item = Result<Row, Error>> + Unpin) -> Result<Self, Error> {
        let mut sum = Self::default();
        while let Some(row) = rows.try_next().await? {
            sum.add(&row);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_whatever_their_order() {
        let sum = |rows: &[&[Cell]]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(&row.to_vec()));
            sum
        };
        let text = |text: &str| Cell::Text(Some(text.to_owned()));
        let (ab, c) = ([text("ab"), text("")], [text("c"), Cell::Text(None)]);
        assert_eq!(sum(&[&ab, &c]), sum(&[&c, &ab]));
        assert_ne!(sum(&[&ab]), sum(&[&[text("a"), text("b")]]));
        assert_ne!(sum(&[&c]), sum(&[&[text("c"), text("")]]));
        assert_ne!(sum(&[&ab]), sum(&[&ab, &ab]));
    }
}

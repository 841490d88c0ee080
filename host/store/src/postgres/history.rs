//! Whether the server's history is the one that hosts have followed. A standby that takes over, or a backup that is restored, may lack what was
//! acknowledged last; from then on the same numbers would mean other things.
//!
//! What is lost is lost. But nobody is to take one history for the other: resourceVersions leap beyond whatever was given out, and nothing before that is
//! in the log any more, so that every client reads anew; leases are over, their epochs leap as well, and everything is looked at again.

use sqlx::PgConnection;

use super::journal::{self, Head, News};

/// How far numbers leap: further than anybody can have come whom the server does not remember.
const LEAP: i64 = 1_000_000;

/// Who leapt, in the journal. Not the host that did: what a host writes under its own name are groups of its requests.
const WRITER: &str = "leap";

/// What a leap came to.
#[derive(Debug)]
pub(super) struct Leap {
    /// The newest change that the server knew.
    pub(super) from: u64,
    /// Where resourceVersions go on.
    pub(super) to: u64,
}

/// Which history this is: it changes when a standby takes over and when a backup is restored. None where the server does not tell.
pub(super) async fn of(conn: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let sql = "select system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint from pg_control_system()";
    match sqlx::query_as::<_, (i64, i64)>(sql).fetch_one(conn).await {
        Ok((system, timeline)) => Ok(Some(system.wrapping_mul(1_000_003).wrapping_add(timeline))),
        // It works without: whatever is lost while a host runs, that host knows.
        Err(sqlx::Error::Database(error)) => {
            tracing::debug!(%error, "the server does not tell which history it has");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Leaps if this history is not the one that the database was used with last, or is shorter than what is known here; the first host to see it does.
pub(super) async fn settle(
    conn: &mut PgConnection,
    history: Option<i64>,
    seq: i64,
    version: u64,
) -> Result<Option<Leap>, sqlx::Error> {
    let head = Head::lock(conn).await?;
    let known: Option<i64> =
        sqlx::query_scalar("select value from meta where name = 'history'").fetch_optional(&mut *conn).await?;
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    let another = known.is_some_and(|known| history.is_some_and(|history| history != known));
    let leap = another || head.seq < seq || head.rv < version;
    if leap {
        leap_over(conn, &head, head.rv.max(version)).await?;
    }
    if history.is_some() && history != known {
        let sql = "insert into meta (name, value) values ('history', $1) on conflict (name) do update set value = excluded.value";
        sqlx::query(sql).bind(history).execute(&mut *conn).await?;
    } else if !leap {
        sqlx::raw_sql("rollback").execute(conn).await?;
        return Ok(None);
    }
    sqlx::raw_sql("commit").execute(conn).await?;
    let to = head.rv.max(version) + LEAP;
    Ok(leap.then(|| Leap { from: head.rv.unsigned_abs(), to: to.unsigned_abs() }))
}

async fn leap_over(conn: &mut PgConnection, head: &Head, version: i64) -> Result<(), sqlx::Error> {
    let version = version + LEAP;
    let next = Head {
        seq: head.seq + 1,
        rv: version,
        compacted: version,
        next_id: head.next_id + LEAP,
        reasons: head.reasons + LEAP,
        ..*head
    };
    journal::append(conn, &next, WRITER, &News::default()).await?;
    // Targets refuse what is older than the newest epoch that they have seen.
    let sql = "update workitem set epoch = epoch + 1000, owner = null, until = 0, attempts = 0, due_at = $1, \
               class = case when due_at <= $1 then class else 3 end";
    sqlx::query(sql).bind(head.now).execute(conn).await.map(drop)
}

//! The order of commits, and what one host tells the others by it.
//!
//! Each group of requests is one transaction and one row of `journal`. Whoever writes holds the lock [`LOCK`] from before it reads the newest row until
//! its COMMIT is visible; so it decides on what is really there, and sequence numbers and resourceVersions appear in the order of their commits, without
//! gaps. The lock is for speed; that nobody can write beside it is seen to by the primary key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row as _};

use super::connect::failed;
use crate::crypt::Crypt;
use crate::error::Error;
use crate::layer::Layer;
use crate::memory::Memory;
use crate::queue::{Held, Work, class};
use crate::rows::Rows;
use crate::state::{Entry, Logged};
use crate::stored::{Loading, StoredChange, kind_of};
use crate::trace::TraceContext;
use crate::types::{ChangeKind, Edge, Key};
use crate::work::LastRun;

/// The format of journal rows that is written and understood here.
pub(super) const FORMAT: i64 = 1;

/// The advisory lock of writers: 'threepor' in ASCII.
const LOCK: i64 = 0x7468_7265_6570_6f72;

/// The channel on which hosts hear of groups.
pub(super) const CHANNEL: &str = "threeport";

/// How many groups a host that falls behind can be told by the journal; beyond that it reads everything again.
pub(super) const KEPT: i64 = 10_000;

/// Groups that are read at a time.
const BATCH: i64 = 200;

/// Changes that are read at a time, unless a group has more.
const CHANGES: i64 = 2000;

/// The newest row of the journal.
#[derive(Clone, Copy, Debug, FromRow, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) rv: i64,
    pub(super) next_id: i64,
    pub(super) compacted: i64,
    pub(super) reasons: i64,
    pub(super) format: i64,
    /// Of the server's clock, microseconds since 1970.
    pub(super) now: i64,
}

const HEAD: &str = "select seq, rv, next_id, compacted, reasons, format, (extract(epoch from clock_timestamp()) * 1000000)::bigint as now \
     from journal order by seq desc limit 1";

impl Head {
    /// Where the journal stands.
    pub(super) async fn read(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        sqlx::query_as(HEAD).fetch_one(conn).await
    }

    /// Begins a transaction that nobody else writes beside, in one trip to the server.
    pub(super) async fn lock(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let sql = format!("begin; select pg_advisory_xact_lock({LOCK}); {HEAD}");
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?;
        let head = rows.iter().find(|row| row.len() > 1).ok_or(sqlx::Error::RowNotFound)?;
        Self::from_row(head)
    }

    /// Whether this host knows what it would write on.
    pub(super) fn understood(&self) -> Result<(), Error> {
        if self.format <= FORMAT {
            return Ok(());
        }
        Err(Error::Database("a newer version of threeport has taken this database over: upgrade this host".into()))
    }
}

/// What other hosts hold in memory and no change says.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct News {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    work: Vec<WorkNews>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edges: Vec<(i64, Vec<Edge>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owners: Vec<(i64, Vec<Arc<str>>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suspects: Vec<(i64, Option<u64>)>,
}

#[derive(Deserialize, Serialize)]
struct WorkNews {
    id: i64,
    wanted: u64,
    done: u64,
    class: i64,
    due_at: Option<i64>,
    attempts: u32,
    owner: Option<Arc<str>>,
    epoch: u64,
    until: i64,
    #[serde(default, skip_serializing_if = "none")]
    lapsed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watcher: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<LastRun>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn none(lapsed: &u64) -> bool {
    *lapsed == 0
}

impl News {
    pub(super) fn of(rows: &Rows<'_>) -> Self {
        let work = rows.work.iter().map(|(id, work)| WorkNews {
            id: *id,
            wanted: work.wanted,
            done: work.done,
            class: work.class as i64,
            due_at: work.due_at,
            attempts: work.attempts,
            owner: work.owner.clone(),
            epoch: work.epoch,
            until: work.until,
            lapsed: work.lapsed,
            trace: work.trace.map(|trace| trace.to_string()),
            watcher: work.watcher.clone(),
            reason: work.reason.clone(),
            held: work.held.clone().filter(|_| work.owner.is_some()),
            // While it is held, the others have been told.
            last: work.last.clone().filter(|_| work.owner.is_none()),
        });
        let suspects = rows.suspects.iter().map(|(id, seq)| (*id, Some(*seq)));
        Self {
            work: work.collect(),
            edges: rows.edges.iter().map(|(id, edges)| (*id, edges.to_vec())).collect(),
            owners: rows.owners.iter().map(|(id, owners)| (*id, owners.to_vec())).collect(),
            suspects: suspects.chain(rows.settled.iter().map(|id| (*id, None))).collect(),
        }
    }
}

/// Adds a group to the journal.
pub(super) async fn append(conn: &mut PgConnection, head: &Head, writer: &str, news: &News) -> Result<(), sqlx::Error> {
    let sql = "insert into journal (seq, writer, rv, next_id, compacted, reasons, format, news) values ($1, $2, $3, $4, $5, $6, $7, $8)";
    let news = serde_json::to_string(news).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let query = sqlx::query(sql).bind(head.seq).bind(writer).bind(head.rv).bind(head.next_id).bind(head.compacted);
    query.bind(head.reasons).bind(head.format).bind(news).execute(&mut *conn).await?;
    if head.seq % (KEPT / 100) == 0 {
        sqlx::query("delete from journal where seq <= $1").bind(head.seq - KEPT).execute(conn).await?;
    }
    Ok(())
}

/// Who wrote a group; None: there is none, or it is forgotten.
pub(super) async fn writer_of(conn: &mut PgConnection, seq: i64) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select writer from journal where seq = $1").bind(seq).fetch_optional(conn).await
}

#[derive(FromRow)]
struct Written {
    seq: i64,
    rv: i64,
    format: i64,
    news: String,
}

#[derive(FromRow)]
struct Changed {
    object: i64,
    kind: i64,
    grp: String,
    plural: String,
    #[sqlx(flatten)]
    change: StoredChange,
}

/// What came of following.
pub(super) enum Followed {
    /// Memory is where the journal was when it was asked.
    Upto(i64),
    /// Too much happened: everything has to be read again.
    Lost,
}

/// Brings memory from `seq` to where `head` is.
pub(super) async fn follow(
    conn: &mut PgConnection,
    memory: &Memory,
    crypt: &Crypt,
    mut seq: i64,
    head: &Head,
) -> Result<Followed, Error> {
    while seq < head.seq {
        let sql = "select seq, rv, format, news from journal where seq > $1 and seq <= $2 order by seq limit $3";
        let query = sqlx::query_as::<_, Written>(sql).bind(seq).bind(head.seq).bind(BATCH);
        let mut groups = query.fetch_all(&mut *conn).await.map_err(failed)?;
        let most = i64::try_from(memory.read().version).unwrap_or(i64::MAX).saturating_add(CHANGES);
        groups.truncate(groups.iter().take_while(|group| group.rv <= most).count().max(1));
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return Ok(Followed::Lost) };
        if first.seq != seq + 1 {
            return Ok(Followed::Lost);
        }
        if let Some(group) = groups.iter().find(|group| group.format > FORMAT) {
            Head { format: group.format, ..*head }.understood()?;
        }
        let (after, upto, reached) = (memory.read().version, last.rv, last.seq);
        let changes = changes(conn, after, upto).await?;
        // What was compacted before it was read is missing.
        if changes.len() as u64 != upto.unsigned_abs().saturating_sub(after) {
            return Ok(Followed::Lost);
        }
        let news = groups.iter().map(|group| serde_json::from_str(&group.news));
        let news: Vec<News> =
            news.collect::<Result<_, _>>().map_err(|error| Error::Corrupt("the journal".into(), error.to_string()))?;
        let (layer, work) = told(memory, crypt, changes, news)?;
        memory.follow(layer, work, head.compacted.unsigned_abs(), head.reasons.unsigned_abs());
        seq = reached;
    }
    Ok(Followed::Upto(seq))
}

async fn changes(conn: &mut PgConnection, after: u64, upto: i64) -> Result<Vec<Changed>, Error> {
    if after >= upto.unsigned_abs() {
        return Ok(Vec::new());
    }
    let sql = "select rv, object, kind, grp, plural, namespace, name, uid, key_id, sum, body from change where rv > $1 and rv <= $2 order by rv";
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    sqlx::query_as(sql).bind(after).bind(upto).fetch_all(conn).await.map_err(failed)
}

/// What others did, as if it had been decided here.
fn told(
    memory: &Memory,
    crypt: &Crypt,
    changes: Vec<Changed>,
    news: Vec<News>,
) -> Result<(Layer, Vec<(i64, Work)>), Error> {
    let (mut layer, mut names) = (Layer::default(), Loading::default());
    let state = memory.read();
    for row in changes {
        let (kind, id) = (kind_of(row.kind), row.object);
        let object = row.change.object(names.resource(row.grp, row.plural), crypt)?;
        let key = object.key.clone();
        let before = match layer.objects.get(&key) {
            Some(entry) => entry.as_ref(),
            None => state.get(&key),
        };
        let previous = before.map(|entry| entry.object.clone()).filter(|_| kind != ChangeKind::Added);
        if kind == ChangeKind::Deleted {
            layer.objects.insert(key, None);
            layer.removed.insert(id);
        } else {
            layer.objects.insert(key, Some(Entry { id, object: object.clone() }));
        }
        layer.log.push((id, Logged { kind, object, previous }));
    }
    let mut work: HashMap<i64, WorkNews> = HashMap::new();
    for news in news {
        work.extend(news.work.into_iter().map(|work| (work.id, work)));
        layer.edges.extend(news.edges);
        layer.owners.extend(news.owners);
        layer.suspects.extend(news.suspects);
    }
    let new: HashMap<i64, Key> =
        layer.objects.values().flatten().map(|entry| (entry.id, entry.object.key.clone())).collect();
    let key_of = |id: i64| new.get(&id).or_else(|| state.key_of_id(id)).cloned();
    let work = work.into_values().filter(|work| !layer.removed.contains(&work.id)).filter_map(|work| {
        let told = Work {
            wanted: work.wanted,
            done: work.done,
            class: class(work.class),
            due_at: work.due_at,
            attempts: work.attempts,
            owner: work.owner,
            epoch: work.epoch,
            until: work.until,
            lapsed: work.lapsed,
            trace: work.trace.as_deref().and_then(TraceContext::parse),
            watcher: work.watcher,
            reason: work.reason,
            held: work.held,
            last: work.last,
            ..Work::new(key_of(work.id)?)
        };
        Some((work.id, told))
    });
    let work = work.collect();
    drop(state);
    Ok((layer, work))
}

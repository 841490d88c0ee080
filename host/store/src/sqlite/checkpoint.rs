//! Moves what was committed from the write-ahead log into the database file, beside the writer. Done by the writer itself, as SQLite does when nobody
//! else does it, all writes of that moment would wait for two syncs of the disk and thousands of pages.

use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// While there are commits, a pass is made this often.
const PAUSE: Duration = Duration::from_millis(500);

/// From this many pages on (64 MiB) the writer does it itself, so that the log does not grow for ever: it finds little left to do.
pub(super) const WRITER_PAGES: &str = "16000";

/// The task that does it.
pub(super) struct Checkpoints {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Checkpoints {
    pub(super) fn start(conn: SqliteConnection, versions: watch::Receiver<u64>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(run(conn, versions, stopped)) }
    }

    /// Ends it: the last connection that closes empties the log.
    pub(super) async fn close(self) {
        // Errors: it has ended by itself.
        let _ended = self.stop.send(());
        let _joined = self.task.await;
    }
}

async fn run(mut conn: SqliteConnection, mut versions: watch::Receiver<u64>, mut stopped: oneshot::Receiver<()>) {
    loop {
        let commits = async {
            let more = versions.changed().await.is_ok();
            tokio::time::sleep(PAUSE).await;
            more
        };
        tokio::select! {
            more = commits => {
                if !more {
                    break;
                }
            }
            _ = &mut stopped => break,
        }
        versions.mark_unchanged();
        // An error, a full disk most of all: the log keeps everything, and the next commit is another occasion.
        if let Err(error) = sqlx::query("pragma wal_checkpoint(passive)").execute(&mut conn).await {
            tracing::debug!(%error, "the log was not moved into the database");
        }
    }
    if let Err(error) = conn.close().await {
        tracing::debug!(%error, "the connection did not close cleanly");
    }
}

//! Sees to it that who reads here sees what any host has acknowledged before. One question to the server answers everybody who waits for one.

use std::time::Duration;

use sqlx::PgPool;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::connect::failed;
use crate::error::Error;

/// Whoever reads waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

type Passed = oneshot::Sender<Result<(), Error>>;

#[derive(Clone)]
pub(crate) struct Gate {
    asks: mpsc::UnboundedSender<Passed>,
}

impl Gate {
    /// `reached` tells which group memory is as of, `news` has the writer look for more.
    pub(super) fn start(pool: PgPool, reached: watch::Receiver<i64>, news: Arc<Notify>) -> Self {
        let (asks, waiting) = mpsc::unbounded_channel();
        tokio::spawn(keep(pool, reached, news, waiting));
        Self { asks }
    }

    /// Waits until memory holds everything that was committed when this was called.
    pub(crate) async fn pass(&self) -> Result<(), Error> {
        let (passed, answer) = oneshot::channel();
        let closed = || Error::Database("the store is closed".to_string());
        self.asks.send(passed).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

async fn keep(
    pool: PgPool,
    mut reached: watch::Receiver<i64>,
    news: Arc<Notify>,
    mut waiting: mpsc::UnboundedReceiver<Passed>,
) {
    while let Some(first) = waiting.recv().await {
        // Whoever comes after this waits for the next answer: this one may be from before what they want to see.
        let mut asked = vec![first];
        while let Ok(next) = waiting.try_recv() {
            asked.push(next);
        }
        let passed = match tokio::time::timeout(PATIENCE, look(&pool, &mut reached, &news)).await {
            Ok(passed) => passed,
            Err(_elapsed) => Err(Error::Away("it does not answer".to_owned())),
        };
        // Whoever asked may have gone away.
        asked.into_iter().for_each(|asked| drop(asked.send(passed.clone())));
    }
}

async fn look(pool: &PgPool, reached: &mut watch::Receiver<i64>, news: &Notify) -> Result<(), Error> {
    let newest = sqlx::query_scalar("select seq from journal order by seq desc limit 1").fetch_one(pool).await;
    let newest: i64 = newest.map_err(|error| Error::Away(failed(error).to_string()))?;
    if *reached.borrow_and_update() < newest {
        news.notify_one();
        reached.wait_for(|reached| *reached >= newest).await.map_err(|_| Error::Away("the store is closed".into()))?;
    }
    Ok(())
}

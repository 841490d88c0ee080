//! Hears what other hosts committed. Everything is found by polling as well; this makes it fast.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::connect::Address;
use super::journal::CHANNEL;

/// After a lost connection it is tried again this often.
const AGAIN: Duration = Duration::from_millis(500);

/// Notes on `news` whenever another writer than `own` committed.
pub(super) fn listen(address: Address, own: String, news: Arc<Notify>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let Err(error) = hear(&address, &own, &news).await {
                tracing::debug!(%error, "not listening to the database; other hosts' writes are found by polling");
            }
            tokio::time::sleep(AGAIN).await;
        }
    })
}

async fn hear(address: &Address, own: &str, news: &Notify) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(5));
    let pool = pool.connect_with(address.options.clone()).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // What was committed before anybody listened.
    news.notify_one();
    loop {
        match listener.try_recv().await? {
            Some(heard) if heard.payload() == own => {}
            // None: the connection was lost meanwhile, and something may have been missed.
            _ => news.notify_one(),
        }
    }
}

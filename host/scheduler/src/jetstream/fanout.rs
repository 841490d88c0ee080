//! "Something changed": how far each host has committed, to all others, over plain NATS. Who misses one learns it with the next, or by looking.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{PATIENCE, Session, Tasks, wait};
use crate::{Announce, Heed};

/// Between two announcements: what is committed meanwhile goes together.
const TOGETHER: Duration = Duration::from_millis(1);

#[derive(Serialize, Deserialize)]
struct Changed {
    /// Who says so.
    host: u64,
    /// resourceVersion of the newest change.
    upto: u64,
}

/// Tells the other hosts.
pub struct Announcer(watch::Sender<u64>);

impl Announcer {
    pub(super) fn new(session: Session) -> Self {
        let sender = watch::Sender::new(0);
        tokio::spawn(announce(session, sender.subscribe()));
        Self(sender)
    }
}

impl Announce for Announcer {
    fn committed(&self, upto: u64) {
        self.0.send_if_modified(|newest| {
            let newer = upto > *newest;
            *newest = upto.max(*newest);
            newer
        });
    }
}

/// Until the announcer is gone.
async fn announce(session: Session, mut newest: watch::Receiver<u64>) {
    while newest.changed().await.is_ok() {
        let changed = Changed { host: session.link.host, upto: *newest.borrow_and_update() };
        // Nobody hears it while the connection is away; then it would only fill the client's queue.
        if !session.link.is_well() {
            continue;
        }
        let Ok(payload) = serde_json::to_vec(&changed) else { continue };
        let sent = session.client.publish(session.link.config.changed_subject(), payload.into());
        if !matches!(tokio::time::timeout(PATIENCE, sent).await, Ok(Ok(()))) {
            tracing::debug!("other hosts are not told of a change: they find it by looking");
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

/// Hears the other hosts.
pub struct Heeder {
    newest: watch::Receiver<u64>,
    _tasks: Tasks,
}

impl Heeder {
    pub(super) fn new(session: Session) -> Self {
        let (sender, newest) = watch::channel(0);
        Self { newest, _tasks: Tasks(vec![tokio::spawn(heed(session, sender))]) }
    }
}

#[async_trait]
impl Heed for Heeder {
    async fn committed(&mut self) -> Option<u64> {
        self.newest.changed().await.ok()?;
        Some(*self.newest.borrow_and_update())
    }
}

async fn heed(session: Session, newest: watch::Sender<u64>) {
    let mut failures = 0;
    loop {
        session.link.well().await;
        // The client subscribes again by itself whenever it connects again.
        match session.client.subscribe(session.link.config.changed_subject()).await {
            Ok(mut messages) => {
                failures = 0;
                while let Some(message) = messages.next().await {
                    match serde_json::from_slice::<Changed>(&message.payload) {
                        Ok(changed) if changed.host != session.link.host => {
                            newest.send_if_modified(|newest| {
                                // Not "greater": a database that was restored counts from further back.
                                let news = changed.upto != *newest;
                                *newest = changed.upto;
                                news
                            });
                        }
                        Ok(_own) => {}
                        Err(error) => tracing::debug!(%error, "not an announcement"),
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "cannot hear what other hosts commit"),
        }
        failures += 1;
        tokio::time::sleep(wait(failures)).await;
    }
}

//! Watchers that lose their connection again and again, and go on elsewhere from the last resourceVersion that they heard.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::time::Instant;

use crate::ask::{Answer, Clients, ask};
use crate::load::version;
use crate::record::Kind;

/// A watch that is silent for so long is given up: bookmarks come more often.
const SILENCE: Duration = Duration::from_secs(8);

/// One event, as far as it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) version: u64,
    pub(crate) change: &'static str,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What one watcher heard.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) kind: Kind,
    pub(crate) number: usize,
    pub(crate) heard: Vec<Heard>,
    pub(crate) resumed: u64,
    /// Errors that mean that changes are missed.
    pub(crate) lost: Vec<String>,
    /// resourceVersion up to which everything was heard, bookmarks included.
    pub(crate) reached: u64,
    ended: bool,
}

/// Name of the object that is made when everything is over: whoever hears of it has heard everything.
pub(crate) const LAST: &str = "last";

/// A watcher of one kind in one namespace.
pub(crate) struct Watcher {
    pub(crate) kind: Kind,
    pub(crate) number: usize,
    pub(crate) clients: Clients,
    pub(crate) path: String,
    pub(crate) random: fastrand::Rng,
}

impl Watcher {
    /// The resourceVersion to begin at: of an empty collection.
    pub(crate) async fn begin(&self) -> Result<u64> {
        match ask(&self.clients.all[0], "GET", &self.path, "application/json", None).await? {
            Answer::Done(list) => version(&list).context("the list has no resourceVersion"),
            other => bail!("list {}: {other:?}", self.path),
        }
    }

    /// Watches.
    pub(crate) async fn run(mut self, from: u64) -> Account {
        let mut account = Account {
            kind: self.kind,
            number: self.number,
            heard: Vec::new(),
            resumed: 0,
            lost: Vec::new(),
            reached: from,
            ended: false,
        };
        let mut at = self.number % self.clients.all.len();
        while !account.ended {
            // It changes over now and then even if nothing breaks.
            let leave = Instant::now() + Duration::from_millis(self.random.u64(500..10_000));
            if self.watch(at, leave, &mut account).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            account.resumed += 1;
            at = self.random.usize(0..self.clients.all.len());
            if account.lost.len() > 3 {
                break;
            }
        }
        account
    }

    async fn watch(&self, at: usize, leave: Instant, account: &mut Account) -> Result<()> {
        let open = crate::ask::watch(&self.clients.all[at], &self.path, account.reached);
        let mut events = tokio::time::timeout(SILENCE, open).await.context("no answer")??;
        loop {
            let end = leave.min(Instant::now() + SILENCE);
            let Ok(Some(event)) = tokio::time::timeout_at(end, events.next()).await else { return Ok(()) };
            let (change, object) = match event? {
                WatchEvent::Added(object) => ("added", object),
                WatchEvent::Modified(object) => ("modified", object),
                WatchEvent::Deleted(object) => ("deleted", object),
                WatchEvent::Bookmark(bookmark) => {
                    let version: u64 = bookmark.metadata.resource_version.parse().context("a bookmark's version")?;
                    if version < account.reached {
                        account.lost.push(format!("a bookmark went back from {} to {version}", account.reached));
                    }
                    account.reached = account.reached.max(version);
                    continue;
                }
                WatchEvent::Error(status) => {
                    if status.code == 410 {
                        account.lost.push(format!("410 from {}: {}", account.reached, status.message));
                    }
                    bail!("{}", status.message);
                }
            };
            let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            let version = version(&object).context("an event without a resourceVersion")?;
            account.reached = account.reached.max(version);
            let name = text("/metadata/name");
            if name == LAST {
                account.ended = true;
                return Ok(());
            }
            // The suite's own objects are there before.
            if name.starts_with(self.kind.plural()) {
                account.heard.push(Heard { version, change, name, uid: text("/metadata/uid") });
            }
        }
    }
}

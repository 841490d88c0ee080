//! How the connection is: one place that all tasks ask, and that says so to operators.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::connection::State as Connection;
use async_nats::{Client, Event, Server, ServerError};
use tokio::sync::{Notify, watch};

use super::{Config, Reason, Trouble};
use crate::meters;
use crate::pending::Pending;

/// A listener takes all that is due when there is more than this.
const MOST_HEARD: usize = 100_000;

/// Whether rings go over NATS.
#[derive(Clone, Debug)]
struct State {
    trouble: Option<Trouble>,
    /// Rises whenever it is well again: between two of them, rings may have been missed.
    time: u64,
}

pub(super) struct Link {
    pub(super) config: Config,
    /// Who this process is among the hosts.
    pub(super) host: u64,
    state: watch::Sender<State>,
    /// Somebody has a reason to look whether it is well.
    doubted: Notify,
    /// What this host hears: from NATS, and what it rings itself while NATS is away.
    pub(super) heard: Arc<Pending>,
    /// Whether the server takes scheduled messages.
    pub(super) schedules: AtomicBool,
    /// What the server said that we may not do.
    violation: Mutex<Option<String>>,
    /// What is wrong with the file that says who we are.
    unusable: Mutex<Option<String>>,
}

impl Link {
    pub(super) fn new(config: Config) -> Self {
        let trouble = Trouble::new(Reason::Unreachable, format!("{} (--nats) is not connected yet", config.shown()));
        meters::connected(false);
        Self {
            config,
            host: fastrand::u64(..),
            state: watch::Sender::new(State { trouble: Some(trouble), time: 0 }),
            doubted: Notify::new(),
            heard: Arc::new(Pending::new(MOST_HEARD)),
            schedules: AtomicBool::new(false),
            violation: Mutex::default(),
            unusable: Mutex::default(),
        }
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.state.borrow().trouble.clone()
    }

    pub(super) fn is_well(&self) -> bool {
        self.state.borrow().trouble.is_none()
    }

    /// Waits until it is well, and says since when.
    pub(super) async fn well(&self) -> u64 {
        let mut state = self.state.subscribe();
        let time = state.wait_for(|state| state.trouble.is_none()).await.map(|state| state.time);
        match time {
            Ok(time) => time,
            // We hold the sender.
            Err(_never) => std::future::pending().await,
        }
    }

    /// Waits until what was well since `time` is over.
    pub(super) async fn over(&self, time: u64) {
        let mut state = self.state.subscribe();
        // An error: never, we hold the sender.
        let _over = state.wait_for(|state| state.trouble.is_some() || state.time != time).await;
    }

    /// Everything was found as it must be.
    pub(super) fn set_well(&self, client: &Client) {
        // It may have gone while the rest was looked at.
        if client.connection_state() != Connection::Connected {
            return;
        }
        *self.violation.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let changed = self.state.send_if_modified(|state| {
            let ill = state.trouble.take().is_some();
            state.time += u64::from(ill);
            ill
        });
        if changed {
            tracing::info!(server = self.config.shown(), "rings go over NATS");
            self.show();
        }
    }

    /// Until it is well again, rings stay in the process.
    pub(super) fn set_ill(&self, trouble: Trouble) {
        let mut was_well = false;
        let changed = self.state.send_if_modified(|state| {
            was_well = state.trouble.is_none();
            let news = state.trouble.as_ref() != Some(&trouble);
            state.trouble = Some(trouble.clone());
            news
        });
        if was_well {
            // What the server had taken already may never come.
            self.heard.alarm();
        }
        if changed {
            tracing::warn!(
                reason = trouble.reason.name(),
                "{trouble}; work is found by the sweep until this is mended"
            );
            self.show();
        }
    }

    fn show(&self) {
        let now = self.trouble().map(|trouble| trouble.reason);
        meters::connected(now.is_none());
        Reason::ALL.iter().for_each(|reason| meters::trouble(reason.name(), now == Some(*reason)));
    }

    /// Something failed that should not: until it is known why, rings stay in the process.
    pub(super) fn doubt(&self, why: &str) {
        if self.is_well() {
            let at = self.config.shown();
            let full =
                ["insufficient resources", "resource limits", "maximum bytes"].iter().any(|said| why.contains(said));
            self.set_ill(if full {
                let fix = "give the server or the account more (max_memory_store, max_mem)";
                Trouble::new(Reason::NoRoom, format!("JetStream of {at} has no room for rings ({why}): {fix}"))
            } else {
                Trouble::new(Reason::NotAnswering, format!("{at} (--nats) does not do what it should: {why}"))
            });
        }
        self.doubted.notify_one();
    }

    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// What the client says of its connection.
    pub(super) fn event(&self, event: Event) {
        match event {
            Event::Connected => self.doubted.notify_one(),
            Event::Disconnected => {
                let at = self.config.shown();
                self.set_ill(Trouble::new(Reason::Unreachable, format!("the connection to {at} (--nats) is lost")));
            }
            Event::ServerError(ServerError::Other(said))
                if said.to_ascii_lowercase().contains("permissions violation") =>
            {
                let known = {
                    let mut violation = self.violation.lock().unwrap_or_else(PoisonError::into_inner);
                    violation.replace(said.clone()).is_some_and(|known| known == said)
                };
                if !known {
                    tracing::warn!("NATS: {said}; see \"What a host may do in NATS\" in docs/operating.md");
                }
                self.doubted.notify_one();
            }
            // Details follow with the next attempt: see `failed`.
            Event::ClientError(async_nats::ClientError::Other(said)) => {
                let vague = Trouble::of_connecting(&self.config, &said);
                if matches!(vague.reason, Reason::CredentialsRefused) {
                    self.set_ill(vague);
                }
            }
            event => tracing::debug!(%event, "NATS"),
        }
    }

    /// What the last attempts to connect came to.
    pub(super) fn failed(&self, servers: &[Server]) {
        let unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(why) = unusable {
            return self.set_ill(Trouble::new(Reason::CredentialsUnusable, why));
        }
        if let Some(said) = servers.iter().find_map(|server| server.last_error.as_deref()) {
            self.set_ill(Trouble::of_connecting(&self.config, said));
        }
    }

    /// Notes whether the file that says who we are could be used.
    pub(super) fn credentials(&self, problem: Option<String>) {
        *self.unusable.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// What the server said that we may not do since it was last well.
    pub(super) fn violation(&self) -> Option<String> {
        self.violation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn takes_schedules(&self) -> bool {
        self.schedules.load(Relaxed)
    }
}

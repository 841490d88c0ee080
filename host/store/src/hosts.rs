//! Which hosts work on a database, and which of them have not been heard of for longer than their leases: what those watched is made due for the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::postgres;
use crate::queue::span;
use crate::requests::Request;
use crate::store::Store;

/// Items that are made due by one transaction.
const BATCH: usize = 500;

/// What a host says of itself.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The name that it claims work with.
    pub name: Arc<str>,
    /// Of the program.
    pub version: String,
    /// How long its claims hold.
    pub lease: Duration,
}

/// A host as the others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// The name that it claims work with; another one at each start.
    pub name: Arc<str>,
    /// Of the program.
    pub version: String,
    /// When it was heard of first, by the database's clock.
    pub started: jiff::Timestamp,
    /// Since it was heard of last, by the database's clock.
    pub heard_ago: Duration,
    /// How long its claims hold. One that was not heard of for longer is gone: what it held is the others'.
    pub lease: Duration,
    /// How far its clock is ahead of the database's, in microseconds; less than zero: behind.
    pub clock_ahead: i64,
}

impl HostInfo {
    /// Whether it is there still, as far as anybody knows.
    pub fn is_live(&self) -> bool {
        self.heard_ago <= self.lease
    }
}

impl Store {
    /// Says that a host is there, and gives all of which anybody has heard within the hour, this one among them.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn beat(&self, beat: &Beat) -> Result<Vec<HostInfo>, Error> {
        let own = HostInfo {
            name: beat.name.clone(),
            version: beat.version.clone(),
            started: self.now(),
            heard_ago: Duration::ZERO,
            lease: beat.lease,
            clock_ahead: self.clock_ahead(),
        };
        match self.engine().servers() {
            Some(pool) => postgres::hosts::beat(pool, own).await,
            None => Ok(self.engine().memory.beat(own)),
        }
    }

    /// All hosts of which anybody has heard within the hour, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn hosts(&self) -> Result<Vec<HostInfo>, Error> {
        match self.engine().servers() {
            Some(pool) => postgres::hosts::all(pool).await,
            None => Ok(self.engine().memory.host().into_iter().collect()),
        }
    }

    /// A host goes: the others need not wait for its silence.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn leave(&self, name: &str) -> Result<(), Error> {
        match self.engine().servers() {
            Some(pool) => postgres::hosts::leave(pool, name).await,
            None => Ok(()),
        }
    }

    /// Hosts that are not among `live` and watch something still, as far as is known.
    pub fn watching_but(&self, live: &HashSet<Arc<str>>) -> Vec<Arc<str>> {
        self.engine().memory.queue().watchers().filter(|name| !live.contains(*name)).cloned().collect()
    }

    /// Makes due what these hosts watched, some of it: nobody watches it any more. It is due one after the other, `apart`, so that it does not come all at
    /// once. Gives the uids of what is due now; when there are none, there is nothing left.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_watches(&self, gone: Vec<Arc<str>>, apart: Duration) -> Result<Vec<Arc<str>>, Error> {
        let gone = gone.into_iter().collect();
        self.ask(|reply| Request::Unwatched { gone, most: BATCH, apart: span(apart), reply }).await
    }

    /// How far this host's clock is ahead of the database's, in microseconds, as of the last answer of the database; less than zero: behind. On SQLite there is
    /// but one clock.
    pub fn clock_ahead(&self) -> i64 {
        self.engine().memory.clock_ahead()
    }

    /// What the database's clock says: the same for all hosts, whatever their own clocks say.
    pub fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.clock()).unwrap_or_default()
    }

    /// The same in microseconds since 1970.
    pub(crate) fn clock(&self) -> i64 {
        self.engine().memory.now()
    }
}

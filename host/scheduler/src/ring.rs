//! What is rung, and what is heard.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::meters;

/// "Look at this object." Says which and since when, never what changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// uid of the object whose work item is due.
    pub uid: String,
    /// Why it is due, as one word. It stands in subjects, for those who look; what is urgent decides SQL.
    pub class: Cow<'static, str>,
    /// When it became due, in microseconds since 1970.
    pub since: u64,
}

impl Wake {
    /// For an object that is due since now.
    pub fn new(uid: impl Into<String>, class: impl Into<Cow<'static, str>>) -> Self {
        Self { uid: uid.into(), class: class.into(), since: micros() }
    }

    /// The same, due after a while.
    pub(crate) fn after(self, delay: Duration) -> Self {
        let delay = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        Self { since: self.since.saturating_add(delay), ..self }
    }
}

fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Tells whoever delivered a ring that it has arrived.
pub(crate) type Receipt = Box<dyn FnOnce() + Send>;

/// A wake as it was heard. It is this host's until it is [handed over](Self::handed_over); one that is dropped is heard again, by some host.
pub struct Ring {
    /// What was rung for.
    pub wake: Wake,
    receipts: Vec<Receipt>,
}

impl Ring {
    pub(crate) fn local(wake: Wake) -> Self {
        Self { wake, receipts: Vec::new() }
    }

    pub(crate) fn with_receipt(wake: Wake, receipt: Receipt) -> Self {
        Self { wake, receipts: vec![receipt] }
    }

    /// One that stands for both.
    pub fn join(&mut self, other: Self) {
        self.wake.since = self.wake.since.min(other.wake.since);
        self.receipts.extend(other.receipts);
    }

    /// The store was asked after this was heard, and gave its object away or had nothing due: nobody needs to hear it any more.
    pub fn handed_over(self) {
        meters::handed_over(Duration::from_micros(micros().saturating_sub(self.wake.since)));
        self.receipts.into_iter().for_each(|receipt| receipt());
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("wake", &self.wake).finish_non_exhaustive()
    }
}

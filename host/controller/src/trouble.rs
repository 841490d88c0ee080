//! Why a run did not get where it wanted: always as something a person can read and act on.

use std::time::Duration;

use threeport_kube::{Class, Error as TargetError};
use threeport_store::HIGHEST_EPOCH;

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A failure: soon, and later and later.
    Backoff,
    /// A failure that only a change of spec, rights or plugin repairs: rarely.
    Slow,
    /// No failure: something else wakes the object; a look after this time in case it did not.
    Within(Duration),
}

/// A reason for not being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Status of Ready: False, or Unknown where nothing can be said.
    pub(crate) unknown: bool,
    /// Nothing will get better by itself.
    pub(crate) stalled: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) pace: Pace,
    /// The epoch that was found on a target, where ours is behind it.
    pub(crate) behind: Option<u64>,
}

/// How long a wait for something that wakes us may go on unquestioned.
pub(crate) const BACKSTOP: Duration = Duration::from_secs(30);

impl Trouble {
    /// It failed and is tried again.
    pub(crate) fn again(reason: &str, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.to_owned(), message.into());
        Self { unknown: false, stalled: false, reason, message, pace: Pace::Backoff, behind: None }
    }

    /// It failed and a person has to do something.
    pub(crate) fn stalled(reason: &str, message: impl Into<String>) -> Self {
        Self { stalled: true, pace: Pace::Slow, ..Self::again(reason, message) }
    }

    /// Something else has to happen first.
    pub(crate) fn waiting(reason: &str, message: impl Into<String>) -> Self {
        Self { pace: Pace::Within(BACKSTOP), ..Self::again(reason, message) }
    }

    /// Nothing can be said about how things are.
    pub(crate) fn unknown(reason: &str, message: impl Into<String>) -> Self {
        Self { unknown: true, ..Self::again(reason, message) }
    }

    /// A target has seen a newer run than this one, though this one has the lease: there was none newer that this database knows of.
    pub(crate) fn behind(reference: &impl std::fmt::Display, ours: u64, theirs: u64) -> Self {
        if theirs > HIGHEST_EPOCH {
            let message = format!(
                "the annotation threeport.dev/epoch of {reference} says {theirs}, which no run of Threeport has come to: remove the annotation from it"
            );
            return Self::stalled("Fenced", message);
        }
        let message = format!(
            "{reference} was last changed by run {theirs} of this object, but this control plane has only come to run {ours}: its database was probably \
             restored from a backup, or another control plane works on the same target with the same object; it goes on with higher numbers"
        );
        let pace = Pace::Within(Duration::from_secs(1));
        Self { pace, behind: Some(theirs), ..Self::again("Fenced", message) }
    }

    /// What a target said.
    pub(crate) fn target(error: &TargetError) -> Self {
        let (reason, message) = (error.reason(), error.to_string());
        if unreachable(error) {
            return Self::unknown("ClusterUnreachable", message);
        }
        match error.class() {
            Class::Waiting => Self { pace: Pace::Within(Duration::from_secs(15)), ..Self::waiting(reason, message) },
            Class::Invalid | Class::Conflict => Self::stalled(reason, message),
            // Rights change elsewhere, and those that we make ourselves are looked after by the next run.
            Class::Denied => Self { pace: Pace::Backoff, ..Self::stalled(reason, message) },
            Class::Transient | Class::Unreachable | Class::Fenced => match error.retry_after() {
                Some(after) => Self { pace: Pace::Within(after), ..Self::again(reason, message) },
                None => Self::again(reason, message),
            },
        }
    }
}

/// Whether the target did not answer at all.
pub(crate) fn unreachable(error: &TargetError) -> bool {
    error.class() == Class::Unreachable || matches!(error, TargetError::Timeout { .. })
}

/// Why a run ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Another host has the object: say nothing.
    LeaseLost,
    /// To be reported.
    Trouble(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<threeport_store::Error> for Stop {
    fn from(error: threeport_store::Error) -> Self {
        match error {
            threeport_store::Error::LeaseLost { .. } => Self::LeaseLost,
            error => Self::Trouble(Trouble::again(
                "StoreFailed",
                format!("the host's database failed: {error}; it is tried again"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_behind_says_why_and_goes_past_what_it_found_unless_that_is_a_lie() {
        let behind = Trouble::behind(&"ConfigMap a/b", 3, 7);
        assert!(behind.message.contains("backup") && behind.message.contains("ConfigMap a/b"), "{behind:?}");
        assert_eq!((behind.behind, behind.stalled), (Some(7), false));
        let lie = Trouble::behind(&"ConfigMap a/b", 3, u64::MAX);
        assert!(lie.stalled && lie.behind.is_none() && lie.message.contains("threeport.dev/epoch"), "{lie:?}");
    }
}

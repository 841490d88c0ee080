//! What can go wrong at a target, sorted by what the caller can do about it.
//!
//! Every message names the object and the step, gives the target's own words and says what the user can do. None holds a credential: of a kubeconfig only
//! field names are told, and of what a target says about a Secret only the names of the fields.

use std::fmt;
use std::time::Duration;

use crate::Reference;

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Something else must happen first (a CRD, a namespace, a deletion): try again when it did, else in some seconds.
    Waiting,
    /// Try again soon, with backoff.
    Transient,
    /// Someone else has the object or the field: a person decides.
    Conflict,
    /// The target will never accept this: wait for another spec.
    Invalid,
    /// The target does not let us: wait for other rights.
    Denied,
    /// The target does not answer: keep the last known state, delete nothing.
    Unreachable,
    /// A newer run has been here: stop this one.
    Fenced,
}

/// A field that someone else manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOwner {
    /// `.spec.replicas`
    pub field: String,
    /// The other field manager, as the target names it.
    pub manager: String,
}

/// What a target (or the way to it) answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kubeconfig cannot be used. Never holds values out of it.
    #[error("the kubeconfig cannot be used: {field}: {why}")]
    InvalidKubeconfig {
        /// Path of the field within the kubeconfig.
        field: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// No connection.
    #[error(
        "{step}: the target at {server} cannot be reached: {why}; check that it runs and that this host may connect to it"
    )]
    Unreachable {
        /// What was tried.
        step: String,
        /// Scheme, host and port.
        server: String,
        /// The cause in the words of the network.
        why: String,
    },
    /// Connected, but no answer in time.
    #[error("{step}: the target at {server} did not answer within {} s; it is tried again", after.as_secs())]
    Timeout {
        /// What was tried.
        step: String,
        /// Scheme, host and port.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// It did not answer a moment ago: nothing is sent for a while.
    #[error(
        "{step}: the target at {server} does not answer ({why}); it is left alone until {until} and then tried again, and everything goes on as soon as it \
         answers"
    )]
    LeftAlone {
        /// What was to be done.
        step: String,
        /// Scheme, host and port.
        server: String,
        /// What came of the last request.
        why: String,
        /// When it is tried again.
        until: String,
    },
    /// The target does not accept the credentials.
    #[error("{step}: the target does not accept the credentials of the kubeconfig ({why}); give it a new kubeconfig")]
    Unauthorized {
        /// What was tried.
        step: String,
        /// The target's words.
        why: String,
    },
    /// The credentials are not enough.
    #[error("{step}: the target forbids it: {why}; grant this to the identity of the kubeconfig")]
    Forbidden {
        /// What was tried.
        step: String,
        /// The target's words: who, verb, kind and namespace.
        why: String,
    },
    /// The target does not serve that kind (yet).
    #[error(
        "{step}: the target has no kind {kind} in {api_version}; install its CustomResourceDefinition or the operator that brings it"
    )]
    KindUnknown {
        /// What was tried.
        step: String,
        /// `group/version`
        api_version: String,
        /// The kind.
        kind: String,
    },
    /// The namespace is not there (yet).
    #[error("{step}: the target has no namespace {namespace:?}; create it first")]
    NamespaceMissing {
        /// What was tried.
        step: String,
        /// The namespace.
        namespace: String,
    },
    /// The target, or a check before it, refuses the content.
    #[error("{step}: refused as invalid: {why}")]
    Invalid {
        /// What was tried.
        step: String,
        /// The target's words.
        why: String,
    },
    /// A webhook or an admission policy refuses it.
    #[error("{step}: an admission rule of the target refuses it: {why}; change the object or ask who runs the target")]
    AdmissionDenied {
        /// What was tried.
        step: String,
        /// The target's words.
        why: String,
    },
    /// No quota left.
    #[error("{step}: over a quota of the target: {why}; ask for less or raise the quota")]
    QuotaExceeded {
        /// What was tried.
        step: String,
        /// The target's words.
        why: String,
    },
    /// Others manage fields that we want to set.
    #[error(
        "{step}: others manage these fields: {}; leave them out of the object, ignore them, or have their manager give them up",
        FieldOwners(conflicts)
    )]
    FieldConflict {
        /// What was tried.
        step: String,
        /// The fields and who has them.
        conflicts: Vec<FieldOwner>,
    },
    /// Another object of a control plane made it.
    #[error("{step}: it belongs to {owner} (field manager {manager}); choose another name, or delete it there first")]
    OwnedByOther {
        /// What was tried.
        step: String,
        /// The owner as its annotation names it.
        owner: String,
        /// Its field manager.
        manager: String,
    },
    /// It is there, and no control plane made it.
    #[error(
        "{step}: it exists already and was not made by Threeport (managed by {managers}); annotate the object that wants it with threeport.dev/adopt=true to take it over, or choose another name"
    )]
    AlreadyExists {
        /// What was tried.
        step: String,
        /// Its field managers, separated by commas.
        managers: String,
    },
    /// A field that can only be set at creation differs.
    #[error(
        "{step}: a field cannot be changed after creation: {why}; put the old value back, or delete the object so that it is made anew"
    )]
    ImmutableField {
        /// What was tried.
        step: String,
        /// The target's words.
        why: String,
    },
    /// The target asks us to slow down.
    #[error("{step}: the target has too many requests ({why}); it is tried again in {} s", retry_after.as_secs())]
    Throttled {
        /// What was tried.
        step: String,
        /// The target's words.
        why: String,
        /// When it wants to be asked again.
        retry_after: Duration,
    },
    /// A newer run of the same owner has been there.
    #[error("{step}: a newer run (epoch {theirs}) has been here; this one (epoch {ours}) stops")]
    Fenced {
        /// What was tried.
        step: String,
        /// Our epoch.
        ours: u64,
        /// The epoch on the live object.
        theirs: u64,
    },
    /// It, or its namespace, is being deleted.
    #[error("{step}: {what} is being deleted{}", Waits(finalizers))]
    Terminating {
        /// What was tried.
        step: String,
        /// The object, or its namespace.
        what: String,
        /// What the deletion waits for.
        finalizers: Vec<String>,
    },
    /// Others kept changing the object between our reading and our writing.
    #[error("{step}: it changed under us {attempts} times in a row; it is tried again")]
    Race {
        /// What was tried.
        step: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The target failed, or answered what we cannot read.
    #[error("{step}: the target failed with {code}: {why}; it is tried again")]
    Server {
        /// What was tried.
        step: String,
        /// HTTP status, 0 when the answer could not be read.
        code: u16,
        /// The target's words.
        why: String,
    },
    /// The answer to a list came too late for its `continue` token.
    #[error("{step}: the page token is too old; start the list again")]
    Expired {
        /// What was tried.
        step: String,
    },
}

impl Error {
    /// What the caller does next.
    pub fn class(&self) -> Class {
        use Error::*;
        match self {
            KindUnknown { .. } | NamespaceMissing { .. } | Terminating { .. } => Class::Waiting,
            Timeout { .. } | Throttled { .. } | Race { .. } | Server { .. } | Expired { .. } => Class::Transient,
            FieldConflict { .. } | OwnedByOther { .. } | AlreadyExists { .. } => Class::Conflict,
            InvalidKubeconfig { .. }
            | Invalid { .. }
            | AdmissionDenied { .. }
            | QuotaExceeded { .. }
            | ImmutableField { .. } => Class::Invalid,
            Unauthorized { .. } | Forbidden { .. } => Class::Denied,
            Unreachable { .. } | LeftAlone { .. } => Class::Unreachable,
            Fenced { .. } => Class::Fenced,
        }
    }

    /// For a condition: UpperCamelCase, stable.
    pub fn reason(&self) -> &'static str {
        use Error::*;
        match self {
            InvalidKubeconfig { .. } => "InvalidKubeconfig",
            Unreachable { .. } | LeftAlone { .. } => "Unreachable",
            Timeout { .. } => "Timeout",
            Unauthorized { .. } => "Unauthorized",
            Forbidden { .. } => "Forbidden",
            KindUnknown { .. } => "KindUnknown",
            NamespaceMissing { .. } => "NamespaceMissing",
            Invalid { .. } => "Invalid",
            AdmissionDenied { .. } => "AdmissionDenied",
            QuotaExceeded { .. } => "QuotaExceeded",
            FieldConflict { .. } => "FieldConflict",
            OwnedByOther { .. } => "OwnedByOther",
            AlreadyExists { .. } => "AlreadyExists",
            ImmutableField { .. } => "ImmutableField",
            Throttled { .. } => "Throttled",
            Fenced { .. } => "Fenced",
            Terminating { .. } => "Terminating",
            Race { .. } => "WriteRace",
            Server { .. } => "TargetError",
            Expired { .. } => "ListExpired",
        }
    }

    /// How long the target wants us to wait, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Throttled { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// `verb Kind namespace/name`: the start of every message.
pub(crate) fn step(verb: &str, reference: &Reference) -> String {
    format!("{verb} {reference}")
}

struct FieldOwners<'a>(&'a [FieldOwner]);

impl fmt::Display for FieldOwners<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, conflict) in self.0.iter().enumerate() {
            write!(f, "{}{} (by {})", if i == 0 { "" } else { ", " }, conflict.field, conflict.manager)?;
        }
        Ok(())
    }
}

struct Waits<'a>(&'a [String]);

impl fmt::Display for Waits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("; it is tried again when it is gone")
        } else {
            write!(f, ", which waits for the finalizers {}", self.0.join(", "))
        }
    }
}

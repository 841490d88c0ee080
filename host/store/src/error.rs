//! What can go wrong, by what the caller can do about it.

use crate::types::{Edge, Key};

/// Failures of the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A precondition `absent` was not met.
    #[error("{0} already exists")]
    AlreadyExists(Key),
    /// The object that was to be written is not there.
    #[error("{0} not found")]
    NotFound(Key),
    /// The object changed since it was read: read it again and repeat.
    #[error("{key} changed: expected {expected}, found {found}")]
    Conflict {
        /// The object.
        key: Key,
        /// The uid or resourceVersion that the caller asked for.
        expected: String,
        /// What is stored.
        found: String,
    },
    /// Others need it.
    #[error("{key} is in use by {}", several(users.iter().map(|(user, _)| user)))]
    InUse {
        /// What was to go.
        key: Key,
        /// Who refers to it, or to something in it, and how.
        users: Vec<(Key, Edge)>,
    },
    /// It is being deleted.
    #[error("{0} is being deleted")]
    Going(Key),
    /// A new reference leads to what is being deleted.
    #[error("{} names {}, and {going} is being deleted; name another one, or wait until it is gone and make it anew", edge.field, edge.to)]
    Leaving {
        /// Who refers to it.
        from: Key,
        /// The reference.
        edge: Box<Edge>,
        /// What is being deleted: the object itself, or its namespace.
        going: Box<Key>,
    },
    /// There are objects where none should be.
    #[error("there are still {}", several(.0.iter()))]
    NotEmpty(Vec<Key>),
    /// The asked resourceVersion is older than the change log reaches, or newer than it is: list again.
    #[error("resource version {asked} is not available: the log covers {oldest} to {newest}")]
    Gone {
        /// What was asked for.
        asked: u64,
        /// Oldest position kept.
        oldest: u64,
        /// Newest position.
        newest: u64,
    },
    /// The body that was to be written is nested deeper than anything may be: it could not be read again.
    #[error("{0} is nested deeper than {max} levels; make it flatter", max = crate::types::MAX_DEPTH)]
    TooDeep(Key),
    /// The lease is over or another host holds it: drop the result.
    #[error("the lease of {uid} with epoch {epoch} is lost")]
    LeaseLost {
        /// The object's uid.
        uid: String,
        /// The epoch that was held.
        epoch: u64,
    },
    /// No room is left where the database is. Nothing was written; what is there is read on, and writes go on by themselves when there is room.
    #[error("the disk of the database is full: {0}; make room on it")]
    Full(String),
    /// The server was started with another encryption key than the database was written with.
    #[error(
        "{path} is encrypted with key {expected}, and the server was started with key {given}: put the key back that this database was made with"
    )]
    WrongKey {
        /// The database file.
        path: String,
        /// Id of the key that the rows name.
        expected: String,
        /// Id of the key that was given.
        given: String,
    },
    /// The connection was lost in the middle of a commit, and it could not be found out whether it happened: read before you repeat it.
    #[error("it is not known whether this was written, read it again before you repeat it: {0}")]
    Undecided(String),
    /// The database cannot be reached now. Nothing was written, and the same may succeed in a moment.
    #[error("the database cannot be reached, and nothing was written: {0}")]
    Away(String),
    /// The database refused or is not reachable. Nothing was written.
    #[error("database: {0}")]
    Database(String),
    /// A stored row cannot be read: wrong key or damaged data.
    #[error("stored data of {0} cannot be read: {1}")]
    Corrupt(String, String),
}

/// The first few of many.
fn several<'a>(keys: impl ExactSizeIterator<Item = &'a Key>) -> String {
    const NAMED: usize = 10;
    let count = keys.len();
    let mut shown: Vec<String> = keys.take(NAMED).map(ToString::to_string).collect();
    if count > NAMED {
        shown.push(format!("{} more", count - NAMED));
    }
    shown.join(", ")
}

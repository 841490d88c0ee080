//! The limit on open files: every connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What the server has open besides connections of clients, at most.
const OTHERS: u64 = 250;

/// Raises the limit on open files as far as this process may, and gives how many connections it allows of those that are wanted.
pub(crate) fn connections(wanted: u32) -> usize {
    let needed = u64::from(wanted) + OTHERS;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        let before = limit.current.replace(raised);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the limit on open files cannot be raised");
            limit.current = before;
        }
    }
    let allowed = match limit.current {
        Some(current) if current < needed => (current / 2).max(current.saturating_sub(OTHERS)),
        _ => u64::from(wanted),
    };
    if allowed < u64::from(wanted) {
        tracing::warn!(
            allowed,
            wanted,
            "fewer connections than --max-connections says: raise the limit on open files (ulimit -n, or LimitNOFILE= of the unit)"
        );
    }
    usize::try_from(allowed).unwrap_or(usize::MAX)
}

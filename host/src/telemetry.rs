//! Logs: text for people on a terminal, JSON for collectors otherwise. Always to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` chooses what is said, `info` by default, without kube's own line for every request that a target refuses: those end
/// as conditions; and without the audit, a line for every write.
pub(crate) fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,audit=off"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { builder.init() } else { builder.json().flatten_event(true).init() }
}

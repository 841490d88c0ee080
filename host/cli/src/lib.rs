//! The client commands.
//!
//! Everything here is an ordinary client of the API: it needs a kubeconfig and nothing else, and does nothing that another client could not do.
//! Results go to stdout, progress to stderr; the exit code is 0 when what was asked for is so, 1 when it is not.

mod connect;
pub mod plugin;

use std::path::PathBuf;

use clap::Args;

/// How to reach the server.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// kubeconfig of the server [default: $KUBECONFIG, then the one that `threeport server` wrote]
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
}

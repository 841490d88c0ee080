//! The client commands.
//!
//! Everything here is an ordinary client of the API: it needs a kubeconfig and nothing else, and does nothing that another client could not do.
//! Results go to stdout, progress and warnings to stderr; the exit code is 0 when what was asked for is so, 1 when it is not. Where kubectl has the same
//! command, forms, output and wording are kubectl's.

mod apply;
mod completion;
mod connect;
mod delete;
mod describe;
mod events;
mod failure;
mod follow;
mod get;
mod kinds;
mod manifests;
mod output;
mod pause;
pub mod plugin;
mod progress;
mod queue;
mod select;
mod time;
mod tree;
mod version;
mod wait;
mod watch;
mod why;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

pub use completion::{Completion, complete};
pub use connect::as_kubectl_plugin;
pub use failure::fail;

/// How to reach the server.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// kubeconfig of the server [default: $KUBECONFIG, then the one that `threeport server` wrote, then ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub context: Option<String>,
    /// Namespace [default: that of the context]
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub namespace: Option<String>,
}

/// Commands that talk to a server.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make objects as files say
    #[command(after_help = apply::EXAMPLES)]
    Apply(apply::Apply),
    /// Show objects
    #[command(after_help = get::EXAMPLES)]
    Get(get::Get),
    /// Show objects with all that belongs to them: conditions, references, what is on targets, events
    #[command(after_help = describe::EXAMPLES)]
    Describe(describe::Describe),
    /// Delete objects, and wait until they are gone
    #[command(after_help = delete::EXAMPLES)]
    Delete(delete::Delete),
    /// Wait until something holds for objects
    #[command(after_help = wait::EXAMPLES)]
    Wait(wait::Wait),
    /// Show an object, what it refers to, who refers to it, its children, and what is on targets because of it
    #[command(after_help = tree::EXAMPLES)]
    Tree(tree::Tree),
    /// Say why an object is Ready, or is not: down to the first cause
    #[command(after_help = why::EXAMPLES)]
    Why(why::Why),
    /// Pause objects: nothing is done for them, or on what they are targets of, until they are resumed
    #[command(after_help = pause::EXAMPLES)]
    Pause(pause::Pause),
    /// Let objects go on that were paused
    #[command(after_help = pause::RESUME_EXAMPLES)]
    Resume(pause::Pause),
    /// Show the queue: what is due, who holds what, what is tried again after a failure and why
    #[command(after_help = queue::EXAMPLES)]
    Queue(queue::Queue),
    /// Write, build, test, push, swap and roll back plugins
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Print the versions of this program and of the server
    #[command(after_help = version::EXAMPLES)]
    Version(version::Version),
}

/// Runs a command.
///
/// # Errors
/// When the server cannot be reached or refuses, or when what was asked for is not so; [`fail`] tells them.
pub async fn run(connection: &Connection, command: Command) -> Result<()> {
    match command {
        Command::Apply(args) => apply::run(connection, args).await,
        Command::Get(args) => get::run(connection, args).await,
        Command::Describe(args) => describe::run(connection, args).await,
        Command::Delete(args) => delete::run(connection, args).await,
        Command::Wait(args) => wait::run(connection, args).await,
        Command::Tree(args) => tree::run(connection, args).await,
        Command::Why(args) => why::run(connection, args).await,
        Command::Pause(args) => pause::run(connection, args, true).await,
        Command::Resume(args) => pause::run(connection, args, false).await,
        Command::Queue(args) => queue::run(connection, args).await,
        Command::Plugin(command) => plugin::run(connection, command).await,
        Command::Version(args) => version::run(connection, args).await,
    }
}

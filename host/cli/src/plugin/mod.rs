//! `threeport plugin`: from nothing to a plugin that serves, and from one version to the next.

mod author;
mod build;
mod deploy;
mod gates;
mod list;
mod toolchain;

use anyhow::Result;
use clap::Subcommand;

use crate::Connection;
use crate::connect::server;

/// Plugin commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Write a crate with a kind of your own: it builds, is tested, and can be pushed as it is
    #[command(after_help = author::EXAMPLES)]
    New(author::New),
    /// Compile a plugin's crate to a WebAssembly component
    #[command(after_help = build::EXAMPLES)]
    Build(build::Build),
    /// Run a plugin's tests, natively
    #[command(after_help = build::TEST_EXAMPLES)]
    Test(build::Test),
    /// Upload a component and let it serve the next runs; runs under way finish on the old version
    #[command(after_help = deploy::PUSH_EXAMPLES)]
    Push(deploy::Push),
    /// List plugins: what serves, what is pending
    #[command(after_help = list::EXAMPLES)]
    List(list::List),
    /// Replace the version that serves by another while everything runs, and tell each gate that it passes
    #[command(after_help = deploy::SWAP_EXAMPLES)]
    Swap(deploy::Swap),
    /// Serve the version before the current one again
    #[command(after_help = deploy::ROLLBACK_EXAMPLES)]
    Rollback(deploy::Rollback),
}

/// Runs a plugin command.
///
/// # Errors
/// When a crate does not build, when the server cannot be reached or refuses, and when a version does not come to serve.
pub async fn run(connection: &Connection, command: Command) -> Result<()> {
    match command {
        Command::New(args) => author::new(&args),
        Command::Build(args) => build::build(&args),
        Command::Test(args) => build::test(&args),
        Command::Push(args) => deploy::push(&server(connection).await?, args).await,
        Command::List(args) => list::run(connection, args).await,
        Command::Swap(args) => deploy::swap(&server(connection).await?, args).await,
        Command::Rollback(args) => deploy::rollback(&server(connection).await?, &args.name, args.timeout).await,
    }
}

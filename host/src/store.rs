//! `threeport store`: what is done to the state while no server runs.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use threeport_store::Database;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Copy everything from a file of SQLite into an empty database of PostgreSQL, and compare. Stop the server first; start it with the same --config-dir
    /// and --database afterwards
    #[command(
        after_help = "Example:\n  threeport store copy --from sqlite:$HOME/.local/state/threeport/threeport.db --to postgres://threeport@db.example.dev/threeport"
    )]
    Copy(Copy),
}

#[derive(Args)]
pub(crate) struct Copy {
    /// What is copied; it stays as it is
    #[arg(long, value_name = "sqlite:PATH")]
    from: Database,
    /// Where to; nobody may have used it
    #[arg(long, value_name = "postgres://USER@HOST/NAME")]
    to: Database,
}

/// Runs a command.
///
/// # Errors
/// When it cannot be done; then nothing was.
pub(crate) async fn run(command: Command) -> Result<()> {
    let Command::Copy(Copy { from, to }) = command;
    let copied = threeport_store::copy(&from, &to).await.with_context(|| format!("copy {from} to {to}"))?;
    let rows = |table: &str| copied.rows.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows);
    writeln!(
        std::io::stdout(),
        "copied and compared: {} objects, {} changes up to resourceVersion {}, {} work items, {} things on targets, {} blobs",
        rows("object"),
        rows("change"),
        copied.version,
        rows("workitem"),
        rows("inventory"),
        rows("blob"),
    )
    .context("write to stdout")
}

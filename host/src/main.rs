//! The `threeport` binary: the server and the client commands.

mod config;
mod metrics;
mod server;
mod state;
mod telemetry;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "threeport",
    version,
    about = "Deploys and runs software: clusters, ingress, TLS, RPC nodes and workloads, asked for through one API"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: threeport_cli::Connection,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control plane: API, state and reconcilers in one process
    Server(config::Server),
    /// Push, roll back and list plugins
    #[command(subcommand)]
    Plugin(threeport_cli::plugin::Command),
    /// The server starts it for each component that is compiled
    #[command(hide = true)]
    CompileComponent { order: String },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::CompileComponent { order } = &cli.command {
        return threeport_wasm::compile_worker(order);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("start the async runtime")),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Server(config) => server::run(config).await,
            Command::Plugin(command) => threeport_cli::plugin::run(&cli.connection, command).await,
            Command::CompileComponent { .. } => Ok(()),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// One place for errors that end the process: the whole chain, on stderr, exit code 1.
fn fail(error: &anyhow::Error) -> ExitCode {
    use std::io::Write as _;
    // Nothing sensible is left to do when stderr is closed.
    let _written = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::FAILURE
}

//! The `threeport` binary: the server and the client commands.

mod backlog;
mod bell;
mod config;
mod files;
mod insight;
mod metrics;
mod schemas;
mod server;
mod shared;
mod state;
mod store;
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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
    Server(Box<config::Server>),
    /// Move the state of a server that is stopped
    #[command(subcommand)]
    Store(store::Command),
    #[command(flatten)]
    Client(threeport_cli::Command),
    /// Write a shell's completion script to stdout
    Completion(threeport_cli::Completion),
    /// The server starts it for each component that is compiled
    #[command(hide = true)]
    CompileComponent { order: String },
}

fn main() -> ExitCode {
    let cli = parse();
    match &cli.command {
        Command::CompileComponent { order } => return threeport_wasm::compile_worker(order),
        Command::Completion(args) => {
            let written = threeport_cli::complete(args, Cli::command());
            return written.map_or_else(|error| threeport_cli::fail(&error), |()| ExitCode::SUCCESS);
        }
        _ => {}
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return threeport_cli::fail(&anyhow::Error::new(error).context("start the async runtime")),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Server(config) => server::run(*config).await,
            Command::Store(command) => store::run(command).await,
            Command::Client(command) => threeport_cli::run(&cli.connection, command).await,
            Command::CompileComponent { .. } | Command::Completion(_) => Ok(()),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => threeport_cli::fail(&error),
    }
}

/// The arguments. Started as kubectl's plugin, the program calls itself so in its help.
fn parse() -> Cli {
    let mut command = Cli::command();
    if threeport_cli::as_kubectl_plugin() {
        command = command.bin_name("kubectl threeport");
    }
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

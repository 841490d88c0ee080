//! `threeport version`.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::Connection;
use crate::connect::server;
use crate::output::{self, Output};

pub(crate) const EXAMPLES: &str = "Examples:
  threeport version
  threeport version --client
  threeport version -o json";

/// Arguments of `version`.
#[derive(Args, Debug)]
pub struct Version {
    /// Only of this program: no server is asked
    #[arg(long)]
    client: bool,
    /// yaml, json
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

pub(crate) async fn run(connection: &Connection, args: Version) -> Result<()> {
    let output = Output::parse(args.output.as_deref())?;
    let client = json!({"version": env!("CARGO_PKG_VERSION")});
    let asked = if args.client { Ok(None) } else { ask(connection).await.map(Some) };
    let mut versions = json!({"client": client});
    if let Ok(Some(server)) = &asked {
        versions["server"] = server.clone();
    }
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => output::json(&mut out, &versions)?,
        Output::Yaml => output::yaml(&mut out, &versions)?,
        _ => {
            writeln!(out, "Client Version: {}", env!("CARGO_PKG_VERSION"))?;
            if let Some(version) = versions["server"]["gitVersion"].as_str() {
                writeln!(out, "Server Version: {version}")?;
            }
        }
    }
    out.flush()?;
    asked.map(drop)
}

async fn ask(connection: &Connection) -> Result<serde_json::Value> {
    Ok(server(connection).await?.get("/version").await?)
}

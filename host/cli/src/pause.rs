//! `threeport pause` and `threeport resume`.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use crate::Connection;
use crate::connect::server;
use crate::kinds::Kinds;
use crate::select::Objects;

pub(crate) const EXAMPLES: &str = "Examples:
  threeport pause workload/web                 one object
  threeport pause cluster/prod                 a target, and everything on it
  threeport pause plugin/workload              all objects of a plugin's kinds";

pub(crate) const RESUME_EXAMPLES: &str = "Examples:
  threeport resume workload/web
  threeport resume cluster/prod plugin/workload";

const ANNOTATION: &str = "threeport.dev/paused";

/// Arguments of `pause` and `resume`.
#[derive(Args, Debug)]
pub struct Pause {
    /// TYPE/NAME ..., or TYPE NAME ...
    #[arg(value_name = "TYPE/NAME", required = true)]
    names: Vec<String>,
}

pub(crate) async fn run(connection: &Connection, args: Pause, paused: bool) -> Result<()> {
    let server = server(connection).await?;
    let kinds = Kinds::of(&server).await?;
    let selection = Objects { names: args.names, ..Objects::default() }.select(&server, &kinds)?;
    if selection.iter().any(|selected| selected.name.is_none()) {
        bail!("name the objects: TYPE/NAME");
    }
    let value = paused.then_some("true");
    let patch = json!({"metadata": {"annotations": {ANNOTATION: value}}});
    let done = if paused { "paused" } else { "resumed" };
    for selected in &selection {
        let object = server.send("PATCH", &selected.path(), "application/merge-patch+json", &patch).await?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        writeln!(std::io::stdout(), "{} {done}", selected.kind.object(name))?;
        if !paused && object["spec"]["paused"] == true && selected.kind.plural == "plugins" {
            writeln!(std::io::stderr(), "its spec.paused is true: it stays paused until that is false")?;
        }
    }
    Ok(())
}

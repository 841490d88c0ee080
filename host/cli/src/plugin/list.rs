//! `threeport plugin list`.

use std::io::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::deploy::kind;
use crate::Connection;
use crate::connect::server;
use crate::follow::condition;
use crate::output::{Output, columns, without_managed_fields};

pub(super) const EXAMPLES: &str = "Examples:
  threeport plugin list
  threeport plugin list -o wide       with whole digests and messages
  threeport plugin list -o yaml";

/// Arguments of `plugin list`.
#[derive(Args, Debug)]
pub struct List {
    /// wide, yaml, json, name, jsonpath=TEMPLATE [default: a table]
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

pub(super) async fn run(connection: &Connection, args: List) -> Result<()> {
    let output = Output::parse(args.output.as_deref())?;
    let server = server(connection).await?;
    let kind = kind();
    let mut list = server.get(&kind.collection(None)).await?;
    let Value::Array(mut plugins) = list["items"].take() else { return Ok(()) };
    let mut out = std::io::stdout().lock();
    let Output::Table { wide } = output else {
        plugins.iter_mut().for_each(without_managed_fields);
        let objects = plugins.into_iter().map(|plugin| (kind.clone(), plugin)).collect();
        return output.objects(&mut out, objects, false);
    };
    if plugins.is_empty() {
        writeln!(std::io::stderr(), "No plugins: `threeport plugin push FILE` makes one")?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = plugins.iter().map(|plugin| row(plugin, wide)).collect();
    let mut headers = vec!["NAME", "VERSION", "READY", "STATE", "GRANTS", "KINDS", "DIGEST"];
    if wide {
        headers.push("MESSAGE");
    }
    columns(&mut out, "", &headers, &rows)?;
    Ok(out.flush()?)
}

fn row(plugin: &Value, wide: bool) -> Vec<String> {
    let text = |pointer: &str| plugin.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    let ready = condition(plugin, "Ready");
    let said = |key: &str, otherwise: &str| ready.and_then(|ready| ready[key].as_str()).unwrap_or(otherwise).to_owned();
    let kinds: Vec<&str> =
        plugin["status"]["kinds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let grants = match condition(plugin, "GrantsApproved").and_then(|gate| gate["status"].as_str()) {
        Some("False") => "pending",
        _ if plugin["status"]["requestedGrants"].as_array().is_none_or(Vec::is_empty) => "none",
        Some("True") => "approved",
        _ => "-",
    };
    let digest = text("/status/digest");
    let digest = if wide { digest } else { digest.chars().take("sha256:".len() + 12).collect() };
    let kinds = if kinds.is_empty() { "-".to_owned() } else { kinds.join(",") };
    let mut row = vec![
        text("/metadata/name"),
        text("/status/version"),
        said("status", "Unknown"),
        said("reason", "NotReconciled"),
        grants.to_owned(),
        kinds,
        digest,
    ];
    if wide {
        row.push(said("message", ""));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_version_that_waits_for_approval_is_shown_beside_the_one_that_serves() {
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "m", "observedGeneration": 1});
        let plugin = json!({"metadata": {"name": "pages", "generation": 1}, "status": {
            "version": "1.0.0", "digest": "sha256:0123456789abcdef", "kinds": ["Page"], "requestedGrants": [{"capability": "kubernetes"}],
            "conditions": [condition("Ready", "False", "GrantsNotApproved"), condition("GrantsApproved", "False", "GrantsNotApproved")]}});
        assert_eq!(
            row(&plugin, false),
            ["pages", "1.0.0", "False", "GrantsNotApproved", "pending", "Page", "sha256:0123456789ab"]
        );
        assert_eq!(row(&plugin, true).last().map(String::as_str), Some("m"));
        let fresh = json!({"metadata": {"name": "new", "generation": 1}});
        assert_eq!(row(&fresh, false), ["new", "-", "Unknown", "NotReconciled", "none", "-", "-"]);
    }
}

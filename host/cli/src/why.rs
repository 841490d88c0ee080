//! `threeport why`.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::Connection;
use crate::connect::server;
use crate::output::{Output, printable};
use crate::time::{ago, until};
use crate::tree::{named, print, view};

pub(crate) const EXAMPLES: &str = "Examples:
  threeport why workload/web
  threeport why workload web -n shop
  threeport why workload/web -o jsonpath='{.summary}'";

/// Arguments of `why`.
#[derive(Args, Debug)]
pub struct Why {
    /// TYPE/NAME, or TYPE NAME
    #[arg(value_name = "TYPE/NAME", required = true, num_args = 1..=2)]
    object: Vec<String>,
    /// yaml, json: the document as the server made it
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

pub(crate) async fn run(connection: &Connection, args: Why) -> Result<()> {
    let output = Output::parse(args.output.as_deref())?;
    let server = server(connection).await?;
    let why = view(&server, args.object, "why").await?;
    let mut out = std::io::stdout().lock();
    print(&mut out, &output, &why, |out| {
        let mut text = Vec::new();
        tell(&mut text, &why)?;
        Ok(out.write_all(printable(&String::from_utf8_lossy(&text)).as_bytes())?)
    })?;
    Ok(out.flush()?)
}

/// The chain, one object a paragraph, and the first cause at the end.
fn tell(out: &mut impl Write, why: &Value) -> Result<()> {
    let chain = why["chain"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, step) in chain.iter().enumerate() {
        let object = &step["object"];
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let because = if index == 0 { String::new() } else { format!("{}because of ", "  ".repeat(index)) };
        let via = match (step["via"]["field"].as_str(), step["relation"].as_str()) {
            (Some(field), None) => format!(" ({field})"),
            (Some(field), Some(relation)) => format!(" ({relation}, by its {field})"),
            (None, Some(relation)) => format!(" ({relation})"),
            (None, None) => String::new(),
        };
        let is = match (text("ready"), object["uid"].is_null()) {
            (_, true) if text("reason") == "Forbidden" => "is not yours to see",
            (_, true) => "is missing",
            _ if object["deleting"] == true => "is being deleted",
            ("True", _) => "is Ready",
            ("False", _) => "is not Ready",
            _ => "may or may not be Ready",
        };
        let since = object["since"].as_str().map(|since| format!(" since {}", ago(since))).unwrap_or_default();
        writeln!(out, "{because}{}{via} {is}{since}: {}", named(object), text("reason"))?;
        let indent = "  ".repeat(index + 1);
        if !text("message").is_empty() {
            writeln!(out, "{indent}{}", text("message"))?;
        }
        details(out, &indent, step)?;
    }
    if chain.len() > 1 {
        writeln!(out, "First cause: {}", why["summary"].as_str().unwrap_or_default())?;
    }
    Ok(())
}

fn details(out: &mut impl Write, indent: &str, step: &Value) -> Result<()> {
    for condition in step["conditions"].as_array().into_iter().flatten() {
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        // These two say again what Ready says.
        if !matches!(text("type"), "Reconciling" | "Stalled") {
            writeln!(out, "{indent}{}={} {}: {}", text("type"), text("status"), text("reason"), text("message"))?;
        }
    }
    for placed in step["targets"].as_array().into_iter().flatten() {
        let text = |key: &str| placed[key].as_str().unwrap_or_default();
        let refused = placed["error"]["message"].as_str().map(|why| format!(", refused: {why}")).unwrap_or_default();
        let message = if text("message").is_empty() { String::new() } else { format!(": {}", text("message")) };
        writeln!(
            out,
            "{indent}{} on {} is {}{message}{refused}",
            named(placed),
            named(&placed["target"]),
            text("health")
        )?;
    }
    for other in step["alsoWaitsFor"].as_array().into_iter().flatten() {
        writeln!(out, "{indent}it also waits for {}: {}", named(other), other["reason"].as_str().unwrap_or_default())?;
    }
    if let Some(more) = step["alsoWaitsForMore"].as_u64() {
        writeln!(out, "{indent}and for {more} more")?;
    }
    if let Some(work) = step["work"].as_object() {
        let time = |key: &str| work.get(key).and_then(Value::as_str);
        let mut said = Vec::new();
        if let Some(plugin) = time("plugin") {
            said.push(format!("plugin {plugin}"));
        }
        if let Some(attempts) = work["attempts"].as_u64().filter(|attempts| *attempts > 0) {
            said.push(format!("{attempts} failed run{} in a row", if attempts == 1 { "" } else { "s" }));
        }
        if let Some(last) = last_run(&step["work"]) {
            said.push(format!("last run {last}"));
        }
        if let Some(next) = next_run(&step["work"]) {
            said.push(format!("next run {next}"));
        }
        writeln!(out, "{indent}[{}]", said.join(", "))?;
    }
    Ok(())
}

/// What class and cause mean, for people.
fn because(of: &Value) -> &str {
    match (of["cause"].as_str(), of["class"].as_str()) {
        (Some("retry"), _) => "to try again after a failure",
        (Some("look-again"), _) => "to look at what is on its way",
        (Some("requeue"), _) => "because the plugin asked for it",
        (Some("resync"), _) | (None, Some("resync")) => "to look whether all is as it should be",
        (Some("paused"), _) => "to look whether it is paused still",
        (Some(other), _) => other,
        (None, Some("user")) => "because it was changed",
        (None, Some("dependency")) => "because something it depends on changed",
        (None, Some("drift")) => "because something on a target changed",
        (None, _) => "for no reason that is known",
    }
}

/// When the last run was, what came of it, who ran it and why.
pub(crate) fn last_run(work: &Value) -> Option<String> {
    let at = work["lastRun"].as_str()?;
    let last = &work["last"];
    let mut said = format!("{} ago", ago(at));
    if let Some(outcome) = last["outcome"].as_str() {
        let verdict = last["verdict"].as_str().map(|verdict| format!(" ({verdict})")).unwrap_or_default();
        let took = last["tookSeconds"].as_f64().unwrap_or(0.0);
        let host = last["host"].as_str().unwrap_or_default();
        said.push_str(&format!(" {outcome}{verdict} on {host} in {:.0}ms, {}", took * 1000.0, because(last)));
    }
    Some(said)
}

/// When the next run is, and why.
pub(crate) fn next_run(work: &Value) -> Option<String> {
    if work["running"] == true {
        return Some("is under way".to_owned());
    }
    let next = work["nextRun"].as_str().and_then(until)?;
    Some(format!("in {next} {}", because(work)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_chain_is_told_down_to_the_first_cause() {
        let why = json!({"summary": "Secret shop/key does not exist: create it", "chain": [
            {"object": {"kind": "Kite", "namespace": "shop", "name": "red", "uid": "1", "ready": "False", "reason": "Waiting", "message": "for Place here"},
             "work": {"plugin": "toys", "running": false, "attempts": 2, "class": "drift", "cause": "retry", "nextRun": "2000-01-01T00:00:00Z",
                "lastRun": "2000-01-01T00:00:00Z",
                "last": {"outcome": "failed", "verdict": "Torn", "host": "one", "tookSeconds": 0.012, "class": "user"}},
             "targets": [{"kind": "Service", "namespace": "shop", "name": "red", "health": "failed", "message": "no port",
                "target": {"kind": "Place", "namespace": "shop", "name": "here"}}]},
            {"via": {"field": "spec.secret", "role": "uses"},
             "object": {"kind": "Secret", "namespace": "shop", "name": "key", "ready": "False", "reason": "NotFound", "message": "create it"}},
        ]});
        let mut out = Vec::new();
        tell(&mut out, &why).expect("told");
        let text = String::from_utf8(out).expect("text");
        for part in [
            "Kite shop/red is not Ready: Waiting\n  for Place here\n",
            "  Service shop/red on Place shop/here is failed: no port\n",
            " ago failed (Torn) on one in 12ms, because it was changed, next run in 0s to try again after a failure]\n",
            "  because of Secret shop/key (spec.secret) is missing: NotFound\n",
            "First cause: Secret shop/key does not exist: create it\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}

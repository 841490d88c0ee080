//! `threeport describe`.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};

use crate::connect::{Server, server};
use crate::failure::Told;
use crate::kinds::{Kind, Kinds};
use crate::output::{columns, printable};
use crate::select::{Objects, Selected, fetch};
use crate::time::ago;
use crate::{Connection, events, output, tree, why};

pub(crate) const EXAMPLES: &str = "Examples:
  threeport describe workload web
  threeport describe workload/web cluster/prod
  threeport describe workloads -l tier=front -n shop";

/// Keys whose values nobody is to read over a shoulder.
const HIDDEN: [&str; 2] = ["data", "stringData"];

/// Arguments of `describe`.
#[derive(Args, Debug)]
pub struct Describe {
    #[command(flatten)]
    objects: Objects,
    /// Without the events
    #[arg(long)]
    no_events: bool,
}

pub(crate) async fn run(connection: &Connection, args: Describe) -> Result<()> {
    let server = server(connection).await?;
    let kinds = Kinds::of(&server).await?;
    let selection = args.objects.select(&server, &kinds)?;
    let (found, failed) = fetch(&server, &selection, &args.objects, false).await?;
    if found.is_empty() && !failed {
        writeln!(std::io::stderr(), "No resources found in {} namespace.", server.namespace)?;
    }
    for (index, (kind, object)) in found.iter().enumerate() {
        if index > 0 {
            write!(std::io::stdout(), "\n\n")?;
        }
        let text = describe(&server, kind, object, !args.no_events).await?;
        std::io::stdout().write_all(&text)?;
    }
    if failed { Err(Told.into()) } else { Ok(()) }
}

async fn describe(server: &Server, kind: &Kind, object: &Value, with_events: bool) -> Result<Vec<u8>> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let selected = Selected {
        kind: kind.clone(),
        name: text("/metadata/name").map(str::to_owned),
        namespace: text("/metadata/namespace").map(str::to_owned),
    };
    let tree = tree::of(server, &selected, "tree").await?;
    let mut out = Vec::new();
    head(&mut out, object)?;
    for part in object.as_object().into_iter().flatten().filter(|(key, _)| !is_known(key)) {
        body(&mut out, kind, part)?;
    }
    status(&mut out, object)?;
    links(&mut out, "References", tree["root"]["references"].as_array())?;
    links(&mut out, "Used by", tree["referrers"].as_array())?;
    children(&mut out, tree["root"]["children"].as_array())?;
    inventory(&mut out, tree["root"]["inventory"].as_array())?;
    runs(&mut out, &tree["work"])?;
    if with_events {
        let events = events::about(server, object).await?;
        if events.is_empty() {
            writeln!(out, "Events:  <none>")?;
        } else {
            writeln!(out, "Events:")?;
            events::print(&mut out, "  ", &events)?;
        }
    }
    Ok(out)
}

fn is_known(key: &str) -> bool {
    matches!(key, "apiVersion" | "kind" | "metadata" | "status")
}

fn head(out: &mut Vec<u8>, object: &Value) -> Result<()> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut say = |key: &str, value: &str| {
        let key = if key.is_empty() { String::new() } else { format!("{key}:") };
        writeln!(out, "{key:<14}{}", printable(value))
    };
    say("Name", text("/metadata/name"))?;
    if !text("/metadata/namespace").is_empty() {
        say("Namespace", text("/metadata/namespace"))?;
    }
    say("Kind", &format!("{} ({})", text("/kind"), text("/apiVersion")))?;
    for (title, pointer) in [("Labels", "/metadata/labels"), ("Annotations", "/metadata/annotations")] {
        let pairs = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        // What was applied last is the object again.
        let pairs = pairs.filter(|(key, _)| *key != "kubectl.kubernetes.io/last-applied-configuration");
        let pairs: Vec<String> =
            pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        say(title, pairs.first().map_or("<none>", String::as_str))?;
        for pair in pairs.iter().skip(1) {
            say("", pair)?;
        }
    }
    let created = text("/metadata/creationTimestamp");
    say("Created", &format!("{} ago ({created})", ago(created)))?;
    if let Some(deleted) = object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str) {
        say("Deleting", &format!("for {} ({deleted})", ago(deleted)))?;
    }
    if let Some(generation) = object.pointer("/metadata/generation").and_then(Value::as_i64) {
        let seen = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
        let seen = seen.map_or("not looked at yet".to_owned(), |seen| format!("looked at: {seen}"));
        say("Generation", &format!("{generation} ({seen})"))?;
    }
    Ok(())
}

/// A part of the object beside metadata and status: indented YAML. Of a Secret, sizes.
fn body(out: &mut Vec<u8>, kind: &Kind, (key, value): (&String, &Value)) -> Result<()> {
    let mut rest = key.chars();
    let title: String = rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect();
    let secret = kind.group.is_empty() && kind.plural == "secrets" && HIDDEN.contains(&key.as_str());
    let hidden = value.as_object().filter(|_| secret).map(|data| {
        let size = |value: &Value| value.as_str().unwrap_or_default().trim_end_matches('=').len() * 3 / 4;
        Value::Object(data.iter().map(|(key, value)| (key.clone(), format!("{} bytes", size(value)).into())).collect())
    });
    block(out, &title, hidden.as_ref().unwrap_or(value))
}

fn block(out: &mut Vec<u8>, title: &str, value: &Value) -> Result<()> {
    if !value.is_object() && !value.is_array() {
        return Ok(writeln!(
            out,
            "{:<14}{}",
            format!("{title}:"),
            printable(&value.as_str().map_or(value.to_string(), str::to_owned))
        )?);
    }
    writeln!(out, "{title}:")?;
    let mut yaml = Vec::new();
    output::yaml(&mut yaml, value)?;
    for line in String::from_utf8_lossy(&yaml).lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn status(out: &mut Vec<u8>, object: &Value) -> Result<()> {
    let Some(status) = object["status"].as_object() else { return Ok(()) };
    let own: Map<String, Value> = status
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "conditions" | "observedGeneration"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !own.is_empty() {
        block(out, "Status", &Value::Object(own))?;
    }
    let Some(conditions) = status.get("conditions").and_then(Value::as_array).filter(|all| !all.is_empty()) else {
        return Ok(());
    };
    writeln!(out, "Conditions:")?;
    let rows: Vec<Vec<String>> = conditions
        .iter()
        .map(|condition| {
            let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
            let age = condition["lastTransitionTime"].as_str().map(ago).unwrap_or_default();
            vec![text("type"), text("status"), text("reason"), age, text("message").replace('\n', " ")]
        })
        .collect();
    columns(out, "  ", &["TYPE", "STATUS", "REASON", "AGE", "MESSAGE"], &rows)
}

/// The last run and the next one; nothing where nobody works on it.
fn runs(out: &mut Vec<u8>, work: &Value) -> Result<()> {
    let mut say = |title: &str, said: Option<String>| match said {
        Some(said) => writeln!(out, "{title:<14}{}", printable(&said)),
        None => Ok(()),
    };
    say("Last run:", why::last_run(work))?;
    Ok(say("Next run:", why::next_run(work))?)
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn links(out: &mut Vec<u8>, title: &str, all: Option<&Vec<Value>>) -> Result<()> {
    let Some(all) = all.filter(|all| !all.is_empty()) else { return Ok(()) };
    writeln!(out, "{title}:")?;
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|link| {
            let object = &link["object"];
            vec![
                text(link, "field"),
                tree::named(object),
                text(link, "role"),
                text(object, "ready"),
                text(object, "reason"),
            ]
        })
        .collect();
    columns(out, "  ", &["FIELD", "OBJECT", "ROLE", "READY", "REASON"], &rows)
}

fn children(out: &mut Vec<u8>, all: Option<&Vec<Value>>) -> Result<()> {
    let Some(all) = all.filter(|all| !all.is_empty()) else { return Ok(()) };
    writeln!(out, "Children:")?;
    let rows: Vec<Vec<String>> =
        all.iter().map(|child| vec![tree::named(child), text(child, "ready"), text(child, "reason")]).collect();
    columns(out, "  ", &["OBJECT", "READY", "REASON"], &rows)
}

fn inventory(out: &mut Vec<u8>, all: Option<&Vec<Value>>) -> Result<()> {
    let Some(all) = all.filter(|all| !all.is_empty()) else { return Ok(()) };
    writeln!(out, "On targets:")?;
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|placed| {
            let why = placed["error"]["message"]
                .as_str()
                .map_or_else(|| text(placed, "message"), |why| format!("refused: {why}"));
            vec![tree::named(placed), tree::named(&placed["target"]), text(placed, "health"), why]
        })
        .collect();
    columns(out, "  ", &["OBJECT", "TARGET", "HEALTH", "WHY"], &rows)
}

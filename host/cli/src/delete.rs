//! `threeport delete`.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::Connection;
use crate::connect::{Server, server};
use crate::failure::{self, Told};
use crate::kinds::{Kind, Kinds};
use crate::select::Objects;
use crate::time::duration;
use crate::wait;

pub(crate) const EXAMPLES: &str = "Examples:
  threeport delete workload web
  threeport delete workload/web cluster/prod --timeout=2m
  threeport delete -f site.yaml
  threeport delete workloads -l tier=front --wait=false
  threeport delete stack/shop --cascade=foreground";

/// Without a timeout, wait as long as kubectl does.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Arguments of `delete`.
#[derive(Args, Debug)]
pub struct Delete {
    #[command(flatten)]
    objects: Objects,
    /// All objects of the type, in the namespace
    #[arg(long)]
    all: bool,
    /// Wait until they are gone
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    wait: bool,
    /// What becomes of the objects that they own
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Cascade::Background, num_args = 0..=1, require_equals = true, default_missing_value = "background")]
    cascade: Cascade,
    /// Give up waiting after this time; 0 waits as long as it takes
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    timeout: Duration,
    /// It is no failure if something is not there
    #[arg(long)]
    ignore_not_found: bool,
    /// server: see whether it could be deleted, and do nothing
    #[arg(long, value_name = "HOW", value_parser = ["none", "server"], default_value = "none")]
    dry_run: String,
    /// name: the names alone
    #[arg(short, long, value_name = "FORMAT", value_parser = ["name"])]
    output: Option<String>,
}

/// What becomes of owned objects.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cascade {
    /// They go afterwards
    Background,
    /// They go first
    Foreground,
    /// They stay
    Orphan,
}

impl Cascade {
    fn policy(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

pub(crate) async fn run(connection: &Connection, args: Delete) -> Result<()> {
    let server = server(connection).await?;
    let kinds = Kinds::of(&server).await?;
    let selection = args.objects.select(&server, &kinds)?;
    args.objects.told_which(&selection, args.all)?;
    let (mut places, mut found) = (Vec::new(), false);
    for selected in &selection {
        match &selected.name {
            Some(name) => places.push((selected.kind.clone(), selected.namespace().to_owned(), name.clone())),
            None => places.extend(wait::members(&server, selected, &args.objects).await?),
        }
    }
    if places.is_empty() {
        writeln!(std::io::stdout(), "No resources found")?;
        return Ok(());
    }
    let (mut going, mut failed) = (Vec::new(), false);
    // Files are deleted from the end: what comes later in a file uses what comes before it.
    if !args.objects.filename.is_empty() {
        places.reverse();
    }
    for place in places {
        match args.delete(&server, &place).await {
            Ok(uid) => {
                found = true;
                args.say(&place)?;
                going.push((place, uid));
            }
            Err(error) if args.ignore_not_found && failure::is_not_found(&error) => {}
            Err(error) => {
                failure::tell(&error);
                failed = true;
            }
        }
    }
    if found && args.wait && args.dry_run == "none" {
        failed |= !args.gone(&server, going).await?;
    }
    if failed { Err(Told.into()) } else { Ok(()) }
}

impl Delete {
    /// Asks for the deletion; answers the uid of what goes.
    async fn delete(&self, server: &Server, (kind, namespace, name): &(Kind, String, String)) -> Result<String> {
        let mut options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": self.cascade.policy()});
        if self.dry_run == "server" {
            // With a body, servers read no options from the query.
            options["dryRun"] = json!(["All"]);
        }
        let path = kind.path(namespace, name);
        let answer = server.send("DELETE", &path, "application/json", &options).await?;
        let uid = answer.pointer("/details/uid").or_else(|| answer.pointer("/metadata/uid"));
        Ok(uid.and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    fn say(&self, (kind, namespace, name): &(Kind, String, String)) -> Result<()> {
        let mut out = std::io::stdout();
        if self.output.is_some() {
            return Ok(writeln!(out, "{}", kind.object(name))?);
        }
        let from = if namespace.is_empty() { String::new() } else { format!(" from {namespace} namespace") };
        let dry = if self.dry_run == "server" { " (server dry run)" } else { "" };
        Ok(writeln!(out, "{} \"{name}\" deleted{from}{dry}", kind.qualified())?)
    }

    /// Waits until what was deleted is gone. An object of the same name that came after it does not count.
    async fn gone(&self, server: &Server, going: Vec<((Kind, String, String), String)>) -> Result<bool> {
        let timeout = if self.timeout.is_zero() { WEEK } else { self.timeout };
        let (places, uids): (Vec<_>, Vec<_>) = going.into_iter().unzip();
        let gone = |object: Option<&Value>| {
            object.is_none_or(|object| {
                object["metadata"]["uid"].as_str().is_some_and(|uid| !uids.iter().any(|going| going == uid))
            })
        };
        wait::quietly(server, &places, timeout, gone).await.context("wait until they are gone")
    }
}

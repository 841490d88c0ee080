//! `threeport apply`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use crate::Connection;
use crate::connect::{Server, optional, query, server};
use crate::failure::{self, Told};
use crate::follow::condition;
use crate::kinds::{Kind, Kinds};
use crate::manifests::{self, Document};
use crate::output::{Output, without_managed_fields};
use crate::time::duration;
use crate::wait;

pub(crate) const EXAMPLES: &str = "Examples:
  threeport apply -f site.yaml
  threeport apply -f deploy/ -R --wait --timeout=5m
  threeport apply -f site.yaml --dry-run=server -o yaml
  generate | threeport apply -f -
  threeport apply -f site.yaml --force-conflicts      take fields over that another manager set";

/// How long a kind that was defined by the same files may take to be served.
const SERVED: Duration = Duration::from_secs(10);

/// Where definitions of kinds are.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Annotation of a definition: who reconciles its kind.
const PLUGIN: &str = "threeport.dev/plugin";

/// Arguments of `apply`.
#[derive(Args, Debug)]
pub struct Apply {
    /// Files or directories with objects; - for stdin
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// Go into the directories of --filename
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Take over fields that another manager set to something else
    #[arg(long)]
    force_conflicts: bool,
    /// Who is to own the fields
    #[arg(long, value_name = "NAME", default_value = "threeport")]
    field_manager: String,
    /// server: say what would come of it, and do nothing
    #[arg(long, value_name = "HOW", value_parser = ["none", "server"], default_value = "none")]
    dry_run: String,
    /// What becomes of fields that the kind does not have: strict refuses, warn says, ignore drops them
    #[arg(long, value_name = "HOW", value_parser = ["strict", "warn", "ignore"], default_value = "strict")]
    validate: String,
    /// Afterwards, wait until every object with conditions is Ready
    #[arg(long)]
    wait: bool,
    /// With --wait: give up after this time
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    timeout: Duration,
    /// wide, yaml, json, name, jsonpath=TEMPLATE: print the objects instead of what happened to them
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

pub(crate) async fn run(connection: &Connection, args: Apply) -> Result<()> {
    let output = Output::parse(args.output.as_deref())?;
    let documents = manifests::read(&args.filename, args.recursive)?;
    let server = server(connection).await?;
    let mut kinds = Kinds::of(&server).await?;
    let (mut applied, mut failed) = (Vec::new(), false);
    for document in documents {
        match args.document(&server, &mut kinds, &document, !applied.is_empty()).await {
            Ok((kind, before, mut after)) => {
                let mut out = std::io::stdout().lock();
                if args.output.is_some() {
                    without_managed_fields(&mut after);
                    if matches!(output, Output::Yaml) && !applied.is_empty() {
                        writeln!(out, "---")?;
                    }
                    output.object(&mut out, &kind, &after)?;
                } else {
                    let dry = if args.dry_run == "server" { " (server dry run)" } else { "" };
                    let name = after["metadata"]["name"].as_str().unwrap_or_default();
                    writeln!(out, "{} {}{dry}", kind.object(name), outcome(before.as_ref(), &after))?;
                }
                out.flush()?;
                applied.push((kind, after));
            }
            Err(error) => {
                failure::tell(&error);
                failed = true;
            }
        }
    }
    if args.wait && args.dry_run == "none" {
        failed |= !ready(&server, applied, args.timeout).await?;
    }
    if failed { Err(Told.into()) } else { Ok(()) }
}

/// What happened, in kubectl's words. A dry run changes no resourceVersion, so the whole is compared.
fn outcome(before: Option<&Value>, after: &Value) -> &'static str {
    let plain = |object: &Value| {
        let mut object = object.clone();
        without_managed_fields(&mut object);
        object
    };
    match before {
        None => "created",
        Some(before) if plain(before) != plain(after) => "configured",
        Some(_) => "unchanged",
    }
}

/// Waits until what has conditions is Ready.
async fn ready(server: &Server, applied: Vec<(Kind, Value)>, timeout: Duration) -> Result<bool> {
    let reconciled = reconciled(server).await?;
    let places: Vec<(Kind, String, String)> = applied
        .into_iter()
        .filter(|(kind, _)| reconciled.contains(&format!("{}.{}", kind.plural, kind.group)))
        .map(|(kind, object)| {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            (kind, namespace, name)
        })
        .collect();
    let is_ready = |object: Option<&Value>| {
        object.and_then(|object| condition(object, "Ready")).is_some_and(|ready| ready["status"] == "True")
    };
    let met = |place: &(Kind, String, String)| Some(format!("{} is Ready", place.0.object(&place.2)));
    wait::all(server, &places, timeout, is_ready, met).await
}

/// Names of the definitions whose objects are looked after by a plugin: those come to be Ready.
async fn reconciled(server: &Server) -> Result<Vec<String>> {
    let definitions = optional(server.get(DEFINITIONS).await)?;
    let all = definitions.as_ref().and_then(|list| list["items"].as_array()).into_iter().flatten();
    let served = all.filter(|definition| definition["metadata"]["annotations"].get(PLUGIN).is_some());
    let names = served.filter_map(|definition| definition["metadata"]["name"].as_str().map(str::to_owned));
    Ok(names.chain(["plugins.threeport.dev".to_owned()]).collect())
}

impl Apply {
    /// Applies one object; answers its kind, what it was, and what it is.
    async fn document(
        &self,
        server: &Server,
        kinds: &mut Kinds,
        document: &Document,
        others: bool,
    ) -> Result<(Kind, Option<Value>, Value)> {
        let (kind, namespace) = match document.place(server, kinds) {
            Ok((kind, namespace)) => (kind.clone(), namespace),
            // Its kind may be defined by what was applied just now.
            Err(unknown) if others => {
                let deadline = tokio::time::Instant::now() + SERVED;
                loop {
                    *kinds = Kinds::of(server).await?;
                    match document.place(server, kinds) {
                        Ok((kind, namespace)) => break (kind.clone(), namespace),
                        Err(_) if tokio::time::Instant::now() < deadline && defines(server, document).await? => {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        Err(_) => return Err(unknown),
                    }
                }
            }
            Err(unknown) => return Err(unknown),
        };
        let mut object = document.object.clone();
        if let Some(namespace) = &namespace {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        let name = document.name()?;
        let path = kind.path(namespace.as_deref().unwrap_or_default(), name);
        let before = optional(server.get(&path).await)?;
        let dry = if self.dry_run == "server" { "All" } else { "" };
        let validation = match self.validate.as_str() {
            "warn" => "Warn",
            "ignore" => "Ignore",
            _ => "Strict",
        };
        let force = if self.force_conflicts { "true" } else { "" };
        let parameters = [
            ("fieldManager", self.field_manager.as_str()),
            ("fieldValidation", validation),
            ("dryRun", dry),
            ("force", force),
        ];
        let target = format!("{path}{}", query(&parameters));
        let after = server.send("PATCH", &target, "application/apply-patch+yaml", &object).await;
        let after = after.map_err(|error| conflicts(error.into()));
        let after = after.with_context(|| format!("error when applying {:?}", document.source))?;
        Ok((kind, before, after))
    }
}

/// Whether a stored definition has the document's kind, so that it is about to be served.
async fn defines(server: &Server, document: &Document) -> Result<bool> {
    let definitions = optional(server.get(DEFINITIONS).await)?;
    let version = document.object["apiVersion"].as_str().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let found = definitions.iter().flat_map(|list| list["items"].as_array()).flatten().any(|definition| {
        definition["spec"]["group"] == group && definition["spec"]["names"]["kind"] == document.object["kind"]
    });
    Ok(found)
}

/// Fields that somebody else owns: named with the way out.
fn conflicts(error: anyhow::Error) -> anyhow::Error {
    let causes = failure::status(&error)
        .filter(|status| status.code == 409)
        .and_then(|status| status.details.as_ref())
        .map(|details| &details.causes)
        .filter(|causes| causes.iter().any(|cause| cause.reason == "FieldManagerConflict"));
    let Some(causes) = causes else { return error };
    let listed: String = causes.iter().map(|cause| format!("\n  {}: {}", cause.field, cause.message)).collect();
    anyhow::anyhow!(
        "Apply failed with {} conflict{}:{listed}\nto take these fields over, add --force-conflicts; to leave them to who has them, take them out of the file",
        causes.len(),
        if causes.len() == 1 { "" } else { "s" },
    )
}

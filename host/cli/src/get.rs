//! `threeport get`.

use std::cmp::Ordering;
use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::connect::{Server, query, server};
use crate::failure::{self, Told};
use crate::kinds::{Kind, Kinds};
use crate::output::{Look, Output, Printer, Template, without_managed_fields};
use crate::select::{Objects, Selected, fetch};
use crate::{Connection, watch};

pub(crate) const EXAMPLES: &str = "Examples:
  threeport get workloads                          all Workloads of the namespace
  threeport get workload web -o yaml               one, whole
  threeport get workload/web cluster/prod          several of several types
  threeport get workloads,clusters -A -o wide      two types in every namespace
  threeport get workloads -l tier=front -w         what has a label, and follow it
  threeport get workload web -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].message}'";

/// Arguments of `get`.
#[derive(Args, Debug)]
pub struct Get {
    #[command(flatten)]
    objects: Objects,
    /// wide, yaml, json, name, jsonpath=TEMPLATE [default: a table]
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// Go on and show changes as they come
    #[arg(short, long)]
    watch: bool,
    /// Show changes only, not what is there now
    #[arg(long)]
    watch_only: bool,
    /// With --watch: say of each line whether it was added, modified or deleted
    #[arg(long)]
    output_watch_events: bool,
    /// It is no failure if something is not there
    #[arg(long)]
    ignore_not_found: bool,
    /// A column with the labels
    #[arg(long)]
    show_labels: bool,
    /// No line with the names of the columns
    #[arg(long)]
    no_headers: bool,
    /// Order by the value of a field: .metadata.creationTimestamp
    #[arg(long, value_name = "JSONPATH")]
    sort_by: Option<String>,
    /// Show metadata.managedFields too
    #[arg(long)]
    show_managed_fields: bool,
}

pub(crate) async fn run(connection: &Connection, args: Get) -> Result<()> {
    let output = Output::parse(args.output.as_deref())?;
    let sort = args.sort_by.as_deref().map(Template::path).transpose()?;
    let server = server(connection).await?;
    let kinds = Kinds::of(&server).await?;
    let selection = args.objects.select(&server, &kinds)?;
    let following = args.watch || args.watch_only;
    if following {
        let [selected] = selection.as_slice() else {
            bail!("you may only specify a single resource type, and at most one name of it, to watch");
        };
        let look = args.look(&output, &selected.kind, None);
        let options = watch::Options {
            only: args.watch_only,
            events: args.output_watch_events,
            managed: args.show_managed_fields,
        };
        return watch::follow(&server, selected, &args.objects, &output, look, options).await;
    }
    match output {
        Output::Table { .. } => args.tables(&server, &selection, &output, sort.as_ref()).await,
        _ => args.whole(&server, &selection, &output, sort.as_ref()).await,
    }
}

/// Values in the order that `--sort-by` means: numbers as such, everything else as text.
fn order(path: &Template, a: &Value, b: &Value) -> Ordering {
    let text = |value: &Value| path.render(value).unwrap_or_default();
    let (a, b) = (text(a), text(b));
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(&b),
    }
}

/// Adds the rows of a table to those of another one with the same columns.
fn append(table: &mut Value, mut more: Value) {
    if let (Some(rows), Value::Array(more)) = (table["rows"].as_array_mut(), more["rows"].take()) {
        rows.extend(more);
    }
}

impl Get {
    fn look<'a>(&self, output: &Output, kind: &Kind, prefix: Option<&'a str>) -> Look<'a> {
        Look {
            wide: matches!(output, Output::Table { wide: true }),
            namespaces: self.objects.all_namespaces && kind.namespaced,
            labels: self.show_labels,
            prefix,
            no_headers: self.no_headers,
        }
    }

    async fn whole(
        &self,
        server: &Server,
        selection: &[Selected],
        output: &Output,
        sort: Option<&Template>,
    ) -> Result<()> {
        let (mut found, failed) = fetch(server, selection, &self.objects, self.ignore_not_found).await?;
        if !self.show_managed_fields {
            found.iter_mut().for_each(|(_, object)| without_managed_fields(object));
        }
        if let Some(path) = sort {
            found.sort_by(|(_, a), (_, b)| order(path, a, b));
        }
        let single = matches!(selection, [Selected { name: Some(_), .. }]);
        let mut out = std::io::stdout().lock();
        if !(found.is_empty() && (single || failed)) {
            output.objects(&mut out, found, single)?;
        }
        out.flush()?;
        if failed { Err(Told.into()) } else { Ok(()) }
    }

    async fn tables(
        &self,
        server: &Server,
        selection: &[Selected],
        output: &Output,
        sort: Option<&Template>,
    ) -> Result<()> {
        let mut tables: Vec<(Kind, Value)> = Vec::new();
        let mut failed = false;
        for selected in selection {
            match self.table(server, selected).await {
                Ok(table) => match tables.last_mut() {
                    // Several names of one type make one table.
                    Some((kind, last)) if *kind == selected.kind => append(last, table),
                    _ => tables.push((selected.kind.clone(), table)),
                },
                Err(error) => failed |= failure::go_on(error, selection.len() > 1, self.ignore_not_found)?,
            }
        }
        let several = {
            let mut kinds: Vec<&Kind> = selection.iter().map(|selected| &selected.kind).collect();
            kinds.dedup();
            kinds.len() > 1
        };
        tables.retain(|(_, table)| table["rows"].as_array().is_some_and(|rows| !rows.is_empty()));
        let mut out = std::io::stdout().lock();
        for (index, (kind, table)) in tables.iter_mut().enumerate() {
            if let (Some(path), Some(rows)) = (sort, table["rows"].as_array_mut()) {
                rows.sort_by(|a, b| order(path, &a["object"], &b["object"]));
            }
            if index > 0 && !self.no_headers {
                writeln!(out)?;
            }
            let prefix = several.then(|| kind.qualified());
            let look = self.look(output, kind, prefix.as_deref());
            Printer::default().print(&mut out, table, look)?;
        }
        out.flush()?;
        if failed {
            return Err(Told.into());
        }
        if tables.is_empty() && !self.ignore_not_found {
            let mut err = std::io::stderr().lock();
            match selection.first() {
                Some(Selected { namespace: Some(namespace), .. }) => {
                    writeln!(err, "No resources found in {namespace} namespace.")?;
                }
                _ => writeln!(err, "No resources found")?,
            }
        }
        Ok(())
    }

    /// All pages as one table.
    async fn table(&self, server: &Server, selected: &Selected) -> Result<Value> {
        let include = if self.sort_by.is_some() { "Object" } else { "" };
        if selected.name.is_some() {
            let path = format!("{}{}", selected.path(), query(&[("includeObject", include)]));
            return Ok(server.table(&path).await?);
        }
        let mut whole: Option<Value> = None;
        let mut token = String::new();
        loop {
            let mut parameters = self.objects.parameters();
            parameters.extend([("includeObject", include), ("limit", "500"), ("continue", token.as_str())]);
            let page = server.table(&format!("{}{}", selected.path(), query(&parameters))).await?;
            token = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default().to_owned();
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => append(whole, page),
            }
            if token.is_empty() {
                return Ok(whole.unwrap_or_else(|| json!({})));
            }
        }
    }
}

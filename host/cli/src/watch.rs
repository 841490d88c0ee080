//! `threeport get --watch`.

use std::io::Write;

use anyhow::{Result, anyhow};
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use threeport_kube::kube;
use threeport_kube::kube::core::WatchEvent;

use crate::connect::{Server, query};
use crate::output::{Look, Output, Printer, without_managed_fields};
use crate::select::{Objects, Selected, list};

/// How to follow.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// Changes only.
    pub(crate) only: bool,
    /// What kind of change it was, too.
    pub(crate) events: bool,
    /// With managedFields.
    pub(crate) managed: bool,
}

/// Shows what is there, then every change, until it is interrupted.
pub(crate) async fn follow(
    server: &Server,
    selected: &Selected,
    objects: &Objects,
    output: &Output,
    look: Look<'_>,
    options: Options,
) -> Result<()> {
    let named = selected.name.as_ref().map(|name| format!("metadata.name={name}"));
    let fields = named.as_deref().or(objects.field_selector.as_deref()).unwrap_or_default();
    let collection = selected.kind.collection(selected.namespace.as_deref());
    let selectors = [("labelSelector", objects.selector.as_deref().unwrap_or_default()), ("fieldSelector", fields)];
    let table = matches!(output, Output::Table { .. });
    let mut shown = Shown { selected, output, look, options, printer: Printer::default() };
    if let Some(name) = &selected.name {
        // One that is not there is said at once, as by kubectl.
        server.get(&selected.kind.path(selected.namespace(), name)).await?;
    }
    let mut version = if table {
        let first = server.table(&format!("{collection}{}", query(&selectors))).await?;
        let version = first.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        shown.rows("ADDED", &first, options.only)?;
        version
    } else {
        let narrowed = Objects { field_selector: Some(fields.to_owned()), ..objects.clone() };
        let whole = Selected { name: None, ..selected.clone() };
        let (items, version) = list(server, &whole, &narrowed).await?;
        for item in items.into_iter().filter(|_| !options.only) {
            shown.object("ADDED", item)?;
        }
        version
    };
    loop {
        let mut parameters = selectors.to_vec();
        parameters.extend([("watch", "true"), ("resourceVersion", version.as_str())]);
        let stream = server.events(&format!("{collection}{}", query(&parameters)), table).await?;
        let mut stream = std::pin::pin!(stream);
        let mut next = version.clone();
        while let Some(event) = stream.try_next().await? {
            let (change, object) = match event {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            };
            let metadata = if table { &object["rows"][0]["object"]["metadata"] } else { &object["metadata"] };
            if let Some(seen) = metadata["resourceVersion"].as_str() {
                next = seen.to_owned();
            }
            if table { shown.rows(change, &object, false)? } else { shown.object(change, object)? }
        }
        if next == version {
            return Err(anyhow!("the server ended the watch"));
        }
        version = next;
    }
}

struct Shown<'a> {
    selected: &'a Selected,
    output: &'a Output,
    look: Look<'a>,
    options: Options,
    printer: Printer,
}

impl Shown<'_> {
    /// Rows of a table; without them only what the columns are is learnt.
    fn rows(&mut self, change: &str, table: &Value, nothing: bool) -> Result<()> {
        let mut table = table.clone();
        if nothing {
            table["rows"] = json!([]);
        }
        if self.options.events {
            if let Some(columns) = table["columnDefinitions"].as_array_mut().filter(|columns| !columns.is_empty()) {
                columns.insert(0, json!({"name": "Event"}));
            }
            for row in table["rows"].as_array_mut().into_iter().flatten() {
                if let Some(cells) = row["cells"].as_array_mut() {
                    cells.insert(0, change.into());
                }
            }
        }
        let mut out = std::io::stdout().lock();
        let empty = table["rows"].as_array().is_none_or(Vec::is_empty);
        if !empty || nothing {
            self.printer.print(&mut out, &table, self.look)?;
        } else {
            // The columns, for the rows to come; the header comes with the first of them.
            self.printer.learn(&table, self.look);
        }
        Ok(out.flush()?)
    }

    fn object(&mut self, change: &str, mut object: Value) -> Result<()> {
        if !self.options.managed {
            without_managed_fields(&mut object);
        }
        // A name stays a name.
        if self.options.events && !matches!(self.output, Output::Name) {
            object = json!({"type": change, "object": object});
        }
        let mut out = std::io::stdout().lock();
        if matches!(self.output, Output::Yaml) {
            writeln!(out, "---")?;
        }
        self.output.object(&mut out, &self.selected.kind, &object)?;
        Ok(out.flush()?)
    }
}

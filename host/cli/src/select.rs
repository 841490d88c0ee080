//! Which objects a command is about: `TYPE`, `TYPE NAME...`, `TYPE/NAME...`, `-f FILE`, with selectors.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::connect::{Server, query};
use crate::failure;
use crate::kinds::{Kind, Kinds};
use crate::manifests;

/// Objects are listed in pages of this many, as by kubectl.
const PAGE: &str = "500";

/// Arguments that name objects.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Objects {
    /// TYPE [NAME ...], TYPE/NAME ..., or several types: TYPE,TYPE
    #[arg(value_name = "TYPE[/NAME]")]
    pub(crate) names: Vec<String>,
    /// Files or directories that name the objects; - for stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Go into the directories of --filename
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Only objects with these labels: 'app=web,tier in (a,b)'
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Only objects with these fields: 'metadata.name=web'
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<String>,
    /// In every namespace
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

/// One kind and what is wanted of it.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) kind: Kind,
    /// None: a collection.
    pub(crate) name: Option<String>,
    /// None: all namespaces, or the kind has none.
    pub(crate) namespace: Option<String>,
}

impl Selected {
    /// The namespace, for paths.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// Path of the object, or of the collection.
    pub(crate) fn path(&self) -> String {
        match &self.name {
            Some(name) => self.kind.path(self.namespace(), name),
            None => self.kind.collection(self.namespace.as_deref()),
        }
    }
}

impl Objects {
    /// Whether labels or fields choose among the objects.
    pub(crate) fn has_selector(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some()
    }

    /// Refuses what would take a whole collection without being told so: `all` is the command's `--all`.
    pub(crate) fn told_which(&self, selection: &[Selected], all: bool) -> Result<()> {
        if all && self.has_selector() {
            bail!("cannot set --all and --selector at the same time");
        }
        if !all && !self.has_selector() && selection.iter().any(|selected| selected.name.is_none()) {
            bail!("resource(s) were provided, but no name was specified: name them, or give --all or --selector");
        }
        Ok(())
    }

    /// Selectors as query parameters.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("labelSelector", self.selector.as_deref().unwrap_or_default()),
            ("fieldSelector", self.field_selector.as_deref().unwrap_or_default()),
        ]
    }

    /// What is meant, in the order it was asked for.
    pub(crate) fn select(&self, server: &Server, kinds: &Kinds) -> Result<Vec<Selected>> {
        if !self.filename.is_empty() {
            if !self.names.is_empty() {
                bail!(
                    "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well"
                );
            }
            return self.of_files(server, kinds);
        }
        let Some(first) = self.names.first() else {
            bail!(
                "You must provide one or more resources by argument or filename: TYPE, TYPE NAME, TYPE/NAME, or -f FILE"
            );
        };
        let namespace =
            |kind: &Kind| kind.namespaced.then(|| server.namespace.clone()).filter(|_| !self.all_namespaces);
        if self.names.iter().any(|name| name.contains('/')) {
            return self.names.iter().map(|given| {
                let Some((kind, name)) = given.split_once('/') else {
                    bail!(
                        "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'TYPE/NAME' instead of 'TYPE TYPE/NAME')"
                    );
                };
                if name.is_empty() || name.contains('/') {
                    bail!("arguments in resource/name form may not have more than one slash, nor an empty name: {given}");
                }
                if self.has_selector() {
                    bail!("a name and a selector cannot be given at the same time");
                }
                if self.all_namespaces {
                    bail!("a resource cannot be retrieved by name across all namespaces");
                }
                let kind = kinds.meant(kind)?.swap_remove(0);
                Ok(Selected { kind: kind.clone(), name: Some(name.to_owned()), namespace: namespace(kind) })
            }).collect();
        }
        let kinds = kinds.meant(first)?;
        let names = &self.names[1..];
        if !names.is_empty() && self.has_selector() {
            bail!("name cannot be provided when a selector is specified");
        }
        if !names.is_empty() && self.all_namespaces {
            bail!("a resource cannot be retrieved by name across all namespaces");
        }
        let mut selected = Vec::new();
        for kind in kinds {
            if names.is_empty() {
                selected.push(Selected { kind: kind.clone(), name: None, namespace: namespace(kind) });
            }
            for name in names {
                selected.push(Selected { kind: kind.clone(), name: Some(name.clone()), namespace: namespace(kind) });
            }
        }
        Ok(selected)
    }

    fn of_files(&self, server: &Server, kinds: &Kinds) -> Result<Vec<Selected>> {
        let documents = manifests::read(&self.filename, self.recursive)?;
        documents
            .iter()
            .map(|document| {
                let (kind, namespace) = document.place(server, kinds)?;
                Ok(Selected { kind: kind.clone(), name: Some(document.name()?.to_owned()), namespace })
            })
            .collect()
    }
}

/// All objects of a selection, in pages. With the list's resourceVersion.
pub(crate) async fn list(server: &Server, selected: &Selected, objects: &Objects) -> Result<(Vec<Value>, String)> {
    let mut items = Vec::new();
    let mut version = String::new();
    let mut token = String::new();
    loop {
        let mut parameters = objects.parameters();
        parameters.extend([("limit", PAGE), ("continue", token.as_str())]);
        let mut page = server.get(&format!("{}{}", selected.path(), query(&parameters))).await?;
        version = text(&page, "/metadata/resourceVersion", version);
        let kind = (selected.kind.api_version(), selected.kind.kind.clone());
        if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
            items.extend(found.into_iter().map(|mut item| {
                // Kubernetes leaves both out of what is in a list.
                item["apiVersion"] = kind.0.as_str().into();
                item["kind"] = kind.1.as_str().into();
                item
            }));
        }
        token = text(&page, "/metadata/continue", String::new());
        if token.is_empty() {
            return Ok((items, version));
        }
    }
}

fn text(value: &Value, pointer: &str, otherwise: String) -> String {
    value.pointer(pointer).and_then(Value::as_str).map_or(otherwise, str::to_owned)
}

/// Everything that is selected, each with its kind. What is not there is told, and makes the command fail, unless it is to be ignored.
pub(crate) async fn fetch(
    server: &Server,
    selection: &[Selected],
    objects: &Objects,
    ignore_missing: bool,
) -> Result<(Vec<(Kind, Value)>, bool)> {
    let (mut found, mut failed) = (Vec::new(), false);
    for selected in selection {
        if selected.name.is_none() {
            let (items, _) = list(server, selected, objects).await?;
            found.extend(items.into_iter().map(|item| (selected.kind.clone(), item)));
            continue;
        }
        match server.get(&selected.path()).await.map_err(anyhow::Error::from) {
            Ok(object) => found.push((selected.kind.clone(), object)),
            Err(error) => failed |= failure::go_on(error, selection.len() > 1, ignore_missing)?,
        }
    }
    Ok((found, failed))
}

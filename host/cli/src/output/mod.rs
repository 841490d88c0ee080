//! How objects are printed.

mod jsonpath;
mod table;

use std::io::Write;

use anyhow::{Context, Result, bail};
use serde::Serialize as _;
use serde_json::{Value, json};

use crate::kinds::Kind;
pub(crate) use jsonpath::Template;
pub(crate) use table::{Look, Printer, columns, printable};

/// What `-o` says.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// A table; with the columns of lesser importance.
    Table {
        wide: bool,
    },
    Json,
    Yaml,
    Name,
    JsonPath(Template),
}

impl Output {
    /// Reads `-o`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        Ok(match text {
            None | Some("") => Self::Table { wide: false },
            Some("wide") => Self::Table { wide: true },
            Some("json") => Self::Json,
            Some("yaml") => Self::Yaml,
            Some("name") => Self::Name,
            Some(text) => match text.split_once('=') {
                Some(("jsonpath", template)) => Self::JsonPath(Template::parse(template)?),
                _ => bail!(
                    "unable to match a printer suitable for the output format {text:?}, allowed formats are: json,jsonpath=TEMPLATE,name,wide,yaml"
                ),
            },
        })
    }

    /// Prints one object, not as a table.
    pub(crate) fn object(&self, out: &mut impl Write, kind: &Kind, object: &Value) -> Result<()> {
        match self {
            Self::Name | Self::Table { .. } => {
                writeln!(out, "{}", kind.object(object["metadata"]["name"].as_str().unwrap_or_default()))?;
            }
            Self::Json => json(out, object)?,
            Self::Yaml => yaml(out, object)?,
            Self::JsonPath(template) => write!(out, "{}", template.render(object)?)?,
        }
        Ok(())
    }

    /// Prints objects, not as a table: one as it is if one was asked for, otherwise as a list.
    pub(crate) fn objects(&self, out: &mut impl Write, objects: Vec<(Kind, Value)>, single: bool) -> Result<()> {
        if matches!(self, Self::Name) {
            return objects.iter().try_for_each(|(kind, object)| self.object(out, kind, object));
        }
        match <[_; 1]>::try_from(objects) {
            Ok([(kind, object)]) if single => self.object(out, &kind, &object),
            Ok([(_, object)]) => self.list(out, vec![object]),
            Err(objects) => self.list(out, objects.into_iter().map(|(_, object)| object).collect()),
        }
    }

    fn list(&self, out: &mut impl Write, items: Vec<Value>) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items});
        match self {
            Self::Yaml => yaml(out, &list),
            Self::JsonPath(template) => Ok(write!(out, "{}", template.render(&list)?)?),
            _ => json(out, &list),
        }
    }
}

/// JSON as kubectl indents it.
pub(crate) fn json(out: &mut impl Write, value: &Value) -> Result<()> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter)).context("write JSON")?;
    text.push(b'\n');
    Ok(out.write_all(&text)?)
}

/// YAML.
pub(crate) fn yaml(out: &mut impl Write, value: &Value) -> Result<()> {
    Ok(out.write_all(serde_yaml_ng::to_string(value).context("write YAML")?.as_bytes())?)
}

/// Takes out what is written by machines for machines.
pub(crate) fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

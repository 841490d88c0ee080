//! Objects in files, directories and stdin.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize as _;
use serde_json::Value;

use crate::connect::Server;
use crate::kinds::{Kind, Kinds};

/// What a file has to be called to be read from a directory.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// An object, and where it is written.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// File, or STDIN.
    pub(crate) source: String,
    pub(crate) object: Value,
}

/// Reads all documents of all places, in order.
pub(crate) fn read(places: &[PathBuf], recursive: bool) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for place in places {
        let text = place.to_string_lossy();
        if text == "-" {
            let mut input = String::new();
            std::io::stdin().read_to_string(&mut input).context("read stdin")?;
            parse("STDIN", &input, &mut documents)?;
        } else if text.starts_with("http://") || text.starts_with("https://") {
            bail!("{text} is a URL: fetch it first, and look at it (curl -fsSLO {text})");
        } else if place.is_dir() {
            directory(place, recursive, &mut documents)?;
        } else if place.exists() {
            file(place, &mut documents)?;
        } else {
            bail!("the path {text:?} does not exist");
        }
    }
    if documents.is_empty() {
        bail!("no objects passed to the command");
    }
    Ok(documents)
}

fn directory(place: &Path, recursive: bool, documents: &mut Vec<Document>) -> Result<()> {
    let entries = fs::read_dir(place).with_context(|| format!("read {}", place.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry.with_context(|| format!("read {}", place.display()))?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if recursive {
                directory(&path, recursive, documents)?;
            }
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e)) {
            file(&path, documents)?;
        }
    }
    Ok(())
}

fn file(path: &Path, documents: &mut Vec<Document>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&path.display().to_string(), &text, documents)
}

/// YAML with any number of documents; JSON is YAML too. A `List` is what is in it.
fn parse(source: &str, text: &str, documents: &mut Vec<Document>) -> Result<()> {
    for (index, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        let parsed = Value::deserialize(document)
            .with_context(|| format!("error parsing {source}: document {} is no YAML or JSON object", index + 1))?;
        match parsed {
            // Comments alone, or nothing.
            Value::Null => {}
            Value::Object(_) => add(source, parsed, documents)?,
            other => bail!("error parsing {source}: document {} is not an object: {other}", index + 1),
        }
    }
    Ok(())
}

fn add(source: &str, mut object: Value, documents: &mut Vec<Document>) -> Result<()> {
    let listed = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    if listed && let Some(Value::Array(items)) = object.get_mut("items").map(Value::take) {
        for item in items {
            add(source, item, documents)?;
        }
        return Ok(());
    }
    for field in ["apiVersion", "kind"] {
        if object[field].as_str().is_none_or(str::is_empty) {
            bail!("error validating {source:?}: {field} not set");
        }
    }
    documents.push(Document { source: source.to_owned(), object });
    Ok(())
}

impl Document {
    fn text(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn name(&self) -> Result<&str> {
        match self.text("/metadata/name") {
            "" => bail!("error validating {:?}: metadata.name not set", self.source),
            name => Ok(name),
        }
    }

    /// The kind and the namespace that the object belongs to.
    pub(crate) fn place<'a>(&self, server: &Server, kinds: &'a Kinds) -> Result<(&'a Kind, Option<String>)> {
        let (version, kind) = (self.text("/apiVersion"), self.text("/kind"));
        let Some(kind) = kinds.of_object(version, kind) else {
            bail!(
                "resource mapping not found for name: {:?} namespace: {:?} from {:?}: no matches for kind {kind:?} in version {version:?}\n\
                 is the plugin pushed that serves it? (`threeport plugin list`)",
                self.text("/metadata/name"),
                self.text("/metadata/namespace"),
                self.source
            );
        };
        if !kind.namespaced {
            return Ok((kind, None));
        }
        match self.text("/metadata/namespace") {
            "" => Ok((kind, Some(server.namespace.clone()))),
            own if server.namespace_given && own != server.namespace => bail!(
                "the namespace from the provided object {own:?} does not match the namespace {:?}. You must pass '--namespace={own}' to perform this operation.",
                server.namespace
            ),
            own => Ok((kind, Some(own.to_owned()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        parse("a.yaml", text, &mut documents)?;
        Ok(documents)
    }

    #[test]
    fn several_documents_lists_and_json_are_read_in_order() {
        let text = "# first\n---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n---\n{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": \
                    [{\"apiVersion\": \"v1\", \"kind\": \"B\", \"metadata\": {\"name\": \"b\"}}]}\n---\n";
        let names: Vec<String> =
            parsed(text).expect("YAML").iter().map(|d| d.name().expect("a name").to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        for (text, said) in [
            ("kind: A", "apiVersion not set"),
            ("apiVersion: v1", "kind not set"),
            ("- 1", "is not an object"),
            ("a: [", "document 1"),
        ] {
            let error = format!("{:#}", parsed(text).expect_err(text));
            assert!(error.contains(said) && error.contains("a.yaml"), "{text}: {error}");
        }
    }

    #[test]
    fn directories_are_read_by_extension_and_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let object = |name: &str| format!("apiVersion: v1\nkind: A\nmetadata: {{name: {name}}}\n");
        fs::create_dir(directory.path().join("sub")).expect("made");
        for (file, name) in [("b.yml", "b"), ("a.yaml", "a"), ("c.txt", "c"), ("sub/d.json", "d")] {
            fs::write(directory.path().join(file), object(name)).expect("written");
        }
        let names = |recursive| -> Vec<String> {
            let documents = read(&[directory.path().to_owned()], recursive).expect("read");
            documents.iter().map(|d| d.name().expect("a name").to_owned()).collect()
        };
        assert_eq!(names(false), ["a", "b"]);
        assert_eq!(names(true), ["a", "b", "d"]);
        assert!(read(&["nowhere.yaml".into()], false).expect_err("absent").to_string().contains("does not exist"));
    }
}

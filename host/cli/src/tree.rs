//! `threeport tree`.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::Connection;
use crate::connect::{Server, server};
use crate::kinds::Kinds;
use crate::output::{self, Output, columns};
use crate::select::{Objects, Selected};

pub(crate) const EXAMPLES: &str = "Examples:
  threeport tree workload/web
  threeport tree workload web -n shop
  threeport tree workload/web -o json";

/// Arguments of `tree`.
#[derive(Args, Debug)]
pub struct Tree {
    /// TYPE/NAME, or TYPE NAME
    #[arg(value_name = "TYPE/NAME", required = true, num_args = 1..=2)]
    object: Vec<String>,
    /// yaml, json: the document as the server made it
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

pub(crate) async fn run(connection: &Connection, args: Tree) -> Result<()> {
    let output = Output::parse(args.output.as_deref())?;
    let server = server(connection).await?;
    let tree = view(&server, args.object, "tree").await?;
    let mut out = std::io::stdout().lock();
    print(&mut out, &output, &tree, |out| draw(out, &tree))?;
    Ok(out.flush()?)
}

/// The document of a subresource of the one object that is named.
pub(crate) async fn view(server: &Server, object: Vec<String>, subresource: &str) -> Result<Value> {
    let kinds = Kinds::of(server).await?;
    let selection = Objects { names: object, ..Objects::default() }.select(server, &kinds)?;
    let [selected @ Selected { name: Some(_), .. }] = selection.as_slice() else {
        bail!("name one object: TYPE/NAME");
    };
    of(server, selected, subresource).await
}

/// The document of a subresource.
pub(crate) async fn of(server: &Server, selected: &Selected, subresource: &str) -> Result<Value> {
    Ok(server.get(&format!("{}/{subresource}", selected.path())).await?)
}

/// Prints a document as it is, or as it is drawn.
pub(crate) fn print<W: Write>(
    out: &mut W,
    output: &Output,
    document: &Value,
    draw: impl FnOnce(&mut W) -> Result<()>,
) -> Result<()> {
    match output {
        Output::Table { .. } => draw(out),
        Output::Json => output::json(out, document),
        Output::Yaml => output::yaml(out, document),
        Output::JsonPath(template) => Ok(write!(out, "{}", template.render(document)?)?),
        Output::Name => bail!("a tree or a chain has no name of its own: choose json, yaml or jsonpath=TEMPLATE"),
    }
}

/// `Widget shop/web`
pub(crate) fn named(node: &Value) -> String {
    let text = |key: &str| node[key].as_str().unwrap_or_default();
    match node["namespace"].as_str() {
        Some(namespace) => format!("{} {namespace}/{}", text("kind"), text("name")),
        None => format!("{} {}", text("kind"), text("name")),
    }
}

/// A line of the drawing: what it is, how it is, why.
type Line = [String; 3];

fn draw(out: &mut impl Write, tree: &Value) -> Result<()> {
    let mut lines = Vec::new();
    let root = &tree["root"];
    lines.push(line("", named(root), root));
    let mut branches = branches(root);
    let referrers = tree["referrers"].as_array().filter(|all| !all.is_empty());
    if let Some(referrers) = referrers {
        branches.push(Branch::Group("used by", referrers.iter().map(Branch::Link).collect()));
    }
    grow(&mut lines, "", branches);
    let rows: Vec<Vec<String>> = lines.into_iter().map(Vec::from).collect();
    columns(out, "", &["OBJECT", "READY", "REASON"], &rows)?;
    if tree["truncated"] == true {
        writeln!(out, "... and more: the tree is too large to be shown whole")?;
    }
    Ok(())
}

enum Branch<'a> {
    Group(&'static str, Vec<Branch<'a>>),
    Link(&'a Value),
    Child(&'a Value),
    Placed(&'a Value),
}

fn branches(node: &Value) -> Vec<Branch<'_>> {
    let list = |key: &str| node[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut branches = Vec::new();
    let groups = [
        ("refers to", list("references").iter().map(Branch::Link).collect::<Vec<_>>()),
        ("children", list("children").iter().map(Branch::Child).collect()),
        ("on targets", list("inventory").iter().map(Branch::Placed).collect()),
    ];
    branches.extend(groups.into_iter().filter(|(_, all)| !all.is_empty()).map(|(name, all)| Branch::Group(name, all)));
    branches
}

fn grow(lines: &mut Vec<Line>, indent: &str, branches: Vec<Branch<'_>>) {
    let last = branches.len().saturating_sub(1);
    for (index, branch) in branches.into_iter().enumerate() {
        let (knot, below) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (start, below) = (format!("{indent}{knot}"), format!("{indent}{below}"));
        match branch {
            Branch::Group(name, inner) => {
                lines.push([format!("{start}{name}"), String::new(), String::new()]);
                grow(lines, &below, inner);
            }
            Branch::Link(link) => {
                let object = &link["object"];
                let field = link["field"].as_str().unwrap_or_default();
                lines.push(line(&start, format!("{} ({field})", named(object)), object));
                // What a reference refers to hangs on it directly.
                let inner = object["references"].as_array().into_iter().flatten().map(Branch::Link).collect();
                grow(lines, &below, inner);
            }
            Branch::Child(child) => {
                lines.push(line(&start, named(child), child));
                grow(lines, &below, self::branches(child));
            }
            Branch::Placed(placed) => lines.push(target_line(&start, placed)),
        }
    }
}

fn line(start: &str, name: String, node: &Value) -> Line {
    let text = |key: &str| node[key].as_str().unwrap_or_default();
    let deleting = if node["deleting"] == true { " (being deleted)" } else { "" };
    [
        format!("{start}{name}{deleting}"),
        text("ready").to_owned(),
        because(text("ready") == "True", text("reason"), text("message")),
    ]
}

fn target_line(start: &str, placed: &Value) -> Line {
    let text = |key: &str| placed[key].as_str().unwrap_or_default();
    let refused = placed["error"]["message"].as_str();
    let drifted: Vec<&str> = placed["drifted"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let why = match refused {
        Some(why) => format!("refused: {why}"),
        None if !drifted.is_empty() => format!("changed by others: {}", drifted.join(", ")),
        None => text("message").to_owned(),
    };
    [
        format!("{start}{} on {}", named(placed), named(&placed["target"])),
        if text("health") == "current" {
            "True"
        } else if text("health") == "unknown" {
            "Unknown"
        } else {
            "False"
        }
        .to_owned(),
        because(text("health") == "current" && refused.is_none() && drifted.is_empty(), text("health"), &why),
    ]
}

/// The reason; the message too where something is wrong.
fn because(good: bool, reason: &str, message: &str) -> String {
    if good || message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_is_drawn_with_all_that_hangs_on_it() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "key", "ready": "True", "reason": "Exists"});
        let place = json!({"apiVersion": "a/v1", "kind": "Place", "namespace": "shop", "name": "here", "ready": "False", "reason": "Away",
            "message": "it does not answer", "references": [{"field": "spec.secret", "role": "uses", "object": secret}]});
        let tree = json!({
            "root": {"kind": "Kite", "namespace": "shop", "name": "red", "ready": "False", "reason": "Waiting", "message": "for Place here",
                "references": [{"field": "spec.place", "role": "target", "object": place}],
                "inventory": [{"kind": "Deployment", "namespace": "shop", "name": "red", "health": "current", "target": place},
                    {"kind": "Service", "namespace": "shop", "name": "red", "health": "unknown", "message": "away", "target": place}]},
            "referrers": [{"field": "spec.kites[0]", "role": "requires",
                "object": {"kind": "Sky", "name": "blue", "ready": "True", "reason": "Clear"}}],
        });
        let mut out = Vec::new();
        draw(&mut out, &tree).expect("drawn");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("OBJECT"), "{text}");
        assert!(
            lines[1].starts_with("Kite shop/red ") && lines[1].ends_with("False     Waiting: for Place here"),
            "{text}"
        );
        assert_eq!(lines[2], "├─ refers to");
        assert!(
            lines[3].starts_with("│  └─ Place shop/here (spec.place)")
                && lines[3].ends_with("Away: it does not answer"),
            "{text}"
        );
        assert!(lines[4].starts_with("│     └─ Secret shop/key (spec.secret)"), "{text}");
        assert_eq!(lines[5], "├─ on targets");
        assert!(
            lines[6].starts_with("│  ├─ Deployment shop/red on Place shop/here")
                && lines[6].ends_with("True      current"),
            "{text}"
        );
        assert!(lines[7].ends_with("Unknown   unknown: away"), "{text}");
        assert!(lines[9].starts_with("   └─ Sky blue (spec.kites[0])"), "{text}");
    }
}

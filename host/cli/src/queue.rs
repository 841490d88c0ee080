//! `threeport queue`.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::Connection;
use crate::connect::{Server, encode, server};
use crate::output::{Output, columns};
use crate::time::{ago, until};
use crate::tree::{named, print};

pub(crate) const EXAMPLES: &str = "Examples:
  threeport queue                      the whole queue
  threeport queue -n shop              that of a namespace
  threeport queue -o wide              with what is due, and the leases' ends
  threeport queue --watch
  threeport queue -o jsonpath='{range .failing[*]}{.name}{\"\\n\"}{end}'";

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Lines of each list, unless all are asked for with `-o wide`.
const LINES: usize = 20;

/// Arguments of `queue`.
#[derive(Args, Debug)]
pub struct Queue {
    /// All namespaces [default, unless --namespace is given]
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// wide, yaml, json, jsonpath=TEMPLATE [default: tables]
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// Look again every two seconds
    #[arg(short, long)]
    watch: bool,
}

pub(crate) async fn run(connection: &Connection, args: Queue) -> Result<()> {
    let output = Output::parse(args.output.as_deref())?;
    let server = server(connection).await?;
    let namespace = connection.namespace.as_deref().filter(|_| !args.all_namespaces);
    let path = match namespace {
        Some(namespace) => format!("/apis/threeport.dev/v1/namespaces/{}/queue", encode(namespace)),
        None => "/apis/threeport.dev/v1/queue".to_owned(),
    };
    loop {
        show(&server, &path, &output).await?;
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
        writeln!(std::io::stdout())?;
    }
}

async fn show(server: &Server, path: &str, output: &Output) -> Result<()> {
    let queue = server.get(path).await?;
    let mut out = std::io::stdout().lock();
    let wide = matches!(output, Output::Table { wide: true });
    print(&mut out, output, &queue, |out| tell(out, &queue, wide))?;
    Ok(out.flush()?)
}

fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Seconds with as many digits as say something.
fn span(value: &Value, key: &str) -> String {
    match value[key].as_f64() {
        Some(seconds) if seconds >= 10.0 => format!("{seconds:.0}s"),
        Some(seconds) if seconds > 0.0 => format!("{seconds:.1}s"),
        _ => "-".to_owned(),
    }
}

fn tell(out: &mut impl Write, queue: &Value, wide: bool) -> Result<()> {
    let whole = vec![
        text(queue, "due"),
        span(queue, "oldestSeconds"),
        text(queue, "held"),
        text(queue, "backingOff"),
        text(queue, "host"),
    ];
    columns(out, "", &["DUE", "OLDEST", "HELD", "BACKING-OFF", "TOLD-BY"], &[whole])?;
    for (title, key) in [("CLASS", "byClass"), ("PLUGIN", "byPlugin"), ("CLUSTER", "byCluster"), ("HOST", "byHost")] {
        groups(out, title, &queue[key])?;
    }
    let items = |key: &str| queue[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = if wide { usize::MAX } else { LINES };
    if wide {
        let rows = items("waiting").iter().map(|item| {
            vec![object(item), text(item, "class"), text(item, "cause"), text(item, "attempts"), age(item, "since")]
        });
        table(out, "Due", &["OBJECT", "CLASS", "CAUSE", "ATTEMPTS", "FOR"], rows.collect(), lines)?;
    }
    let rows = items("holders").iter().map(|item| {
        let lease = item["leaseUntil"].as_str().and_then(until).unwrap_or_default();
        vec![object(item), text(item, "class"), text(item, "host"), text(item, "epoch"), age(item, "since"), lease]
    });
    table(out, "Held", &["OBJECT", "CLASS", "HOST", "EPOCH", "FOR", "LEASE"], rows.collect(), lines)?;
    let rows = items("failing").iter().map(|item| {
        let next = item["next"].as_str().and_then(until).unwrap_or_default();
        let message = text(item, "message").replace('\n', " ");
        vec![object(item), text(item, "attempts"), next, text(item, "reason"), message]
    });
    table(out, "Backing off", &["OBJECT", "ATTEMPTS", "NEXT", "REASON", "MESSAGE"], rows.collect(), lines)?;
    if let Some(unseen) = queue["unseen"].as_u64().filter(|unseen| *unseen > 0) {
        writeln!(out, "\nand {unseen} more that are not yours to see")?;
    }
    if queue["truncated"] == true {
        writeln!(out, "\nand more: these lists are too long to be shown whole")?;
    }
    Ok(())
}

fn object(item: &Value) -> String {
    named(item)
}

/// How long it has been so; `<unknown>` where the host that answers does not know.
fn age(item: &Value, key: &str) -> String {
    item[key].as_str().map_or_else(|| "<unknown>".to_owned(), ago)
}

fn groups(out: &mut impl Write, title: &str, groups: &Value) -> Result<()> {
    let busy = |group: &&Value| ["due", "held", "backingOff"].iter().any(|key| group[*key].as_u64().unwrap_or(0) > 0);
    let rows: Vec<Vec<String>> = groups
        .as_array()
        .into_iter()
        .flatten()
        .filter(busy)
        .map(|group| {
            let name = Some(text(group, "name")).filter(|name| !name.is_empty()).unwrap_or_else(|| "<none>".to_owned());
            vec![name, text(group, "due"), span(group, "oldestSeconds"), text(group, "held"), text(group, "backingOff")]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    columns(out, "", &[title, "DUE", "OLDEST", "HELD", "BACKING-OFF"], &rows)
}

fn table(out: &mut impl Write, title: &str, headers: &[&str], mut rows: Vec<Vec<String>>, lines: usize) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let more = rows.len().saturating_sub(lines);
    rows.truncate(lines);
    writeln!(out, "\n{title}:")?;
    columns(out, "", headers, &rows)?;
    if more > 0 {
        writeln!(out, "and {more} more: see -o wide")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_queue_is_told_as_tables_of_what_there_is() {
        let queue = json!({
            "host": "one", "due": 2, "oldestSeconds": 0.25, "held": 1, "backingOff": 1, "unseen": 3,
            "byClass": [{"name": "user", "due": 2, "held": 1, "backingOff": 1, "oldestSeconds": 0.25}, {"name": "drift", "due": 0}],
            "byPlugin": [{"name": "", "due": 2, "held": 0, "backingOff": 0, "oldestSeconds": 0.25}],
            "holders": [{"kind": "Kite", "namespace": "shop", "name": "red", "class": "user", "host": "one", "epoch": 7}],
            "failing": [{"kind": "Kite", "namespace": "shop", "name": "blue", "attempts": 4, "reason": "Torn", "message": "two\nlines"}],
        });
        let mut out = Vec::new();
        tell(&mut out, &queue, false).expect("told");
        let text = String::from_utf8(out).expect("text");
        let squeezed: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "DUE OLDEST HELD BACKING-OFF TOLD-BY",
            "2 0.2s 1 1 one",
            "user 2 0.2s 1 1",
            "<none> 2 0.2s 0 0",
            "Kite shop/red user one 7 <unknown>",
            "Kite shop/blue 4 Torn two lines",
            "and 3 more that are not yours to see",
        ] {
            assert!(squeezed.iter().any(|said| said == line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains("drift") && !text.contains("CLUSTER") && !text.contains("Due:"), "{text}");
    }
}

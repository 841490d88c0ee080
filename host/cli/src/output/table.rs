//! Tables as the server makes them, and others, laid out as by kubectl.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

/// Between columns.
const GAP: usize = 3;

/// What a table shows beside what the server says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look<'a> {
    /// Columns of lesser importance too.
    pub(crate) wide: bool,
    /// A column with the namespace.
    pub(crate) namespaces: bool,
    /// A column with the labels.
    pub(crate) labels: bool,
    /// Names are written with this before them: several types are shown.
    pub(crate) prefix: Option<&'a str>,
    /// No line with the names of the columns.
    pub(crate) no_headers: bool,
}

/// Prints tables of the server; the columns stay where they were from one to the next.
#[derive(Default)]
pub(crate) struct Printer {
    widths: Vec<usize>,
    shown: Vec<(usize, String)>,
    headed: bool,
}

impl Printer {
    /// Prints the rows of a table, and before the first ones the names of the columns.
    pub(crate) fn print(&mut self, out: &mut impl Write, table: &Value, look: Look<'_>) -> Result<()> {
        self.learn(table, look);
        let mut lines = Vec::new();
        if !self.headed && !look.no_headers {
            let mut line: Vec<String> = self.shown.iter().map(|(_, name)| name.clone()).collect();
            if look.namespaces {
                line.insert(0, "NAMESPACE".to_owned());
            }
            if look.labels {
                line.push("LABELS".to_owned());
            }
            lines.push(line);
        }
        self.headed = true;
        lines.extend(table["rows"].as_array().into_iter().flatten().map(|row| self.line(row, look)));
        self.layout(out, &lines)
    }

    /// Takes the columns from a table that says them; the tables of a watch do so once.
    pub(crate) fn learn(&mut self, table: &Value, look: Look<'_>) {
        if let Some(definitions) = table["columnDefinitions"].as_array().filter(|all| !all.is_empty()) {
            let important = |definition: &Value| look.wide || definition["priority"].as_i64().unwrap_or(0) == 0;
            let named = definitions.iter().enumerate().filter(|(_, definition)| important(definition));
            self.shown = named
                .map(|(index, definition)| (index, definition["name"].as_str().unwrap_or_default().to_uppercase()))
                .collect();
        }
    }

    fn line(&self, row: &Value, look: Look<'_>) -> Vec<String> {
        let mut line: Vec<String> = self
            .shown
            .iter()
            .map(|(index, name)| {
                let cell = cell(&row["cells"][*index]);
                match look.prefix.filter(|_| name == "NAME") {
                    Some(prefix) => format!("{prefix}/{cell}"),
                    None => cell,
                }
            })
            .collect();
        if look.namespaces {
            line.insert(0, row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
        }
        if look.labels {
            let labels = row["object"]["metadata"]["labels"].as_object().filter(|labels| !labels.is_empty());
            let pairs = labels.map(|labels| labels.iter().map(|(key, value)| format!("{key}={}", cell(value))));
            line.push(pairs.map_or("<none>".to_owned(), |pairs| pairs.collect::<Vec<_>>().join(",")));
        }
        line
    }

    fn layout(&mut self, out: &mut impl Write, lines: &[Vec<String>]) -> Result<()> {
        let plain = |line: &Vec<String>| line.iter().map(|cell| printable(cell)).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = lines.iter().map(plain).collect();
        for line in &lines {
            self.widths.resize(self.widths.len().max(line.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &lines {
            let last = line.len().saturating_sub(1);
            for (index, (cell, width)) in line.iter().zip(&self.widths).enumerate() {
                if index == last {
                    writeln!(out, "{cell}")?;
                } else {
                    write!(out, "{cell:<0$}", width + GAP)?;
                }
            }
        }
        Ok(())
    }
}

/// Text without what a terminal would obey: it may come from anybody who may write to the server.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\t' => out.push(char),
            '\u{1b}' => out.push_str("^["),
            char if char.is_control() => out.extend(char.escape_default()),
            char => out.push(char),
        }
    }
    out
}

/// A cell as one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => match text.split_once(['\n', '\r']) {
            Some((first, _)) => format!("{first}..."),
            None => text.clone(),
        },
        other => other.to_string(),
    }
}

/// Lines of cells under names, for what is not a table of the server.
pub(crate) fn columns(out: &mut impl Write, indent: &str, headers: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let mut lines = vec![headers.iter().map(|header| (*header).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().cloned());
    let mut text = Vec::new();
    Printer::default().layout(&mut text, &lines)?;
    for line in String::from_utf8_lossy(&text).lines() {
        writeln!(out, "{indent}{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Value {
        json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Mode", "priority": 1}, {"name": "Replicas"}, {"name": "Note"}],
            "rows": [
                {"cells": ["one", "slow", 2, null], "object": {"metadata": {"namespace": "a", "labels": {"x": "1", "y": "2"}}}},
                {"cells": ["another", "fast", 10, "two\nlines"], "object": {"metadata": {"namespace": "a"}}},
            ],
        })
    }

    fn printed(look: Look<'_>) -> String {
        let mut out = Vec::new();
        Printer::default().print(&mut out, &table(), look).expect("printed");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_lesser_ones_are_left_out() {
        assert_eq!(
            printed(Look::default()),
            "NAME      REPLICAS   NOTE\none       2          \nanother   10         two...\n"
        );
        assert!(printed(Look { wide: true, ..Look::default() }).starts_with("NAME      MODE   REPLICAS"));
    }

    #[test]
    fn a_terminal_obeys_nothing_that_others_wrote() {
        assert_eq!(printable("a\u{1b}[2Jb\rc\u{9b}d\ne\tf"), "a^[[2Jb\\rc\\u{9b}d\ne\tf");
        let mut out = Vec::new();
        columns(&mut out, "", &["MESSAGE"], &[vec!["x\u{1b}]0;owned\u{7}".to_owned()]]).expect("printed");
        assert_eq!(String::from_utf8_lossy(&out), "MESSAGE\nx^[]0;owned\\u{7}\n");
    }

    #[test]
    fn namespaces_labels_and_types_are_added() {
        let text = printed(Look { namespaces: true, labels: true, prefix: Some("widget.a"), ..Look::default() });
        assert!(text.starts_with("NAMESPACE   NAME"), "{text}");
        assert!(
            text.contains("a           widget.a/one") && text.contains("x=1,y=2") && text.contains("<none>"),
            "{text}"
        );
    }

    #[test]
    fn a_second_table_has_no_header_and_keeps_the_columns() {
        let (mut out, mut printer) = (Vec::new(), Printer::default());
        printer.print(&mut out, &table(), Look::default()).expect("printed");
        let mut more = table();
        more["columnDefinitions"] = Value::Null;
        printer.print(&mut out, &more, Look::default()).expect("printed");
        let text = String::from_utf8(out).expect("text");
        assert_eq!((text.matches("NAME").count(), text.matches("one       2").count()), (1, 2), "{text}");
    }
}

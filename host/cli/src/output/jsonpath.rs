//! kubectl's JSONPath templates: `{range .items[*]}{.metadata.name}{"\n"}{end}`. Paths are translated to RFC 9535 and looked up by a library; only the
//! template around them is our own.

use anyhow::{Context, Result, anyhow, bail};
use jsonpath_rust::JsonPath as _;
use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// An RFC 9535 path.
    Path(String),
    Range(String, Vec<Part>),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut rest = text;
        let (parts, ended) = parts(&mut rest).with_context(|| format!("error parsing jsonpath {text}"))?;
        if ended {
            bail!("error parsing jsonpath {text}: an end without a range");
        }
        Ok(Self(parts))
    }

    /// One path, with or without braces around it.
    pub(crate) fn path(text: &str) -> Result<Self> {
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text).trim();
        let path = translate(inner).with_context(|| format!("error parsing jsonpath {text}"))?;
        Ok(Self(vec![Part::Path(path)]))
    }

    /// The text for a value. Paths that lead nowhere are nothing.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        render(&self.0, value, &mut out)?;
        Ok(out)
    }
}

fn render(parts: &[Part], value: &Value, out: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(path) => {
                let found: Vec<String> = look_up(value, path)?.into_iter().map(plain).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(path, inner) => {
                for item in look_up(value, path)? {
                    render(inner, item, out)?;
                }
            }
        }
    }
    Ok(())
}

fn look_up<'a>(value: &'a Value, path: &str) -> Result<Vec<&'a Value>> {
    value.query(path).map_err(|error| anyhow!("jsonpath {path}: {error}"))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Parts up to the end of the text, or to `{end}`: then true.
fn parts(rest: &mut &str) -> Result<(Vec<Part>, bool)> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let Some(open) = rest.find('{') else {
            parts.push(Part::Text((*rest).to_owned()));
            *rest = "";
            break;
        };
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let length = closing(&rest[open..], '{', '}').context("unclosed action")?;
        let action = rest[open + 1..open + length - 1].trim();
        *rest = &rest[open + length..];
        if action == "end" {
            return Ok((parts, true));
        }
        if let Some(path) = action.strip_prefix("range").filter(|path| path.starts_with([' ', '\t'])) {
            let path = translate(path.trim())?;
            let (inner, ended) = self::parts(rest)?;
            if !ended {
                bail!("a range without an end");
            }
            parts.push(Part::Range(path, inner));
        } else if let Some(quote) = action.chars().next().filter(|first| matches!(first, '"' | '\'')) {
            let text = action[1..].strip_suffix(quote).context("unterminated quoted string")?;
            parts.push(Part::Text(unescape(text)));
        } else {
            parts.push(Part::Path(translate(action)?));
        }
    }
    Ok((parts, false))
}

/// Bytes up to and with the bracket that closes the first one; quoted ones do not count.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (index, char) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (char, quote) {
            ('\\', _) => escaped = true,
            (char, Some(open)) if char == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(char),
            (char, None) if char == open => depth += 1,
            (char, None) if char == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(index + char.len_utf8());
                }
            }
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, if char == '\\' { chars.next() } else { None }) {
            (_, Some('n')) => out.push('\n'),
            (_, Some('t')) => out.push('\t'),
            (_, Some('r')) => out.push('\r'),
            (_, Some(other)) => out.push(other),
            (char, None) => out.push(char),
        }
    }
    out
}

/// From kubectl's form of a path to RFC 9535: names in quotes, `\.` undone, filters without the outer parentheses.
fn translate(path: &str) -> Result<String> {
    let mut out = "$".to_owned();
    let rest = steps(path.trim_start_matches(['$', '@']), &mut out)?;
    if !rest.is_empty() {
        bail!("{rest:?} is not understood");
    }
    Ok(out)
}

/// Translates steps until something that is none, and answers the rest.
fn steps<'a>(mut rest: &'a str, out: &mut String) -> Result<&'a str> {
    loop {
        if let Some(after) = rest.strip_prefix('[') {
            let length = closing(rest, '[', ']').context("unterminated array")?;
            bracket(&after[..length - 2], out)?;
            rest = &rest[length..];
            continue;
        }
        let (after, deep) = match rest.strip_prefix("..") {
            Some(after) => (after, true),
            None => (rest.strip_prefix('.').unwrap_or(rest), false),
        };
        let (name, end) = name(after);
        if name.is_empty() {
            // A lone dot is the value itself.
            return Ok(if deep { rest } else { after });
        }
        if deep {
            out.push_str("..");
        }
        if name == "*" {
            out.push_str("[*]");
        } else {
            out.push_str(&format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'")));
        }
        rest = &after[end..];
    }
}

/// A name at the beginning, and where it ends. A backslash takes the next character as it is.
fn name(text: &str) -> (String, usize) {
    let (mut name, mut escaped) = (String::new(), false);
    for (index, char) in text.char_indices() {
        match char {
            _ if std::mem::take(&mut escaped) => name.push(char),
            '\\' => escaped = true,
            '.' | '[' | ']' | ' ' | '\t' | '=' | '!' | '<' | '>' | '&' | '|' | '(' | ')' | ',' => return (name, index),
            char => name.push(char),
        }
    }
    (name, text.len())
}

fn bracket(inner: &str, out: &mut String) -> Result<()> {
    let Some(filter) = inner.trim().strip_prefix('?') else {
        out.push_str(&format!("[{inner}]"));
        return Ok(());
    };
    let filter = filter.trim();
    let mut rest = filter.strip_prefix('(').and_then(|filter| filter.strip_suffix(')')).unwrap_or(filter);
    out.push_str("[?");
    while let Some(char) = rest.chars().next() {
        let end = char.len_utf8();
        match char {
            '@' | '$' => {
                out.push(char);
                rest = steps(&rest[end..], out)?;
            }
            '"' | '\'' => {
                let close = rest[end..].find(char).context("unterminated quoted string")? + 2 * end;
                out.push_str(&rest[..close]);
                rest = &rest[close..];
            }
            char => {
                out.push(char);
                rest = &rest[end..];
            }
        }
    }
    out.push(']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(template: &str) -> String {
        let value = json!({
            "metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "shop", "my-label": "x"}},
            "spec": {"ports": [80, 443], "on": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Stalled", "status": "False", "last-seen": 3}]},
            "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}],
        });
        Template::parse(template).expect(template).render(&value).expect(template)
    }

    #[test]
    fn templates_say_what_kubectl_says() {
        for (template, expected) in [
            ("{.metadata.name}", "web"),
            ("{$.metadata.name}{\"\\n\"}", "web\n"),
            ("name={.metadata.name};", "name=web;"),
            ("{.spec.ports[*]}", "80 443"),
            ("{.spec.ports[0]}", "80"),
            ("{.spec.ports[-1:]}", "443"),
            ("{.spec}", r#"{"on":true,"ports":[80,443]}"#),
            ("{.metadata.labels.app\\.kubernetes\\.io/name}", "shop"),
            ("{.metadata.labels.my-label}", "x"),
            ("{.status.conditions[?(@.type==\"Ready\")].status}", "True"),
            ("{.status.conditions[?(@.last-seen>2)].type}", "Stalled"),
            ("{.status.conditions[?(@.type=='Ready')]['type','status']}", "Ready True"),
            ("{.items[*].metadata.name}", "a b"),
            ("{range .items[*]}<{.metadata.name}>{end}", "<a><b>"),
            ("{range .items[*]}{.metadata.name}{\"\\t\"}{end}!", "a\tb\t!"),
            ("{.no.such.field}", ""),
            // Maps have no order: where only one of them holds the name, there is one answer.
            ("{.items..name}", "a b"),
            ("{@.metadata.name}", "web"),
        ] {
            assert_eq!(rendered(template), expected, "{template}");
        }
        assert_eq!(rendered("{.metadata.labels['my-label']}"), "x");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for template in ["{.a", "{range .items[*]}x", "{end}", "{.a[}", "{\"x}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }

    #[test]
    fn a_path_may_stand_without_braces() {
        for path in ["{.spec.on}", ".spec.on", "spec.on"] {
            let template = Template::path(path).expect(path);
            assert_eq!(template.render(&json!({"spec": {"on": true}})).expect(path), "true");
        }
    }
}

//! The part of JSONPath that printer columns use: `.a.b[0]`, `.a['b.c']`, `.list[*].x`, `.list[?(@.type=="Ready")].status`.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug)]
pub(crate) struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Items where the field at the path equals (or not) the value.
    Filter {
        path: Vec<String>,
        equal: bool,
        value: Value,
    },
}

impl JsonPath {
    /// Parses a path; it starts with a dot or a bracket.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let text = text.strip_prefix('$').unwrap_or(text);
        if !text.starts_with(['.', '[']) {
            return Err("must be a JSON path that starts with a dot".into());
        }
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                if after.starts_with('[') {
                    rest = after;
                    continue;
                }
                let (name, after) = field(after)?;
                steps.push(if name == "*" { Step::All } else { Step::Field(name) });
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (step, after) = bracket(after)?;
                steps.push(step);
                rest = after;
            } else {
                return Err(format!("cannot be read from {rest:?} on"));
            }
        }
        Ok(Self { steps })
    }

    /// The values there.
    pub(crate) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.steps {
            found = match step {
                Step::Field(name) => found.into_iter().filter_map(|v| v.get(name)).collect(),
                Step::Index(index) => found.into_iter().filter_map(|v| at(v, *index)).collect(),
                Step::All => found.into_iter().flat_map(all).collect(),
                Step::Filter { path, equal, value } => found
                    .into_iter()
                    .flat_map(all)
                    .filter(|item| {
                        let there = path.iter().try_fold(*item, |v, name| v.get(name));
                        there.is_some_and(|there| (there == value) == *equal)
                    })
                    .collect(),
            };
        }
        found
    }
}

/// A field name after a dot; a backslash keeps a dot in the name.
fn field(text: &str) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                return if name.is_empty() { Err("has an empty step".into()) } else { Ok((name, &text[at..])) };
            }
            c => name.push(c),
        }
    }
    if name.is_empty() { Err("has an empty step".into()) } else { Ok((name, "")) }
}

/// What stands in brackets, and the rest after them.
fn bracket(text: &str) -> Result<(Step, &str), String> {
    if let Some(filter) = text.strip_prefix("?(") {
        let end = filter.find(")]").ok_or("has a filter that does not end in )]")?;
        return Ok((self::filter(&filter[..end])?, &filter[end + 2..]));
    }
    if let Some(quote) = text.chars().next().filter(|c| *c == '\'' || *c == '"') {
        let end = text[1..].find(&format!("{quote}]")).ok_or("has a quote that does not end")?;
        return Ok((Step::Field(text[1..=end].replace("\\.", ".")), &text[end + 3..]));
    }
    let end = text.find(']').ok_or("has a bracket that does not end")?;
    let step = match &text[..end] {
        "*" => Step::All,
        index => Step::Index(index.parse().map_err(|_| format!("has {index:?} in brackets, which is no index"))?),
    };
    Ok((step, &text[end + 1..]))
}

/// `@.type=="Ready"`
fn filter(text: &str) -> Result<Step, String> {
    let (path, value, equal) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((path, value)), _) => (path, value, true),
        (None, Some((path, value))) => (path, value, false),
        _ => return Err("has a filter other than == and !=".into()),
    };
    let path = path.trim().strip_prefix("@.").ok_or("has a filter that does not start with @.")?;
    let value = value.trim().replace('\'', "\"");
    let value = serde_json::from_str(&value).map_err(|_| format!("compares with {value}, which is no value"))?;
    Ok(Step::Filter { path: path.split('.').map(str::to_owned).collect(), equal, value })
}

fn at(value: &Value, index: i64) -> Option<&Value> {
    let list = value.as_array()?;
    let length = i64::try_from(list.len()).ok()?;
    let index = if index < 0 { length + index } else { index };
    list.get(usize::try_from(index).ok()?)
}

fn all(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_what_kubectl_users_expect() {
        let object = json!({
            "metadata": {"name": "w", "annotations": {"example.com/a": "x"}},
            "spec": {"ports": [{"port": 80}, {"port": 443}]},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        let cases = [
            (".metadata.name", json!(["w"])),
            ("{.metadata.name}", json!(["w"])),
            (".metadata.annotations['example\\.com/a']", json!(["x"])),
            (".metadata.annotations.example\\.com/a", json!(["x"])),
            (".spec.ports[0].port", json!([80])),
            (".spec.ports[-1].port", json!([443])),
            (".spec.ports[*].port", json!([80, 443])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            (".status.conditions[?(@.type!=\"Ready\")].status", json!(["False"])),
            (".spec.missing.deeper", json!([])),
        ];
        for (path, expected) in cases {
            let found: Vec<_> = JsonPath::parse(path).expect(path).find(&object).into_iter().cloned().collect();
            assert_eq!(json!(found), expected, "{path}");
        }
    }

    #[test]
    fn paths_that_cannot_be_read_are_refused() {
        for path in ["", "name", ".a..b", ".a[", ".a[x]", ".a[?(@.b>1)]", ".a['b"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}

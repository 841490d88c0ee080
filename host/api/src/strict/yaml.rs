//! YAML that may name a key twice. Where it does is told by the line, as Go's reader does it. What its aliases come to is bounded: some kilobytes of them
//! can come to gigabytes.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::resources::OBJECT_LIMIT;

/// How many keys are told.
const MOST: usize = 20;

/// Reads YAML; answers besides what its reader in Go says of the keys that stand there twice, if there are some.
pub(crate) fn read(bytes: &[u8]) -> Result<(Value, Option<String>), serde_yaml_ng::Error> {
    let mut lines = Vec::new();
    loop {
        // Only an error knows where it is: each reading ends at the first key that was not told yet.
        let pass = if lines.len() < MOST { lines.len() } else { usize::MAX };
        // Without aliases it comes to less than twice what was sent.
        let left = Cell::new(OBJECT_LIMIT.max(bytes.len().saturating_mul(2)));
        let state = State { pass: Cell::new(pass), found: RefCell::default(), left };
        match Seed(&state).deserialize(serde_yaml_ng::Deserializer::from_slice(bytes)) {
            Ok(value) => {
                let told = (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:\n{}", lines.join("\n")));
                return Ok((value, told));
            }
            Err(error) => {
                let Some(name) = state.found.take() else { return Err(error) };
                let line = error.location().map_or(0, |at| at.line());
                lines.push(format!("  line {line}: key {name:?} already set in map"));
            }
        }
    }
}

struct State {
    /// So many keys are passed over.
    pass: Cell<usize>,
    /// The one that was not.
    found: RefCell<Option<String>>,
    /// Bytes that it may still come to.
    left: Cell<usize>,
}

impl State {
    /// Counts something of this length.
    fn count<E: Error>(&self, length: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(length + 1);
        self.left.set(left.ok_or_else(|| E::custom("what its aliases stand for is too large"))?);
        Ok(())
    }
}

struct Seed<'a>(&'a State);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value that JSON has too")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.count(value.len())?;
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.0.count(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.count(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.0.count(0)?;
        let (mut map, mut seen) = (Map::new(), HashSet::new());
        while let Some(name) = fields.next_key_seed(Key { state: self.0, seen: &mut seen })? {
            let value = fields.next_value_seed(Seed(self.0))?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// A key, which is an error if it stands there already: so the error is where the key is.
struct Key<'a> {
    state: &'a State,
    seen: &'a mut HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        self.state.count(name.len())?;
        if !self.seen.insert(name.to_owned()) {
            match self.state.pass.get() {
                0 => {
                    self.state.found.replace(Some(name.to_owned()));
                    return Err(E::custom("a key stands there twice"));
                }
                pass => self.state.pass.set(pass - 1),
            }
        }
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_that_stand_there_twice_are_told_by_their_lines() {
        let text = b"\na: 1\nb:\n- c: x\n  c: y\n- {d: .5, 7: z}\na: {a: true}\n";
        let (value, told) = read(text).expect("YAML");
        assert_eq!(value, json!({"a": {"a": true}, "b": [{"c": "y"}, {"d": 0.5, "7": "z"}]}));
        let expected =
            "yaml: unmarshal errors:\n  line 5: key \"c\" already set in map\n  line 7: key \"a\" already set in map";
        assert_eq!(told.as_deref(), Some(expected));
        assert_eq!(read(b"a: 1\nb: 2").expect("YAML").1, None);
        assert!(read(b"a: [").is_err());
        let many = "a: 1\n".repeat(100);
        assert_eq!(read(many.as_bytes()).expect("YAML").1.map(|told| told.lines().count()), Some(MOST + 1));
    }
    #[test]
    fn aliases_are_bounded_by_what_they_come_to() {
        let text = "base: &base {a: [1, 2], b: x}\nother: *base\nlist: [*base, *base]\n";
        let base = json!({"a": [1, 2], "b": "x"});
        let (value, told) = read(text.as_bytes()).expect("YAML");
        assert_eq!((value, told), (json!({"base": base, "other": base, "list": [base, base]}), None));
        // Some kilobytes that come to gigabytes.
        let bomb = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(20_000), "*a,".repeat(20_000));
        let error = read(bomb.as_bytes()).expect_err("too large").to_string();
        assert!(error.contains("aliases"), "{error}");
        let plain = format!("a: [{}]\n", "x,".repeat(1_000_000));
        assert!(read(plain.as_bytes()).is_ok(), "what has no aliases is as large as what was sent");
        assert!(read("[".repeat(10_000).as_bytes()).is_err());
    }
}

//! JSON that may name a field twice: the last one counts, and the client is told. The same for [`yaml`].

pub(crate) mod yaml;

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads JSON; answers besides what is to be said of the fields that stand there twice.
pub(crate) fn read(bytes: &[u8]) -> serde_json::Result<(Value, Vec<String>)> {
    let twice = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { path: &Path::Root, twice: &twice }.deserialize(&mut reader)?;
    reader.end()?;
    let told = twice.into_inner().into_iter().map(|field| format!("duplicate field \"{field}\""));
    Ok((value, told.collect()))
}

/// Where a value stands; written down only when something is wrong there.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(above, name) => write!(f, "{above}.{name}"),
            Self::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

struct Seed<'a> {
    path: &'a Path<'a>,
    twice: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) =
            items.next_element_seed(Seed { path: &Path::Item(self.path, list.len()), twice: self.twice })?
        {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = Path::Field(self.path, &name);
            let value = fields.next_value_seed(Seed { path: &path, twice: self.twice })?;
            if map.contains_key(&name) {
                self.twice.borrow_mut().push(path.to_string());
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_stands_there_twice_is_named() {
        let text = br#"{"a": 1, "b": [{"c": 1.5, "c": -2}, {"d": {"e": null, "e": "x", "e": true}}], "a": {"a": 1}}"#;
        let (value, twice) = read(text).expect("JSON");
        assert_eq!(value, json!({"a": {"a": 1}, "b": [{"c": -2}, {"d": {"e": true}}]}));
        assert_eq!(twice, ["b[0].c", "b[1].d.e", "b[1].d.e", "a"].map(|field| format!("duplicate field \"{field}\"")));
        assert!(read(b"{} x").is_err() && read(b"").is_err());
        assert!(read("[".repeat(10_000).as_bytes()).is_err(), "no deeper than any other JSON");
    }
}

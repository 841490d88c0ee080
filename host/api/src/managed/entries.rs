//! The entries of `metadata.managedFields`.

use jiff::Timestamp;
use serde_json::{Map, Value};
use threeport_store::lifecycle;

use super::fields::FieldSet;

/// Most managers that are remembered apart for what they wrote without apply.
const MAX_UPDATERS: usize = 10;
/// Who has the fields of those that are not remembered any more.
const ANCIENT: &str = "ancient-changes";

/// Who writes now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    /// The manager's name.
    pub manager: &'a str,
    /// The version in which it names fields.
    pub api_version: &'a str,
    /// The subresource through which it writes; empty for the object itself.
    pub subresource: &'a str,
    /// When.
    pub now: Timestamp,
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub manager: String,
    /// By apply; else by any other write.
    pub applied: bool,
    pub api_version: String,
    pub subresource: String,
    pub time: Option<String>,
    pub fields: FieldSet,
}

impl Entry {
    /// Whether both are one manager's: an applier is one in every version.
    fn is_same(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }

    /// As a conflict names it.
    pub(super) fn shown(&self) -> String {
        let mut text = Value::from(self.manager.as_str()).to_string();
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if self.applied { text } else { format!("{text} using {}", self.api_version) }
    }

    fn into_value(self) -> Value {
        let mut entry = Map::new();
        let mut text = |name: &str, value: String| drop(entry.insert(name.to_owned(), Value::String(value)));
        text("apiVersion", self.api_version);
        text("fieldsType", "FieldsV1".to_owned());
        text("manager", self.manager);
        text("operation", if self.applied { "Apply" } else { "Update" }.to_owned());
        if !self.subresource.is_empty() {
            text("subresource", self.subresource);
        }
        if let Some(time) = self.time {
            text("time", time);
        }
        entry.insert("fieldsV1".to_owned(), self.fields.into_value());
        Value::Object(entry)
    }
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entries(pub(super) Vec<Entry>);

impl Entries {
    /// Those of a stored object: this program wrote them.
    pub(crate) fn stored(value: Value) -> Self {
        let Value::Array(items) = value else { return Self::default() };
        let entry = |item| {
            let Value::Object(mut fields) = item else { return None };
            let mut text = |name: &str| match fields.remove(name) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            };
            Some(Entry {
                manager: text("manager").unwrap_or_default(),
                applied: text("operation")? == "Apply",
                api_version: text("apiVersion")?,
                subresource: text("subresource").unwrap_or_default(),
                time: text("time"),
                fields: FieldSet::stored(fields.remove("fieldsV1").unwrap_or_default()),
            })
        };
        Self(items.into_iter().filter_map(entry).collect())
    }

    /// Those that a client sent.
    ///
    /// # Errors
    /// A sentence for what is no entry: kube-apiserver then goes on as if none had been sent.
    pub(crate) fn sent(value: &Value) -> Result<Self, String> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, item) in value.as_array().ok_or("managedFields must be a list")?.iter().enumerate() {
            let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
            let applied = match text("operation").as_str() {
                "Apply" => true,
                "Update" => false,
                _ => return Err("operation must be `Apply` or `Update`".to_owned()),
            };
            if text("apiVersion").is_empty() {
                return Err("apiVersion must not be empty".to_owned());
            }
            match text("fieldsType").as_str() {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
                other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}")),
            }
            let time = item["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            let entry = Entry {
                manager: text("manager"),
                applied,
                api_version: text("apiVersion"),
                subresource: text("subresource"),
                time: time.map(lifecycle::timestamp),
                fields: FieldSet::parse(&item["fieldsV1"])?,
            };
            // A later one of the same manager counts.
            entries.retain(|there| !there.is_same(&entry));
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    /// Whether a client's value asks to forget every manager: an empty list, or a list of one empty entry.
    pub(crate) fn is_reset(value: &Value) -> bool {
        match value.as_array().map(Vec::as_slice) {
            Some([]) => true,
            Some([Value::Object(only)]) => only.is_empty(),
            _ => false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they are stored and shown, in Kubernetes' order.
    pub(crate) fn into_value(mut self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        self.sort();
        Some(Value::Array(self.0.into_iter().map(Entry::into_value).collect()))
    }

    fn sort(&mut self) {
        let order = |entry: &Entry| {
            let Entry { manager, applied, api_version, subresource, time, .. } = entry;
            (!applied, time.clone(), manager.clone(), api_version.clone(), subresource.clone())
        };
        if self.0.len() > 1 {
            self.0.sort_by_cached_key(order);
        }
    }

    /// Where a writer's entry is.
    pub(super) fn position(&self, writer: Writer<'_>, applied: bool) -> Option<usize> {
        let wanted = Entry::of(writer, applied, FieldSet::default());
        self.0.iter().position(|entry| entry.is_same(&wanted))
    }

    /// Gives fields to one who wrote them without apply.
    pub(super) fn give(&mut self, writer: Writer<'_>, fields: FieldSet) {
        let mut entry = Entry::of(writer, false, fields);
        entry.time = Some(lifecycle::timestamp(writer.now));
        match self.position(writer, false) {
            Some(index) => {
                let there = std::mem::take(&mut self.0[index].fields);
                entry.fields.add(there);
                self.0[index] = entry;
            }
            None => self.0.push(entry),
        }
    }

    /// Puts the oldest of those who wrote without apply together, so that not too many are remembered.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<usize> = (0..self.0.len()).filter(|index| !self.0[*index].applied).collect();
        let mut count = updaters.len();
        if count <= MAX_UPDATERS {
            return;
        }
        updaters.sort_by_cached_key(|index| {
            let Entry { manager, api_version, subresource, time, .. } = &self.0[*index];
            (time.clone(), manager.clone(), api_version.clone(), subresource.clone())
        });
        let mut buckets: Vec<Entry> = Vec::new();
        let mut gone = Vec::new();
        for index in updaters {
            if count <= MAX_UPDATERS {
                break;
            }
            let entry = &self.0[index];
            gone.push(index);
            match buckets.iter_mut().find(|bucket| bucket.api_version == entry.api_version) {
                Some(bucket) => {
                    bucket.fields.add(entry.fields.clone());
                    bucket.time.clone_from(&entry.time);
                    (bucket.manager, bucket.subresource) = (ANCIENT.to_owned(), String::new());
                    count -= 1;
                }
                // The first of a version keeps its name until a second joins it.
                None => buckets.push(entry.clone()),
            }
        }
        let mut index = 0;
        self.0.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
        for bucket in buckets {
            match self.0.iter_mut().find(|there| there.is_same(&bucket)) {
                Some(there) => there.fields.add(bucket.fields),
                None => self.0.push(bucket),
            }
        }
    }

    /// The same with the old times, if nothing else differs.
    pub(crate) fn same_but_times(&self, old: &Self) -> bool {
        let timeless = |entry: &Entry| Entry { time: None, ..entry.clone() };
        let found =
            |entry: &Entry| old.0.iter().any(|there| there.is_same(entry) && timeless(there) == timeless(entry));
        self.0.len() == old.0.len() && self.0.iter().all(found)
    }
}

impl Entry {
    pub(super) fn of(writer: Writer<'_>, applied: bool, fields: FieldSet) -> Self {
        Self {
            manager: writer.manager.to_owned(),
            applied,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: None,
            fields,
        }
    }
}

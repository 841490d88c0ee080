//! Who has which fields after a write.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::compare::{Changes, compare};
use super::entries::{Entries, Entry, Writer};
use super::remove::reconcile;
use super::types::{Outside, Type};
use crate::registry::Kind;
use crate::schema::Schema;

/// What a write is about.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The kind in the version that is written.
    pub kind: &'a Kind,
    /// The same kind in another version, by apiVersion.
    pub other: &'a dyn Fn(&str) -> Option<Arc<Kind>>,
    /// Who writes.
    pub writer: Writer<'a>,
    /// Top-level fields that this way of writing leaves alone.
    pub outside: &'a [&'static str],
}

impl<'a> Context<'a> {
    pub(super) fn outside(&self) -> Outside<'a> {
        Outside(self.outside)
    }

    pub(super) fn root(&self) -> Type<'a> {
        Type::root(&self.kind.schema)
    }

    /// Does something with the type in another version; nothing if that is not served any more.
    pub(super) fn in_version<T>(&self, api_version: &str, call: impl FnOnce(Type<'_>) -> T) -> Option<T> {
        if api_version == &*self.kind.api_version {
            return Some(call(self.root()));
        }
        Some(call(Type::root(&(self.other)(api_version)?.schema)))
    }
}

/// The entries of a new object; `sent` are those that its client gave it.
pub(crate) fn created(context: Context<'_>, new: &Value, sent: Entries) -> Entries {
    let empty = skeleton(&context.kind.schema);
    take_over(context, &empty, new, sent)
}

/// The entries after an update. One that has none is not tracked.
pub(crate) fn updated(context: Context<'_>, old: &Value, new: &Value, entries: Entries) -> Entries {
    if entries.is_empty() { entries } else { take_over(context, old, new, entries) }
}

/// The writer takes what it changed from all others.
pub(super) fn take_over(context: Context<'_>, old: &Value, new: &Value, mut entries: Entries) -> Entries {
    let mut versions = Versions::new(context, old, new);
    if versions.own().is_empty() && entries.0.iter().all(|entry| versions.is_own(entry)) {
        return entries;
    }
    line_up(context, &mut entries);
    entries.0.retain_mut(|entry| match versions.changes(&entry.api_version) {
        Some(changes) => {
            lose(entry, changes);
            !entry.fields.is_empty()
        }
        None => false,
    });
    let written = versions.into_own().written();
    if !written.is_empty() {
        entries.give(context.writer, written);
    }
    entries.cap();
    entries
}

/// Takes from an entry what changed.
pub(super) fn lose(entry: &mut Entry, changes: &Changes) {
    for changed in [&changes.modified, &changes.added, &changes.removed] {
        entry.fields.subtract(changed);
    }
}

/// Brings the sets in line with the schemas as they are now.
pub(super) fn line_up(context: Context<'_>, entries: &mut Entries) {
    for entry in &mut entries.0 {
        let fields = &mut entry.fields;
        context.in_version(&entry.api_version, |kind| reconcile(kind, fields));
    }
}

/// A change, as each version names its fields.
pub(super) struct Versions<'a> {
    context: Context<'a>,
    old: &'a Value,
    new: &'a Value,
    own: Changes,
    others: Vec<(String, Option<Changes>)>,
}

impl<'a> Versions<'a> {
    pub(super) fn new(context: Context<'a>, old: &'a Value, new: &'a Value) -> Self {
        let own = compare(context.root(), old, new, context.outside());
        Self { context, old, new, own, others: Vec::new() }
    }

    pub(super) fn own(&self) -> &Changes {
        &self.own
    }

    pub(super) fn into_own(self) -> Changes {
        self.own
    }

    fn is_own(&self, entry: &Entry) -> bool {
        entry.api_version == *self.context.kind.api_version
    }

    /// The change in a version; none if that is not served any more.
    pub(super) fn changes(&mut self, api_version: &str) -> Option<&Changes> {
        if api_version == &*self.context.kind.api_version {
            return Some(&self.own);
        }
        let known = self.others.iter().position(|(version, _)| version == api_version);
        let index = known.unwrap_or_else(|| {
            let (old, new, outside) = (self.old, self.new, self.context.outside());
            let changes = self.context.in_version(api_version, |kind| compare(kind, old, new, outside));
            self.others.push((api_version.to_owned(), changes));
            self.others.len() - 1
        });
        self.others[index].1.as_ref()
    }
}

/// What is there before anything is said: the objects and texts that a kind always has (`default: {}`, `default: ""`).
fn skeleton(schema: &Schema) -> Value {
    let mut out = Map::new();
    for (name, below) in &schema.properties {
        match &below.default {
            Some(Value::Object(empty)) if empty.is_empty() => drop(out.insert(name.clone(), skeleton(below))),
            Some(Value::String(empty)) if empty.is_empty() => drop(out.insert(name.clone(), "".into())),
            _ => {}
        }
    }
    Value::Object(out)
}

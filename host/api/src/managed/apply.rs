//! Server-side apply.

use serde_json::Value;

use super::check::check;
use super::entries::{Entries, Entry, Writer};
use super::fields::FieldSet;
use super::last_applied;
use super::merge::merge;
use super::owners::{Context, Versions, created, line_up, lose};
use super::remove::{remove, with_named};
use super::types::{Outside, Type, same};
use super::walk::field_set;

/// Who has what an object holds when it is applied to for the first time, and nobody was tracked before.
const BEFORE: &str = "before-first-apply";

/// What an apply leads to.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// The object, without managedFields.
    pub object: Value,
    /// Its managers.
    pub entries: Entries,
}

/// Why an apply is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The configuration does not fit the kind.
    Type(String),
    /// Others have these fields with other values.
    Conflicts(Vec<Conflict>),
}

/// A field that another manager has with another value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conflict {
    /// The other manager, as it is shown.
    pub manager: String,
    /// The field's path.
    pub path: String,
}

/// Applies a configuration to an object that is there (or to an empty one). Neither holds managedFields.
///
/// # Errors
/// [`Refused`].
pub(crate) fn apply(
    context: Context<'_>,
    live: &Value,
    config: &Value,
    mut entries: Entries,
    force: bool,
) -> Result<Applied, Refused> {
    if let Err(why) = check(context.root(), config) {
        let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        return Err(Refused::Type(format!(
            "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {why}",
            text("/metadata/namespace"),
            text("/metadata/name"),
            context.kind.resource.group,
            context.kind.version,
            context.kind.kind
        )));
    }
    if entries.is_empty() {
        let writer = Writer { manager: BEFORE, ..context.writer };
        entries = created(Context { writer, ..context }, live, entries);
    }
    line_up(context, &mut entries);
    let result = once(context, live, config, entries.clone(), force);
    let mut applied = match result {
        Err(Refused::Conflicts(conflicts)) if context.writer.manager == last_applied::MANAGER => {
            match last_applied::fields(context, live) {
                Some(allowed) => {
                    let allowed = allowed.paths();
                    let (_, rest): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(|c| allowed.contains(&c.path));
                    if !rest.is_empty() {
                        return Err(Refused::Conflicts(rest));
                    }
                    once(context, live, config, entries, true)?
                }
                None => return Err(Refused::Conflicts(conflicts)),
            }
        }
        other => other?,
    };
    if context.writer.manager == last_applied::MANAGER {
        last_applied::renew(&mut applied.object, config);
    }
    Ok(applied)
}

fn once(
    context: Context<'_>,
    live: &Value,
    config: &Value,
    mut entries: Entries,
    force: bool,
) -> Result<Applied, Refused> {
    let mut object = live.clone();
    merge(context.root(), &mut object, config);
    let set = field_set(context.root(), config, context.outside());
    let before = entries.position(context.writer, true).map(|index| entries.0.swap_remove(index));
    let mut own = Entry::of(context.writer, true, set);
    if let Some(before) = &before {
        own.time.clone_from(&before.time);
        prune(context, &mut object, &entries, &own.fields, before);
    }
    let mut versions = Versions::new(context, live, &object);
    let mut conflicts = Vec::new();
    for entry in &entries.0 {
        let Some(changes) = versions.changes(&entry.api_version) else { continue };
        let mut taken = entry.fields.common(&changes.modified);
        taken.add(entry.fields.common(&changes.added));
        conflicts.extend(taken.paths().into_iter().map(|path| Conflict { manager: entry.shown(), path }));
    }
    if !force && !conflicts.is_empty() {
        conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
        return Err(Refused::Conflicts(conflicts));
    }
    entries.0.retain_mut(|entry| match versions.changes(&entry.api_version) {
        Some(changes) => {
            lose(entry, changes);
            !entry.fields.is_empty()
        }
        None => false,
    });
    if !same(live, &object) {
        own.time = Some(threeport_store::lifecycle::timestamp(context.writer.now));
    }
    if !own.fields.is_empty() {
        entries.0.push(own);
    }
    Ok(Applied { object, entries })
}

/// Takes out what the manager had and does not say any more, unless somebody else has it.
fn prune(context: Context<'_>, merged: &mut Value, others: &Entries, own: &FieldSet, before: &Entry) {
    let mut dropped = before.fields.clone();
    dropped.subtract(own);
    if dropped.is_empty() {
        return;
    }
    let whole = merged.clone();
    // First in the version of what it had, then in every other one.
    let version = before.api_version.as_str();
    let mut versions = vec![version, &*context.kind.api_version];
    versions.extend(others.0.iter().map(|entry| entry.api_version.as_str()));
    let mut seen = Vec::new();
    versions.retain(|version| {
        !seen.contains(version) && {
            seen.push(*version);
            true
        }
    });
    let known = context.in_version(version, |kind| remove(kind, merged, with_named(kind, &before.fields).node()));
    if known.is_none() {
        return;
    }
    for version in versions {
        let mut held = if version == &*context.kind.api_version { own.clone() } else { FieldSet::default() };
        others.0.iter().filter(|entry| entry.api_version == version).for_each(|entry| held.add(entry.fields.clone()));
        context.in_version(version, |kind| *merged = keep(kind, &whole, merged, &held));
    }
    context.in_version(version, |kind| {
        let mut gone = all(kind, &whole);
        gone.subtract(&all(kind, merged));
        let gone = gone.common(&with_named(kind, &before.fields));
        *merged = whole;
        remove(kind, merged, gone.node());
    });
}

/// The whole without what was pruned from it, but with what is held.
fn keep(kind: Type<'_>, whole: &Value, pruned: &Value, held: &FieldSet) -> Value {
    let mut gone = all(kind, whole);
    gone.subtract(&all(kind, pruned));
    gone.subtract(&with_named(kind, held));
    let mut kept = whole.clone();
    remove(kind, &mut kept, gone.node());
    kept
}

fn all(kind: Type<'_>, object: &Value) -> FieldSet {
    with_named(kind, &field_set(kind, object, Outside(&[])))
}

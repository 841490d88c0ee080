//! The kinds that a version of a plugin brings, as writes to the stored definitions.

use serde_json::Value;
use threeport_store::{Demand, Key, ListQuery, MAX_DEPTH, Op, Precondition, Resource, Scope, Store, deeper_than};
use threeport_wasm::Plugin;
use uuid::Uuid;

use crate::compatible::{lost_versions, narrowings, renamings};
use crate::definition::{Schema, definition, plugin_of};
use crate::host::Host;
use crate::kinds::{HOST_GROUP, Kind, definitions};
use crate::serving::{kinds_of, references_of};
use crate::trouble::{Stop, Trouble};

/// Narrowings that a message names.
const NAMED: usize = 5;

/// A stored definition of a plugin's kind. What is stored counts, not what is loaded: a component that does not load any more still owns its kinds.
pub(crate) struct Owned {
    key: Key,
    uid: std::sync::Arc<str>,
    pub(crate) resource: Resource,
    pub(crate) kind: String,
}

/// The definitions that name this plugin.
pub(crate) async fn owned(store: &Store, plugin: &str) -> Result<Vec<Owned>, threeport_store::Error> {
    let scope = Scope { resource: definitions(), namespace: None };
    let stored = store.list(ListQuery { scope, limit: None, after: None, at: None }).await?;
    let owned = stored.items.into_iter().filter_map(|stored| {
        let body = stored.value();
        if plugin_of(&body) != Some(plugin) {
            return None;
        }
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let resource = Resource::new(text("/spec/group").as_str(), text("/spec/names/plural").as_str());
        Some(Owned { key: stored.key, uid: stored.uid, resource, kind: text("/spec/names/kind") })
    });
    Ok(owned.collect())
}

impl Owned {
    /// Its removal, as long as there is still no object of its kind.
    pub(crate) fn remove(self) -> [Op; 2] {
        let precondition = Precondition::Present { uid: Some(self.uid), resource_version: None };
        let none = Demand::None(Scope { resource: self.resource, namespace: None });
        [Op::Check(none), Op::Remove { key: self.key, precondition }]
    }
}

/// The writes that make a plugin's kinds known and forget those that it no longer has, or why they may not be. `rollback`: the version served before.
pub(crate) async fn writes(
    host: &Host,
    name: &str,
    plugin: &Plugin,
    rollback: bool,
) -> Result<Result<(Vec<Kind>, Vec<Op>), Trouble>, Stop> {
    let invalid = |message: String| Ok(Err(Trouble::stalled("SchemaInvalid", message)));
    let kinds = match kinds_of(plugin, name) {
        Ok(kinds) => kinds,
        Err(bad) => return invalid(bad.to_string()),
    };
    let mut ops = Vec::new();
    for (kind, described) in kinds.iter().zip(&plugin.descriptor.kinds) {
        if let Some(why) = reserved(&kind.resource.group, &kind.kind) {
            return Ok(Err(Trouble::stalled("KindConflict", why)));
        }
        let described: Value = serde_json::from_str(described).unwrap_or_default();
        let key = definition_key(kind);
        let stored = host.store.get(&key).await?;
        let before = stored.as_ref().map(threeport_store::Object::value);
        let mut schema = Schema::AsDescribed;
        if let Some(before) = &before {
            if let Some(trouble) = others(before, name, kind) {
                return Ok(Err(trouble));
            }
            let objects = host.any(&kind.resource).await?;
            if let Some(trouble) = incompatible(before, &described, kind, objects.as_deref(), rollback) {
                return Ok(Err(trouble));
            }
            if rollback || objects.is_some() {
                schema = Schema::NoNarrower;
            }
        }
        let uid = Uuid::new_v4().to_string();
        let references = references_of(plugin, &described);
        let body = match definition(&described, name, &references, before.as_ref(), schema, &uid) {
            Ok(body) => body,
            Err(bad) => return invalid(bad.to_string()),
        };
        if before.as_ref() == Some(&body) {
            continue;
        }
        if let Some(why) = unservable(host, &body) {
            return invalid(format!("kind {} cannot be served: {why}; mend its CustomResourceDefinition", kind.kind));
        }
        let precondition = stored.map_or(Precondition::Absent, |stored| Precondition::Present {
            uid: Some(stored.uid),
            resource_version: Some(stored.resource_version),
        });
        ops.push(Op::Put { key, body, precondition, edges: None, wake: None });
    }
    for dropped in owned(&host.store, name).await? {
        if kinds.iter().any(|kind| kind.resource == dropped.resource) {
            continue;
        }
        if let Some(first) = host.any(&dropped.resource).await? {
            let message = format!(
                "this version no longer serves kind {}, and there are objects of it: {first}; delete them first",
                dropped.kind
            );
            return Ok(Err(Trouble::stalled("KindDropped", message)));
        }
        ops.extend(dropped.remove());
    }
    Ok(Ok((kinds, ops)))
}

/// What is wrong with a definition, for those who serve and store it.
fn unservable(host: &Host, definition: &Value) -> Option<String> {
    if deeper_than(definition, MAX_DEPTH) {
        return Some(format!("its definition is nested deeper than {MAX_DEPTH} levels"));
    }
    let mut errors = (host.config.definition_errors)(definition);
    errors.truncate(NAMED);
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// Somebody else has this kind.
fn others(stored: &Value, name: &str, kind: &Kind) -> Option<Trouble> {
    let owner = match plugin_of(stored) {
        Some(owner) if owner == name => return None,
        Some(owner) => format!("plugin {owner:?}"),
        None => "a CustomResourceDefinition of its own".to_owned(),
    };
    let message =
        format!("kind {} ({}) is served by {owner}; delete that first or rename the kind", kind.kind, kind.resource);
    Some(Trouble::stalled("KindConflict", message))
}

/// Why what is stored would not be good any more. Where nothing is stored, a schema may be anything; going back is always possible, because the
/// wider schema stays, unless objects are stored in a version that the older one does not know.
fn incompatible(
    stored: &Value,
    described: &Value,
    kind: &Kind,
    objects: Option<&str>,
    rollback: bool,
) -> Option<Trouble> {
    let renamed = renamings(stored, described);
    if !renamed.is_empty() {
        let message = format!(
            "kind {}: {}; give the new kind another name, or delete the Plugin first, after the objects of its kinds",
            kind.kind,
            renamed.join("; ")
        );
        return Some(Trouble::stalled("SchemaIncompatible", message));
    }
    let objects = objects?;
    let mut found = if rollback {
        let lost = lost_versions(stored, described).into_iter();
        lost.map(|version| format!("objects are stored as version {version}, which it does not know")).collect()
    } else {
        narrowings(stored, described)
    };
    if found.is_empty() {
        return None;
    }
    let more = found.len().saturating_sub(NAMED);
    found.truncate(NAMED);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    let message = format!(
        "the schema of kind {} would narrow while there are objects of it ({objects}): {}; keep what was there and add to it, or delete the objects first",
        kind.kind,
        found.join("; ")
    );
    Some(Trouble::stalled("SchemaIncompatible", message))
}

/// Why a plugin may not serve a kind of this name.
fn reserved(group: &str, kind: &str) -> Option<String> {
    let of_kubernetes = !group.contains('.') || group == "k8s.io" || group.ends_with(".k8s.io");
    let of_host = group == HOST_GROUP && matches!(kind, "Plugin" | "Definition" | "DefinitionRevision");
    (of_kubernetes || of_host)
        .then(|| format!("kind {kind} in group {group:?} is the host's own; choose another name or group"))
}

pub(crate) fn definition_key(kind: &Kind) -> Key {
    Key {
        resource: definitions(),
        namespace: None,
        name: format!("{}.{}", kind.resource.plural, kind.resource.group).into(),
    }
}

//! What a group comes to, as rows. The engines write them, each in its own words.

use std::collections::HashSet;
use std::sync::Arc;

use crate::blob::BlobWrite;
use crate::crypt::{Crypt, carried_place, inventory_place, place, sum};
use crate::layer::{InventoryWrite, Layer};
use crate::queue::Work;
use crate::types::{ChangeKind, Edge, Key, Resource};
use crate::work::InventoryEntry;

/// How secrets of a group are written.
pub(crate) struct Sealing<'a> {
    pub(crate) crypt: &'a Crypt,
    pub(crate) encrypted: &'a HashSet<Resource>,
}

/// Everything that a group writes; in this order, so that what is referred to is there.
pub(crate) struct Rows<'a> {
    pub(crate) changes: Vec<ChangeRow>,
    /// Objects that go, with all that hangs on them.
    pub(crate) removed: Vec<i64>,
    pub(crate) objects: Vec<ObjectRow>,
    pub(crate) work: Vec<(i64, Work)>,
    /// Objects whose references are replaced, by these.
    pub(crate) edges: Vec<(i64, &'a [Edge])>,
    /// Objects whose owners are replaced, by these.
    pub(crate) owners: Vec<(i64, &'a [Arc<str>])>,
    /// Suspects, and those that are settled.
    pub(crate) suspects: Vec<(i64, u64)>,
    pub(crate) settled: Vec<i64>,
    /// What objects carry, sealed.
    pub(crate) carried: Vec<(i64, Vec<u8>)>,
    pub(crate) inventory: Vec<InventoryRows<'a>>,
    pub(crate) blobs: &'a [BlobWrite],
    /// Forget the log up to here.
    pub(crate) compact: Option<u64>,
}

pub(crate) struct ChangeRow {
    /// The object's number.
    pub(crate) id: i64,
    pub(crate) rv: u64,
    pub(crate) kind: i64,
    pub(crate) key: Key,
    pub(crate) uid: Arc<str>,
    /// rv of the change that this one supersedes.
    pub(crate) prev: Option<u64>,
    /// Whether the body is encrypted.
    pub(crate) sealed: bool,
    pub(crate) sum: i64,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct ObjectRow {
    pub(crate) id: i64,
    pub(crate) key: Key,
    pub(crate) uid: Arc<str>,
    pub(crate) rv: u64,
}

/// How an object's inventory changes.
pub(crate) struct InventoryRows<'a> {
    pub(crate) object: i64,
    /// Everything else goes; otherwise what is there stays as it is.
    pub(crate) replace: bool,
    /// Entries with their states, sealed.
    pub(crate) entries: Vec<(&'a InventoryEntry, Vec<u8>)>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(layer: &'a Layer, work: Vec<(i64, Work)>, sealing: &Sealing<'_>) -> Self {
        let stays = |id: &i64| !layer.removed.contains(id);
        let (mut suspects, mut settled) = (Vec::new(), Vec::new());
        for (id, seq) in layer.suspects.iter().filter(|(id, _)| stays(id)) {
            match seq {
                Some(seq) => suspects.push((*id, *seq)),
                None => settled.push(*id),
            }
        }
        let carried = layer.carried.iter().filter(|(id, _)| stays(id));
        let edges = layer.edges.iter().filter(|(id, _)| stays(id));
        let owners = layer.owners.iter().filter(|(id, _)| stays(id));
        let inventory = layer.inventory.iter().filter(|(id, _)| stays(id));
        Self {
            changes: changes(layer, sealing),
            removed: layer.removed.iter().copied().collect(),
            objects: objects(layer),
            work,
            edges: edges.map(|(id, edges)| (*id, edges.as_slice())).collect(),
            owners: owners.map(|(id, owners)| (*id, owners.as_slice())).collect(),
            suspects,
            settled,
            carried: carried.map(|(id, value)| (*id, sealing.crypt.seal(&carried_place(*id), value))).collect(),
            inventory: inventory.map(|(id, write)| inventory_rows(*id, write, sealing.crypt)).collect(),
            blobs: &layer.blobs,
            compact: layer.compact,
        }
    }
}

fn changes(layer: &Layer, sealing: &Sealing<'_>) -> Vec<ChangeRow> {
    let rows = layer.log.iter().map(|(id, logged)| {
        let object = &logged.object;
        let kind = match logged.kind {
            ChangeKind::Added => 0,
            ChangeKind::Modified => 1,
            ChangeKind::Deleted => 2,
        };
        let place = place(&object.key, &object.uid);
        let sealed = sealing.encrypted.contains(&object.key.resource);
        let body = if sealed { sealing.crypt.seal(&place, &object.body) } else { object.body.to_vec() };
        ChangeRow {
            id: *id,
            rv: object.resource_version,
            kind,
            key: object.key.clone(),
            uid: object.uid.clone(),
            prev: logged.previous.as_ref().map(|previous| previous.resource_version),
            sealed,
            sum: sum(&place, &body).into(),
            body,
        }
    });
    rows.collect()
}

fn objects(layer: &Layer) -> Vec<ObjectRow> {
    let rows = layer.objects.values().flatten().map(|entry| ObjectRow {
        id: entry.id,
        key: entry.object.key.clone(),
        uid: entry.object.uid.clone(),
        rv: entry.object.resource_version,
    });
    rows.collect()
}

fn inventory_rows<'a>(object: i64, write: &'a InventoryWrite, crypt: &Crypt) -> InventoryRows<'a> {
    let (entries, replace) = match write {
        InventoryWrite::Extend(entries) => (entries.as_slice(), false),
        InventoryWrite::Replace(entries) => (entries.as_slice(), true),
    };
    let sealed =
        |entry: &InventoryEntry| crypt.seal(&inventory_place(object, entry), entry.state.to_string().as_bytes());
    InventoryRows { object, replace, entries: entries.iter().map(|entry| (entry, sealed(entry))).collect() }
}

//! A plan that keeps nothing of a whole set, although nobody changed the spec, is more likely a fault of a new version than what anybody wants.

use std::collections::HashSet;

use threeport_store::InventoryEntry;

use crate::observe::reference;
use crate::plan::{Identity, Item, identity};
use crate::request::Seen;
use crate::trouble::Trouble;

/// So many objects do not go all at once.
const MASS: usize = 5;

/// Whether nothing is left on targets that the plan does not want.
pub(crate) fn settled(items: &[Item], inventory: &[InventoryEntry]) -> bool {
    let wanted: HashSet<Identity> = items.iter().map(Item::identity).collect();
    inventory.iter().all(|entry| wanted.contains(&identity(&entry.target, &reference(entry))))
}

/// Why this plan is not carried out unless somebody asked for it.
pub(crate) fn held(items: &[Item], seen: &[Seen], same_plugin: bool) -> Option<Trouble> {
    let had: Vec<&Seen> = seen.iter().filter(|seen| !seen.state.hash.is_empty()).collect();
    if had.len() < MASS {
        return None;
    }
    let wanted: HashSet<Identity> = items.iter().map(Item::identity).collect();
    if had.iter().any(|seen| wanted.contains(&identity(&seen.entry.target, &seen.reference))) {
        return None;
    }
    let some: Vec<String> = had.iter().take(3).map(|seen| seen.reference.to_string()).collect();
    let version = if same_plugin { "" } else { ", by another version of the plugin than before," };
    let message = format!(
        "the new plan{version} would remove all {} objects that there are ({}, ...) although the spec did not change; nothing was changed. If that is right, \
         annotate this object with threeport.dev/allow-prune=true; if not, roll the plugin back",
        had.len(),
        some.join(", ")
    );
    Some(Trouble::stalled("PruneHeld", message))
}

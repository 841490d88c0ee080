//! Which kinds are defined, and whether their objects lie in namespaces: read from the definitions when they change.

use std::collections::HashMap;

use threeport_store::Object;

/// What the definitions say of their kinds.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    /// The version of the store at which that was so.
    pub(crate) version: u64,
    /// How many definitions there were, and the version of the last that changed: another set differs in one of them.
    seen: (usize, u64),
    /// By group and kind.
    known: HashMap<(String, String), bool>,
}

impl Scopes {
    /// Takes over what the definitions say, as they are at a version of the store; true if they had to be read for it.
    pub(crate) fn follow(&mut self, definitions: &[Object], version: u64) -> bool {
        self.version = version;
        let last = definitions.iter().map(|definition| definition.resource_version).max().unwrap_or_default();
        let seen = (definitions.len(), last);
        if self.seen == seen {
            return false;
        }
        self.seen = seen;
        self.known.clear();
        for definition in definitions {
            let body = definition.value();
            let spec = &body["spec"];
            if let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["kind"].as_str()) {
                let namespaced = spec["scope"] == "Namespaced";
                self.known.entry((group.to_owned(), kind.to_owned())).or_insert(namespaced);
            }
        }
        true
    }

    /// Whether objects of a kind lie in namespaces; None if there is no such kind.
    pub(crate) fn namespaced(&self, group: &str, kind: &str) -> Option<bool> {
        self.known.get(&(group.to_owned(), kind.to_owned())).copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport_store::{Resource, lifecycle};

    use super::*;

    fn definition(kind: &str, scope: &str, version: u64) -> Object {
        let key = lifecycle::definition_key(&Resource::new("example.com", kind.to_lowercase()));
        let body = json!({"spec": {"group": "example.com", "names": {"kind": kind}, "scope": scope}});
        Object { key, uid: kind.into(), resource_version: version, body: body.to_string().into() }
    }

    #[test]
    fn definitions_are_read_once_for_as_long_as_they_stay_the_same() {
        let mut scopes = Scopes::default();
        let (kite, hand) = (definition("Kite", "Namespaced", 3), definition("Hand", "Cluster", 5));
        let both = [kite.clone(), hand.clone()];
        assert!(scopes.follow(&both, 7));
        assert!(!scopes.follow(&both, 9), "something else changed");
        let of = |scopes: &Scopes, kind| scopes.namespaced("example.com", kind);
        assert_eq!((of(&scopes, "Kite"), of(&scopes, "Hand"), of(&scopes, "Stone")), (Some(true), Some(false), None));
        assert!(scopes.follow(&[kite], 10), "one went");
        assert_eq!(of(&scopes, "Hand"), None);
        assert!(scopes.follow(&[definition("Kite", "Cluster", 12)], 12), "one changed");
        assert_eq!((of(&scopes, "Kite"), scopes.version), (Some(false), 12));
    }
}

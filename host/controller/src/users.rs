//! Who keeps a deleted object from being cleaned up.

use std::collections::{BTreeSet, HashSet};

use threeport_store::{Claim, Error, Key, lifecycle};

use crate::carried::Carried;
use crate::host::Host;
use crate::run::own_name;

/// Users that a message names.
const NAMED: usize = 5;

/// Who still needs a deleted object.
pub(crate) struct Holders {
    /// The first few; empty: nobody.
    pub(crate) names: Vec<String>,
    /// The store wakes the object when the last of them needs it no more: it need not look by itself.
    pub(crate) told: bool,
}

/// Those that still need a deleted object.
pub(crate) async fn holding(host: &Host, claim: &Claim) -> Result<Holders, Error> {
    let own = &claim.object.key;
    let users = host.store.dependants(own).await?;
    // An object that refers to itself does not wait for itself.
    let mut users: Vec<Key> =
        users.into_iter().filter(|(user, edge)| edge.role != "uses" && user != own).map(|(user, _)| user).collect();
    let mut told = true;
    if !users.is_empty() {
        let needed = needed(host, own).await?;
        for user in std::mem::take(&mut users) {
            // Those that go as well, and that it needs itself, would wait for it.
            let circle = needed.contains(&user);
            if circle && going(host, &user).await? {
                continue;
            }
            // That it goes as well is not told to all that it needs.
            told &= !circle;
            users.push(user);
        }
    }
    let mut names: BTreeSet<String> = users.iter().map(ToString::to_string).take(NAMED).collect();
    if names.is_empty() && Carried::read(&claim.carried).connection.is_some() {
        // Who refers to another target by now may still have something here.
        let there = host.store.on_target(&own_name(&claim.object.value()), NAMED + 1).await?;
        names.extend(there.into_iter().filter(|key| key != own).map(|key| key.to_string()).take(NAMED));
        told = false;
    }
    Ok(Holders { names: names.into_iter().collect(), told })
}

/// What an object needs, and what that needs.
async fn needed(host: &Host, from: &Key) -> Result<HashSet<Key>, Error> {
    let (mut needed, mut ahead) = (HashSet::new(), vec![from.clone()]);
    while let Some(key) = ahead.pop() {
        for edge in host.store.references(&key).await? {
            if edge.role != "uses" && needed.insert(edge.to.clone()) {
                ahead.push(edge.to);
            }
        }
    }
    Ok(needed)
}

async fn going(host: &Host, key: &Key) -> Result<bool, Error> {
    Ok(host.store.get(key).await?.is_some_and(|object| lifecycle::is_going(&object)))
}

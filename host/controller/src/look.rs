//! A look from outside at what is on targets because of an object: for people, between runs.

use std::collections::BTreeSet;
use std::time::Duration;

use threeport_store::{InventoryEntry, Key};
use threeport_wasm::ObjectRef;

use crate::carried::{Carried, target_name, target_ref};
use crate::host::Host;
use crate::observe::{look, reference, seen, unseen};
use crate::request::{self, Seen, Sight};
use crate::trouble::Trouble;

/// A target that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Something on a target, as it is there now.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The object that is the target: apiVersion, kind, namespace, name.
    pub target: Named,
    /// What is there.
    pub object: Named,
    /// False while it was never applied.
    pub applied: bool,
    /// `current`, `in-progress`, `failed`, `terminating`, `not-found` or `unknown`.
    pub health: &'static str,
    /// Why; empty where there is nothing to say.
    pub message: String,
    /// JSON pointers of our fields that are not as they were applied.
    pub drifted: Vec<String>,
    /// Code and message of the target's last refusal.
    pub refusal: Option<(String, String)>,
}

/// What an object is called.
#[derive(Clone, Debug)]
pub struct Named {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// None for what has none.
    pub namespace: Option<String>,
    /// metadata.name
    pub name: String,
}

/// Looks at everything in an object's inventory, with the connections as they were given: only what this object's runs applied is read, and only how it is
/// goes any further.
pub(crate) async fn placed(host: &Host, key: &Key) -> Result<Vec<Placed>, threeport_store::Error> {
    let Some(object) = host.store.get(key).await? else { return Ok(Vec::new()) };
    let inventory = host.store.inventory(key).await?;
    if inventory.is_empty() {
        return Ok(Vec::new());
    }
    let own = target_name(&request::reference(&object.value()));
    let link = Carried::read(&host.store.carried(key).await?).connection;
    let names: BTreeSet<&str> = inventory.iter().map(|entry| entry.target.as_str()).collect();
    let looks = names.into_iter().map(|name| {
        let entries: Vec<&InventoryEntry> = inventory.iter().filter(|entry| entry.target == name).collect();
        let link = link.clone().filter(|_| name == own);
        at(host, name, link, entries)
    });
    let mut all: Vec<Seen> = futures::future::join_all(looks).await.into_iter().flatten().collect();
    // As they were applied, whatever target they are on.
    all.sort_by_key(|seen| seen.entry.stage);
    Ok(all.into_iter().map(said).collect())
}

async fn at(host: &Host, name: &str, own: Option<crate::carried::Link>, entries: Vec<&InventoryEntry>) -> Vec<Seen> {
    let away = |why: String| {
        let sight = Sight::Away(Trouble::unknown("ClusterUnreachable", why));
        entries.iter().map(|entry| unseen(entry, reference(entry), sight.clone())).collect::<Vec<_>>()
    };
    let link = match own {
        Some(link) => Ok(link),
        None => host.targets.published(name).await,
    };
    let link = match link {
        Ok(link) => link,
        Err(none) => return away(none.message().to_owned()),
    };
    let target = match host.targets.given(name, &link).await {
        Ok((target, _)) => target,
        Err(none) => return away(none.message().to_owned()),
    };
    let references: Vec<_> = entries.iter().map(|entry| reference(entry)).collect();
    match tokio::time::timeout(PATIENCE, look(&target, &references)).await {
        Err(_) => away(format!("the target {name} did not answer within {} s", PATIENCE.as_secs())),
        Ok(answers) => {
            let all = entries.iter().zip(references).zip(answers);
            all.map(|((entry, reference), answer)| seen(entry, reference, answer, &host.redactor)).collect()
        }
    }
}

fn said(seen: Seen) -> Placed {
    let ObjectRef { api_version, kind, namespace, name } = target_ref(&seen.entry.target).unwrap_or_else(|| {
        ObjectRef { api_version: String::new(), kind: String::new(), namespace: None, name: seen.entry.target.clone() }
    });
    Placed {
        target: Named { api_version, kind, namespace, name },
        object: Named {
            api_version: seen.entry.api_version,
            kind: seen.entry.kind,
            namespace: seen.entry.namespace,
            name: seen.entry.name,
        },
        applied: seen.entry.uid.is_some(),
        health: seen.health.class.as_str(),
        message: seen.health.message,
        drifted: seen.drifted,
        refusal: seen.state.error.map(|refusal| (refusal.code, refusal.message)),
    }
}

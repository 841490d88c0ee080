//! What the host has on targets for itself (identities, namespaces of tenants) goes with its last user, and all of it with the target.

use std::collections::BTreeSet;

use threeport_kube::Error as TargetError;
use threeport_store::Claim;

use crate::abandon::ABANDONED;
use crate::carried::{Carried, target_ref};
use crate::events::Note;
use crate::host::Host;
use crate::identities::identity;
use crate::scope::Scope;
use crate::targets::NoConnection;
use crate::trouble::{Stop, Trouble};

/// Removes the identities that nobody uses any more, now that an object is gone from its targets. What cannot be removed now goes with the target.
pub(crate) async fn targets(host: &Host, claim: &Claim, scope: &Scope, targets: BTreeSet<String>) {
    for name in targets {
        if name != scope.own()
            && let Err(error) = target(host, claim, scope, &name).await
        {
            tracing::debug!(target = name, "identities stay until the target is removed: {}", error.message());
        }
    }
}

async fn target(host: &Host, claim: &Claim, scope: &Scope, name: &str) -> Result<(), NoConnection> {
    let Some(key) = target_ref(name).and_then(|target| host.kinds.key(&target)) else { return Ok(()) };
    let users = host.store.dependants(&key).await.map_err(|e| NoConnection::Store(e.to_string()))?;
    let own = &claim.object.key;
    let neighbours: Vec<_> = users
        .into_iter()
        .filter(|(user, edge)| edge.role == "target" && user != own && user.namespace == own.namespace)
        .map(|(user, _)| user)
        .collect();
    let same_plugin = neighbours
        .iter()
        .any(|user| host.kinds.get(&user.resource).is_some_and(|kind| &*kind.plugin == scope.plugin()));
    if same_plugin {
        return Ok(());
    }
    let targets = &host.targets;
    let uid = targets.uid(name).await?;
    let (Some(identity), Some((access, _))) = (identity(name, &uid, scope), scope.place(name)) else {
        return Ok(());
    };
    let link = targets.published(name).await?;
    let (admin, _) = targets.given(name, &link).await?;
    let failed = NoConnection::of;
    admin.retire(&identity.name).await.map_err(failed)?;
    targets.identities.forget(&identity.name);
    if neighbours.is_empty() {
        let mine = |namespace: &str| access.namespaces.iter().any(|name| name == namespace);
        admin.clear_namespaces(&uid, mine).await.map_err(failed)?;
    }
    Ok(())
}

/// The object was a target itself: everything of ours goes from it. It waits for a target that is away, unless that is gone for good.
pub(crate) async fn own(host: &Host, claim: &Claim, name: &str, abandon: bool) -> Result<Vec<Note>, Stop> {
    let carried = Carried::read(&claim.carried);
    let Some(link) = carried.connection.as_ref().filter(|_| carried.rooted) else { return Ok(Vec::new()) };
    let uid = claim.object.uid.to_string();
    let left = |why: &str| {
        let message = format!(
            "left behind on the target: namespace threeport-system, and accounts, roles and namespaces with the label threeport.dev/target-uid={uid}: {why}"
        );
        Ok(vec![Note::warning(ABANDONED, message)])
    };
    let admin = match host.targets.given(name, link).await {
        Ok((admin, _)) => admin,
        Err(NoConnection::Unreachable(why)) if !abandon => return Err(away(&why).into()),
        Err(NoConnection::Store(why)) => return Err(NoConnection::Store(why).trouble().into()),
        Err(none) => return left(none.message()),
    };
    let outcome = match admin.uproot(&uid).await {
        Ok(()) => Ok(Vec::new()),
        Err(error) if abandon => left(&error.to_string()),
        // Others hold it up, or nobody knows: it is tried again.
        Err(TargetError::Forbidden { why, .. } | TargetError::Unauthorized { why, .. }) => left(&why),
        Err(error) => match NoConnection::of(error) {
            NoConnection::Unreachable(why) => Err(away(&why).into()),
            other => Err(other.trouble().into()),
        },
    };
    if outcome.is_ok() {
        host.targets.identities.forget_target(&uid);
    }
    outcome
}

fn away(why: &str) -> Trouble {
    let message = format!(
        "what Threeport made there for itself (accounts and roles) is still to be removed: {why}; if it is gone for good, annotate this object with \
         threeport.dev/abandon=true"
    );
    Trouble::unknown("ClusterUnreachable", message)
}

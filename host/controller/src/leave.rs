//! What the host has on targets for itself (identities, namespaces of tenants) goes with its last user, and all of it with the target.

use std::collections::BTreeSet;

use threeport_kube::Error as TargetError;
use threeport_store::Claim;

use crate::carried::{Carried, target_name, target_ref};
use crate::events::Note;
use crate::host::Host;
use crate::identities::identity;
use crate::scope::Scope;
use crate::targets::NoConnection;
use crate::trouble::{Stop, Trouble};

/// One object that is gone from its targets.
pub(crate) struct Leaving<'a> {
    pub(crate) host: &'a Host,
    pub(crate) claim: &'a Claim,
    pub(crate) scope: &'a Scope,
    /// What the object says, or the object that was deleted, of targets that are gone for good.
    pub(crate) abandon: bool,
}

impl Leaving<'_> {
    /// Removes the identities that nobody uses any more. What cannot be removed now goes with the target.
    pub(crate) async fn targets(&self, targets: BTreeSet<String>) {
        for name in targets {
            if name != self.scope.own()
                && let Err(error) = self.target(&name).await
            {
                tracing::debug!(target = name, "identities stay until the target is removed: {}", error.message());
            }
        }
    }

    async fn target(&self, name: &str) -> Result<(), NoConnection> {
        let Some(key) = target_ref(name).and_then(|target| self.host.kinds.key(&target)) else { return Ok(()) };
        let users = self.host.store.dependants(&key).await.map_err(|e| NoConnection::Store(e.to_string()))?;
        let own = &self.claim.object.key;
        let neighbours: Vec<_> = users
            .into_iter()
            .filter(|(user, edge)| edge.role == "target" && user != own && user.namespace == own.namespace)
            .map(|(user, _)| user)
            .collect();
        let same_plugin = neighbours
            .iter()
            .any(|user| self.host.kinds.get(&user.resource).is_some_and(|kind| &*kind.plugin == self.scope.plugin()));
        if same_plugin {
            return Ok(());
        }
        let targets = &self.host.targets;
        let uid = targets.uid(name).await?;
        let (Some(identity), Some((access, _))) = (identity(name, &uid, self.scope), self.scope.place(name)) else {
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
    pub(crate) async fn own(&self, carried: &Carried) -> Result<Vec<Note>, Stop> {
        let Some(link) = carried.connection.as_ref().filter(|_| carried.rooted) else { return Ok(Vec::new()) };
        let uid = self.claim.object.uid.to_string();
        let left = |why: &str| {
            let message = format!(
                "left behind on the target: namespace threeport-system, and accounts, roles and namespaces with the label threeport.dev/target-uid={uid}: {why}"
            );
            Ok(vec![Note::warning("Abandoned", message)])
        };
        let admin = match self.host.targets.given(self.scope.own(), link).await {
            Ok((admin, _)) => admin,
            Err(NoConnection::Unreachable(why)) if !self.abandon => return Err(away(&why).into()),
            Err(NoConnection::Store(why)) => return Err(NoConnection::Store(why).trouble().into()),
            Err(none) => return left(none.message()),
        };
        let outcome = match admin.uproot(&uid).await {
            Ok(()) => Ok(Vec::new()),
            Err(error) if self.abandon => left(&error.to_string()),
            // Others hold it up, or nobody knows: it is tried again.
            Err(TargetError::Forbidden { why, .. } | TargetError::Unauthorized { why, .. }) => left(&why),
            Err(error) => match NoConnection::of(error) {
                NoConnection::Unreachable(why) => Err(away(&why).into()),
                other => Err(other.trouble().into()),
            },
        };
        if outcome.is_ok() {
            self.host.targets.identities.forget_target(&uid);
        }
        outcome
    }
}

fn away(why: &str) -> Trouble {
    let message = format!(
        "what Threeport made there for itself (accounts and roles) is still to be removed: {why}; if it is gone for good, annotate this object with \
         threeport.dev/abandon=true"
    );
    Trouble::unknown("ClusterUnreachable", message)
}

/// The targets that an object has to do with.
pub(crate) fn targets(claim: &Claim, found: &[crate::request::Found]) -> BTreeSet<String> {
    let referred = found.iter().filter(|found| found.role == "target").flat_map(|found| &found.references);
    let mut names: BTreeSet<String> = referred.map(target_name).collect();
    names.extend(claim.inventory.iter().map(|entry| entry.target.clone()));
    names
}

//! Removing one object: only what is ours, only the very one that was meant.

use kube::core::params::{DeleteParams, Preconditions};
use serde_json::{Value, json};

use crate::apply::{ATTEMPTS, Sending};
use crate::error::step;
use crate::mark::{Mark, at, other_owner, shared_by};
use crate::target::Served;
use crate::{Error, Owner, Reference, Removed, Target, group};

impl Target {
    /// Removes an object that `owner` applied. The deletion is bound to the object that was checked.
    ///
    /// What carries the owner's mark is its own, whatever uid it was first seen with: a create that was given up may come through late and make it anew.
    ///
    /// Kinds that own pods are deleted in the foreground, so that "gone" means that their pods are gone too. Of a shared object only this owner's part is
    /// taken away while others share it; the answer is then [`Removed::Shared`].
    pub async fn remove(&self, owner: &Owner, reference: &Reference) -> Result<Removed, Error> {
        let step = step("remove", reference);
        let Some((reference, served)) = self.resolve_any(&step, reference).await? else { return Ok(Removed::Gone) };
        for _ in 0..ATTEMPTS {
            let Some(live) = self.get_served(&step, &reference, &served).await? else { return Ok(Removed::Gone) };
            let shared = shared_by(&live, &owner.uid);
            let mark = Mark::new(&step, owner, shared)?;
            if !mark.is_ours(&live) {
                return Ok(Removed::NotOurs);
            }
            mark.fence(&step, &live)?;
            if live.pointer("/metadata/deletionTimestamp").is_some() {
                return Ok(Removed::Terminating);
            }
            let outcome = if shared && other_owner(&live, &owner.uid).is_some() {
                let sending = Sending { step: &step, reference: &reference, served: &served, manager: mark.manager() };
                let nothing = json!({"apiVersion": reference.api_version, "kind": reference.kind, "metadata": {"name": reference.name}});
                self.patch(&sending, &at(&nothing, &live), false, false).await.map(|_| Removed::Shared)
            } else {
                self.delete(&step, &reference, &served, &live).await
            };
            match outcome {
                Err(Error::Race { .. }) => continue,
                outcome => return outcome,
            }
        }
        Err(Error::Race { step, attempts: ATTEMPTS })
    }

    pub(crate) async fn delete(
        &self,
        step: &str,
        reference: &Reference,
        served: &Served,
        live: &Value,
    ) -> Result<Removed, Error> {
        let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let preconditions =
            Preconditions { resource_version: text("/metadata/resourceVersion"), uid: text("/metadata/uid") };
        let params = if owns_pods(reference) { DeleteParams::foreground() } else { DeleteParams::background() };
        let request = served
            .request(reference.namespace.as_deref())
            .delete(&reference.name, &params.preconditions(preconditions));
        let answer = self.ask(step, reference, request.map_err(kube::Error::BuildRequest)).await?;
        let answer: Value = self.parse(step, reference, answer.map_err(|error| self.told(step, reference, error))?)?;
        // A Status says that it is done; the object itself says that it waits for finalizers or a grace period.
        let waits = answer.pointer("/metadata/deletionTimestamp").is_some();
        Ok(if waits { Removed::Terminating } else { Removed::Gone })
    }

    /// As `resolve`, but a kind that left this version is looked for in the others of its group: it must not be left behind.
    pub(crate) async fn resolve_any(
        &self,
        step: &str,
        reference: &Reference,
    ) -> Result<Option<(Reference, Served)>, Error> {
        match self.resolve(step, reference).await {
            Ok(served) => return Ok(Some((reference.clone(), served))),
            Err(Error::KindUnknown { .. }) => {}
            Err(error) => return Err(error),
        }
        let Some((group, _)) = reference.api_version.split_once('/') else { return Ok(None) };
        let text = match self.raw(step, &format!("/apis/{group}")).await? {
            Ok(text) => text,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(self.told(step, reference, error)),
        };
        let served: Value = self.parse(step, reference, text)?;
        for version in served["versions"].as_array().into_iter().flatten().filter_map(|v| v["groupVersion"].as_str()) {
            let other = Reference { api_version: version.to_owned(), ..reference.clone() };
            match self.resolve(step, &other).await {
                Ok(served) => return Ok(Some((other, served))),
                Err(Error::KindUnknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Kubernetes' own kinds that own pods. Custom resources are left to their controllers, which order their own removal.
fn owns_pods(reference: &Reference) -> bool {
    match group(&reference.api_version) {
        "apps" => matches!(reference.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet"),
        "batch" => matches!(reference.kind.as_str(), "Job" | "CronJob"),
        "" => reference.kind == "ReplicationController",
        _ => false,
    }
}

//! What a plugin is told: the object, what it refers to, what is on targets.

use serde_json::Value;
use threeport_kube::{Health, Reference};
use threeport_store::{BadReference, Claim, Class, InventoryEntry};
use threeport_wasm::{Object, ObjectRef, Observed, Request, Resolved, ResolvedObject};

use crate::carried::{Carried, ManifestState, Refusal, target_ref};
use crate::conditions::is_ready;
use crate::host::Host;
use crate::kinds::Kind;
use crate::redact::Redactor;
use crate::references::extract;
use crate::trouble::Trouble;

/// An object as plugins see it.
pub(crate) fn object(mut body: Value, redactor: &Redactor) -> Object {
    redactor.redact(&mut body);
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let reference = reference(&body);
    Object {
        ref_: reference,
        uid: text("/metadata/uid"),
        resource_version: text("/metadata/resourceVersion"),
        generation: body.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0),
        deleting: deleting(&body),
        body: body.to_string(),
    }
}

/// What an object is called.
pub(crate) fn reference(body: &Value) -> ObjectRef {
    let Reference { api_version, kind, namespace, name } = Reference::of(body);
    ObjectRef { api_version, kind, namespace, name }
}

/// Whether the object is to go.
pub(crate) fn deleting(body: &Value) -> bool {
    body.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// What a declared reference came to.
pub(crate) struct Found {
    pub(crate) role: String,
    pub(crate) references: Vec<ObjectRef>,
    pub(crate) resolved: Resolved,
}

/// Fetches what the object refers to, field by field. Of an object that is to go, a reference that may not be is one that leads nowhere.
pub(crate) async fn resolve(
    host: &Host,
    kind: &Kind,
    body: &Value,
) -> Result<Result<Vec<Found>, BadReference>, threeport_store::Error> {
    let (store, kinds, redactor) = (&host.store, &host.kinds, &host.redactor);
    let specs = host.specs();
    let object_goes = deleting(body);
    let mut found = Vec::with_capacity(kind.references.len());
    for rule in &kind.references {
        let references = match extract(body, rule, kinds) {
            Ok(references) => references,
            Err(_) if object_goes => Vec::new(),
            Err(bad) => return Ok(Err(bad)),
        };
        let mut resolved = Resolved { field: rule.field.clone(), objects: Vec::new(), missing: Vec::new() };
        for reference in &references {
            let stored = match kinds.key(reference) {
                Some(key) => store.get(&key).await?.map(|object| (key, object)),
                None => None,
            };
            let Some((key, stored)) = stored else {
                resolved.missing.push(reference.clone());
                continue;
            };
            let value = specs.shown(&stored).await?;
            let carried = Carried::read(&store.carried(&key).await?);
            resolved.objects.push(ResolvedObject {
                // What has no conditions (a Secret) is ready by being there.
                ready: is_ready(&value) || value.get("status").is_none() && kinds.get(&key.resource).is_none(),
                object: object(value, redactor),
                outputs: carried.outputs.into_iter().collect(),
            });
        }
        found.push(Found { role: rule.role.clone(), references, resolved });
    }
    Ok(Ok(found))
}

/// How far an inventory entry could be looked at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sight {
    /// The target told whether it is there, and how it is.
    Clear,
    /// The target does not serve its kind in that version (any more).
    NotServed,
    /// The target answers, but not this.
    Refused(Trouble),
    /// The target does not answer: nothing on it may be taken for gone.
    Away(Trouble),
}

impl Sight {
    /// Why nothing is known of it.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Clear | Self::NotServed => None,
            Self::Refused(trouble) | Self::Away(trouble) => Some(trouble),
        }
    }
}

/// An inventory entry as it is on its target now.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) entry: InventoryEntry,
    pub(crate) state: ManifestState,
    pub(crate) reference: Reference,
    pub(crate) sight: Sight,
    /// None when it is not there, or when nothing is known of it.
    pub(crate) live: Option<Value>,
    pub(crate) health: Health,
    /// JSON pointers of our fields that are not as we left them.
    pub(crate) drifted: Vec<String>,
}

impl Seen {
    /// What a plugin is told of it.
    pub(crate) fn observed(&self, redactor: &Redactor) -> Option<Observed> {
        let target = target_ref(&self.entry.target)?;
        let body = self.live.clone().unwrap_or_else(|| {
            serde_json::json!({"apiVersion": self.entry.api_version, "kind": self.entry.kind,
                "metadata": {"namespace": self.entry.namespace, "name": self.entry.name}})
        });
        Some(Observed {
            target,
            object: object(body, redactor),
            health: self.health.class.as_str().to_owned(),
            message: self.health.message.clone(),
            drifted: self.drifted.clone(),
            error: self.state.error.as_ref().map(Refusal::problem),
            extensions: Vec::new(),
        })
    }
}

/// Why this run happens, in the contract's words.
pub(crate) fn reason(claim: &Claim, carried: &Carried, deleting: bool, digest: &str) -> &'static str {
    if deleting {
        return "deleted";
    }
    if !carried.plugin.is_empty() && carried.plugin != digest {
        return "upgraded";
    }
    match claim.class {
        Class::User => "changed",
        Class::Dependency => "dependency",
        Class::Drift => "drift",
        Class::Resync if claim.attempts > 0 || carried.requeue => "requeue",
        Class::Resync => "resync",
    }
}

/// The whole request.
pub(crate) fn request(
    claim: &Claim,
    body: Value,
    found: Vec<Found>,
    seen: &[Seen],
    carried: &Carried,
    reason: &str,
    redactor: &Redactor,
) -> Request {
    Request {
        object: object(body, redactor),
        references: found.into_iter().map(|found| found.resolved).collect(),
        children: Vec::new(),
        observed: seen.iter().filter_map(|seen| seen.observed(redactor)).collect(),
        probed: Vec::new(),
        memory: carried.memory.clone(),
        attempt: claim.attempts,
        reason: reason.to_owned(),
        extensions: Vec::new(),
    }
}

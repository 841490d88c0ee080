//! Objects that use a Definition: what plugins are told is the whole spec, and which revision that is changes only together with the generation.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;
use threeport_store::definitions::{self, Found, Revision, USED};
use threeport_store::{Claim, Class, Error, Object, Op, Precondition, Store, lifecycle};

use crate::brought::definition_key;
use crate::conditions::Claimed;
use crate::host::Host;
use crate::kinds::{Kind, Kinds};
use crate::references;
use crate::report::Report;
use crate::request::deleting;
use crate::trouble::{Pace, Stop, Trouble};

/// The condition that says which revision an object uses.
pub(crate) const RESOLVED: &str = "DefinitionResolved";
/// Its reason where the newest revision is not taken.
pub(crate) const DOES_NOT_FIT: &str = "RevisionInvalid";

/// What the schemas of kinds say of whole specs; whoever serves the API knows. `crd` is the stored CustomResourceDefinition of the object's kind.
pub trait Schemas: Debug + Send + Sync {
    /// The object with its whole spec and the kind's defaults.
    fn whole(&self, crd: &Object, object: &Value, revision: &Revision) -> Value;
    /// What of it does not fit, one sentence each with the field; `before` is the whole object as it was.
    fn errors(&self, crd: &Object, object: &Value, revision: &Revision, before: Option<&Value>) -> Vec<String>;
}

/// Knows no schemas: what is merged is taken as it is.
#[derive(Debug)]
pub(crate) struct Unknown;

impl Schemas for Unknown {
    fn whole(&self, _: &Object, object: &Value, revision: &Revision) -> Value {
        definitions::whole(object, revision)
    }

    fn errors(&self, _: &Object, _: &Value, _: &Revision, _: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
}

/// Shows stored objects with their whole specs.
#[derive(Clone)]
pub(crate) struct Specs {
    pub(crate) store: Store,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) schemas: Arc<dyn Schemas>,
}

impl Specs {
    /// An object as plugins see it: without `spec.definition`, with what that stands for.
    pub(crate) async fn shown(&self, stored: &Object) -> Result<Value, Error> {
        let body = stored.value();
        let Some(kind) = self.kinds.get(&stored.key.resource) else { return Ok(body) };
        if definitions::wish(&body).is_none() {
            return Ok(body);
        }
        let whole = match definitions::in_use(&self.store, &body).await? {
            Some(revision) => self.whole(&kind, &body, &revision).await?,
            None => body,
        };
        Ok(definitions::plain(whole))
    }

    async fn whole(&self, kind: &Kind, body: &Value, revision: &Revision) -> Result<Value, Error> {
        Ok(match self.store.get(&definition_key(kind)).await? {
            Some(crd) => self.schemas.whole(&crd, body, revision),
            None => definitions::whole(body, revision),
        })
    }
}

/// What a run works with.
pub(crate) enum Merged {
    /// The object uses no Definition.
    Itself,
    /// Its whole spec, and what is to be said of it.
    Whole(Value, Claimed),
    /// There is nothing to work with now.
    Ends(Report),
}

/// The object with its whole spec. One that follows its Definition is moved on to the newest revision, if that fits: then this run ends, and the next
/// is for the new generation.
pub(crate) async fn resolve(host: &Host, claim: &Claim, kind: &Kind, body: &Value) -> Result<Merged, Stop> {
    let Some(wish) = definitions::wish(body).filter(|_| kind.namespaced) else { return Ok(Merged::Itself) };
    let specs = host.specs();
    let kept = definitions::in_use(&host.store, body).await?;
    let before = match &kept {
        Some(kept) => Some(specs.whole(kind, body, kept).await?),
        None => None,
    };
    let whole = |claimed: Claimed| before.clone().map(|whole| Merged::Whole(definitions::plain(whole), claimed));
    let merged = |revision: &Revision| {
        let message = format!("revision {} of Definition {:?}", revision.number, revision.name);
        Claimed::new(RESOLVED, "True", "Merged", message)
    };
    if deleting(body) {
        // What is removed is what it was.
        return Ok(kept.as_ref().and_then(|kept| whole(merged(kept))).unwrap_or(Merged::Itself));
    }
    let namespace = claim.object.key.namespace.as_deref();
    let trouble = match definitions::find(&host.store, namespace, &wish, &kind.resource.group, &kind.kind).await? {
        Found::Revision(found) if Some(found.number) == definitions::used(body) => {
            if let Some(go_on) = whole(merged(&found)) {
                return Ok(go_on);
            }
            Trouble::again("DefinitionNotFound", "its revision went away while it was read")
        }
        Found::Revision(found) => match move_on(host, claim, kind, body, &found, before.as_ref()).await? {
            Ok(report) => return Ok(Merged::Ends(report)),
            Err(errors) => {
                let kept = kept.as_ref().map(|kept| kept.number);
                Trouble::stalled(DOES_NOT_FIT, definitions::does_not_fit(&found, kept, &errors))
            }
        },
        Found::Missing { reason, message } => Trouble::waiting(reason, message),
        Found::Never { field, message } => Trouble::stalled("DefinitionInvalid", format!("{field}: {message}")),
    };
    let said = Claimed::new(RESOLVED, "False", &trouble.reason, &trouble.message);
    if let Some(go_on) = whole(said.clone()) {
        return Ok(go_on);
    }
    let mut report = Report::trouble(&trouble);
    report.claims.push(said);
    Ok(Merged::Ends(report))
}

/// Writes that the object uses this revision from now on, as a new generation with the references of the new spec; or tells why it cannot.
async fn move_on(
    host: &Host,
    claim: &Claim,
    kind: &Kind,
    body: &Value,
    revision: &Revision,
    before: Option<&Value>,
) -> Result<Result<Report, Vec<String>>, Stop> {
    let key = &claim.object.key;
    let crd = host.store.get(&definition_key(kind)).await?;
    let schemas = &host.config.schemas;
    let errors = crd.as_ref().map(|crd| schemas.errors(crd, body, revision, before)).unwrap_or_default();
    if !errors.is_empty() {
        return Ok(Err(errors));
    }
    let whole = host.specs().whole(kind, body, revision).await?;
    let mut moved = body.clone();
    definitions::annotate(&mut moved, USED, Some(revision.number));
    lifecycle::raise_generation(&mut moved);
    let (edges, wrong) = references::edges(&whole, &moved, kind, &host.kinds, key.namespace.as_deref());
    if !wrong.is_empty() {
        return Ok(Err(wrong.iter().map(ToString::to_string).collect()));
    }
    if let Some(circle) = host.store.circle(key, &edges) {
        return Ok(Err(vec![circle.to_string()]));
    }
    let precondition = Precondition::Present {
        uid: Some(claim.object.uid.clone()),
        resource_version: Some(claim.object.resource_version),
    };
    let op = Op::Put { key: key.clone(), body: moved, precondition, edges: Some(edges), wake: Some(Class::Dependency) };
    let mut pace = std::time::Duration::from_secs(1);
    match host.store.write_held(claim, vec![op]).await {
        // It is due again with the end of this run.
        Ok(_) => {}
        // Somebody wrote meanwhile: the next run sees it.
        Err(Error::Conflict { .. } | Error::NotFound(_)) => pace = std::time::Duration::ZERO,
        Err(error) => return Err(error.into()),
    }
    host.ring([&claim.object.uid], Class::Dependency);
    Ok(Ok(Report::new(Vec::new(), Pace::Within(pace))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::work::tests::{TTL, claim, host, key, kind};
    use serde_json::json;

    #[tokio::test]
    async fn a_host_that_wakes_after_its_lease_moves_nothing_on() {
        let (host, _dir) = host().await;
        let late = claim(&host, "late", Duration::from_millis(1)).await;
        let holder = claim(&host, "holder", TTL).await;
        let mut body = late.object.value();
        body["spec"] = json!({"definition": {"name": "web"}});
        let revision = Revision { name: "web".to_owned(), number: 2, spec: json!({"line": 1}) };
        let version = host.store.version();
        let moved = move_on(&host, &late, &kind(Vec::new()), &body, &revision, None).await;
        assert!(matches!(moved, Err(Stop::LeaseLost)), "it was moved on");
        assert_eq!(host.store.version(), version);
        assert!(move_on(&host, &holder, &kind(Vec::new()), &body, &revision, None).await.unwrap().is_ok());
        let used = host.store.get(&key()).await.unwrap().unwrap().value();
        assert_eq!((definitions::used(&used), &used["metadata"]["generation"]), (Some(2), &json!(2)));
    }
}

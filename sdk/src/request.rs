//! What a run is told.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::threeport::reconciler::types as wit;
use crate::{Failure, Object, ObjectRef, Problem, Resource};

/// The present, as far as the host knows it.
pub struct Request<R: Resource> {
    /// The object, its Definition merged in.
    pub object: Object<R>,
    /// What its declared references point at.
    pub references: Vec<Resolved>,
    /// Objects that earlier plans made in the control plane.
    pub children: Vec<Related>,
    /// What earlier plans put on targets, as it is there now.
    pub observed: Vec<Observed>,
    /// What the last accepted answer left with [`crate::Plan::memory`].
    pub memory: Option<Value>,
    /// How many runs in a row failed before this one.
    pub attempt: u32,
    /// changed, deleted, drift, dependency, child, probe, requeue, resync or upgraded.
    pub reason: String,
}

/// A declared reference, followed.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The field of the spec, as the descriptor names it.
    pub field: String,
    /// What is there.
    pub objects: Vec<Related>,
    /// What is not.
    pub missing: Vec<ObjectRef>,
}

/// Another object of the control plane.
#[derive(Clone, Debug)]
pub struct Related {
    /// Its name.
    pub reference: ObjectRef,
    /// The whole object. Values of Secrets are replaced by their digests.
    pub body: Value,
    /// Whether its Ready condition is True for its present generation.
    pub ready: bool,
    /// Values that it publishes.
    pub outputs: Vec<(String, String)>,
}

impl Related {
    /// A condition of it: status, reason, message.
    pub fn condition(&self, kind: &str) -> Option<(&str, &str, &str)> {
        let conditions = self.body.pointer("/status/conditions")?.as_array()?;
        let found = conditions.iter().find(|condition| condition["type"] == kind)?;
        let text = |field: &str| found[field].as_str().unwrap_or_default();
        Some((text("status"), text("reason"), text("message")))
    }

    /// Its spec and status, typed.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_value(self.body.clone()).map_err(|error| {
            Failure::terminal("ObjectUnreadable", format!("{} cannot be read: {error}", self.reference))
        })
    }
}

/// Something on a target.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Where it is.
    pub target: ObjectRef,
    /// What it is.
    pub reference: ObjectRef,
    /// The whole object; null when it is not there.
    pub body: Value,
    /// current, in-progress, failed, terminating, not-found or unknown.
    pub health: String,
    /// Why, in the target's own words.
    pub message: String,
    /// JSON pointers of our fields that someone else changed.
    pub drifted: Vec<String>,
    /// Why the target refused it.
    pub error: Option<Problem>,
}

impl<R: Resource> Request<R> {
    pub(crate) fn decode(request: wit::Request) -> Result<Self, Failure> {
        let memory = match request.memory {
            Some(text) => serde_json::from_str(&text).ok(),
            None => None,
        };
        Ok(Self {
            object: Object::decode(&request.object)?,
            references: request.references.into_iter().map(resolved).collect::<Result<_, _>>()?,
            children: request.children.into_iter().map(related).collect::<Result<_, _>>()?,
            observed: request.observed.into_iter().map(observed).collect::<Result<_, _>>()?,
            memory,
            attempt: request.attempt,
            reason: request.reason,
        })
    }

    /// The object that a reference points at, ready or not.
    ///
    /// # Errors
    /// [`Failure::waiting_for`] when it is not there.
    pub fn existing(&self, field: &str) -> Result<&Related, Failure> {
        let resolved = self.references.iter().find(|resolved| resolved.field == field);
        if let Some(object) = resolved.and_then(|resolved| resolved.objects.first()) {
            return Ok(object);
        }
        match resolved.and_then(|resolved| resolved.missing.first()) {
            Some(missing) => Err(Failure::waiting_for(
                missing.clone(),
                format!("{missing} does not exist; create it or correct {field}"),
            )
            .field(field)),
            None => Err(Failure::invalid(field, format!("{field} names nothing"))),
        }
    }

    /// The object that a reference points at, once it is ready.
    ///
    /// # Errors
    /// [`Failure::waiting_for`] when it is not there or not ready, with its own reason.
    pub fn ready(&self, field: &str) -> Result<&Related, Failure> {
        let object = self.existing(field)?;
        if object.ready {
            return Ok(object);
        }
        let why = match object.condition("Ready") {
            Some((_, reason, "")) => reason.to_owned(),
            Some((_, reason, message)) => format!("{reason}: {message}"),
            None => "it has not been reconciled yet".to_owned(),
        };
        Err(Failure::waiting_for(object.reference.clone(), format!("{} is not ready ({why})", object.reference))
            .field(field))
    }

    /// What an earlier plan put on a target under this kind and name.
    pub fn observed(&self, kind: &str, name: &str) -> Option<&Observed> {
        self.observed.iter().find(|seen| seen.reference.kind == kind && seen.reference.name == name)
    }
}

fn body(text: &str, reference: &ObjectRef) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::terminal("ObjectUnreadable", format!("{reference} cannot be read: {error}")))
}

fn related(related: wit::ResolvedObject) -> Result<Related, Failure> {
    let body = body(&related.object.body, &related.object.ref_)?;
    Ok(Related { reference: related.object.ref_, body, ready: related.ready, outputs: related.outputs })
}

fn resolved(resolved: wit::Resolved) -> Result<Resolved, Failure> {
    let objects = resolved.objects.into_iter().map(related).collect::<Result<_, _>>()?;
    Ok(Resolved { field: resolved.field, objects, missing: resolved.missing })
}

fn observed(seen: wit::Observed) -> Result<Observed, Failure> {
    let body = body(&seen.object.body, &seen.object.ref_)?;
    Ok(Observed {
        target: seen.target,
        reference: seen.object.ref_,
        body,
        health: seen.health,
        message: seen.message,
        drifted: seen.drifted,
        error: seen.error,
    })
}

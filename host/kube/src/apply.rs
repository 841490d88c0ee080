//! Applying one object: read, check whose it is, apply what differs with compare-and-swap.

use kube::core::params::{Patch, PatchParams};
use serde_json::Value;

use crate::error::step;
use crate::mark::{self, Mark, is_adopted};
use crate::path::project;
use crate::target::Served;
use crate::{Applied, ApplyOptions, Error, Owner, Reference, Target};

/// How often an object may change between our reading and our writing.
pub(crate) const ATTEMPTS: u32 = 5;

/// One patch, as it goes out.
pub(crate) struct Sending<'a> {
    pub(crate) step: &'a str,
    pub(crate) reference: &'a Reference,
    pub(crate) served: &'a Served,
    pub(crate) manager: &'a str,
}

impl Target {
    /// Applies one manifest for `owner`.
    ///
    /// The live object is read first, unless there seems to be none: another owner's, a newer run's, a terminating one, or one that is not ours is refused.
    /// What is sent carries the resourceVersion that was read, or that nothing is there, so that nothing comes between the check and the write. The epoch is
    /// stamped with a change and only then: a run that finds everything as wanted writes nothing, or every run would wake the next one. The exception is a run that follows one whose
    /// lease ran out, see [`ApplyOptions::newer_than`].
    pub async fn apply(&self, owner: &Owner, manifest: &Value, options: &ApplyOptions) -> Result<Applied, Error> {
        let reference = Reference::of(manifest);
        let step = step("apply", &reference);
        let mark = Mark::new(&step, owner, options.shared)?;
        let served = self.resolve(&step, &reference).await?;
        let intent = mark.intent(&step, manifest)?;
        let sending = Sending { step: &step, reference: &reference, served: &served, manager: mark.manager() };
        if options.absent {
            match self.create(&sending, &mark, &intent).await {
                Err(error) if !matches!(error, Error::Unreachable { .. } | Error::Timeout { .. }) => {}
                outcome => return outcome,
            }
        }
        for _ in 0..ATTEMPTS {
            let live = self.get_served(&step, &reference, &served).await?;
            let outcome = match &live {
                None => self.create(&sending, &mark, &intent).await,
                Some(live) => self.update(&sending, &mark, &intent, live, options).await,
            };
            match outcome {
                Err(Error::Race { .. }) => continue,
                // Someone created it first, with other values: the next look tells who.
                Err(Error::FieldConflict { .. }) if live.is_none() => continue,
                outcome => return outcome,
            }
        }
        Err(Error::Race { step, attempts: ATTEMPTS })
    }

    async fn create(&self, sending: &Sending<'_>, mark: &Mark<'_>, intent: &Value) -> Result<Applied, Error> {
        // Not forced: should another owner be faster, its label conflicts with ours instead of being overwritten.
        let live = self.patch(sending, &mark::absent(mark.stamped(intent, None)), false, false).await?;
        Ok(Applied { adopted: false, live, changed: true })
    }

    async fn update(
        &self,
        sending: &Sending<'_>,
        mark: &Mark<'_>,
        intent: &Value,
        live: &Value,
        options: &ApplyOptions,
    ) -> Result<Applied, Error> {
        let ours = mark.check(sending.step, live, options)?;
        let force = ours && !options.shared;
        let newest = options.newer_than == 0 || mark::epoch(live, mark.uid()) > options.newer_than;
        if ours && newest {
            let same = mark.kept(intent, live);
            if mark.applied_is(intent, live) && project(live, &same) == same {
                return Ok(unmoved(live));
            }
            match self.patch(sending, &mark::at(&same, live), force, true).await {
                Ok(would) if unchanged(live, &would) => return Ok(unmoved(live)),
                Ok(_) => {}
                // A webhook that cannot be asked without effect: then with effect.
                Err(Error::Invalid { why, .. }) if why.contains("dry run") => {}
                Err(error) => return Err(error),
            }
        }
        let new = self.patch(sending, &mark.stamped(intent, Some(live)), force, false).await?;
        let changed = new.pointer("/metadata/resourceVersion") != live.pointer("/metadata/resourceVersion");
        Ok(Applied { adopted: is_adopted(&new), live: new, changed })
    }

    pub(crate) async fn patch(
        &self,
        sending: &Sending<'_>,
        body: &Value,
        force: bool,
        dry_run: bool,
    ) -> Result<Value, Error> {
        let Sending { step, reference, served, manager } = sending;
        let mut params = PatchParams::apply(manager).validation_strict();
        params.force = force;
        params.dry_run = dry_run;
        let request =
            served.request(reference.namespace.as_deref()).patch(&reference.name, &params, &Patch::Apply(body));
        let answer = self.ask(step, reference, request.map_err(kube::Error::BuildRequest)).await?;
        self.parse(step, reference, answer.map_err(|error| self.told(step, reference, error))?)
    }
}

fn unmoved(live: &Value) -> Applied {
    Applied { live: live.clone(), changed: false, adopted: is_adopted(live) }
}

/// The same but for what every write moves.
fn unchanged(live: &Value, would: &Value) -> bool {
    settled(live) == settled(would)
}

fn settled(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        let entries = metadata.get_mut("managedFields").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
    }
    object
}

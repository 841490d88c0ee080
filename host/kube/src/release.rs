//! Letting go of one object: it stays as it is, without our marks, so that whoever comes next finds it as if we had never been there.

use kube::core::params::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::apply::ATTEMPTS;
use crate::error::step;
use crate::mark::{Mark, shared_by};
use crate::{Error, Owner, Reference, Removed, Target};

impl Target {
    /// Takes this owner's marks off an object and gives its fields up without changing them. [`Removed::NotOurs`]: it is there and carries no mark of this
    /// owner (any more), which is also the answer when it was done now.
    pub async fn release(&self, owner: &Owner, reference: &Reference) -> Result<Removed, Error> {
        let step = step("release", reference);
        let Some((reference, served)) = self.resolve_any(&step, reference).await? else { return Ok(Removed::Gone) };
        for _ in 0..ATTEMPTS {
            let Some(live) = self.get_served(&step, &reference, &served).await? else { return Ok(Removed::Gone) };
            let mark = Mark::new(&step, owner, shared_by(&live, &owner.uid))?;
            if !mark.is_ours(&live) {
                return Ok(Removed::NotOurs);
            }
            mark.fence(&step, &live)?;
            let body = without(&mark, &live);
            let params = PatchParams { field_manager: Some(mark.manager().to_owned()), ..PatchParams::default() };
            let request =
                served.request(reference.namespace.as_deref()).patch(&reference.name, &params, &Patch::Merge(&body));
            let answer = self.ask(&step, &reference, request.map_err(kube::Error::BuildRequest)).await?;
            match answer.map_err(|error| self.told(&step, &reference, error)) {
                Ok(_) => return Ok(Removed::NotOurs),
                Err(Error::Race { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Race { step, attempts: ATTEMPTS })
    }
}

/// The merge patch, bound to the object that was read.
fn without(mark: &Mark<'_>, live: &Value) -> Value {
    let (labels, annotations) = mark.marks(live);
    let gone = |keys: Vec<String>| -> Value { keys.into_iter().map(|key| (key, Value::Null)).collect() };
    let managed = live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let mut managed: Vec<&Value> = managed.filter(|entry| entry["manager"] != mark.manager()).collect();
    // An empty list would leave the list as it is; one empty entry clears it.
    let empty = json!({});
    if managed.is_empty() {
        managed.push(&empty);
    }
    json!({"metadata": {
        "uid": live["metadata"]["uid"], "resourceVersion": live["metadata"]["resourceVersion"],
        "labels": gone(labels), "annotations": gone(annotations), "managedFields": managed,
    }})
}

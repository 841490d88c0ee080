//! Applying and removing one object.
use serde_json::Value;

use crate::error::step;
use crate::{Applied, ApplyOptions, Error, Owner, Reference, Removed, Target};

impl Target {
    /// Applies one manifest.
    pub async fn apply(&self, owner: &Owner, manifest: &Value, options: &ApplyOptions) -> Result<Applied, Error> {
        let _ = (owner, options);
        Err(Error::Server { step: step("apply", &Reference::of(manifest)), code: 0, why: "not yet".into() })
    }

    /// Removes one object that `owner` applied.
    pub async fn remove(&self, owner: &Owner, reference: &Reference, uid: Option<&str>) -> Result<Removed, Error> {
        let _ = (owner, uid);
        Err(Error::Server { step: step("remove", reference), code: 0, why: "not yet".into() })
    }
}

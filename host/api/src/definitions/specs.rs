//! Whole specs for those who reconcile: the schemas of stored CustomResourceDefinitions, compiled once for each version.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use threeport_store::Object;
use threeport_store::definitions::Revision;

use super::objects::{UNKNOWN, complete, explain};
use crate::registry::{Kind, read_crd};
use crate::schema::{self, FieldError};

/// Completes and judges objects that use a Definition, by the CustomResourceDefinition of their kind.
#[derive(Default)]
pub struct Specs {
    /// By name of the CustomResourceDefinition: the version that was read, and its kinds.
    read: Mutex<HashMap<Arc<str>, (u64, Kinds)>>,
}

/// The kinds of one CustomResourceDefinition.
type Kinds = Arc<Vec<Kind>>;

impl fmt::Debug for Specs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Specs")
    }
}

impl Specs {
    /// The object with its whole spec: the revision's, its own laid over it, and the kind's defaults. `spec.definition` stays.
    pub fn whole(&self, definition: &Object, object: &Value, revision: &Revision) -> Value {
        match self.kind(definition, object) {
            Some((kinds, index)) => complete(&kinds[index], object, revision).0,
            None => threeport_store::definitions::whole(object, revision),
        }
    }

    /// What of the whole spec does not fit the kind, one sentence each with the field; `before` is the whole object as it was.
    pub fn errors(
        &self,
        definition: &Object,
        object: &Value,
        revision: &Revision,
        before: Option<&Value>,
    ) -> Vec<String> {
        let Some((kinds, index)) = self.kind(definition, object) else { return Vec::new() };
        let (whole, unknown) = complete(&kinds[index], object, revision);
        let mut errors: Vec<FieldError> = unknown.into_iter().map(|it| FieldError::forbidden(it, UNKNOWN)).collect();
        schema::validate(&kinds[index].schema, &whole, before, "", &mut errors);
        errors.retain(|error| error.field.starts_with("spec"));
        explain(&mut errors, object, revision);
        errors.iter().map(ToString::to_string).collect()
    }

    fn kind(&self, definition: &Object, object: &Value) -> Option<(Kinds, usize)> {
        let kinds = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            match read.get(&definition.key.name).filter(|(version, _)| *version == definition.resource_version) {
                Some((_, kinds)) => kinds.clone(),
                None => {
                    // What cannot be served has no objects that are to be completed.
                    let kinds = Arc::new(read_crd(&definition.value()).unwrap_or_default());
                    read.insert(definition.key.name.clone(), (definition.resource_version, kinds.clone()));
                    kinds
                }
            }
        };
        let index = kinds.iter().position(|kind| object["apiVersion"] == *kind.api_version)?;
        Some((kinds, index))
    }
}

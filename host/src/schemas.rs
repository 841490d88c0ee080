//! The schemas that the API knows, for the controller.

use serde_json::Value;
use threeport_api::Specs;
use threeport_controller::Schemas;
use threeport_store::Object;
use threeport_store::definitions::Revision;

/// Completes and judges objects that use a Definition as the API does.
#[derive(Debug, Default)]
pub(crate) struct OfApi(Specs);

impl Schemas for OfApi {
    fn whole(&self, crd: &Object, object: &Value, revision: &Revision) -> Value {
        self.0.whole(crd, object, revision)
    }

    fn errors(&self, crd: &Object, object: &Value, revision: &Revision, before: Option<&Value>) -> Vec<String> {
        self.0.errors(crd, object, revision, before)
    }
}

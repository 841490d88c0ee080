//! Reading other objects of the control plane: granted kinds, in the object's namespace unless the grant says more.

use serde_json::Value;

#[cfg(target_family = "wasm")]
use crate::bindings::threeport::reconciler::state as host;
use crate::kubernetes::body;
#[cfg(not(target_family = "wasm"))]
use crate::testing::world::state as host;
use crate::{ObjectRef, Problem};

/// One object, or None.
///
/// # Errors
/// With the code Denied when no grant covers it.
pub fn get(object: &ObjectRef) -> Result<Option<Value>, Problem> {
    host::get(object)?.map(|object| body(&object.body)).transpose()
}

/// All objects of a kind, page by page.
///
/// # Errors
/// With the code Denied when no grant covers it.
pub fn list(api_version: &str, kind: &str, namespace: Option<&str>) -> Result<Vec<Value>, Problem> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = host::list(api_version, kind, namespace, None, 500, token.as_deref())?;
        for object in &page.items {
            all.push(body(&object.body)?);
        }
        token = page.token;
        if token.is_none() {
            return Ok(all);
        }
    }
}

//! Reading targets: as far as the plugin's grant and the object's namespace go, checked by the host on every call.

use serde_json::Value;

#[cfg(target_family = "wasm")]
use crate::bindings::threeport::reconciler::kubernetes as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::world as host;
use crate::{ObjectRef, Problem, reference};

pub use crate::bindings::threeport::reconciler::kubernetes::Query;

/// An open target.
pub struct Cluster(host::Cluster);

/// Opens a target: the object itself, or one that a reference with [`crate::Role::Target`] names.
///
/// # Errors
/// With the code NotConnected before the target has a connection, Unreachable or Timeout when it does not answer, InvalidKubeconfig when its
/// connection is of no use, Denied when it is not the object's to open.
pub fn open(target: &ObjectRef) -> Result<Cluster, Problem> {
    host::open(target).map(Cluster)
}

impl Cluster {
    /// One object, or None. `fields` are dotted paths; none means the whole object.
    ///
    /// # Errors
    /// As [`open`].
    pub fn get(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
        fields: &[&str],
    ) -> Result<Option<Value>, Problem> {
        let found = self.0.get(&reference(api_version, kind, namespace, name), &owned(fields))?;
        found.map(|object| body(&object.body)).transpose()
    }

    /// All objects of a kind, page by page. `labels` is a selector, `fields` as for [`Cluster::get`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: &[&str],
    ) -> Result<Vec<Value>, Problem> {
        let mut query = Query {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            labels: labels.map(Into::into),
            fields: owned(fields),
            limit: 500,
            token: None,
        };
        let mut all = Vec::new();
        loop {
            let page = self.0.list(&query)?;
            for object in &page.items {
                all.push(body(&object.body)?);
            }
            query.token = page.token;
            if query.token.is_none() {
                return Ok(all);
            }
        }
    }

    /// Whether the target serves a kind.
    ///
    /// # Errors
    /// As [`open`].
    pub fn has_kind(&self, api_version: &str, kind: &str) -> Result<bool, Problem> {
        self.0.has_kind(api_version, kind)
    }

    /// The target's version, `v1.36.0` say.
    ///
    /// # Errors
    /// As [`open`].
    pub fn version(&self) -> Result<String, Problem> {
        self.0.version()
    }
}

fn owned(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|field| (*field).to_owned()).collect()
}

pub(crate) fn body(text: &str) -> Result<Value, Problem> {
    serde_json::from_str(text).map_err(|error| Problem {
        code: "ObjectUnreadable".into(),
        message: error.to_string(),
        field: None,
        objects: vec![],
        retry_after_ms: None,
    })
}

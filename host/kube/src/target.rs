//! A connection to one target.
use std::path::PathBuf;

use serde_json::Value;

use crate::error::step;
use crate::{Error, Reference};

/// A connection to one target cluster. Cheap to clone.
#[derive(Clone)]
pub struct Target {}

impl Target {
    /// Reads a kubeconfig; no network.
    pub fn connect(kubeconfig: &str) -> Result<Target, Error> {
        let _ = kubeconfig;
        Ok(Target {})
    }

    /// The target's version, `v1.36.4`.
    pub async fn version(&self) -> Result<String, Error> {
        Err(Error::Server { step: "version".into(), code: 0, why: "not yet".into() })
    }

    /// Does the API server call itself ready?
    pub async fn ready(&self) -> Result<(), Error> {
        Err(Error::Server { step: "ready".into(), code: 0, why: "not yet".into() })
    }

    /// One live object, None if it is not there.
    pub async fn get(&self, reference: &Reference) -> Result<Option<Value>, Error> {
        Err(Error::Server { step: step("get", reference), code: 0, why: "not yet".into() })
    }

    /// A page of a list and the token of the next one.
    pub async fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        labels: Option<&str>,
        limit: u32,
        token: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), Error> {
        let _ = (api_version, kind, namespace, labels, limit, token);
        Err(Error::Server { step: "list".into(), code: 0, why: "not yet".into() })
    }

    /// Does the target serve that kind?
    pub async fn has_kind(&self, api_version: &str, kind: &str) -> Result<bool, Error> {
        Ok(self.namespaced(api_version, kind).await?.is_some())
    }

    /// Some(true) for a namespaced kind, Some(false) for a cluster-scoped one, None where the target does not serve it.
    pub async fn namespaced(&self, api_version: &str, kind: &str) -> Result<Option<bool>, Error> {
        let _ = (api_version, kind);
        Ok(None)
    }

    /// Several objects at once, in the order asked for.
    pub async fn observe(&self, references: &[Reference]) -> Vec<Result<Option<Value>, Error>> {
        let mut out = Vec::new();
        for reference in references {
            out.push(self.get(reference).await);
        }
        out
    }
}

/// A client for the command line: `kubeconfig`, else `$KUBECONFIG` or `~/.kube/config`. Whatever a user's own kubeconfig says (exec, files) is allowed here.
pub async fn client(kubeconfig: Option<PathBuf>) -> Result<kube::Client, Error> {
    let _ = kubeconfig;
    Err(Error::Server { step: "client".into(), code: 0, why: "not yet".into() })
}

//! A deleted CustomResourceDefinition goes after the objects of its kind.

use serde_json::Value;
use threeport_store::lifecycle::{self, INSTANCES};
use threeport_store::{Demand, Error, ListQuery, Object, Resource, Scope};

use crate::collector::{Collector, Outcome};
use crate::deletion::put;
use crate::sweep::{Why, condition, who_holds};

impl Collector {
    pub(crate) async fn instances(&self, object: &Object, body: &Value) -> Result<Outcome, Error> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let resource = Resource::new(text("/spec/group"), text("/spec/names/plural"));
        let scope = Scope { resource, namespace: None };
        // What was never served has no objects: those under its names are another kind's.
        let served = is_established(body);
        let instances = if served {
            let all = ListQuery { scope: scope.clone(), limit: None, after: None, at: None };
            self.store.list(all).await?.items
        } else {
            Vec::new()
        };
        let now = lifecycle::timestamp(self.store.now());
        let mut next = body.clone();
        if instances.is_empty() {
            lifecycle::drop_finalizer(&mut next, INSTANCES);
            let (reason, message) = ("InstanceDeletionCompleted", "removed all instances");
            condition(&mut next["status"], "Terminating", false, reason, message, &now);
            return match self.finish(object, next, served.then_some(Demand::None(scope)).into_iter().collect()).await {
                Err(Error::NotEmpty(_)) => Ok(Outcome::Again),
                result => result.map(|()| Outcome::Settled),
            };
        }
        let swept = self.sweep(&instances, &Why { of: object, cause: "definition", way: None, note: None }).await?;
        let (reason, message) = if swept.held.is_empty() {
            ("InstanceDeletionInProgress", "CustomResource deletion is in progress".to_owned())
        } else {
            ("InstanceDeletionCheck", format!("{}; delete what uses it first", who_holds(&swept.held)))
        };
        if condition(&mut next["status"], "Terminating", true, reason, &message, &now) {
            self.write(vec![put(object, next)]).await?;
        }
        Ok(if swept.again { Outcome::Again } else { Outcome::Waits })
    }
}

/// Whether a definition was served at some time: it stays Established then.
fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
}

//! What the API wants to know and only the controller can tell.

use futures::future::BoxFuture;
use threeport_api::{Insight, Placed, Problem, Reference};
use threeport_controller::{Monitor, Named};
use threeport_store::Key;

/// The controller, for the API.
pub(crate) struct Told(pub(crate) Monitor);

impl Insight for Told {
    fn placed<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Vec<Placed>, String>> {
        Box::pin(async move {
            let placed = self.0.placed(key).await.map_err(|error| error.to_string())?;
            Ok(placed.into_iter().map(told).collect())
        })
    }

    fn host(&self) -> String {
        self.0.host().to_owned()
    }
}

fn told(placed: threeport_controller::Placed) -> Placed {
    Placed {
        target: reference(placed.target),
        reference: reference(placed.object),
        applied: placed.applied,
        health: placed.health.to_owned(),
        message: placed.message,
        drifted: placed.drifted,
        error: placed.refusal.map(|(reason, message)| Problem { reason, message }),
    }
}

fn reference(named: Named) -> Reference {
    let Named { api_version, kind, namespace, name } = named;
    Reference { api_version, kind, namespace, name }
}

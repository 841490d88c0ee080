//! When: the doorbell.
//!
//! A ring says "look at this object now". It never carries the change, may be lost, doubled or reordered, and saves nothing but time: what is due
//! stands in SQL (law 1). Two bells behind one trait: in process, and over NATS JetStream.

pub mod jetstream;
pub mod local;
mod pending;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// "Look at this object."
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wake {
    /// uid of the object whose work item is due.
    pub uid: String,
}

/// Rings. Cheap, never waits, never fails: a lost ring is found by the sweep.
pub trait Bell: Send + Sync + 'static {
    /// Rings for one object; rings for the same object coalesce.
    fn ring(&self, wake: Wake);
}

/// Hears.
#[async_trait]
pub trait Listener: Send + 'static {
    /// Waits for at least one ring and takes all that are there, each object once. Nothing (an empty list) means that rings may have been
    /// missed: look at everything that is due. None when the bell is gone for good.
    async fn heard(&mut self) -> Option<Vec<Wake>>;
}

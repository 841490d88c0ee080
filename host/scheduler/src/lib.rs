//! When: the doorbell.
//!
//! A ring says "look at this object now". It never carries the change, may be lost, doubled or reordered, and saves nothing but time: what is due
//! stands in SQL (law 1). Two bells behind one trait: in process, and over NATS JetStream. With NATS comes a second, smaller thing: hosts tell each
//! other how far they have committed, so that watches on the others wake at once.

pub mod jetstream;
pub mod local;
mod meters;
mod pending;
mod ring;

use std::time::Duration;

use async_trait::async_trait;

pub use meters::describe_meters;
pub use ring::{Ring, Wake};

/// Rings. Cheap, never waits, never fails: a lost ring is found by the sweep.
pub trait Bell: Send + Sync + 'static {
    /// Rings for one object; rings for the same object coalesce.
    fn ring(&self, wake: Wake);

    /// Rings for it after a while; a later call for the same object replaces an earlier one. When it is due stands in SQL, and hosts keep timers of their
    /// own: a bell that cannot do it does nothing.
    fn ring_after(&self, wake: Wake, delay: Duration) {
        let _sql_knows = (wake, delay);
    }
}

/// Hears.
#[async_trait]
pub trait Listener: Send + 'static {
    /// Waits for at least one ring and takes all that are there, each object once. Nothing (an empty list) means that rings may have been
    /// missed: look at everything that is due. None when the bell is gone for good. May be dropped and called again without losing a ring.
    async fn heard(&mut self) -> Option<Vec<Ring>>;

    /// A host that can take nothing more rests: what is rung meanwhile is heard by others.
    fn rest(&mut self, rests: bool) {
        let _nobody_else_hears = rests;
    }
}

/// Tells other hosts how far this one has committed.
pub trait Announce: Send + Sync + 'static {
    /// Changes up to this resourceVersion are committed. Cheap, never waits; only the newest counts.
    fn committed(&self, upto: u64);
}

/// Hears how far other hosts have committed.
#[async_trait]
pub trait Heed: Send + 'static {
    /// Waits for news, and says the newest: changes up to this resourceVersion are committed. Some may be missed: who needs them all looks from time to
    /// time as well. None when nothing more will come. May be dropped and called again.
    async fn committed(&mut self) -> Option<u64>;
}

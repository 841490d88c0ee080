//! How fast and how much.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use uuid::Uuid;

use crate::lease::MARGIN;
use crate::merged::{Schemas, Unknown};

/// Settings of one host's controller.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name this host claims work with; unique among the hosts of one database, and never used again after a restart.
    pub owner: String,
    /// Version of the program, for the other hosts to know.
    pub version: String,
    /// Runs at a time.
    pub slots: usize,
    /// The same for what goes to one target: work for one that is slow stays unclaimed rather than taking all slots.
    pub target_slots: usize,
    /// How long a claim holds without being renewed.
    pub lease: Duration,
    /// How often to look for work that no bell announced.
    pub sweep: Duration,
    /// Longest wait between failed runs of one object.
    pub backoff_cap: Duration,
    /// How long to wait before trying again what only a change of the spec or of a grant can repair.
    pub slow_retry: Duration,
    /// How often to look at an object that is as it should be.
    pub resync: Duration,
    /// How long runs may take to finish at shutdown before their work goes back.
    pub grace: Duration,
    /// How long a target is left alone after it did not answer; each further time that much longer, up to ten times this.
    pub target_pause: Duration,
    /// The digests that plugins see instead of values of Secrets are made with a key that is derived from this one. With another key every value looks
    /// changed: keep it, and apart from the data.
    pub digest_key: [u8; 32],
    /// What keeps a CustomResourceDefinition from being served; whoever serves the API knows.
    pub definition_errors: fn(&Value) -> Vec<String>,
    /// Completes and judges objects that use a Definition.
    pub schemas: Arc<dyn Schemas>,
    /// How long a Plugin's run waits for its component to be compiled; what takes longer is said to be under way.
    pub compile_patience: Duration,
    /// How often to look for components that no Plugin names.
    pub blob_sweep: Duration,
    /// How long an uploaded component is kept for a Plugin that names it.
    pub blob_grace: Duration,
}

impl Config {
    /// [`slots`](Self::slots), where nothing else is said.
    pub const SLOTS: usize = 24;
    /// [`target_slots`](Self::target_slots), where nothing else is said: three slow targets leave nothing for others, two do.
    pub const TARGET_SLOTS: usize = 8;
    /// The shortest [`lease`](Self::lease): effects stop half a second before it ends, and a renewal that is sent each quarter of it needs time, too.
    pub const LEAST_LEASE: Duration = MARGIN.saturating_mul(2);

    /// The defaults, for a host of this name, with a new random key.
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: Self::SLOTS,
            target_slots: Self::TARGET_SLOTS,
            lease: Duration::from_secs(20),
            sweep: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(300),
            slow_retry: Duration::from_secs(600),
            resync: Duration::from_secs(600),
            grace: Duration::from_secs(10),
            target_pause: Duration::from_secs(3),
            digest_key: random(),
            definition_errors: |_| Vec::new(),
            schemas: Arc::new(Unknown),
            compile_patience: Duration::from_secs(2),
            blob_sweep: Duration::from_secs(600),
            blob_grace: Duration::from_secs(3600),
        }
    }
}

fn random() -> [u8; 32] {
    let (mut key, halves) = ([0; 32], [Uuid::new_v4(), Uuid::new_v4()]);
    for (place, half) in key.chunks_mut(16).zip(halves) {
        place.copy_from_slice(half.as_bytes());
    }
    key
}

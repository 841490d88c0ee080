//! State in SQL: objects, the change log, work items, edges, inventory, blobs.
//!
//! Owns every row. Knows nothing about HTTP, plugins or clusters: an object is a JSON document with Kubernetes metadata, and what happens to
//! it is decided by `api` (users' writes) and `controller` (what was done about them). One rule holds everywhere: whatever is acknowledged is
//! on disk, and whatever must happen because of a write is a row committed with it (law 1: the row is the queue).

mod blob;
mod body;
mod choice;
mod circle;
mod config;
mod copy;
mod crypt;
pub mod definitions;
mod demand;
mod engine;
mod error;
mod group;
mod hosts;
mod kept;
mod layer;
pub mod lifecycle;
pub mod managers;
mod memory;
mod meters;
mod outline;
mod postgres;
mod queue;
pub mod references;
mod related;
mod requests;
mod rows;
mod shares;
mod sqlite;
mod state;
mod store;
mod stored;
mod survey;
mod trace;
pub mod types;
mod waiting;
mod watch;
pub mod work;

pub use blob::BlobWriter;
pub use circle::Circle;
pub use config::{Config, Database, Key32};
pub use copy::{Copied, copy};
pub use error::Error;
pub use hosts::{Beat, HostInfo};
pub use meters::describe_meters;
pub use outline::Outline;
pub use queue::QueueStats;
pub use references::{BadReference, ReferenceRule};
pub use shares::Shares;
pub use store::Store;
pub use survey::{Progress, Surveyed};
pub use trace::{Hook as TraceHook, TraceContext, install as install_trace_hook};
pub use types::*;
pub use watch::Watch;
pub use work::*;

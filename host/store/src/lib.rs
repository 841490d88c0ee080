//! State in SQL: objects, the change log, work items, edges, inventory, blobs.
//!
//! Owns every row. Knows nothing about HTTP, plugins or clusters: an object is a JSON document with Kubernetes metadata, and what happens to
//! it is decided by `api` (users' writes) and `controller` (what was done about them). One rule holds everywhere: whatever is acknowledged is
//! on disk, and whatever must happen because of a write is a row committed with it (law 1: the row is the queue).

mod error;
pub mod lifecycle;
pub mod types;
pub mod work;

pub use error::Error;
pub use types::*;
pub use work::*;

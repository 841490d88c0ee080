//! Bindings to `wit/reconciler`.
//!
//! One module for each major version of the contract; the newest is also what the host itself speaks, older ones will be adapters over it.

wasmtime::component::bindgen!({
    path: "../../wit/reconciler",
    world: "reconciler",
    imports: { default: async | trappable },
    exports: { default: async },
    with: { "threeport:reconciler/kubernetes.cluster": crate::imports::ClusterHandle },
    additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
});

pub use exports::threeport::reconciler::guest::{Descriptor, Grant, Reference};
pub use threeport::reconciler::kubernetes::{Page, Query};
pub use threeport::reconciler::state::Listing;
pub use threeport::reconciler::{context, kubernetes, state, types};

/// The package and version that this host speaks.
pub const PACKAGE: &str = "threeport:reconciler";
/// See [`PACKAGE`].
pub const VERSION: &str = "0.1.0";

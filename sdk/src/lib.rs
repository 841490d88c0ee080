#![doc = include_str!("../README.md")]

#[doc(hidden)]
#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/, which documents it; crossing the border is what its unsafe code does"
)]
pub mod bindings;
pub mod context;
mod description;
mod failure;
#[doc(hidden)]
#[allow(clippy::result_large_err, reason = "the contract's own types, as the bindings want them")]
pub mod guest;
pub mod kubernetes;
mod plan;
mod request;
mod resource;
pub mod state;
pub mod support;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use bindings::threeport::reconciler::types::{ObjectRef, Problem};
pub use description::{Description, Role};
pub use failure::Failure;
pub use plan::{Condition, Manifest, Plan, Status, Watch};
pub use request::{Observed, Related, Request, Resolved};
pub use resource::{Object, Resource, reference};
pub use serde_json::json;
pub use threeport_sdk_macros::include_yaml;

/// Keeps the objects of one kind as they say they should be.
///
/// A reconciler reads and plans; the host acts. It keeps nothing between runs but what it puts into status and memory, and the same request gives
/// the same plan.
pub trait Reconciler {
    /// The kind.
    type Resource: Resource;

    /// Reads the present and states the whole desired set. What an earlier plan had and this one has not is removed.
    ///
    /// # Errors
    /// A [`Failure`] where there is no plan to be made now. What runs is kept.
    fn reconcile(request: Request<Self::Resource>) -> Result<Plan<Self::Resource>, Failure>;

    /// While the object is being deleted. An empty plan, the default, has the host remove everything in reverse order; one with something in it
    /// keeps that for now and stages the removal.
    ///
    /// # Errors
    /// A [`Failure`] where the removal cannot go on now.
    fn cleanup(request: Request<Self::Resource>) -> Result<Plan<Self::Resource>, Failure> {
        Ok(Plan::new(request.object.status))
    }
}

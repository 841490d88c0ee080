//! What goes with what: objects whose owners are gone, what an object owns before or after itself, the content of namespaces, the objects of
//! definitions, and those who need an object that is deleted with its dependants.
//!
//! The store marks [suspects](threeport_store::Suspect) in the transaction that gives a reason to look at them; this looks. It reads the present, does
//! what can be done now, and settles the suspect as it was seen, or leaves it until something happens around it. So it may be killed anywhere, run twice,
//! or come late. It deletes as the API does: nothing that others need, and what has finalizers is only marked.

mod collector;
mod definition;
mod deletion;
mod dependants;
mod events;
mod meters;
mod namespace;
mod owners;
mod scopes;
mod sweep;

pub use collector::{BuiltIn, Collector};
pub use meters::describe_meters;

//! Definitions, as writes meet them: objects that use one are judged by their whole spec, and a change of one makes a revision.

mod objects;
mod revisions;
mod schema;
mod specs;

pub(crate) use objects::{admit, is_partial};
pub(crate) use revisions::{check, tell, with_revision};
pub(crate) use schema::extend;
pub use specs::Specs;

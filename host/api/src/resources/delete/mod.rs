//! delete: one object, or those of a collection.
//!
//! What a deletion comes to is decided in [`lifecycle`] and checked in the write's own transaction; what follows from it (what the object owns, what is in
//! a namespace, those who need it) is the collector's work.

mod along;
mod collection;
mod one;
mod options;

pub(crate) use collection::delete_collection;
pub(crate) use one::delete;

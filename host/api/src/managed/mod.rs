//! Who manages which fields: `metadata.managedFields`, and server-side apply.
//!
//! The rules are those of Kubernetes (structured-merge-diff): a write without apply takes what it changes, an apply takes what it says, fields that
//! an apply no longer says and nobody else holds are removed, and what another holds with another value is a conflict. Pure functions on JSON.
//!
//! A set of fields is kept in the form in which clients see it (`FieldsV1`), so that a stored set is used without decoding it.

mod apply;
mod check;
mod compare;
mod element;
mod entries;
mod fields;
mod last_applied;
mod merge;
mod owners;
mod remove;
#[cfg(test)]
mod tests;
mod types;
mod walk;

pub(crate) use apply::{Applied, Conflict, Refused, apply};
pub(crate) use entries::{Entries, Writer};
pub(crate) use owners::{Context, created, updated};

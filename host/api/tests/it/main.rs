//! The API as clients see it: a real store in a directory of its own, a real server with TLS on a free port.

mod applies;
mod cascade;
mod commands;
mod definitions;
mod deletes;
mod discovery;
mod events;
mod harness;
mod identity;
mod kubectl;
mod namespaces;
mod objects;
mod reconciled;
mod reusable;
mod rights;
mod slow;
mod views;
mod watches;

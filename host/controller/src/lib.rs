//! What: claim, request, plan, act, complete.
//!
//! The loop that makes what is wanted so. It claims work items from the store, has the plugin of the object's kind make a plan, checks the plan,
//! carries it out on targets and writes what came of it, all under one lease. It knows the host's own kinds and no plugin's (law 4), and every
//! failure ends as a condition of the object (law 7).

mod abandon;
mod act;
mod back;
mod backoff;
mod brought;
mod capabilities;
mod carried;
mod compatible;
mod components;
mod conditions;
mod config;
mod controller;
mod definition;
mod events;
mod follow;
mod gates;
mod guard;
mod host;
mod hosts;
mod identities;
mod kinds;
mod lease;
mod leave;
mod look;
mod merged;
mod meters;
mod names;
mod observe;
mod pause;
mod permissions;
mod plan;
mod plugins;
mod prune;
mod redact;
mod references;
mod report;
mod request;
mod revisions;
mod run;
mod rung;
mod scope;
mod serving;
mod stages;
mod stats;
mod targets;
mod tenants;
mod trouble;
mod users;
mod wishes;
mod work;

pub use config::Config;
pub use controller::{Controller, Monitor};
pub use kinds::{PLUGIN_ANNOTATION, REFERENCES_ANNOTATION};
pub use look::{Named, Placed};
pub use merged::Schemas;
pub use meters::describe_meters;
pub use stats::Stats;

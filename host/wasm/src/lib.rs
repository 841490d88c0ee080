//! Plugins: WebAssembly components, their generations, limits and grants.
//!
//! Owns everything that runs foreign code. A version of a plugin is compiled once, in a process of its own; every run gets a fresh store and instance from it, with its
//! own limits, and whatever a guest does ends as a [`RunError`] or as data. Never acts on anything: what a guest may read it reads through the
//! [`Capabilities`] that the caller hands in, what it wants done it says in a plan.

mod answer;
mod cache;
mod compile;
#[allow(missing_docs, unreachable_pub, reason = "generated from wit/, which documents it")]
pub mod contract;
mod descriptor;
mod engine;
mod error;
mod grants;
mod imports;
mod inspect;
mod load;
mod meters;
mod native;
mod registry;
mod runtime;
mod turns;
mod weigh;
mod worker;

use std::time::Duration;

use async_trait::async_trait;

pub use compile::{CompileLimits, Compiling, Worker};
pub use contract::types::{
    Child, Condition, Connection, Event, Failure, Manifest, Next, Object, ObjectRef, Observed, Plan, Problem, Request,
    Resolved, ResolvedObject, Watch,
};
pub use contract::{Descriptor, Grant, Listing, Page, Query, Reference};
pub use error::{LoadError, RunError};
pub use grants::{Grants, KubernetesRule, StateRule, Verb, lists};
pub use imports::ClusterHandle;
pub use meters::describe_meters;
pub use registry::Registry;
pub use runtime::{Moment, Plugin, Runtime, Usage};
pub use worker::compile_worker;

/// Ceilings of one run. Every one is enforced; exceeding it is a [`RunError`] that names it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Wall clock of the whole run, host calls included.
    pub wall: Duration,
    /// Linear memory in bytes.
    pub memory: usize,
    /// Number of host calls.
    pub host_calls: u32,
    /// Bytes that host calls and the answer may carry, both ways together.
    pub host_bytes: usize,
    /// Open handles at a time.
    pub handles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wall: Duration::from_secs(10), memory: 64 << 20, host_calls: 1000, host_bytes: 32 << 20, handles: 64 }
    }
}

/// Which of the two exports to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `reconcile`
    Reconcile,
    /// `cleanup`
    Cleanup,
}

/// The guest's answer.
pub type Answer = Result<Plan, Failure>;

/// What one run may read. The implementation checks grant and tenant on every call; a denial is a [`Problem`] with code `Denied` that names the
/// missing grant.
#[async_trait]
pub trait Capabilities: Send + Sync + 'static {
    /// `kubernetes.open`: gives a number for the handle; later calls name it.
    async fn open(&self, target: ObjectRef) -> Result<u32, Problem>;
    /// `cluster.get`
    async fn get(&self, cluster: u32, object: ObjectRef, fields: Vec<String>) -> Result<Option<Object>, Problem>;
    /// `cluster.list`
    async fn list(&self, cluster: u32, query: Query) -> Result<Page, Problem>;
    /// `cluster.has-kind`
    async fn has_kind(&self, cluster: u32, api_version: String, kind: String) -> Result<bool, Problem>;
    /// `cluster.version`
    async fn version(&self, cluster: u32) -> Result<String, Problem>;
    /// `state.get`
    async fn state_get(&self, object: ObjectRef) -> Result<Option<Object>, Problem>;
    /// `state.list`
    async fn state_list(
        &self,
        api_version: String,
        kind: String,
        namespace: Option<String>,
        labels: Option<String>,
        limit: u32,
        token: Option<String>,
    ) -> Result<Listing, Problem>;
    /// `context.log`
    fn log(&self, level: &str, message: &str, fields: &[(String, String)]);
}

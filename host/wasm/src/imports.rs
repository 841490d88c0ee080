//! What a guest can call, and the counting of it.
//!
//! Every import goes through [`Run::spend`] before and after, so no way into the host is free of the limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiter;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

use crate::contract::{Listing, Page, Query, context, kubernetes, state, types};
use crate::turns::Turn;
use crate::weigh::Weigh;
use crate::{Capabilities, Limits};
use types::{Object, ObjectRef, Problem};

/// Bytes that one call of `context.random` gives at most.
const RANDOM_MAX: u32 = 4096;

/// Entries of a table.
pub(crate) const TABLE_MAX: usize = 20_000;

/// Bytes of a log line and of all log lines of a run. What is beyond is cut off, and said once.
const LOG_LINE_MAX: usize = 4 << 10;
const LOG_MAX: usize = 64 << 10;

/// A guest's open cluster: the number that [`Capabilities::open`] gave.
#[derive(Debug)]
pub struct ClusterHandle(u32);

/// Which limit ended the run. Travels through wasmtime as the cause of the trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Deadline,
    Memory,
    HostCalls,
    HostBytes,
    Handles,
    Tables,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit exceeded: {self:?}")
    }
}

impl std::error::Error for Exceeded {}

/// What one run of a guest carries on the host's side.
pub(crate) struct Run {
    capabilities: Arc<dyn Capabilities>,
    table: ResourceTable,
    limits: Limits,
    now_ms: u64,
    random: fastrand::Rng,
    logged: usize,
    /// Its place among the runs that take long.
    pub(crate) turn: Turn,
    pub(crate) calls: u32,
    pub(crate) bytes: usize,
    pub(crate) memory: usize,
    /// Which limit was hit, kept here too because a guest's allocator turns a refusal into a trap of its own.
    pub(crate) exceeded: Option<Exceeded>,
    /// The message of a panic, when the guest passed it on before it trapped.
    pub(crate) panic: Option<String>,
}

impl Run {
    pub(crate) fn new(capabilities: Arc<dyn Capabilities>, limits: Limits, now: Duration, seed: u64) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            capabilities,
            table,
            limits,
            now_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            random: fastrand::Rng::with_seed(seed),
            logged: 0,
            turn: Turn::default(),
            calls: 0,
            bytes: 0,
            memory: 0,
            exceeded: None,
            panic: None,
        }
    }

    fn stop<T>(&mut self, exceeded: Exceeded) -> wasmtime::Result<T> {
        self.exceeded = Some(exceeded);
        Err(exceeded.into())
    }

    fn call(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.calls += 1;
        // It may wait for long now, and takes nobody's turn meanwhile.
        self.turn.release();
        if self.calls > self.limits.host_calls {
            return self.stop(Exceeded::HostCalls);
        }
        self.spend(bytes)
    }

    /// Counts bytes that cross the border, either way.
    pub(crate) fn spend(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.host_bytes { self.stop(Exceeded::HostBytes) } else { Ok(()) }
    }

    fn answer<T: Weigh>(&mut self, answer: T) -> wasmtime::Result<T> {
        self.spend(answer.weigh())?;
        Ok(answer)
    }

    fn handle(&self, handle: &Resource<ClusterHandle>) -> wasmtime::Result<u32> {
        Ok(self.table.get(handle)?.0)
    }
}

impl ResourceLimiter for Run {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.limits.memory {
            return self.stop(Exceeded::Memory);
        }
        self.memory = desired;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Tables hold function references: a guest that grows one by itself is after the host's memory.
        if desired > TABLE_MAX { self.stop(Exceeded::Tables) } else { Ok(true) }
    }

    fn instances(&self) -> usize {
        32
    }

    fn tables(&self) -> usize {
        8
    }

    // The memory limit is for a run, so a component of several modules may not have it several times.
    fn memories(&self) -> usize {
        1
    }
}

impl types::Host for Run {}

impl kubernetes::Host for Run {
    async fn open(&mut self, target: ObjectRef) -> wasmtime::Result<Result<Resource<ClusterHandle>, Problem>> {
        self.call(target.weigh())?;
        let opened = self.capabilities.clone().open(target).await;
        match opened {
            Ok(number) => match self.table.push(ClusterHandle(number)) {
                Ok(handle) => Ok(Ok(handle)),
                Err(ResourceTableError::Full) => self.stop(Exceeded::Handles),
                Err(error) => Err(error.into()),
            },
            Err(problem) => Ok(Err(self.answer(problem)?)),
        }
    }
}

impl kubernetes::HostCluster for Run {
    async fn get(
        &mut self,
        cluster: Resource<ClusterHandle>,
        object: ObjectRef,
        fields: Vec<String>,
    ) -> wasmtime::Result<Result<Option<Object>, Problem>> {
        self.call(object.weigh() + fields.weigh())?;
        let cluster = self.handle(&cluster)?;
        let answer = self.capabilities.clone().get(cluster, object, fields).await;
        self.answer(answer)
    }

    async fn list(
        &mut self,
        cluster: Resource<ClusterHandle>,
        query: Query,
    ) -> wasmtime::Result<Result<Page, Problem>> {
        self.call(query.weigh())?;
        let cluster = self.handle(&cluster)?;
        let answer = self.capabilities.clone().list(cluster, query).await;
        self.answer(answer)
    }

    async fn has_kind(
        &mut self,
        cluster: Resource<ClusterHandle>,
        api_version: String,
        kind: String,
    ) -> wasmtime::Result<Result<bool, Problem>> {
        self.call(api_version.weigh() + kind.weigh())?;
        let cluster = self.handle(&cluster)?;
        let answer = self.capabilities.clone().has_kind(cluster, api_version, kind).await;
        self.answer(answer)
    }

    async fn version(&mut self, cluster: Resource<ClusterHandle>) -> wasmtime::Result<Result<String, Problem>> {
        self.call(0)?;
        let cluster = self.handle(&cluster)?;
        let answer = self.capabilities.clone().version(cluster).await;
        self.answer(answer)
    }

    async fn drop(&mut self, cluster: Resource<ClusterHandle>) -> wasmtime::Result<()> {
        self.table.delete(cluster)?;
        Ok(())
    }
}

impl state::Host for Run {
    async fn get(&mut self, object: ObjectRef) -> wasmtime::Result<Result<Option<Object>, Problem>> {
        self.call(object.weigh())?;
        let answer = self.capabilities.clone().state_get(object).await;
        self.answer(answer)
    }

    async fn list(
        &mut self,
        api_version: String,
        kind: String,
        namespace: Option<String>,
        labels: Option<String>,
        limit: u32,
        token: Option<String>,
    ) -> wasmtime::Result<Result<Listing, Problem>> {
        self.call(api_version.weigh() + kind.weigh() + namespace.weigh() + labels.weigh() + token.weigh())?;
        let answer = self.capabilities.clone().state_list(api_version, kind, namespace, labels, limit, token).await;
        self.answer(answer)
    }
}

impl context::Host for Run {
    async fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.call(8)?;
        Ok(self.now_ms)
    }

    async fn random(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        let count = count.min(RANDOM_MAX) as usize;
        self.call(count)?;
        let mut bytes = vec![0; count];
        self.random.fill(&mut bytes);
        Ok(bytes)
    }

    async fn log(&mut self, level: String, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        self.call(level.weigh() + message.weigh() + fields.weigh())?;
        if level == "panic" {
            self.panic = Some(message.chars().take(1000).collect());
        }
        if self.logged > LOG_MAX {
            return Ok(());
        }
        let size = message.len().min(LOG_LINE_MAX) + fields.weigh();
        self.logged += size;
        if self.logged > LOG_MAX {
            let said = format!("it logged more than {} KiB in this run; the rest is left out", LOG_MAX >> 10);
            self.capabilities.log("warn", &said, &[]);
        } else {
            self.capabilities.log(&level, &message[..message.floor_char_boundary(LOG_LINE_MAX)], &fields);
        }
        Ok(())
    }
}

/// For `describe` and `convert`: nothing may be read.
pub(crate) struct NoCapabilities;

impl NoCapabilities {
    fn denied<T>() -> Result<T, Problem> {
        Err(Problem {
            code: "Denied".into(),
            message: "describe and convert read nothing".into(),
            field: None,
            objects: Vec::new(),
            retry_after_ms: None,
        })
    }
}

#[async_trait::async_trait]
impl Capabilities for NoCapabilities {
    async fn open(&self, _: ObjectRef) -> Result<u32, Problem> {
        Self::denied()
    }
    async fn get(&self, _: u32, _: ObjectRef, _: Vec<String>) -> Result<Option<Object>, Problem> {
        Self::denied()
    }
    async fn list(&self, _: u32, _: Query) -> Result<Page, Problem> {
        Self::denied()
    }
    async fn has_kind(&self, _: u32, _: String, _: String) -> Result<bool, Problem> {
        Self::denied()
    }
    async fn version(&self, _: u32) -> Result<String, Problem> {
        Self::denied()
    }
    async fn state_get(&self, _: ObjectRef) -> Result<Option<Object>, Problem> {
        Self::denied()
    }
    async fn state_list(
        &self,
        _: String,
        _: String,
        _: Option<String>,
        _: Option<String>,
        _: u32,
        _: Option<String>,
    ) -> Result<Listing, Problem> {
        Self::denied()
    }
    fn log(&self, level: &str, message: &str, _: &[(String, String)]) {
        tracing::debug!(level, message, "a plugin logged while it was described");
    }
}

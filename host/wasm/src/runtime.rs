//! Running components: a fresh instance for each run, and its limits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, Store, Trap, WasmBacktrace};

use crate::compile::{Compiler, Compiling};
use crate::contract::{Descriptor, Reconciler, ReconcilerPre};
use crate::imports::{Exceeded, NoCapabilities, Run, TABLE_MAX};
use crate::meters;
use crate::turns::{Lane, Ticker};
use crate::weigh::Weigh;
use crate::{Answer, Capabilities, Entry, Grants, Limits, Problem, Request, RunError, answer, engine, load};

/// Compiles components and gives every run a fresh instance. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Run>,
    pub(crate) limits: Limits,
    places: Semaphore,
    ticker: Ticker,
    lane: Lane,
    /// None: in this process, and nothing is kept.
    pub(crate) compiler: Option<Compiler>,
    /// What, besides the component, its compiled code depends on.
    settings: String,
}

impl Runtime {
    /// An engine with these limits for every run, and the thread that interrupts its guests. It compiles in this process and keeps nothing of it:
    /// for tests, and for components that one trusts.
    ///
    /// # Errors
    /// When this machine cannot give the engine its address space or its thread.
    pub fn new(limits: Limits) -> Result<Self, RunError> {
        Self::make(limits, None)
    }

    /// As [`Runtime::new`], with a worker that compiles and a directory that keeps what it compiled.
    ///
    /// # Errors
    /// Besides those, when the directory cannot be used.
    pub fn with_compiler(limits: Limits, compiling: Compiling) -> Result<Self, RunError> {
        let compiler = Compiler::open(compiling).map_err(|error| RunError::Host(error.to_string()))?;
        Self::make(limits, Some(compiler))
    }

    fn make(limits: Limits, compiler: Option<Compiler>) -> Result<Self, RunError> {
        let host = |error: String| RunError::Host(format!("the WebAssembly engine does not start: {error}"));
        let engine = engine::engine(&limits).map_err(|error| host(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine).map_err(|error| host(error.to_string()))?;
        let mut linker = Linker::new(&engine);
        Reconciler::add_to_linker::<_, HasSelf<Run>>(&mut linker, |run| run)
            .map_err(|error| host(format!("{error:#}")))?;
        let settings = load::settings(&engine);
        let places = Semaphore::new(engine::CONCURRENCY);
        Ok(Self {
            shared: Arc::new(Shared { engine, linker, limits, places, ticker, lane: Lane::new(), compiler, settings }),
        })
    }

    /// The ceilings of every run.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }
}

/// One version of a plugin: compiled, described, ready to run. It holds code and no instance.
pub struct Plugin {
    /// `sha256:` and the component's digest in hex.
    pub digest: String,
    /// Bytes of the component.
    pub size: usize,
    /// What the plugin says of itself.
    pub descriptor: Descriptor,
    /// `descriptor.kinds`, decoded.
    pub kinds: Vec<CustomResourceDefinition>,
    /// `descriptor.grants`, decoded: what it asks for, which is not what it has.
    pub requested: Grants,
    pub(crate) pre: ReconcilerPre<Run>,
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.descriptor.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// What a guest takes for the time and for chance. Frozen for a run, and written down with it so that the run can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the Unix epoch.
    pub now: Duration,
    /// Of the random numbers.
    pub seed: u64,
}

impl Moment {
    /// The present, and any seed.
    pub fn present() -> Self {
        Self { now: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(), seed: fastrand::u64(..) }
    }
}

/// What one run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// From making the instance to having its answer, host calls included.
    pub took: Duration,
    /// Host calls.
    pub host_calls: u32,
    /// Bytes through host calls and answer, both ways.
    pub host_bytes: usize,
    /// Linear memory at the end, in bytes.
    pub memory: usize,
}

impl Plugin {
    /// Runs one export in a fresh instance, now.
    ///
    /// # Errors
    /// [`RunError`] when the guest gave no usable answer.
    pub async fn run(
        &self,
        entry: Entry,
        request: Request,
        capabilities: Arc<dyn Capabilities>,
    ) -> Result<Answer, RunError> {
        self.run_at(Moment::present(), entry, request, capabilities).await.0
    }

    /// [`Plugin::run`] at a given moment, with what the run took.
    pub async fn run_at(
        &self,
        moment: Moment,
        entry: Entry,
        request: Request,
        capabilities: Arc<dyn Capabilities>,
    ) -> (Result<Answer, RunError>, Usage) {
        let call = async |guest: &crate::contract::exports::threeport::reconciler::guest::Guest,
                          store: &mut Store<Run>| {
            let answer = match entry {
                Entry::Reconcile => guest.call_reconcile(&mut *store, &request).await?,
                Entry::Cleanup => guest.call_cleanup(&mut *store, &request).await?,
            };
            store.data_mut().spend(answer.weigh())?;
            Ok(answer)
        };
        let (answer, usage) = self.shared.run(&self.pre, capabilities, moment, call).await;
        let checked = answer.as_ref().map_or(Ok(()), answer::check);
        (checked.and(answer), usage)
    }

    /// A stored object of another version of its kind, as JSON, to the asked version.
    ///
    /// # Errors
    /// [`RunError`] when the guest gave no usable answer.
    pub async fn convert(&self, object: &str, to_version: &str) -> Result<Result<String, Problem>, RunError> {
        let moment = Moment { now: Duration::ZERO, seed: 0 };
        let object = object.to_owned();
        let call = async |guest: &crate::contract::exports::threeport::reconciler::guest::Guest,
                          store: &mut Store<Run>| {
            guest.call_convert(store, &object, to_version).await
        };
        self.shared.run(&self.pre, Arc::new(NoCapabilities), moment, call).await.0
    }
}

impl Shared {
    /// Of the compiled code of a component.
    pub(crate) fn name(&self, digest: &str) -> String {
        format!("{}-{}", digest.trim_start_matches("sha256:"), self.settings)
    }

    pub(crate) async fn run<T>(
        &self,
        pre: &ReconcilerPre<Run>,
        capabilities: Arc<dyn Capabilities>,
        moment: Moment,
        call: impl AsyncFnOnce(
            &crate::contract::exports::threeport::reconciler::guest::Guest,
            &mut Store<Run>,
        ) -> wasmtime::Result<T>,
    ) -> (Result<T, RunError>, Usage) {
        let Ok(_place) = self.places.acquire().await else {
            return (Err(RunError::Host("the runtime is closed".into())), Usage::default());
        };
        let _counted = meters::Instance::new();
        let began = Instant::now();
        let deadline = began + self.limits.wall;
        let mut store = Store::new(&self.engine, Run::new(capabilities, self.limits.clone(), moment.now, moment.seed));
        store.limiter(|run| run);
        store.set_hostcall_fuel(self.limits.host_bytes);
        store.set_epoch_deadline(1);
        // A guest that computes gives its thread back at every tick, and is stopped at the first one after the deadline.
        let _ticks = self.ticker.run();
        let (lane, turn, mut count) = (self.lane.clone(), store.data().turn.clone(), 0);
        store.epoch_deadline_callback(move |mut store| {
            if Instant::now() < deadline {
                count += 1;
                return Ok(turn.next(&lane, count));
            }
            store.data_mut().exceeded = Some(Exceeded::Deadline);
            Err(Exceeded::Deadline.into())
        });
        let work = async {
            let instance = pre.instantiate_async(&mut store).await?;
            call(instance.threeport_reconciler_guest(), &mut store).await
        };
        // The timeout is for host calls, which epochs do not interrupt. A panic of ours must not take the caller's task along.
        let outcome = tokio::time::timeout_at(deadline.into(), AssertUnwindSafe(work).catch_unwind()).await;
        let took = began.elapsed();
        let run = store.data();
        let usage = Usage { took, host_calls: run.calls, host_bytes: run.bytes, memory: run.memory };
        let result = match outcome {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(self.explain(run, &error)),
            Ok(Err(panic)) => Err(RunError::Host(panic_message(panic.as_ref()))),
            Err(_elapsed) => Err(RunError::Deadline { limit: self.limits.wall }),
        };
        meters::ended(&usage, result.as_ref().err());
        (result, usage)
    }

    /// Which of our errors a failed call is.
    fn explain(&self, run: &Run, error: &wasmtime::Error) -> RunError {
        let limits = &self.limits;
        match error.downcast_ref::<Exceeded>().copied().or(run.exceeded) {
            Some(Exceeded::Deadline) => return RunError::Deadline { limit: limits.wall },
            Some(Exceeded::Memory) => return RunError::Memory { limit: limits.memory },
            Some(Exceeded::HostCalls) => return RunError::HostCalls { limit: limits.host_calls },
            Some(Exceeded::HostBytes) => return RunError::HostBytes { limit: limits.host_bytes },
            Some(Exceeded::Handles) => return RunError::Handles { limit: limits.handles },
            Some(Exceeded::Tables) => return RunError::Tables { limit: TABLE_MAX },
            None => {}
        }
        let cause = error.root_cause().to_string();
        // The engine keeps the type of this one to itself.
        if cause.contains("fuel allocated for hostcalls has been exhausted") {
            return RunError::HostBytes { limit: limits.host_bytes };
        }
        if cause.starts_with("resource limit exceeded") {
            return RunError::Parts(cause);
        }
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => RunError::StackOverflow { backtrace },
            _ => RunError::Trap { message: run.panic.clone().unwrap_or(cause), backtrace },
        }
    }
}

/// Guest functions, innermost first, without the machinery that panics.
fn frames(backtrace: &WasmBacktrace) -> String {
    let names = backtrace.frames().iter().filter_map(|frame| frame.func_name()).map(|name| {
        let name = rustc_demangle::demangle(name);
        format!("{name:#}")
    });
    let names = names.skip_while(|name| name.contains("panic") || name.contains("rust_") || name.contains("abort"));
    names.take(16).collect::<Vec<_>>().join("\n")
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}

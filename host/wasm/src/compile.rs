//! The host's side of compiling: starts a worker, watches it, and keeps what it made.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::LoadError;
use crate::cache::{Cache, Verified};
use crate::worker::{NO_MEMORY, Order, REFUSED};

/// Components that are compiled at a time; more wait.
const PLACES: usize = 2;
/// What a worker may say when it refuses.
const COMPLAINT: u64 = 16 << 10;
/// Threads of a worker; each takes a share of its address space.
const THREADS: usize = 4;

/// How to start a compile worker: a program that calls [`crate::compile_worker`] with its last argument.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The program.
    pub program: PathBuf,
    /// Arguments before the order.
    pub args: Vec<String>,
}

/// Ceilings of compiling one component, and of what is kept of it.
#[derive(Clone, Debug)]
pub struct CompileLimits {
    /// Bytes of a component.
    pub component: usize,
    /// Wall clock.
    pub wall: Duration,
    /// Processor time, all threads together.
    pub cpu: Duration,
    /// Address space in bytes.
    pub memory: u64,
    /// Bytes of the code that comes of it.
    pub output: u64,
    /// Bytes of all code that is kept.
    pub cache: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            component: 64 << 20,
            wall: Duration::from_secs(120),
            cpu: Duration::from_secs(120),
            memory: 3 << 30,
            output: 512 << 20,
            cache: 2 << 30,
        }
    }
}

/// Where components are compiled and where the code is kept.
#[derive(Clone, Debug)]
pub struct Compiling {
    /// Who compiles.
    pub worker: Worker,
    /// Directory of compiled code; made for its owner alone.
    pub cache: PathBuf,
    /// What the files in it are signed with. Keep it elsewhere.
    pub key: [u8; 32],
    /// Ceilings.
    pub limits: CompileLimits,
}

pub(crate) struct Compiler {
    worker: Worker,
    cache: Arc<Cache>,
    limits: CompileLimits,
    places: Semaphore,
}

impl Compiler {
    pub(crate) fn open(compiling: Compiling) -> Result<Self, LoadError> {
        let Compiling { worker, cache, key, limits } = compiling;
        let opened = Cache::open(&cache, key, limits.cache).map_err(|error| {
            LoadError::Compiler(format!("the directory of compiled components {}: {error}", cache.display()))
        })?;
        Ok(Self { worker, cache: Arc::new(opened), limits, places: Semaphore::new(PLACES) })
    }

    pub(crate) fn limits(&self) -> &CompileLimits {
        &self.limits
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Compiles in a worker and keeps the code under `name`.
    pub(crate) async fn compile(
        &self,
        component: Bytes,
        name: String,
        guest_memory: usize,
    ) -> Result<Verified, LoadError> {
        let _place = self.places.acquire().await.map_err(|_| LoadError::Compiler("the runtime is closed".into()))?;
        let mine = |error: io::Error| {
            let dir = self.cache.path().display();
            LoadError::Compiler(format!("the directory of compiled components {dir}: {error}"))
        };
        let size = component.len();
        let new = self.cache.begin().map_err(mine)?;
        self.work(component, new.file().map_err(mine)?, guest_memory).await?;
        let cache = self.cache.clone();
        let sealed = tokio::task::spawn_blocking(move || cache.seal(&new, &name, size)).await;
        sealed.map_err(io::Error::from).and_then(|sealed| sealed).map_err(mine)
    }

    async fn work(&self, component: Bytes, output: std::fs::File, guest_memory: usize) -> Result<(), LoadError> {
        let limits = &self.limits;
        let order = Order {
            guest_memory,
            component: limits.component,
            memory: limits.memory,
            cpu: limits.cpu.as_secs().max(1),
            output: limits.output,
        };
        let failed = |error: io::Error| {
            LoadError::Compiler(format!("the compile worker {}: {error}", self.worker.program.display()))
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let mut child = Command::new(&self.worker.program)
            .args(&self.worker.args)
            .arg(serde_json::to_string(&order).map_err(|error| failed(error.into()))?)
            .env_clear()
            .env("RAYON_NUM_THREADS", threads.to_string())
            .env("MALLOC_ARENA_MAX", "2")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A worker that does not want to read more says why.
                let _written = stdin.write_all(&component).await;
            }
        };
        let listen = async {
            let mut said = Vec::new();
            if let Some(stderr) = stderr {
                // What cannot be read was not said.
                let _read = stderr.take(COMPLAINT).read_to_end(&mut said).await;
            }
            said
        };
        let ended = async { tokio::join!(feed, listen, child.wait()) };
        match tokio::time::timeout(limits.wall, ended).await {
            Ok(((), said, status)) => self.verdict(status.map_err(failed)?, &said),
            Err(_elapsed) => {
                // It is waited for, so that no zombie stays.
                let _killed = child.kill().await;
                Err(LoadError::CompileLimit(format!("it took more than {:?}", limits.wall)))
            }
        }
    }

    /// What the way it ended means.
    fn verdict(&self, status: ExitStatus, said: &[u8]) -> Result<(), LoadError> {
        const KILL: i32 = 9;
        const XCPU: i32 = 24;
        const XFSZ: i32 = 25;
        let limits = &self.limits;
        let memory = || format!("it took more than {} MiB of memory", limits.memory >> 20);
        let text = String::from_utf8_lossy(said);
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(i32::from(REFUSED)) {
            return Err(serde_json::from_slice(said)
                .unwrap_or_else(|_| LoadError::Compiler(format!("the compile worker said: {}", text.trim()))));
        }
        if status.code() == Some(i32::from(NO_MEMORY)) || text.contains("memory allocation of") {
            return Err(LoadError::CompileLimit(memory()));
        }
        Err(match status.signal() {
            Some(XCPU | KILL) => {
                LoadError::CompileLimit(format!("it took more than {:?} of processor time", limits.cpu))
            }
            Some(XFSZ) => LoadError::CompileLimit(format!("the code has more than {} KiB", limits.output >> 10)),
            Some(signal) => LoadError::Compile(format!("the compiler crashed on it (signal {signal})")),
            None => LoadError::Compile(format!("the compiler gave up ({status}): {}", text.trim())),
        })
    }
}

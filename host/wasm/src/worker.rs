//! The compile worker: a process of its own that reads a component, compiles it and ends.
//!
//! Compiling takes what the component's author likes it to take, so it happens where it can take nothing from anybody. The worker limits itself
//! before it reads the first byte: memory, processor time, the size of what it writes, and no further file or socket, ever.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};

use crate::{LoadError, engine, inspect};

/// Exit codes that the host understands, besides those of signals.
pub(crate) const REFUSED: u8 = 10;
pub(crate) const NO_MEMORY: u8 = 11;

/// What the host asks a worker for: one argument of it, as JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// [`crate::Limits::memory`] of the runs; the code depends on it.
    pub(crate) guest_memory: usize,
    /// Bytes of a component.
    pub(crate) component: usize,
    /// Bytes of address space.
    pub(crate) memory: u64,
    /// Seconds of processor time.
    pub(crate) cpu: u64,
    /// Bytes of code.
    pub(crate) output: u64,
}

/// Reads a component from stdin and writes its code to stdout. For the binary that a [`crate::Worker`] names, before it starts any thread; `order`
/// is the last argument that it was given.
pub fn compile_worker(order: &str) -> ExitCode {
    let done = serde_json::from_str::<Order>(order)
        .map_err(|error| LoadError::Compiler(format!("the order cannot be read: {error}")))
        .and_then(|order| {
            confine(&order).map_err(|error| LoadError::Compiler(format!("its limits cannot be set: {error}")))?;
            compile(&order)
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The host tells what it can see itself when this does not arrive.
            let _told = serde_json::to_writer(io::stderr(), &error);
            let starved = matches!(&error, LoadError::Compile(why) if why.contains("os error 12") || why.contains("Cannot allocate memory"));
            ExitCode::from(if starved { NO_MEMORY } else { REFUSED })
        }
    }
}

/// From here on this process can harm nobody.
fn confine(order: &Order) -> rustix::io::Result<()> {
    let set = |resource, limit| setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) });
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    set(Resource::Core, 0)?;
    set(Resource::As, order.memory)?;
    set(Resource::Cpu, order.cpu)?;
    set(Resource::Fsize, order.output)?;
    // The three that it was born with.
    set(Resource::Nofile, 3)?;
    // Reconciles go first. A machine that does not allow it compiles at the same pace.
    let _nicer = nice(10);
    Ok(())
}

fn compile(order: &Order) -> Result<(), LoadError> {
    let lost = |error: io::Error| LoadError::Compiler(error.to_string());
    let mut component = Vec::new();
    io::stdin().take(order.component as u64 + 1).read_to_end(&mut component).map_err(lost)?;
    if component.len() > order.component {
        return Err(LoadError::TooLarge { found: component.len(), limit: order.component });
    }
    inspect::contract(&component)?;
    let engine = engine::compiler(order.guest_memory).map_err(|error| LoadError::Compiler(format!("{error:#}")))?;
    let code = engine.precompile_component(&component).map_err(|error| LoadError::Compile(flat(&error)))?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&code).and_then(|()| stdout.flush()).map_err(lost)
}

/// The whole chain of causes in a line.
pub(crate) fn flat(error: &wasmtime::Error) -> String {
    let mut text: String = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    text.truncate(text.floor_char_boundary(600));
    text
}

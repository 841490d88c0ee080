//! What can go wrong with a guest, by what the reader can do about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A component that cannot be made a plugin. Nothing that serves is touched by it.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum LoadError {
    /// The bytes are no component.
    #[error(
        "this is not a WebAssembly component ({0}); build the crate for wasm32-unknown-unknown and turn the module into a component with `threeport-component`, or push what `plugins/build` wrote"
    )]
    NotAComponent(String),
    /// Larger than the host accepts.
    #[error(
        "the component has {found} bytes and this host accepts {limit}; build it in release mode with lto and without debug information"
    )]
    TooLarge {
        /// Bytes of the component.
        found: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// Built against another version of the contract, or for another world.
    #[error(
        "the component was built for {found} and this host speaks {wanted}; rebuild it with the SDK of this release"
    )]
    WrongContract {
        /// What the host speaks.
        wanted: String,
        /// What the component was built for.
        found: String,
    },
    /// It wants something from the host that no plugin gets.
    #[error("the component imports {import}, which this host gives to no plugin; what a plugin may use is {allowed}")]
    ForbiddenImport {
        /// The offending import.
        import: String,
        /// What may be imported.
        allowed: String,
    },
    /// It does not compile or link.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// Compiling it took more than it may. The worker was ended; nobody else noticed.
    #[error(
        "compiling the component was stopped: {0}; build it in release mode with lto and without generated code of that size, or raise the server's --compile-seconds or --compile-memory"
    )]
    CompileLimit(String),
    /// Its instances would want more than any may have, or it has more parts than one may have.
    #[error(
        "the component wants more than an instance may have: {0}; make its memory, its tables and its parts smaller"
    )]
    Oversized(String),
    /// The host could not compile it; the component may be good.
    #[error("this host could not compile the component: {0}; it is tried again")]
    Compiler(String),
    /// `describe` failed or gave something unusable.
    #[error("the component's description is unusable: {0}")]
    Describe(String),
}

impl LoadError {
    /// Whether the same component may load when it is tried again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Compiler(_))
    }

    /// The reason of the condition that reports it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAComponent(_) => "ComponentInvalid",
            Self::TooLarge { .. } => "ComponentTooLarge",
            Self::WrongContract { .. } => "ContractUnsupported",
            Self::ForbiddenImport { .. } => "ImportForbidden",
            Self::Compile(_) => "ComponentInvalid",
            Self::CompileLimit(_) => "CompileLimitExceeded",
            Self::Oversized(_) => "ComponentTooLarge",
            Self::Compiler(_) => "CompilerFailed",
            Self::Describe(_) => "ComponentInvalid",
        }
    }
}

/// A run that gave no answer. The instance is gone with it; neighbours and the next run of the same object are not touched.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// The guest trapped, as a panic does.
    #[error(
        "the plugin crashed: {message}; this is a fault of the plugin, roll it back or report it to its author{}",
        at(backtrace)
    )]
    Trap {
        /// The panic message where the SDK could pass it on, else the kind of trap.
        message: String,
        /// Guest functions, innermost first; empty when the component carries no names.
        backtrace: String,
    },
    /// Out of time.
    #[error(
        "the plugin did not answer within {limit:?} (host calls included) and was stopped; it loops or its target is slow"
    )]
    Deadline {
        /// Wall clock of a run.
        limit: Duration,
    },
    /// Out of memory.
    #[error("the plugin wanted more than {} MiB of memory and was stopped; list with a smaller page or fewer fields, or raise the limit", limit >> 20)]
    Memory {
        /// Bytes of linear memory.
        limit: usize,
    },
    /// Too many host calls.
    #[error(
        "the plugin made more than {limit} host calls in one run and was stopped; use list where it gets one by one"
    )]
    HostCalls {
        /// Calls of a run.
        limit: u32,
    },
    /// Too many bytes through host calls and answer.
    #[error("the plugin moved more than {} KiB between itself and the host in one run and was stopped; ask for fewer fields or answer with less", limit >> 10)]
    HostBytes {
        /// Bytes of a run.
        limit: usize,
    },
    /// Too many handles.
    #[error(
        "the plugin holds more than {limit} open handles and was stopped; open each target once, and let go of what is done"
    )]
    Handles {
        /// Handles at a time.
        limit: usize,
    },
    /// Tables beyond measure.
    #[error(
        "the plugin grew a table to more than {limit} entries and was stopped; this is a fault of the plugin, roll it back or report it to its author"
    )]
    Tables {
        /// Entries of a table.
        limit: usize,
    },
    /// More instances, memories or tables than a run may have.
    #[error(
        "the plugin is made of more parts than a run may have and was stopped: {0}; make it one module with one memory"
    )]
    Parts(String),
    /// Recursion without end.
    #[error("the plugin ran out of stack and was stopped; it recurses too deeply{}", at(backtrace))]
    StackOverflow {
        /// The innermost guest functions.
        backtrace: String,
    },
    /// The answer breaks the contract.
    #[error("the plugin's answer breaks the contract: {0}; roll the plugin back or report it to its author")]
    BadAnswer(String),
    /// The host's own fault while it served the guest.
    #[error("the host failed while it served the plugin: {0}; please report this")]
    Host(String),
}

impl RunError {
    /// The reason of the condition that reports it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "PluginTrapped",
            Self::Deadline { .. } => "DeadlineExceeded",
            Self::Memory { .. } => "MemoryLimitExceeded",
            Self::HostCalls { .. } => "HostCallLimitExceeded",
            Self::HostBytes { .. } => "HostByteLimitExceeded",
            Self::Handles { .. } => "HandleLimitExceeded",
            Self::Tables { .. } => "TableLimitExceeded",
            Self::Parts(_) => "PartLimitExceeded",
            Self::StackOverflow { .. } => "StackOverflow",
            Self::BadAnswer(_) => "AnswerInvalid",
            Self::Host(_) => "HostFailed",
        }
    }
}

fn at(backtrace: &str) -> String {
    match backtrace.lines().next() {
        Some(frame) if !frame.is_empty() => format!(" (in {frame})"),
        _ => String::new(),
    }
}

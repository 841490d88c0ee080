//! The one place where bytes become native code of this process.
#![allow(
    unsafe_code,
    reason = "wasmtime cannot check machine code; what comes here was checked to be our own compiler's"
)]

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Verified;

/// Code that the compile worker made, ready to be linked.
///
/// # Errors
/// When the engine cannot use it: it was compiled with other settings, or wants more than an instance may have.
pub(crate) fn load(engine: &Engine, code: &Verified) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` runs whatever it is given. A `Verified` exists only for bytes that the worker of this host wrote, or whose MAC says so
    // (`Cache::seal`, `Cache::get`); it owns them, and `deserialize` copies them, so that nobody changes them after that check.
    unsafe { Component::deserialize(engine, code.bytes()) }
}

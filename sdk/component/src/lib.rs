//! Turns the core module that cargo builds for a plugin into a component.
//!
//! `cargo build --target wasm32-unknown-unknown` gives a core module that carries its contract in a custom section; wrapping it needs no tool
//! beyond this.

use anyhow::{Context as _, Result, bail};

const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component as it is, a core module wrapped into one.
///
/// # Errors
/// When the bytes are neither, or the module does not carry a contract that it fulfils.
pub fn encode(bytes: &[u8]) -> Result<Vec<u8>> {
    if bytes.starts_with(COMPONENT) {
        return Ok(bytes.to_vec());
    }
    if !bytes.starts_with(CORE_MODULE) {
        bail!(
            "neither a WebAssembly component nor a core module: build it with `cargo build --target wasm32-unknown-unknown`"
        );
    }
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(bytes)
        .context("the module carries no plugin contract: does it use threeport_sdk::export! ?")?
        .encode()
        .context("the module does not fulfil its contract")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_webassembly_is_refused_with_the_way_to_build_it() {
        assert!(encode(b"#!/bin/sh\n").unwrap_err().to_string().contains("wasm32-unknown-unknown"));
    }

    #[test]
    fn a_component_passes_through() {
        assert_eq!(encode(COMPONENT).unwrap(), COMPONENT);
    }
}

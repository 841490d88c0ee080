//! Write a reconciler as a WebAssembly component.

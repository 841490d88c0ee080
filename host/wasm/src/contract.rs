//! Bindings to `wit/reconciler`.

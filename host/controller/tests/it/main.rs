//! The controller with a real store, real plugins and a real kube-apiserver. Needs `plugins/build` and the binary of `deploy/local/build`.
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "shared with the tests of threeport-kube")]
#[path = "../../../kube/tests/target/support.rs"]
mod support;

mod fairness;
mod late;
mod owning;
mod paused;
mod plugins;
mod runs;
mod swap;
mod targets;
mod tenants;
mod world;

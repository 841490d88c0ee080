//! This crate against a real kube-apiserver and etcd. Needs the binary of `deploy/local/build`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod apply;
mod identity;
mod ownership;
mod reading;
mod removal;
mod support;
mod watches;

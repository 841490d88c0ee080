//! The harness of the system tests: a real server process, a real Kubernetes with real pods, real kubectl.
//!
//! `tests/run` builds what is named in the environment and brings the cluster up; a missing piece is a failure that says so, never a skip.

mod cluster;
mod collector;
mod kubectl;
mod nats;
mod proxy;
mod samples;
mod server;
mod wait;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use cluster::Cluster;
pub use collector::{Collector, Span};
pub use kubectl::Kubectl;
pub use nats::Nats;
pub use proxy::Proxy;
pub use samples::Samples;
pub use server::Server;
pub use threeport_test_postgres::Postgres;
pub use wait::{condition, eventually};

/// A path that `tests/run` exports.
///
/// # Errors
/// When the variable is not set or names nothing.
pub fn tool(variable: &str) -> Result<PathBuf> {
    let path = PathBuf::from(
        std::env::var_os(variable)
            .with_context(|| format!("{variable} is not set: run this test through tests/run"))?,
    );
    anyhow::ensure!(
        path.exists(),
        "{variable} names {}, which is not there: run this test through tests/run",
        path.display()
    );
    Ok(path)
}

/// A kube-rs client for whatever a kubeconfig names.
///
/// # Errors
/// When the kubeconfig cannot be used.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    kube::Client::try_from(config(kubeconfig).await?).context("make a client")
}

/// A kube-rs client that gives every answer as it comes: the usual one tries again by itself after some of them.
///
/// # Errors
/// When the kubeconfig cannot be used.
pub async fn plain_client(kubeconfig: &Path) -> Result<kube::Client> {
    let mut config = config(kubeconfig).await?;
    config.default_retry = false;
    kube::Client::try_from(config).context("make a client")
}

async fn config(kubeconfig: &Path) -> Result<kube::Config> {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
    let options = kube::config::KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.context("use the kubeconfig")
}

/// A plugin or hostile guest, as `plugins/build` left it.
///
/// # Errors
/// When it was not built.
pub fn guest(name: &str) -> Result<PathBuf> {
    let path = tool("THREEPORT_GUESTS")?.join(format!("{name}.wasm"));
    anyhow::ensure!(path.exists(), "{} is not there: run plugins/build", path.display());
    Ok(path)
}

/// Name of the local cluster that `tests/run` brought up.
fn cluster_name() -> Result<String> {
    std::env::var("LOCALKUBE_NAME").context("LOCALKUBE_NAME is not set: run this test through tests/run")
}

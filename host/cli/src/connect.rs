//! From a kubeconfig to a client.

use std::path::PathBuf;

use anyhow::{Context, Result};
use threeport_kube::kube;
use threeport_kube::kube::config::{KubeConfigOptions, Kubeconfig};

use crate::Connection;

/// Where `threeport server` leaves its kubeconfig, and looks for its own settings.
fn default_kubeconfig() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(base.join("threeport/kubeconfig"))
}

/// A client for the server that `connection` names.
pub(crate) async fn client(connection: &Connection) -> Result<kube::Client> {
    let path = match (&connection.kubeconfig, std::env::var_os("KUBECONFIG")) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) if !path.is_empty() => PathBuf::from(path),
        (None, _) => default_kubeconfig().context("no kubeconfig: name one with --kubeconfig or $KUBECONFIG")?,
    };
    let kubeconfig = Kubeconfig::read_from(&path)
        .with_context(|| format!("read {}; is this the file that `threeport server` wrote?", path.display()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use {}", path.display()))?;
    kube::Client::try_from(config).context("set up the connection")
}

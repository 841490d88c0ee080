//! A target that goes away and comes back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use threeport_tests::{Proxy, condition, eventually, tool};

use crate::path::{adopt, adopted, workload};

/// A kubeconfig that reaches the tests' cluster through `address`.
fn through(address: std::net::SocketAddr) -> Result<(String, String)> {
    let text = std::fs::read_to_string(tool("LOCALKUBE_KUBECONFIG")?).context("read the kubeconfig")?;
    let line = text.lines().find(|line| line.contains("server: https://")).context("the kubeconfig names no server")?;
    let upstream = line
        .split("https://")
        .nth(1)
        .context("server")?
        .trim_matches(|c: char| c == '"' || c == '}' || c.is_whitespace())
        .to_owned();
    Ok((text.replace(&upstream, &address.to_string()), upstream))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_cluster_is_unknown_and_comes_back_by_itself() -> Result<()> {
    let namespace = "away";
    let (server, kubectl, cluster) = adopted(namespace).await?;
    let (_, upstream) = through("127.0.0.1:1".parse()?)?;
    let proxy = Proxy::start(upstream).await?;
    let (kubeconfig, _) = through(proxy.address)?;
    let file = server.path("through.kubeconfig");
    std::fs::write(&file, kubeconfig)?;
    kubectl.run(&["create", "namespace", "away-proxied"])?;
    adopt(&kubectl, "away-proxied", &file)?;
    kubectl.run(&["wait", "-n", "away-proxied", "--for=condition=Ready", "--timeout=30s", "cluster/local"])?;

    proxy.cut();
    eventually("the Cluster is Unknown", Duration::from_secs(30), || async {
        let object = kubectl.get(&["cluster", "local", "-n", "away-proxied"])?;
        let (status, reason, message) = condition(&object, "Ready");
        ensure!(status == "Unknown" && reason == "ClusterUnreachable", "{status} {reason} {message}");
        ensure!(object["status"]["version"].is_string(), "the last known version is kept");
        Ok(())
    })
    .await?;

    // What waits for it says so, and starts by itself.
    cluster.kubectl.run(&["create", "namespace", "away-proxied"])?;
    cluster.image("localkube.test/away:1", "away", 0)?;
    kubectl.apply(&workload("away-proxied", "localkube.test/away:1", 1))?;
    eventually("the Workload says what it waits for", Duration::from_secs(30), || async {
        let (status, reason, message) = condition(&kubectl.get(&["workload", "web", "-n", "away-proxied"])?, "Ready");
        ensure!(status != "True" && message.contains("local"), "{status} {reason} {message}");
        Ok(())
    })
    .await?;

    proxy.mend();
    kubectl.run(&[
        "wait",
        "-n",
        "away-proxied",
        "--for=condition=Ready",
        "--timeout=60s",
        "cluster/local",
        "workload/web",
    ])?;
    Ok(())
}

//! The same server on PostgreSQL: two hosts, and moving there from a file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use threeport_test_postgres::Postgres;
use threeport_tests::{Server, eventually, tool};

use crate::path;

pub(crate) const DATABASE: &str = "THREEPORT_DATABASE";

/// A host beside another: keys and certificates are the same.
pub(crate) async fn beside(server: &Server, environment: &[(&str, &str)]) -> Result<Server> {
    let mut host = Server::new(environment)?;
    copy(&server.path("config"), &host.path("config"))?;
    host.boot(&[]).await?;
    Ok(host)
}

/// A name that no other run has, on a cluster that several may share.
pub(crate) fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().context("run cp")?;
    ensure!(copied.success(), "cp failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_on_postgresql_do_what_one_does_and_one_may_die() -> Result<()> {
    let postgres = Postgres::start()?;
    let database = postgres.database()?;
    let namespace = &own("pg-hosts");
    let mut first = Server::start_with(&[(DATABASE, &database)]).await?;
    let (kubectl, cluster) = path::adopted_by(&first, namespace)?;
    cluster.image("localkube.test/pg:1", "one", 0)?;
    cluster.image("localkube.test/pg:2", "two", 0)?;
    let second = beside(&first, &[(DATABASE, &database)]).await?;
    let there = second.kubectl()?;

    // What is written to one host is read and watched on the other, at once.
    for number in 0..20 {
        let name = format!("number-{number}");
        let (writes, reads) = if number % 2 == 0 { (&kubectl, &there) } else { (&there, &kubectl) };
        writes.run(&["create", "configmap", &name, "-n", namespace])?;
        reads
            .run(&["get", "configmap", &name, "-n", namespace])
            .context("an acknowledged write is not read on the other host")?;
    }
    there.apply(&path::workload(namespace, "localkube.test/pg:1", 1))?;
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=90s", "workload/web"])?;
    ensure!(cluster.page(namespace, "web:http")?.trim() == "one");

    // What the dead host worked on is the other's when its leases are over.
    first.kill()?;
    there.apply(&path::workload(namespace, "localkube.test/pg:2", 1))?;
    eventually("the other host carries on", Duration::from_secs(120), || async {
        let page = cluster.page(namespace, "web:http")?;
        ensure!(page.trim() == "two", "{page}");
        Ok(())
    })
    .await?;
    there.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=90s", "workload/web"])?;
    there.run(&["delete", "workload", "web", "-n", namespace, "--timeout=90s"])?;
    let left = cluster.kubectl.run(&["get", "deployments", "-n", namespace, "-o", "name"])?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_outgrows_a_file_moves_to_postgresql_with_everything() -> Result<()> {
    let postgres = Postgres::start()?;
    let database = postgres.database()?;
    let namespace = &own("pg-moves");
    let (mut server, kubectl, cluster) = path::adopted(namespace).await?;
    cluster.image("localkube.test/moves:1", "moved", 0)?;
    kubectl.apply(&path::workload(namespace, "localkube.test/moves:1", 1))?;
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=90s", "workload/web"])?;
    let before = kubectl.get(&["workload", "web", "-n", namespace])?;
    let secret = kubectl.get(&["secret", "local-kubeconfig", "-n", namespace])?;
    let deployment = [
        "get",
        "deployments",
        "-n",
        namespace,
        "-o",
        "jsonpath={.items[*].metadata.uid} {.items[*].metadata.generation}",
    ];
    let on_target = cluster.kubectl.run(&deployment)?;

    ensure!(server.stop()? == Some(0));
    let file = format!("sqlite:{}", server.path("data/threeport.db").display());
    let copied = std::process::Command::new(tool("THREEPORT")?)
        .args(["store", "copy", "--from", &file, "--to", &database])
        .output()
        .context("start threeport")?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    server.set(DATABASE, &database);
    server.boot(&[]).await?;

    let kubectl = server.kubectl()?;
    let after = kubectl.get(&["workload", "web", "-n", namespace])?;
    ensure!(after["metadata"]["uid"] == before["metadata"]["uid"] && after["spec"] == before["spec"]);
    ensure!(kubectl.get(&["secret", "local-kubeconfig", "-n", namespace])?["data"] == secret["data"]);
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s", "workload/web"])?;
    ensure!(cluster.kubectl.run(&deployment)? == on_target, "moving changed what is on the target");
    let patch = r#"{"spec":{"replicas":2}}"#;
    let patched =
        kubectl.run(&["patch", "workload", "web", "-n", namespace, "--type=merge", "-p", patch, "-o", "json"])?;
    let version = |object: &serde_json::Value| {
        object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok())
    };
    ensure!(version(&serde_json::from_str(&patched)?) > version(&before), "resourceVersions went back");
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=90s", "workload/web"])?;
    kubectl.run(&["delete", "workload", "web", "-n", namespace, "--timeout=90s"])?;
    let left = cluster.kubectl.run(&["get", "deployments", "-n", namespace, "-o", "name"])?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    Ok(())
}

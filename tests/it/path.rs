//! The thin path: one YAML through every layer to real pods, and what becomes of it afterwards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use threeport_tests::{Cluster, Kubectl, Server, eventually};

/// A server with the two plugins and a Cluster `local` that adopts the tests' cluster, in a namespace of the test's own on both sides.
pub(crate) async fn adopted(namespace: &str) -> Result<(Server, Kubectl, Cluster)> {
    let server = Server::start().await?;
    let (kubectl, cluster) = adopted_by(&server, namespace)?;
    Ok((server, kubectl, cluster))
}

/// [`adopted`], by a server that runs.
pub(crate) fn adopted_by(server: &Server, namespace: &str) -> Result<(Kubectl, Cluster)> {
    let cluster = Cluster::with_namespace(namespace)?;
    server.push(&["cluster", "workload"])?;
    let kubectl = server.kubectl()?;
    kubectl.run(&["create", "namespace", namespace])?;
    adopt(&kubectl, namespace, &cluster.kubeconfig)?;
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=30s", "cluster/local"])?;
    Ok((kubectl, cluster))
}

/// Applies the kubeconfig Secret and the Cluster.
pub(crate) fn adopt(kubectl: &Kubectl, namespace: &str, kubeconfig: &std::path::Path) -> Result<()> {
    let file = format!("--from-file=kubeconfig={}", kubeconfig.display());
    kubectl.run(&["create", "secret", "generic", "-n", namespace, "local-kubeconfig", &file])?;
    kubectl.apply(&format!(
        "apiVersion: threeport.dev/v1\nkind: Cluster\nmetadata: {{name: local, namespace: {namespace}}}\n\
         spec: {{adopt: {{kubeconfigSecret: {{name: local-kubeconfig}}}}}}\n"
    ))?;
    Ok(())
}

/// The YAML of a Workload `web`.
pub(crate) fn workload(namespace: &str, image: &str, replicas: u32) -> String {
    format!(
        "apiVersion: threeport.dev/v1\nkind: Workload\nmetadata: {{name: web, namespace: {namespace}}}\n\
         spec:\n  cluster: local\n  image: {image}\n  replicas: {replicas}\n  ports: [{{name: http, containerPort: 8080}}]\n  \
         readiness: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}\n"
    )
}

fn wait_ready(kubectl: &Kubectl, namespace: &str) -> Result<String> {
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=90s", "workload/web"])
}

fn pods(cluster: &Cluster, namespace: &str) -> Result<Vec<Value>> {
    let list = cluster.kubectl.get(&["pods", "-n", namespace])?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn ready_with(pods: &[Value], image: &str) -> usize {
    pods.iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null() && pod["spec"]["containers"][0]["image"] == image)
        .filter(|pod| threeport_tests::condition(pod, "Ready").0 == "True")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_becomes_pods_follows_its_spec_is_repaired_and_goes() -> Result<()> {
    let namespace = "path";
    let (_server, kubectl, cluster) = adopted(namespace).await?;
    let (first, second) = ("localkube.test/path:1", "localkube.test/path:2");
    cluster.image(first, "one", 0)?;
    // Slow to get ready, so that a Ready that comes too early is caught.
    cluster.image(second, "two", 4)?;

    kubectl.apply(&workload(namespace, first, 2))?;
    wait_ready(&kubectl, namespace)?;
    ensure!(ready_with(&pods(&cluster, namespace)?, first) == 2, "Ready with fewer than two ready pods");
    ensure!(cluster.page(namespace, "web:http")?.trim() == "one");

    // An image change: Ready waits for the new pods.
    kubectl.apply(&workload(namespace, second, 2))?;
    wait_ready(&kubectl, namespace)?;
    ensure!(ready_with(&pods(&cluster, namespace)?, second) == 2, "Ready before the new pods were");
    ensure!(cluster.page(namespace, "web:http")?.trim() == "two");

    // Scale.
    kubectl.run(&["patch", "workload", "web", "-n", namespace, "--type=merge", "-p", r#"{"spec":{"replicas":3}}"#])?;
    wait_ready(&kubectl, namespace)?;
    ensure!(ready_with(&pods(&cluster, namespace)?, second) == 3);

    // Drift: someone scales by hand, someone deletes the Service.
    let deployment = cluster.kubectl.get(&["deployments", "-n", namespace])?["items"][0]["metadata"]["name"]
        .as_str()
        .context("name")?
        .to_owned();
    cluster.kubectl.run(&["scale", "deployment", &deployment, "-n", namespace, "--replicas=1"])?;
    cluster.kubectl.run(&["delete", "service", "web", "-n", namespace])?;
    eventually("drift is repaired", Duration::from_secs(30), || async {
        let live = cluster.kubectl.get(&["deployment", &deployment, "-n", namespace])?;
        ensure!(live["spec"]["replicas"] == 3, "replicas {}", live["spec"]["replicas"]);
        cluster.kubectl.get(&["service", "web", "-n", namespace])
    })
    .await?;

    // Delete: kubectl returns when the object is gone, and by then so are its things on the target.
    kubectl.run(&["delete", "workload", "web", "-n", namespace, "--timeout=60s"])?;
    let left = cluster.kubectl.run(&[
        "get",
        "deployments,services",
        "-n",
        namespace,
        "-l",
        "app.kubernetes.io/managed-by=threeport",
        "-o",
        "name",
    ])?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_ready_costs_nothing() -> Result<()> {
    let namespace = "steady";
    let (server, kubectl, cluster) = adopted(namespace).await?;
    cluster.image("localkube.test/steady:1", "steady", 0)?;
    kubectl.apply(&workload(namespace, "localkube.test/steady:1", 1))?;
    wait_ready(&kubectl, namespace)?;
    let versions = || -> Result<Vec<Value>> {
        let mut found = vec![
            kubectl.get(&["workload", "web", "-n", namespace])?,
            kubectl.get(&["cluster", "local", "-n", namespace])?,
        ];
        found.extend(
            cluster.kubectl.get(&["services", "-n", namespace])?["items"].as_array().cloned().unwrap_or_default(),
        );
        Ok(found.iter().map(|object| object["metadata"]["resourceVersion"].clone()).collect())
    };
    let before = versions()?;
    // The annotations wake the reconcilers without changing what is wanted; their own writes are the only ones.
    let names = ["workload/web", "cluster/local"];
    let runs = || -> Result<[f64; 2]> {
        let metrics = server.metrics()?;
        Ok(["workloads", "clusters"]
            .map(|kind| metrics.sum("threeport_runs_total", &[&format!("resource=\"{kind}\"")])))
    };
    let before_runs = runs()?;
    for name in names {
        kubectl.run(&["annotate", name, "-n", namespace, "note=look"])?;
    }
    let annotated = versions()?;
    ensure!(annotated[2..] == before[2..], "an annotation changed other objects");
    eventually("both are looked at", Duration::from_secs(30), || async {
        let runs = runs()?;
        ensure!(runs[0] > before_runs[0] && runs[1] > before_runs[1], "{before_runs:?} {runs:?}");
        Ok(())
    })
    .await?;
    ensure!(versions()? == annotated, "a reconcile without a change wrote something");
    Ok(())
}

//! What Threeport makes on a cluster for a tenant, as the cluster itself sees it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use threeport_tests::{Cluster, Kubectl, Server, eventually};

use crate::path::{adopt, workload};

/// Names of the ServiceAccounts that are there for a Cluster of ours.
fn accounts(target: &Kubectl, uid: &str) -> Result<Vec<String>> {
    let selector = format!("threeport.dev/target-uid={uid}");
    let names = target.run(&["get", "serviceaccounts", "-n", "threeport-system", "-l", &selector, "-o", "name"])?;
    Ok(names.lines().filter_map(|line| line.split_once('/')).map(|(_, name)| name.to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_a_namespace_and_rights_in_it_and_leaves_nothing_behind() -> Result<()> {
    let namespace = "tenant-a";
    // A namespace of this test, so that the image has one; the tenant's own is not there yet.
    let cluster = Cluster::with_namespace("tenant-b")?;
    let target = &cluster.kubectl;
    let server = Server::start().await?;
    server.push(&["cluster", "workload"])?;
    let kubectl = server.kubectl()?;
    kubectl.run(&["create", "namespace", namespace])?;
    adopt(&kubectl, namespace, &cluster.kubeconfig)?;
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Isolated", "--timeout=30s", "cluster/local"])?;
    let object = kubectl.get(&["cluster", "local", "-n", namespace])?;
    let uid = object["metadata"]["uid"].as_str().context("uid")?;
    cluster.image("localkube.test/tenant:1", "tenant", 0)?;
    kubectl.apply(&workload(namespace, "localkube.test/tenant:1", 1))?;
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=90s", "workload/web"])?;

    let account = accounts(target, uid)?.into_iter().find(|name| name.contains("workload")).context("an account")?;
    let can = |verb: &str, kind: &str, place: &[&str]| -> Result<bool> {
        let user = format!("--as=system:serviceaccount:threeport-system:{account}");
        let mut args = vec!["auth", "can-i", verb, kind, user.as_str()];
        args.extend(place);
        // It exits with 1 where the answer is no.
        Ok(target.run(&args).is_ok_and(|answer| answer.trim() == "yes"))
    };
    let own = ["-n", namespace];
    ensure!(can("patch", "deployments", &own)? && can("delete", "services", &own)? && can("list", "pods", &own)?);
    for (verb, kind, place) in [
        ("get", "deployments", &["-n", "tenant-b"][..]),
        ("patch", "deployments", &["-n", "kube-system"]),
        ("list", "pods", &["-A"]),
        ("get", "secrets", &own),
        ("create", "pods", &own),
        ("create", "rolebindings", &own),
        ("get", "nodes", &[]),
        ("create", "namespaces", &[]),
        ("create", "serviceaccounts/token", &["-n", "threeport-system"]),
    ] {
        ensure!(!can(verb, kind, place)?, "it may {verb} {kind} {place:?}");
    }

    kubectl.run(&["delete", "workload", "web", "-n", namespace, "--timeout=60s"])?;
    ensure!(!accounts(target, uid)?.contains(&account), "{account} outlives its last user");
    eventually("the namespace that was made goes", Duration::from_secs(30), || async {
        ensure!(target.run(&["get", "namespace", namespace]).is_err(), "it is still there");
        Ok(())
    })
    .await?;
    kubectl.run(&["delete", "cluster", "local", "-n", namespace, "--timeout=60s"])?;
    ensure!(accounts(target, uid)?.is_empty());
    let selector = format!("threeport.dev/target-uid={uid}");
    let left = target.run(&[
        "get",
        "roles,rolebindings,clusterroles,clusterrolebindings",
        "-A",
        "-l",
        &selector,
        "-o",
        "name",
    ])?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    Ok(())
}

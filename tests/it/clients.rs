//! Clients that were written for Kubernetes, unmodified.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use threeport_tests::Server;

/// Sets the objects of these tests apart from what every namespace has.
const LABEL: (&str, &str) = ("watched", "yes");

fn config_map(name: &str) -> ConfigMap {
    let labels = Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into());
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() },
        ..ConfigMap::default()
    }
}

/// What a kube-rs watcher says, as `+name` for what is there and `-name` for what went.
fn said(event: Event<ConfigMap>) -> Option<String> {
    match event {
        Event::Apply(object) | Event::InitApply(object) => object.metadata.name.map(|name| format!("+{name}")),
        Event::Delete(object) => object.metadata.name.map(|name| format!("-{name}")),
        Event::Init | Event::InitDone => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kube_rs_watcher_sees_each_change_once_in_order() -> Result<()> {
    let server = Server::start().await?;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client().await?);
    api.create(&PostParams::default(), &config_map("before")).await?;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let config = config.labels(&format!("{}={}", LABEL.0, LABEL.1));
        let mut events = watcher::watcher(api.clone(), config).boxed();
        let mut seen = Vec::new();
        let mut written = false;
        while seen.len() < 4 {
            let event =
                tokio::time::timeout(Duration::from_secs(20), events.next()).await.context("the watcher is silent")?;
            let event = event.context("the watcher ended")?.context("the watcher failed")?;
            if matches!(event, Event::InitDone) && !written {
                written = true;
                api.create(&PostParams::default(), &config_map("a")).await?;
                let patch = Patch::Merge(serde_json::json!({"data": {"key": "value"}}));
                api.patch("a", &PatchParams::default(), &patch).await?;
                api.delete("a", &DeleteParams::default()).await?;
            }
            seen.extend(said(event));
        }
        ensure!(seen == ["+before", "+a", "+a", "-a"], "{seen:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_describes_waits_and_prints_tables() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["cluster", "workload"])?;
    let kubectl = server.kubectl()?;
    ensure!(kubectl.run(&["explain", "workload.spec.replicas"])?.contains("<integer>"));
    ensure!(
        kubectl.run(&["api-resources", "--api-group=threeport.dev", "-o", "name"])?.contains("workloads.threeport.dev")
    );
    kubectl.apply(
        "apiVersion: threeport.dev/v1\nkind: Workload\nmetadata: {name: web}\nspec: {cluster: nowhere, image: web}\n",
    )?;
    kubectl.run(&["wait", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=10s", "workload/web"])?;
    let described = kubectl.run(&["describe", "workload", "web"])?;
    ensure!(described.contains("nowhere"), "what it waits for is not said:\n{described}");
    let table = kubectl.run(&["get", "workloads"])?;
    ensure!(table.contains("IMAGE") && table.contains("REASON"), "{table}");
    // An unchanged file changes nothing.
    let again = kubectl.apply(
        "apiVersion: threeport.dev/v1\nkind: Workload\nmetadata: {name: web}\nspec: {cluster: nowhere, image: web}\n",
    )?;
    ensure!(again.contains("unchanged"), "{again}");
    kubectl.run(&["delete", "workload", "web", "--timeout=10s"])?;
    Ok(())
}

//! Clients that were written for Kubernetes, unmodified.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams, PostParams,
};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{self, Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Controller, WatchStreamExt as _, finalizer};
use serde_json::json;
use threeport_tests::{Server, eventually};

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

/// A kind of a user's own.
fn gadgets(server: &Server) -> Result<ApiResource> {
    let kubectl = server.kubectl()?;
    kubectl.apply(include_str!("../clients/gadget.yaml"))?;
    kubectl.run(&["wait", "--for=condition=Established", "crd/gadgets.clients.example.org", "--timeout=10s"])?;
    Ok(ApiResource::from_gvk(&GroupVersionKind::gvk("clients.example.org", "v1", "Gadget")))
}

fn gadget(resource: &ApiResource, name: &str, size: u32) -> DynamicObject {
    DynamicObject::new(name, resource).data(json!({"spec": {"size": size}}))
}

/// Waits until a reflector's store is what the server lists, by names and versions.
async fn equal(store: &Store<DynamicObject>, api: &Api<DynamicObject>) -> Result<usize> {
    eventually("the store is what is listed", Duration::from_secs(30), || async {
        let known = |object: &DynamicObject| (object.name_any(), object.resource_version());
        let listed: BTreeSet<_> = api.list(&Default::default()).await?.iter().map(known).collect();
        let stored: BTreeSet<_> = store.state().iter().map(|object| known(object)).collect();
        ensure!(listed == stored, "listed {listed:?}, stored {stored:?}");
        Ok(listed.len())
    })
    .await
}

/// Makes, changes and removes objects; half of those that were made stay.
async fn churn(api: &Api<DynamicObject>, resource: &ApiResource, prefix: &str) -> Result<()> {
    for number in 0..20 {
        let name = format!("{prefix}-{number}");
        api.create(&PostParams::default(), &gadget(resource, &name, 1)).await?;
        let patch = Patch::Merge(json!({"spec": {"size": 2}}));
        api.patch(&name, &PatchParams::default(), &patch).await?;
        if number % 2 == 0 {
            api.delete(&name, &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kube_rs_reflector_holds_what_is_listed_over_a_restart() -> Result<()> {
    let mut server = Server::start_to_stay(&[]).await?;
    let resource = gadgets(&server)?;
    let api: Api<DynamicObject> = Api::default_namespaced_with(server.client().await?, &resource);
    api.create(&PostParams::default(), &gadget(&resource, "before", 1)).await?;
    let mut stores = Vec::new();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let writer = Writer::new(resource.clone());
        stores.push(writer.as_reader());
        let stream = reflector::reflector(writer, watcher::watcher(api.clone(), config).default_backoff());
        tokio::spawn(stream.for_each(|_event| async {}));
    }
    for store in &stores {
        tokio::time::timeout(Duration::from_secs(20), store.wait_until_ready())
            .await
            .context("it is never ready")??;
    }
    churn(&api, &resource, "first").await?;
    for store in &stores {
        ensure!(equal(store, &api).await? == 11, "ten of twenty and one");
    }
    server.kill()?;
    server.boot(&[]).await?;
    // The client's open connections are gone: the first call may fail.
    eventually("the server answers again", Duration::from_secs(20), || async { Ok(api.get("before").await?) }).await?;
    churn(&api, &resource, "second").await?;
    for store in &stores {
        ensure!(equal(store, &api).await? == 21, "ten of twenty more");
    }
    Ok(())
}

/// What a controller of Gadgets works with.
struct Operator {
    gadgets: Api<DynamicObject>,
    maps: Api<ConfigMap>,
    resource: ApiResource,
}

const FINALIZER: &str = "clients.example.org/cleanup";

impl Operator {
    /// A ConfigMap for each Gadget, which it owns; one that is not owned is there until the Gadget is cleaned up.
    async fn reconcile(
        object: Arc<DynamicObject>,
        operator: Arc<Self>,
    ) -> Result<Action, finalizer::Error<kube::Error>> {
        finalizer::finalizer(&operator.gadgets, FINALIZER, object, |event| async {
            match event {
                finalizer::Event::Apply(object) => operator.apply(&object).await,
                finalizer::Event::Cleanup(object) => {
                    let left = format!("{}-left", object.name_any());
                    operator.maps.delete(&left, &DeleteParams::default()).await.map(|_| Action::await_change())
                }
            }
        })
        .await
    }

    async fn apply(&self, object: &DynamicObject) -> Result<Action, kube::Error> {
        let (name, params) = (object.name_any(), PatchParams::apply("operator").force());
        let size = object.data["spec"]["size"].to_string();
        let owner = kube::Resource::controller_owner_ref(object, &self.resource);
        for (name, owners) in [(name.clone(), owner), (format!("{name}-left"), None)] {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": {"size": size},
                "metadata": {"name": name, "ownerReferences": owners.into_iter().collect::<Vec<_>>()},
            });
            self.maps.patch(&name, &params, &Patch::Apply(map)).await?;
        }
        let status = json!({"status": {"size": object.data["spec"]["size"]}});
        self.gadgets.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(Action::await_change())
    }

    /// Waits until a Gadget and its ConfigMap are of this size.
    async fn settled(&self, name: &str, size: u32) -> Result<()> {
        eventually("it is reconciled", Duration::from_secs(30), || async {
            let (object, map) = (self.gadgets.get(name).await?, self.maps.get(name).await?);
            ensure!(object.data["status"]["size"] == size, "{object:?}");
            ensure!(object.finalizers() == [FINALIZER], "{object:?}");
            ensure!(map.data.as_ref().and_then(|data| data.get("size")) == Some(&size.to_string()), "{map:?}");
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kube_rs_controller_reconciles_over_a_restart() -> Result<()> {
    let mut server = Server::start_to_stay(&[]).await?;
    let resource = gadgets(&server)?;
    let client = server.client().await?;
    let gadgets = Api::default_namespaced_with(client.clone(), &resource);
    let operator = Arc::new(Operator {
        gadgets: gadgets.clone(),
        maps: Api::default_namespaced(client),
        resource: resource.clone(),
    });
    let config = watcher::Config::default().streaming_lists();
    let controller = Controller::new_with(gadgets.clone(), config.clone(), resource.clone())
        .owns(operator.maps.clone(), config)
        .run(Operator::reconcile, |_, _, _| Action::requeue(Duration::from_millis(200)), operator.clone());
    let running = tokio::spawn(controller.for_each(|_outcome| async {}));

    gadgets.create(&PostParams::default(), &gadget(&resource, "one", 1)).await?;
    operator.settled("one", 1).await?;
    gadgets.patch("one", &PatchParams::default(), &Patch::Merge(json!({"spec": {"size": 2}}))).await?;
    operator.settled("one", 2).await?;
    // What it owns comes back.
    let first = operator.maps.get("one").await?.uid();
    operator.maps.delete("one", &DeleteParams::default()).await?;
    operator.settled("one", 2).await?;
    ensure!(operator.maps.get("one").await?.uid() != first, "it was never gone");

    server.kill()?;
    server.boot(&[]).await?;
    eventually("a change after the restart", Duration::from_secs(20), || async {
        Ok(gadgets.patch("one", &PatchParams::default(), &Patch::Merge(json!({"spec": {"size": 3}}))).await?)
    })
    .await?;
    operator.settled("one", 3).await?;

    gadgets.delete("one", &DeleteParams::default()).await?;
    eventually("the Gadget and both ConfigMaps are gone", Duration::from_secs(30), || async {
        ensure!(gadgets.get_opt("one").await?.is_none(), "the Gadget is there");
        for name in ["one", "one-left"] {
            ensure!(operator.maps.get_opt(name).await?.is_none(), "the ConfigMap {name} is there");
        }
        Ok(())
    })
    .await?;
    running.abort();
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

//! What a host watched when it died, or went, is watched by another at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use threeport_tests::{Cluster, Kubectl, condition, eventually};

use crate::hosts::{Fleet, SOON};

/// A Puppet that is a target, and opens itself.
fn target(kubectl: &Kubectl, namespace: &str, name: &str, kubeconfig: &str) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "stringData": {"kubeconfig": kubeconfig}});
    let spec = json!({"connection": [name, "kubeconfig"], "open": true});
    let puppet = json!({"apiVersion": "test.threeport.dev/v1", "kind": "Puppet", "metadata": {"namespace": namespace, "name": name}, "spec": spec});
    kubectl.apply(&secret.to_string())?;
    kubectl.apply(&puppet.to_string()).map(drop)
}

/// A namespace of the tests' cluster that goes with the test.
struct Place {
    cluster: Cluster,
    name: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = self.cluster.kubectl.run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

impl Place {
    fn new(name: &str) -> Result<Self> {
        let name = format!("{name}-{}", std::process::id());
        Ok(Self { cluster: Cluster::with_namespace(&name)?, name })
    }

    fn meddle(&self, text: &str) -> Result<()> {
        let patch = json!({"data": {"text": text}}).to_string();
        self.cluster
            .kubectl
            .run(&["patch", "configmap", "app", "-n", &self.name, "--type=merge", "-p", &patch])
            .map(drop)
    }

    /// Changes what is on the target, and tells how long it took until it was put back.
    async fn repaired(&self, text: &str) -> Result<Duration> {
        self.meddle(text)?;
        let began = Instant::now();
        eventually("it is put back", SOON, || async {
            let live = self.cluster.kubectl.get(&["configmap", "app", "-n", &self.name])?;
            ensure!(live["data"]["text"] == "ours", "{}", live["data"]);
            Ok(())
        })
        .await?;
        Ok(began.elapsed())
    }
}

/// Who watches what `app` has on its target; none while nobody does, or it is being looked at.
async fn watcher(fleet: &Fleet, but: &[usize]) -> Result<usize> {
    eventually("a host that lives watches it", SOON, || async {
        let busy = fleet.sql("select count(*) from workitem where owner is not null")?;
        ensure!(busy == "0", "{busy} are being looked at");
        let name = fleet.sql("select coalesce(watcher, '') from workitem join object on id = object where plural = 'puppets' and name = 'app'")?;
        let host = fleet.named(&name).filter(|host| !but.contains(host));
        host.with_context(|| format!("{name:?} does"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_watched_is_watched_by_others_when_it_dies_and_when_it_goes() -> Result<()> {
    let place = Place::new("hosts-watched")?;
    let mut fleet = Fleet::start(3).await?;
    fleet.hosts[0].push(&["puppet"])?;
    let kubectl = fleet.hosts[0].kubectl()?;
    kubectl.run(&["create", "namespace", &place.name])?;
    target(&kubectl, &place.name, "place", &std::fs::read_to_string(&place.cluster.kubeconfig)?)?;
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": place.name, "name": "app"}, "data": {"text": "ours"}});
    let spec = json!({"target": "place", "manifests": [{"body": body}]});
    let app = json!({"apiVersion": "test.threeport.dev/v1", "kind": "Puppet", "metadata": {"namespace": place.name, "name": "app"}, "spec": spec});
    kubectl.apply(&app.to_string())?;
    eventually("it is there", SOON, || async {
        let object = kubectl.get(&["puppets.test.threeport.dev", "app", "-n", &place.name])?;
        let (ready, reason, message) = condition(&object, "Ready");
        ensure!(ready == "True", "{reason}: {message}");
        Ok(())
    })
    .await?;
    watcher(&fleet, &[]).await?;
    println!("while all are there: repaired after {:?}", place.repaired("theirs").await?);

    // kill -9 of the one that watches, and a change before anybody else does: the resync is ten minutes away.
    let first = watcher(&fleet, &[]).await?;
    fleet.hosts[first].kill()?;
    let took = place.repaired("while nobody watches").await?;
    println!("after kill -9 of the host that watched: repaired after {took:?}");
    ensure!(took < Duration::from_secs(10), "it took {took:?}");
    let second = watcher(&fleet, &[first]).await?;
    println!("watched by another: repaired after {:?}", place.repaired("while another watches").await?);

    // A clean stop.
    let second = watcher(&fleet, &[first]).await.unwrap_or(second);
    ensure!(fleet.hosts[second].stop()? == Some(0));
    let took = place.repaired("when the second has gone").await?;
    println!("after a clean stop of the host that watched: repaired after {took:?}");
    ensure!(took < Duration::from_secs(10), "it took {took:?}");
    let third = watcher(&fleet, &[first, second]).await?;
    // It counts them with its next beat.
    eventually("the one that is left counts one that lives and one that is gone", SOON, || async {
        let seen = fleet.hosts[third].metrics()?;
        let count = |state: &str| seen.sum("threeport_hosts", &[state]);
        ensure!(count("state=\"live\"") == 1.0 && count("state=\"gone\"") == 1.0, "{seen}");
        Ok(())
    })
    .await?;
    let kubectl = fleet.hosts[third].kubectl()?;
    // By hand, in this order: the Secret with the connection is the test's own, and nobody knows that the rest needs it.
    kubectl.run(&["delete", "puppets.test.threeport.dev", "app", "-n", &place.name, "--timeout=60s"])?;
    kubectl.run(&["delete", "namespace", &place.name, "--timeout=60s"])?;
    Ok(())
}

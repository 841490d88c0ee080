//! The server with its bell over NATS, whatever happens to NATS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::json;
use threeport_tests::{Nats, Server, condition, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

fn notes(client: kube::Client) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("test.threeport.dev", "v1", "Note"));
    Api::default_namespaced_with(client, &kind)
}

async fn connected(server: &Server, connected: f64) -> Result<()> {
    eventually("the bell says how it is", PATIENCE, || async {
        let metrics = server.metrics()?;
        ensure!(metrics.sum("threeport_bell_connected", &[]) == connected, "{metrics}");
        Ok(())
    })
    .await
}

/// Creates Notes until it is stopped; each must be acknowledged.
async fn write(api: Api<DynamicObject>, written: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Result<usize> {
    let mut count = 0;
    while !stop.load(Relaxed) {
        let note = serde_json::from_value(json!({
            "apiVersion": "test.threeport.dev/v1", "kind": "Note", "metadata": {"name": format!("note-{count}")}, "spec": {"text": "hello"},
        }))?;
        api.create(&PostParams::default(), &note).await.context("a write fails because of NATS")?;
        count += 1;
        written.store(count, Relaxed);
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_is_reconciled_while_nats_is_killed_wiped_and_frozen() -> Result<()> {
    let mut nats = Nats::start().await?;
    let server = Server::start_with(&[("THREEPORT_NATS", &nats.url())]).await?;
    server.push(&["note-v1"])?;
    connected(&server, 1.0).await?;
    let api = notes(server.client().await?);
    let (written, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let writing = tokio::spawn(write(api.clone(), written.clone(), stop.clone()));
    let some_more = async || {
        let enough = written.load(Relaxed) + 30;
        eventually("the writes go on", PATIENCE, || async {
            ensure!(written.load(Relaxed) >= enough && !writing.is_finished(), "{written:?} of {enough}");
            Ok(())
        })
        .await
    };
    some_more().await?;
    nats.kill()?;
    some_more().await?;
    nats.wipe()?;
    nats.restart().await?;
    some_more().await?;
    connected(&server, 1.0).await?;
    some_more().await?;
    nats.freeze()?;
    some_more().await?;
    connected(&server, 0.0).await?;
    some_more().await?;
    nats.thaw()?;
    connected(&server, 1.0).await?;
    some_more().await?;
    nats.kill()?;
    some_more().await?;
    stop.store(true, Relaxed);
    let count = writing.await.context("the writer does not panic")??;

    eventually("every Note is reconciled", PATIENCE, || async {
        let all = api.list(&ListParams::default()).await?.items;
        ensure!(all.len() == count, "{} of {count} are there", all.len());
        for note in all {
            let (name, generation) = (note.metadata.name.unwrap_or_default(), note.metadata.generation);
            let (ready, reason, message) = condition(&note.data, "Ready");
            ensure!(ready == "True", "{name}: {reason}: {message}");
            ensure!(note.data["status"]["observedGeneration"].as_i64() == generation, "{name}: {}", note.data);
        }
        Ok(())
    })
    .await?;
    let metrics = server.metrics()?;
    let rang = |outcome: &str| metrics.sum("threeport_bell_rings_total", &[&format!("outcome={outcome:?}")]);
    ensure!(rang("published") >= 30.0, "nothing went over NATS:\n{metrics}");
    ensure!(rang("home") + rang("failed") >= 30.0, "no ring stayed at home:\n{metrics}");
    ensure!(metrics.sum("threeport_bell_hand_over_seconds_count", &[]) >= 30.0, "{metrics}");
    ensure!(metrics.sum("threeport_bell_trouble", &["reason=\"Unreachable\""]) == 1.0, "{metrics}");
    Ok(())
}

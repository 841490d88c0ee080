//! The server with its bell over NATS, whatever happens to NATS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::json;
use threeport_test_postgres::Postgres;
use threeport_tests::{Nats, Server, condition, eventually};

use crate::postgres;

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

fn note(name: &str) -> Result<DynamicObject> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "test.threeport.dev/v1", "kind": "Note", "metadata": {"name": name}, "spec": {"text": "hello"},
    }))?)
}

/// So many Notes are there, and each is as it should be.
async fn reconciled(api: &Api<DynamicObject>, count: usize) -> Result<()> {
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
    .await
}

/// Creates Notes until it is stopped; each must be acknowledged.
async fn write(api: Api<DynamicObject>, written: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Result<usize> {
    let mut count = 0;
    while !stop.load(Relaxed) {
        let note = note(&format!("note-{count}"))?;
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

    reconciled(&api, count).await?;
    let metrics = server.metrics()?;
    let rang = |outcome: &str| metrics.sum("threeport_bell_rings_total", &[&format!("outcome={outcome:?}")]);
    ensure!(rang("published") >= 30.0, "nothing went over NATS:\n{metrics}");
    ensure!(rang("home") + rang("failed") >= 30.0, "no ring stayed at home:\n{metrics}");
    ensure!(metrics.sum("threeport_bell_hand_over_seconds_count", &[]) >= 30.0, "{metrics}");
    ensure!(metrics.sum("threeport_bell_trouble", &["reason=\"Unreachable\""]) == 1.0, "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_the_work_that_either_is_given_and_miss_none_without_nats() -> Result<()> {
    let (postgres, mut nats) = (Postgres::start()?, Nats::start().await?);
    let (database, url) = (postgres.database()?, nats.url());
    let environment = [(postgres::DATABASE, database.as_str()), ("THREEPORT_NATS", &url)];
    let first = Server::start_with(&environment).await?;
    first.push(&["note-v1"])?;
    let second = postgres::beside(&first, &environment).await?;
    for host in [&first, &second] {
        connected(host, 1.0).await?;
    }
    let (here, there) = (notes(first.client().await?), notes(second.client().await?));
    // The second is told of nothing but what the first rings; which of them hears a ring is up to NATS.
    let made = AtomicUsize::new(0);
    eventually("both hear and run", PATIENCE, || async {
        let number = made.load(Relaxed);
        here.create(&PostParams::default(), &note(&format!("here-{number}"))?).await?;
        made.store(number + 1, Relaxed);
        for host in [&first, &second] {
            let metrics = host.metrics()?;
            ensure!(metrics.sum("threeport_bell_hand_over_seconds_count", &[]) > 0.0, "one hears nothing:\n{metrics}");
            ensure!(metrics.sum("threeport_runs_total", &["resource=\"notes\""]) > 0.0, "one runs nothing:\n{metrics}");
        }
        Ok(())
    })
    .await?;
    let made = made.load(Relaxed);
    reconciled(&there, made).await?;
    nats.kill()?;
    for number in 0..30 {
        let (host, name) = if number % 2 == 0 { (&here, "gone") } else { (&there, "away") };
        host.create(&PostParams::default(), &note(&format!("{name}-{number}"))?).await?;
    }
    reconciled(&here, made + 30).await?;
    nats.wipe()?;
    nats.restart().await?;
    for host in [&first, &second] {
        connected(host, 1.0).await?;
    }
    there.create(&PostParams::default(), &note("back")?).await?;
    reconciled(&here, made + 31).await
}

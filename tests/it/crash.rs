//! kill -9 in the middle of writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use threeport_tests::Server;

fn config_map(name: String) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

/// Creates `per_writer` ConfigMaps from each of 32 writers until an error, and gives the names that were acknowledged.
async fn create(client: kube::Client, per_writer: usize, acknowledged: Arc<AtomicUsize>) -> Vec<String> {
    let writers = (0..32).map(|writer| {
        let (api, acknowledged): (Api<ConfigMap>, _) = (Api::default_namespaced(client.clone()), acknowledged.clone());
        tokio::spawn(async move {
            let mut names = Vec::new();
            for number in 0..per_writer {
                let name = format!("crash-{writer}-{number}");
                if api.create(&PostParams::default(), &config_map(name.clone())).await.is_err() {
                    break;
                }
                acknowledged.fetch_add(1, Ordering::Relaxed);
                names.push(name);
            }
            names
        })
    });
    futures::future::join_all(writers)
        .await
        .into_iter()
        .flat_map(|names| names.expect("a writer does not panic"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_it_acknowledged() -> Result<()> {
    let mut server = Server::start().await?;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn(create(server.client().await?, 32, acknowledged.clone()));
    while acknowledged.load(Ordering::Relaxed) < 400 {
        ensure!(!writing.is_finished(), "the writers ended before the kill");
        tokio::task::yield_now().await;
    }
    server.kill()?;
    let names = writing.await.context("join the writers")?;
    ensure!(names.len() < 1000, "the kill came too late to prove anything");

    server.boot(&[]).await?;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client().await?);
    let stored: std::collections::HashSet<String> =
        api.list(&Default::default()).await?.items.into_iter().filter_map(|object| object.metadata.name).collect();
    let lost: Vec<&String> = names.iter().filter(|name| !stored.contains(*name)).collect();
    ensure!(lost.is_empty(), "{} of {} acknowledged creates are lost: {lost:?}", lost.len(), names.len());
    Ok(())
}

/// Acknowledged means on disk: the number of fdatasync calls is at least one for each group and far below one for each create.
#[tokio::test(flavor = "multi_thread")]
async fn every_group_of_commits_is_synced_to_disk() -> Result<()> {
    let mut server = Server::start().await?;
    server.stop()?;
    let trace = server.path("syncs");
    let trace_text = trace.to_str().context("path")?.to_owned();
    server.boot(&["strace", "-f", "-qq", "-e", "trace=fdatasync,fsync", "-o", &trace_text]).await?;
    let count = || {
        std::fs::read_to_string(&trace)
            .map(|text| text.lines().filter(|line| line.contains("sync(")).count())
            .unwrap_or(0)
    };
    let client = server.client().await?;

    // One after the other: a group each, a sync each.
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let before = count();
    for number in 0..10 {
        api.create(&PostParams::default(), &config_map(format!("single-{number}"))).await?;
    }
    let singles = count() - before;
    ensure!(singles >= 10, "10 creates in a row were synced {singles} times");

    // 32 at a time: groups.
    let before = count();
    let names = create(client, 10, Arc::new(AtomicUsize::new(0))).await;
    let grouped = count() - before;
    ensure!(names.len() == 320);
    ensure!((10..320).contains(&grouped), "320 creates from 32 writers were synced {grouped} times");
    // strace passes the signal on; the server is its child.
    tokio::time::timeout(Duration::from_secs(20), async { server.kill() }).await??;
    Ok(())
}

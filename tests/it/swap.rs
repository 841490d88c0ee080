//! A plugin is replaced while its objects change.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use threeport_tests::{Server, condition, eventually, guest};

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};

const OBJECTS: usize = 20;

fn notes(client: kube::Client) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("test.threeport.dev", "v1", "Note"), "notes");
    Api::default_namespaced_with(client, &resource)
}

/// The guests `note-v1` and `note-v2` serve one kind and answer with their version in status.
#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_a_hundred_updates_a_second_fail_no_run() -> Result<()> {
    let server = Server::start().await?;
    let push = |name: &str| -> Result<String> {
        let file = guest(name)?;
        server.threeport(&["plugin", "push", file.to_str().context("path")?, "--name", "note", "--approve-grants"])
    };
    push("note-v1")?;
    let client = server.client().await?;
    let api = notes(client.clone());
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("test.threeport.dev", "v1", "Note"), "notes");
    for number in 0..OBJECTS {
        let mut note = DynamicObject::new(&format!("note-{number}"), &resource);
        note.data = json!({"spec": {"text": "0"}});
        api.create(&PostParams::default(), &note).await?;
    }

    // A hundred updates a second for six seconds, each on the clock, whatever the server does meanwhile.
    let writer = tokio::spawn({
        let api = api.clone();
        async move {
            let mut clock = tokio::time::interval(Duration::from_millis(10));
            for number in 1..=600usize {
                clock.tick().await;
                let patch = json!({"spec": {"text": number.to_string()}});
                api.patch(&format!("note-{}", number % OBJECTS), &PatchParams::default(), &Patch::Merge(patch)).await?;
            }
            anyhow::Ok(())
        }
    });
    let started = Instant::now();
    let mut swaps = 0;
    while !writer.is_finished() {
        push(if swaps % 2 == 0 { "note-v2" } else { "note-v1" })?;
        swaps += 1;
    }
    writer.await.context("join the writer")??;
    ensure!(swaps >= 3, "only {swaps} swaps in {:?}", started.elapsed());
    push("note-v2")?;

    // Every object ends on the last version, with the last text it was given, and no run failed on the way.
    for number in 0..OBJECTS {
        let want = (1..=600usize).rev().find(|update| update % OBJECTS == number).context("update")?.to_string();
        eventually(&format!("note-{number} is served by the new version"), Duration::from_secs(10), || async {
            let note = serde_json::to_value(api.get(&format!("note-{number}")).await?)?;
            ensure!(condition(&note, "Ready").0 == "True", "{}", note["status"]);
            ensure!(
                note["status"]["servedBy"] == "v2" && note["status"]["text"] == want.as_str(),
                "{}",
                note["status"]
            );
            Ok(())
        })
        .await?;
    }
    let warnings = server.kubectl()?.get(&["events", "--field-selector", "type=Warning"])?;
    ensure!(warnings["items"].as_array().is_some_and(Vec::is_empty), "failed runs: {warnings}");

    // One command back.
    server.threeport(&["plugin", "push", "note", "--rollback"])?;
    eventually("the version before serves again", Duration::from_secs(10), || async {
        let note = serde_json::to_value(api.get("note-1").await?)?;
        ensure!(note["status"]["servedBy"] == "v1", "{}", note["status"]);
        Ok(())
    })
    .await
}

//! A disk that is full: writes are refused and say so, reads go on, and there is no need for a restart afterwards.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use threeport_tests::{Server, eventually, plain_client};

/// A small disk of its own, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, mebibytes: u32) -> Result<Self> {
        fs::create_dir_all(at)?;
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "threeport-test"]).arg(at).status()?;
        ensure!(status.success(), "mount refused: this test has to run as root, as the local Kubernetes does");
        Ok(Self(at.to_owned()))
    }

    /// Takes all the room that is left.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path)?;
        let block = vec![7; 1 << 16];
        for size in [1 << 16, 4096, 512] {
            while file.write_all(&block[..size]).is_ok() {}
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The server may still be about to end.
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn config_map(name: &str) -> Result<ConfigMap> {
    let text = "x".repeat(100_000);
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "data": {"text": text}}))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_loses_nothing_and_there_is_no_need_to_restart() -> Result<()> {
    let mut server = Server::new(&[])?;
    let disk = Disk::mount(&server.path("data"), 48)?;
    server.boot(&[]).await?;
    server.push(&["note-v1"])?;
    let api: Api<ConfigMap> = Api::default_namespaced(plain_client(&server.kubeconfig()).await?);
    let mut kept = Vec::new();
    api.create(&PostParams::default(), &config_map("before")?).await?;
    kept.push("before".to_owned());

    let filler = disk.fill()?;
    let refused = loop {
        let name = format!("n{}", kept.len());
        match api.create(&PostParams::default(), &config_map(&name)?).await {
            Ok(_) => kept.push(name),
            Err(kube::Error::Api(status)) => break status,
            Err(error) => bail!("not a Status: {error}"),
        }
        ensure!(kept.len() < 1000, "the disk does not get full");
    };
    ensure!(refused.code == 507 && refused.reason == "InsufficientStorage", "{refused:?}");
    ensure!(refused.message.contains("nothing was written") && refused.message.contains("make room"), "{refused:?}");
    // Also what would make room in the end is a write; and reads go on.
    let removal = api.delete("before", &DeleteParams::default()).await;
    ensure!(matches!(&removal, Err(kube::Error::Api(status)) if status.code == 507), "{removal:?}");
    let there = |all: Vec<ConfigMap>| {
        let names: Vec<String> = all.into_iter().filter_map(|one| one.metadata.name).collect();
        kept.iter().all(|name| names.contains(name))
    };
    ensure!(there(api.list(&ListParams::default()).await?.items), "what was acknowledged is not read");
    ensure!(api.get("before").await?.data.context("data")?["text"].len() == 100_000);
    server.kubectl()?.run(&["get", "--raw", "/readyz"])?;

    fs::remove_file(&filler)?;
    eventually("writes go on", Duration::from_secs(20), || async {
        Ok(api.create(&PostParams::default(), &config_map("after")?).await?)
    })
    .await?;
    let kubectl = server.kubectl()?;
    kubectl.apply("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: after}\nspec: {text: goes on}\n")?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "note/after"])?;
    server.stop()?;
    server.boot(&[]).await?;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client().await?);
    ensure!(there(api.list(&ListParams::default()).await?.items), "what was acknowledged is gone after a restart");
    api.get("after").await?;
    server.stop()?;
    Ok(())
}

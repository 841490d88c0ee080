//! Push, swap, roll back: which component a Plugin names, and waiting until it serves.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Request;
use serde_json::{Value, json};
use threeport_kube::kube;

use super::gates;
use crate::connect::{Server, optional};
use crate::follow::condition;
use crate::kinds::Kind;
use crate::time::duration;

pub(super) const PUSH_EXAMPLES: &str = "Examples:
  threeport plugin push target/pages.wasm                     shows what it asks for, and refuses
  threeport plugin push target/pages.wasm --approve-grants    approves that
  threeport plugin push pages --rollback";
pub(super) const SWAP_EXAMPLES: &str = "Examples:
  threeport plugin swap target/pages.wasm
  threeport plugin swap target/pages.wasm --name pages --approve-grants --timeout 2m";
pub(super) const ROLLBACK_EXAMPLES: &str = "Examples:
  threeport plugin rollback pages";

/// Annotation that says at which version of the Plugin the same component was pushed again.
const PUSHED: &str = "threeport.dev/pushed-at";

const MERGE: &str = "application/merge-patch+json";

/// Arguments of `plugin push`.
#[derive(Args, Debug)]
pub struct Push {
    /// A WebAssembly component (or the core module that cargo built for wasm32-unknown-unknown); with --rollback, the plugin's name
    file: PathBuf,
    /// Name of the Plugin [default: the file's name without extension]
    #[arg(long)]
    name: Option<String>,
    /// Grant what the version asks for; without it, what is asked beyond the approved grants is shown and refused
    #[arg(long)]
    approve_grants: bool,
    /// Do not upload: serve the version before the current one again
    #[arg(long, conflicts_with_all = ["name", "approve_grants"])]
    rollback: bool,
    /// Give up waiting after this time; the server goes on
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

/// Arguments of `plugin swap`.
#[derive(Args, Debug)]
pub struct Swap {
    /// The next version: a WebAssembly component (or the core module that cargo built for wasm32-unknown-unknown)
    file: PathBuf,
    /// Name of the Plugin, which has to be there [default: the file's name without extension]
    #[arg(long)]
    name: Option<String>,
    /// Grant what the version asks for beyond what is approved
    #[arg(long)]
    approve_grants: bool,
    /// Give up waiting after this time; the server goes on
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

/// Arguments of `plugin rollback`.
#[derive(Args, Debug)]
pub struct Rollback {
    /// Name of the Plugin
    pub(super) name: String,
    /// Give up waiting after this time; the server goes on
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(super) timeout: Duration,
}

/// The kind of Plugin objects, and where one is.
pub(super) fn kind() -> Kind {
    Kind::new("threeport.dev", "v1", "Plugin", "plugins")
}

fn path(name: &str) -> String {
    kind().path("", name)
}

/// The Plugin of a name.
async fn existing(server: &Server, name: &str) -> Result<Option<Value>> {
    Ok(optional(server.get(&path(name)).await)?)
}

pub(super) async fn push(server: &Server, push: Push) -> Result<()> {
    if push.rollback {
        let name = push.file.to_str().context("the plugin's name is not UTF-8")?;
        return rollback(server, name, push.timeout).await;
    }
    let name = plugin_name(push.name.as_deref(), &push.file)?;
    let component = read_component(&push.file)?;
    deliver(server, &name, &push.file, component, push.approve_grants, push.timeout).await
}

pub(super) async fn swap(server: &Server, swap: Swap) -> Result<()> {
    let name = plugin_name(swap.name.as_deref(), &swap.file)?;
    let component = read_component(&swap.file)?;
    let Some(there) = existing(server, &name).await? else {
        bail!(
            "there is no Plugin {name:?} whose version could be swapped; `threeport plugin list` shows those that there are, `threeport plugin push` makes one"
        );
    };
    let before = there.pointer("/status/digest").and_then(Value::as_str).unwrap_or_default().to_owned();
    deliver(server, &name, &swap.file, component, swap.approve_grants, swap.timeout).await?;
    let now = existing(server, &name).await?.unwrap_or_default();
    if now.pointer("/status/digest").and_then(Value::as_str) == Some(before.as_str()) {
        writeln!(std::io::stderr(), "this is the version that served before: nothing was swapped")?;
    }
    Ok(())
}

async fn deliver(
    server: &Server,
    name: &str,
    file: &Path,
    component: Vec<u8>,
    approve: bool,
    timeout: Duration,
) -> Result<()> {
    let size = component.len();
    let digest = upload(&server.client, component).await?;
    writeln!(std::io::stderr(), "uploaded {} ({} KiB) as {digest}", file.display(), size.div_ceil(1024))?;
    set_component(server, name, &digest).await?;
    wait(server, name, approve, timeout).await
}

/// Waits until the Plugin serves what it names, within a time.
async fn wait(server: &Server, name: &str, approve: bool, timeout: Duration) -> Result<()> {
    tokio::time::timeout(timeout, gates::serving(server, name, approve)).await.with_context(|| {
        format!(
            "plugin {name} did not come to serve within {} s, and the server goes on; see `threeport why plugin/{name}`",
            timeout.as_secs()
        )
    })?
}

fn plugin_name(given: Option<&str>, file: &Path) -> Result<String> {
    if let Some(name) = given {
        return Ok(name.to_owned());
    }
    let stem =
        file.file_stem().and_then(|stem| stem.to_str()).context("cannot take a name from the file; give --name")?;
    Ok(stem.to_lowercase().replace('_', "-"))
}

fn read_component(path: &Path) -> Result<Vec<u8>> {
    if path.is_dir() {
        bail!(
            "{} is a directory: build the crate with `threeport plugin build`, and push the file that it names",
            path.display()
        );
    }
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    threeport_component::encode(&bytes).with_context(|| format!("{} is not a plugin", path.display()))
}

async fn upload(client: &kube::Client, component: Vec<u8>) -> Result<String> {
    let request = Request::post("/blobs")
        .header("content-type", "application/wasm")
        .body(component)
        .context("build the upload request")?;
    let answer: Value = client.request(request).await.context("upload the component")?;
    Ok(answer["digest"].as_str().context("the server did not answer with a digest")?.to_owned())
}

async fn set_component(server: &Server, name: &str, digest: &str) -> Result<()> {
    let Some(there) = existing(server, name).await? else {
        let plugin = json!({"apiVersion": "threeport.dev/v1", "kind": "Plugin", "metadata": {"name": name}, "spec": {"component": digest}});
        server
            .send("POST", &kind().collection(None), "application/json", &plugin)
            .await
            .context("create the Plugin")?;
        return Ok(());
    };
    let spec = json!({"spec": {"component": digest}});
    let now = server.send("PATCH", &path(name), MERGE, &spec).await.context("update the Plugin")?;
    if now["metadata"]["generation"] == there["metadata"]["generation"] {
        judge_again(server, name, now).await?;
    }
    Ok(())
}

/// Has a refused version looked at once more: what stood in its way may be gone, and its generation does not tell.
///
/// The old verdict is taken back first, so that whoever waits sees the new one, even if it is the same.
async fn judge_again(server: &Server, name: &str, mut plugin: Value) -> Result<()> {
    while condition(&plugin, "Ready").is_some_and(|ready| ready["status"] == "False") {
        let mut conditions = plugin["status"]["conditions"].clone();
        for condition in conditions.as_array_mut().into_iter().flatten().filter(|c| c["type"] == "Ready") {
            condition["status"] = "Unknown".into();
            condition["reason"] = "Pushed".into();
            condition["message"] = "it was pushed again and is yet to be judged".into();
        }
        let version = &plugin["metadata"]["resourceVersion"];
        let status = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
        match server.send("PATCH", &format!("{}/status", path(name)), MERGE, &status).await {
            Ok(written) => {
                // Any new value will do: an annotation that changes wakes the host.
                let version = &written["metadata"]["resourceVersion"];
                let wake = json!({"metadata": {"annotations": {PUSHED: version}}});
                server.send("PATCH", &path(name), MERGE, &wake).await.context("wake the Plugin")?;
                return Ok(());
            }
            // Somebody judged it meanwhile.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                plugin = server.get(&path(name)).await.context("read the Plugin")?;
            }
            Err(error) => return Err(error).context("take back the old verdict"),
        }
    }
    Ok(())
}

pub(super) async fn rollback(server: &Server, name: &str, timeout: Duration) -> Result<()> {
    let plugin = server.get(&path(name)).await?;
    let serving_now = plugin["status"]["digest"].as_str().unwrap_or("");
    // A refused push leaves spec ahead of what serves: then "back" means what serves.
    let asked = plugin["spec"]["component"].as_str().unwrap_or("");
    let history = plugin["status"]["history"].as_array().cloned().unwrap_or_default();
    let target = if asked == serving_now {
        history.iter().filter_map(Value::as_str).find(|digest| *digest != serving_now)
    } else {
        Some(serving_now).filter(|digest| !digest.is_empty())
    };
    let Some(target) = target else { bail!("plugin {name} has no earlier version: status.history is empty") };
    set_component(server, name, target).await?;
    wait(server, name, false, timeout).await
}

/// Approves what a Plugin asks for.
pub(super) async fn approve(server: &Server, name: &str, grants: &Value) -> Result<()> {
    let spec = json!({"spec": {"grants": grants}});
    server.send("PATCH", &path(name), MERGE, &spec).await.context("approve the grants")?;
    Ok(())
}

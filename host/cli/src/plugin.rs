//! `threeport plugin`: push a version, go back to the one before, list.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use futures::TryStreamExt;
use serde_json::{Value, json};
use threeport_kube::kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use threeport_kube::kube::core::{ApiResource, GroupVersionKind};
use threeport_kube::kube::runtime::{WatchStreamExt, watcher};
use threeport_kube::kube::{self, ResourceExt};

use crate::{Connection, connect};

/// Annotation that says at which version of the Plugin the same component was pushed again.
const PUSHED: &str = "threeport.dev/pushed-at";

/// Plugin commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Upload a component and let it serve the next runs; runs under way finish on the old version
    #[command(after_help = "Examples:\n  threeport plugin push target/plugins/workload.wasm --approve-grants\n  \
                            threeport plugin push workload --rollback")]
    Push(Push),
    /// Serve the version before the current one again
    Rollback(Rollback),
    /// List plugins with the version that serves
    List,
}

/// Arguments of `plugin push`.
#[derive(Args, Debug)]
pub struct Push {
    /// A WebAssembly component (or the core module that cargo built for wasm32-unknown-unknown); with --rollback, the plugin's name
    pub file: PathBuf,
    /// Name of the Plugin [default: the file's name without extension]
    #[arg(long)]
    pub name: Option<String>,
    /// Grant what the version asks for; without it, what is asked beyond the approved grants is shown and refused
    #[arg(long)]
    pub approve_grants: bool,
    /// Do not upload: serve the version before the current one again
    #[arg(long, conflicts_with_all = ["name", "approve_grants"])]
    pub rollback: bool,
    /// Give up waiting after this many seconds; the server goes on
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
}

/// Arguments of `plugin rollback`.
#[derive(Args, Debug)]
pub struct Rollback {
    /// Name of the Plugin
    pub name: String,
    /// Give up waiting after this many seconds; the server goes on
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
}

/// Runs a plugin command.
///
/// # Errors
/// When the server cannot be reached or refuses, and when a version does not come to serve.
pub async fn run(connection: &Connection, command: Command) -> Result<()> {
    let client = connect::client(connection).await?;
    match command {
        Command::Push(push) if push.rollback => {
            let name = push.file.to_str().context("the plugin's name is not UTF-8")?;
            rollback(&client, name, Duration::from_secs(push.timeout)).await
        }
        Command::Push(push) => push_file(&client, &push).await,
        Command::Rollback(args) => rollback(&client, &args.name, Duration::from_secs(args.timeout)).await,
        Command::List => list(&client).await,
    }
}

fn plugins(client: &kube::Client) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("threeport.dev", "v1", "Plugin"), "plugins");
    Api::all_with(client.clone(), &resource)
}

fn plugin_name(push: &Push) -> Result<String> {
    if let Some(name) = &push.name {
        return Ok(name.clone());
    }
    let stem = push
        .file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .context("cannot take a name from the file; give --name")?;
    Ok(stem.to_lowercase().replace('_', "-"))
}

fn read_component(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    threeport_component::encode(&bytes).with_context(|| format!("{} is not a plugin", path.display()))
}

async fn push_file(client: &kube::Client, push: &Push) -> Result<()> {
    let name = plugin_name(push)?;
    let component = read_component(&push.file)?;
    let size = component.len();
    let digest = upload(client, component).await?;
    eprintln!("uploaded {} ({size} bytes) as {digest}", push.file.display());
    set_component(client, &name, &digest).await?;
    let deadline = Duration::from_secs(push.timeout);
    let approve = push.approve_grants;
    tokio::time::timeout(deadline, serving(client, &name, approve)).await.with_context(|| {
        format!("plugin {name} did not come to serve within {} s; see `kubectl describe plugin {name}`", push.timeout)
    })?
}

async fn upload(client: &kube::Client, component: Vec<u8>) -> Result<String> {
    let request = http::Request::post("/blobs")
        .header("content-type", "application/wasm")
        .body(component)
        .context("build the upload request")?;
    let answer: Value = client.request(request).await.context("upload the component")?;
    Ok(answer["digest"].as_str().context("the server did not answer with a digest")?.to_owned())
}

async fn set_component(client: &kube::Client, name: &str, digest: &str) -> Result<()> {
    let api = plugins(client);
    let spec = json!({"spec": {"component": digest}});
    if let Some(there) = api.get_opt(name).await.context("read the Plugin")? {
        let now = api.patch(name, &PatchParams::default(), &Patch::Merge(spec)).await.context("update the Plugin")?;
        if now.metadata.generation == there.metadata.generation {
            judge_again(&api, now).await?;
        }
    } else {
        let plugin = serde_json::from_value(
            json!({"apiVersion": "threeport.dev/v1", "kind": "Plugin", "metadata": {"name": name},
            "spec": {"component": digest}}),
        )?;
        api.create(&PostParams::default(), &plugin).await.context("create the Plugin")?;
    }
    Ok(())
}

/// Has a refused version looked at once more: what stood in its way may be gone, and its generation does not tell.
///
/// The old verdict is taken back first, so that whoever waits sees the new one, even if it is the same.
async fn judge_again(api: &Api<DynamicObject>, mut plugin: DynamicObject) -> Result<()> {
    let name = plugin.name_any();
    while current_condition(&plugin, "Ready").is_some_and(|ready| ready["status"] == "False") {
        let mut conditions = plugin.data["status"]["conditions"].clone();
        for condition in conditions.as_array_mut().into_iter().flatten().filter(|c| c["type"] == "Ready") {
            condition["status"] = "Unknown".into();
            condition["reason"] = "Pushed".into();
            condition["message"] = "it was pushed again and is yet to be judged".into();
        }
        let status = json!({
            "metadata": {"resourceVersion": plugin.resource_version()}, "status": {"conditions": conditions},
        });
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await {
            Ok(written) => {
                // Any new value will do: an annotation that changes wakes the host.
                let version = written.resource_version();
                let wake = json!({"metadata": {"annotations": {PUSHED: version}}});
                api.patch(&name, &PatchParams::default(), &Patch::Merge(wake)).await.context("wake the Plugin")?;
                return Ok(());
            }
            // Somebody judged it meanwhile.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                plugin = api.get(&name).await.context("read the Plugin")?;
            }
            Err(error) => return Err(error).context("take back the old verdict"),
        }
    }
    Ok(())
}

/// Waits until the Plugin's own generation was judged: Ready, or refused with a reason.
async fn serving(client: &kube::Client, name: &str, mut approve: bool) -> Result<()> {
    let api = plugins(client);
    let stream =
        watcher(api.clone(), watcher::Config::default().fields(&format!("metadata.name={name}"))).applied_objects();
    let mut stream = std::pin::pin!(stream);
    while let Some(plugin) = stream.try_next().await.context("watch the Plugin")? {
        let Some(ready) = current_condition(&plugin, "Ready") else { continue };
        let (status, reason) = (ready["status"].as_str().unwrap_or(""), ready["reason"].as_str().unwrap_or(""));
        let message = ready["message"].as_str().unwrap_or("");
        match (status, reason) {
            ("True", _) => {
                let version = plugin.data["status"]["version"].as_str().unwrap_or("?");
                println!(
                    "plugin {name} serves version {version} ({})",
                    plugin.data["spec"]["component"].as_str().unwrap_or("?")
                );
                return Ok(());
            }
            ("False", "GrantsNotApproved") if approve => {
                approve = false;
                let grants = plugin.data["status"]["requestedGrants"].clone();
                eprintln!("approving the grants that {name} asks for: {grants}");
                let spec = json!({"spec": {"grants": grants}});
                api.patch(name, &PatchParams::default(), &Patch::Merge(spec)).await.context("approve the grants")?;
            }
            ("False", "GrantsNotApproved") => {
                bail!(
                    "plugin {name} asks for more than is approved: {message}\nlook at it with `kubectl get plugin {name} -o yaml`, approve with --approve-grants"
                )
            }
            ("False", _) => bail!("plugin {name} was refused: {reason}: {message}"),
            (_, reason) => eprintln!("{reason}: {message}"),
        }
    }
    bail!("the server ended the watch")
}

/// The condition, if it speaks of the object as it is now.
fn current_condition<'a>(object: &'a DynamicObject, kind: &str) -> Option<&'a Value> {
    let generation = object.metadata.generation.unwrap_or(0);
    object.data["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind && condition["observedGeneration"].as_i64() == Some(generation))
}

async fn rollback(client: &kube::Client, name: &str, timeout: Duration) -> Result<()> {
    let api = plugins(client);
    let plugin = api.get(name).await.with_context(|| format!("read Plugin {name}"))?;
    let serving_now = plugin.data["status"]["digest"].as_str().unwrap_or("");
    // A refused push leaves spec ahead of what serves: then "back" means what serves.
    let asked = plugin.data["spec"]["component"].as_str().unwrap_or("");
    let history = plugin.data["status"]["history"].as_array().cloned().unwrap_or_default();
    let target = if asked == serving_now {
        history.iter().filter_map(Value::as_str).find(|digest| *digest != serving_now)
    } else {
        Some(serving_now).filter(|digest| !digest.is_empty())
    };
    let Some(target) = target else { bail!("plugin {name} has no earlier version: status.history is empty") };
    set_component(client, name, target).await?;
    tokio::time::timeout(timeout, serving(client, name, false))
        .await
        .with_context(|| format!("the earlier version of {name} did not come to serve in time"))?
}

async fn list(client: &kube::Client) -> Result<()> {
    println!("{:<20} {:<10} {:<8} COMPONENT", "NAME", "VERSION", "READY");
    for plugin in plugins(client).list(&Default::default()).await.context("list Plugins")? {
        let status = &plugin.data["status"];
        let ready =
            current_condition(&plugin, "Ready").and_then(|condition| condition["status"].as_str()).unwrap_or("Unknown");
        println!(
            "{:<20} {:<10} {:<8} {}",
            plugin.name_any(),
            status["version"].as_str().unwrap_or("-"),
            ready,
            status["digest"].as_str().unwrap_or("-")
        );
    }
    Ok(())
}

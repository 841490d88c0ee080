//! Everything that runs: PostgreSQL, NATS, the hosts, and what they begin with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use threeport_test_postgres::Postgres;
use threeport_tests::{Kubectl, Nats, Proxy, Server, guest};
use tokio::sync::Mutex;

use crate::ask::Clients;
use crate::broken::Broken;

/// How many hosts there are.
pub(crate) const HOSTS: usize = 3;

/// How long a host may take to serve after its start, on a machine that has much else to do.
const START: Duration = Duration::from_secs(90);

/// The whole system. Dropping it ends it.
pub(crate) struct World {
    pub(crate) namespace: Arc<str>,
    pub(crate) hosts: Vec<Arc<Mutex<Server>>>,
    pub(crate) postgres: Arc<Mutex<Postgres>>,
    pub(crate) nats: Arc<Mutex<Nats>>,
    pub(crate) clients: Vec<kube::Client>,
    pub(crate) target: Kubectl,
    /// Each host's ways.
    pub(crate) to_postgres: Vec<Proxy>,
    pub(crate) to_nats: Vec<Proxy>,
    /// The hosts' way to the target.
    pub(crate) to_target: Broken,
    /// Kubeconfigs for each host that stay when it is started again.
    pub(crate) kubeconfigs: Vec<PathBuf>,
    _directory: TempDir,
}

impl World {
    /// Starts it, with the plugins pushed and the targets connected.
    pub(crate) async fn start(seed: u64) -> Result<Self> {
        let namespace: Arc<str> = format!("chaos-{seed}").into();
        let kubeconfig = threeport_tests::tool("LOCALKUBE_KUBECONFIG")?;
        let target = Kubectl::new(&kubeconfig)?;
        let postgres = tokio::task::spawn_blocking(Postgres::start).await.context("start PostgreSQL")??;
        let nats = Nats::start().await?;
        let database = postgres.database()?;
        let ring = nats.url();
        let (mut to_postgres, mut to_nats) = (Vec::new(), Vec::new());
        let mut environments = Vec::new();
        for _ in 0..HOSTS {
            let (by_postgres, database) = behind(&database).await?;
            let (by_nats, ring) = behind(&ring).await?;
            to_postgres.push(by_postgres);
            to_nats.push(by_nats);
            environments.push([("THREEPORT_DATABASE", database), ("THREEPORT_NATS", ring)]);
        }
        let to_target = Broken::start(&kubeconfig, HOSTS).await?;
        let directory = tempfile::tempdir().context("make a directory")?;
        let by_proxy = directory.path().join("target.kubeconfig");
        std::fs::write(&by_proxy, to_target.kubeconfig()).context("write a kubeconfig")?;

        let mut first = server(&environments[0])?;
        start(&mut first).await?;
        let push = |name: &str, guest_name: &str| -> Result<String> {
            let file = guest(guest_name)?;
            first.threeport(&["plugin", "push", file.to_str().context("path")?, "--name", name, "--approve-grants"])
        };
        push("note", "note-v1")?;
        push("puppet", "puppet")?;
        let kubectl = first.kubectl()?;
        kubectl.run(&["create", "namespace", &namespace])?;
        target.run(&["create", "namespace", &namespace])?;
        connect(&kubectl, &namespace, "stays", &by_proxy)?;

        let mut hosts = vec![first];
        for environment in &environments[1..] {
            let mut host = server(environment)?;
            copy(&hosts[0].path("config"), &host.path("config"))?;
            start(&mut host).await?;
            hosts.push(host);
        }
        let (mut clients, mut kubeconfigs) = (Vec::new(), Vec::new());
        for (number, host) in hosts.iter().enumerate() {
            let stays = directory.path().join(format!("host-{number}.kubeconfig"));
            std::fs::copy(host.kubeconfig(), &stays).context("keep a kubeconfig")?;
            kubeconfigs.push(stays);
            to_target.host_is(number, host.id().unwrap_or_default());
            clients.push(threeport_tests::plain_client(&host.kubeconfig()).await?);
        }
        Ok(Self {
            namespace,
            hosts: hosts.into_iter().map(|host| Arc::new(Mutex::new(host))).collect(),
            postgres: Arc::new(Mutex::new(postgres)),
            nats: Arc::new(Mutex::new(nats)),
            clients,
            target,
            to_postgres,
            to_nats,
            to_target,
            kubeconfigs,
            _directory: directory,
        })
    }

    /// Pushes a version of the plugin that serves Notes, through a host.
    pub(crate) async fn swap(&self, host: usize, version: &str) -> Result<()> {
        let mut push = tokio::process::Command::new(threeport_tests::tool("THREEPORT")?);
        push.arg("--kubeconfig").arg(&self.kubeconfigs[host]).args(["plugin", "push"]).arg(guest(version)?);
        push.args(["--name", "note", "--approve-grants"]).kill_on_drop(true);
        let pushed = tokio::time::timeout(Duration::from_secs(30), push.output()).await;
        let output = pushed.context("no answer")?.context("start threeport")?;
        ensure!(output.status.success(), "push {version}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    pub(crate) fn clients(&self, random: fastrand::Rng) -> Clients {
        Clients { all: self.clients.clone(), random }
    }

    /// Keeps what the processes wrote, for whoever looks for the cause.
    pub(crate) async fn keep(&self, to: &Path) -> Result<()> {
        std::fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
        for (number, host) in self.hosts.iter().enumerate() {
            let log = host.lock().await.log();
            std::fs::copy(log, to.join(format!("host-{number}.log"))).context("keep a log")?;
        }
        std::fs::write(to.join("postgres.log"), self.postgres.lock().await.log()).context("keep a log")?;
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The cluster outlives the run.
        let _left = self.target.run(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

fn server(environment: &[(&str, String)]) -> Result<Server> {
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::new_to_stay(&environment)
}

/// A proxy before what an address names, and the address by way of it.
async fn behind(url: &str) -> Result<(Proxy, String)> {
    let (_, place) = url.split_once("://").context("the address has no scheme")?;
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let place = place.split('/').next().unwrap_or(place);
    let proxy = Proxy::start(place.to_owned()).await?;
    let by_proxy = url.replace(place, &proxy.address.to_string());
    Ok((proxy, by_proxy))
}

/// Starts a host, again and again while it ends by itself: what it needs may be away.
pub(crate) async fn start(host: &mut Server) -> Result<()> {
    let deadline = tokio::time::Instant::now() + START;
    loop {
        host.launch(&[])?;
        loop {
            if host.has_ended()? {
                break;
            }
            if host.kubectl()?.run(&["get", "--raw", "/readyz", "--request-timeout=2s"]).is_ok() {
                return Ok(());
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "a host does not serve within {START:?}:\n{}",
                std::fs::read_to_string(host.log()).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// All hosts have the same keys, authority and token.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o700)).context("close a directory")?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry.context("read an entry")?;
        let (source, copied) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &copied)?;
        } else {
            std::fs::copy(&source, &copied).with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(())
}

/// An object whose connection leads to a cluster.
fn connect(kubectl: &Kubectl, namespace: &str, name: &str, kubeconfig: &Path) -> Result<()> {
    let file = format!("--from-file=kubeconfig={}", kubeconfig.display());
    kubectl.run(&["create", "secret", "generic", "-n", namespace, name, &file])?;
    kubectl.apply(&format!(
        "apiVersion: test.threeport.dev/v1\nkind: Puppet\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{connection: [{name}, kubeconfig], outputs: {{token: none}}}}\n"
    ))?;
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s", &format!("puppet/{name}")])?;
    Ok(())
}

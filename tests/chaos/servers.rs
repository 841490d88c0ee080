//! Everything that runs: PostgreSQL, NATS, the hosts, and what they begin with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use threeport_test_postgres::Postgres;
use threeport_tests::{Kubectl, Nats, Server, guest};
use tokio::sync::Mutex;

use crate::ask::Clients;

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
        let environment = [("THREEPORT_DATABASE", database.as_str()), ("THREEPORT_NATS", ring.as_str())];

        let mut first = Server::new_to_stay(&environment)?;
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
        connect(&kubectl, &namespace, "stays", &kubeconfig)?;

        let mut hosts = vec![first];
        for _ in 1..HOSTS {
            let mut host = Server::new_to_stay(&environment)?;
            copy(&hosts[0].path("config"), &host.path("config"))?;
            start(&mut host).await?;
            hosts.push(host);
        }
        let mut clients = Vec::new();
        for host in &hosts {
            clients.push(threeport_tests::plain_client(&host.kubeconfig()).await?);
        }
        Ok(Self {
            namespace,
            hosts: hosts.into_iter().map(|host| Arc::new(Mutex::new(host))).collect(),
            postgres: Arc::new(Mutex::new(postgres)),
            nats: Arc::new(Mutex::new(nats)),
            clients,
            target,
        })
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

//! docs/operating.md, followed literally: from a quick start on a file to three hosts on PostgreSQL and NATS. What is run is what stands there, but for the
//! lines that say what is the reader's own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use threeport_tests::{Cluster, Kubectl, Nats, Postgres, eventually, tool};

use crate::postgres::own;

const SECTION: &str = "### From a quick start to three hosts";
const SOON: Duration = Duration::from_secs(60);

/// A fenced block: what stands behind the fence, and what is in it.
struct Block {
    what: String,
    text: String,
}

/// The blocks of the section, in order.
fn blocks() -> Result<Vec<Block>> {
    let document = include_str!("../../docs/operating.md");
    let section = document.split(SECTION).nth(1).context("the section is not in docs/operating.md")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let fences = section.split("\n```").skip(1).step_by(2);
    let blocks = fences.map(|fence| {
        let (what, text) = fence.split_once('\n').unwrap_or((fence, ""));
        Block { what: what.to_owned(), text: format!("{text}\n") }
    });
    Ok(blocks.collect())
}

/// Somebody's machine: a home directory, and what was exported in it.
struct Machine {
    home: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Machine {
    fn new(root: &Path, name: &str) -> Result<Self> {
        let home = root.join(name);
        std::fs::create_dir(&home)?;
        Ok(Self { home, variables: BTreeMap::new() })
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// Nothing of the environment of this test but where programs are.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let mut path = std::env::var("PATH").unwrap_or_default();
        if let Ok(postgres) = threeport_test_postgres::programs() {
            path = format!("{path}:{}", postgres.display());
        }
        command.args(arguments).env_clear().env("PATH", path).env("HOME", &self.home).envs(&self.variables);
        command.current_dir(&self.home).stdin(Stdio::null());
        command
    }

    /// Goes on in the same shell, as far as variables and the directory tell: each must succeed.
    fn run(&mut self, script: &str) -> Result<String> {
        let left = self.home.join(".left");
        let go = match self.variables.get("PWD") {
            Some(directory) => format!("cd {directory}\n"),
            None => String::new(),
        };
        // Exported or not, what was set is there for the next block, as in one terminal.
        let script = format!("set -eao pipefail\n{go}{script}\nenv -0 >{}", left.display());
        let output = self.command("bash", &["-c", &script]).output().context("start bash")?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{script}\n{stdout}{stderr}");
        for variable in std::fs::read_to_string(&left)?.split('\0') {
            if let Some((name, value)) = variable.split_once('=').filter(|(name, _)| !matches!(*name, "_" | "SHLVL")) {
                self.set(name, value);
            }
        }
        Ok(stdout.into_owned())
    }

    /// Starts what goes on until it is stopped.
    fn start(&self, command: &mut Command, log: &str) -> Result<Running> {
        let log = self.home.join(log);
        let file = std::fs::File::create(&log)?;
        let process = command.stdout(file.try_clone()?).stderr(file).process_group(0).spawn().context("start it")?;
        Ok(Running { process, log })
    }
}

/// A process group of our own.
struct Running {
    process: Child,
    log: PathBuf,
}

impl Running {
    fn signal(&self, signal: &str) -> Result<()> {
        let group = format!("-{}", self.process.id());
        ensure!(Command::new("kill").args([signal, "--", &group]).status()?.success(), "kill {signal} {group}");
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.signal("-KILL");
        let _reaped = self.process.wait();
    }
}

fn free() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The quick start on the tests' cluster, by its own command.
fn quickstart(user: &Machine, cluster: &Cluster, namespace: &str, arguments: &[&str]) -> Result<()> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/quickstart");
    let mut command = user.command(program, arguments);
    command.env("THREEPORT_NAMESPACE", namespace).env("THREEPORT", tool("THREEPORT")?).env("KUBECTL", tool("KUBECTL")?);
    command.env("THREEPORT_GUESTS", tool("THREEPORT_GUESTS")?).env("LOCALKUBE_KUBECONFIG", &cluster.kubeconfig);
    let output = command.output().context("start deploy/quickstart")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "deploy/quickstart {arguments:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// What is on the target, down to the versions that any write would change.
fn on_target(cluster: &Cluster, namespace: &str) -> Result<String> {
    let kinds = "deployments,services,serviceaccounts,roles,rolebindings,configmaps";
    let columns = "custom-columns=KIND:.kind,NAME:.metadata.name,UID:.metadata.uid,VERSION:.metadata.resourceVersion";
    cluster.kubectl.run(&["get", kinds, "-n", namespace, "-o", columns])
}

fn version(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// Ends what the quick start left, whatever comes of the test.
struct Cleared<'a>(&'a Machine, &'a Cluster, &'a str);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let _down = quickstart(self.0, self.1, self.2, &["down"]);
        let _gone = self.1.kubectl.run(&["delete", "namespace", self.2, "--ignore-not-found", "--wait=false"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_quick_start_to_three_hosts_as_the_documentation_says() -> Result<()> {
    let blocks = blocks()?;
    let block = |what: &str| -> Result<&str> {
        let mut found = blocks.iter().filter(|block| block.what == what);
        Ok(&found.next().with_context(|| format!("no block ```{what}"))?.text)
    };
    let namespace = &own("walk");
    let cluster = Cluster::connect()?;
    let image = format!("localkube.test/{namespace}:1");
    cluster.image(&image, "walked", 0)?;
    let root: TempDir = tempfile::tempdir()?;
    let mut user = Machine::new(root.path(), "user")?;

    // Before: the quick start, and what a user made with it.
    let kubeconfig = cluster.kubeconfig.to_str().context("path")?;
    let arguments = ["--kubeconfig", kubeconfig, "--image", &image, "--port", "8080"];
    quickstart(&user, &cluster, namespace, &arguments)?;
    let settled = Machine { home: user.home.clone(), variables: BTreeMap::new() };
    let _cleared = Cleared(&settled, &cluster, namespace);
    let old = user.home.join(".local/state/threeport/quickstart");
    let before = Kubectl::new(&old.join("kubeconfig"))?;
    before.run(&["create", "secret", "generic", "own", "--from-literal=password=hunter2"])?;
    before.run(&["create", "serviceaccount", "ci"])?;
    before.run(&["create", "rolebinding", "ci", "--clusterrole=edit", &format!("--serviceaccount={namespace}:ci")])?;
    let token = before.run(&["create", "token", "ci"])?;
    let placed = on_target(&cluster, namespace)?;
    let workload = before.get(&["workload", "web"])?;
    let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
    let since: Value = serde_json::from_str(&before.run(&["get", "--raw", &maps])?)?;
    let since = version(&since).context("a list has a version")?;
    before.run(&["create", "configmap", "after-the-watch"])?;

    // PostgreSQL, NATS, and three machines.
    let postgres = tokio::task::spawn_blocking(Postgres::start).await??;
    let nats = Nats::start().await?;
    let (owner, password) = postgres.owner();
    let pgpass = user.home.join(".pgpass");
    std::fs::write(&pgpass, format!("127.0.0.1:{}:*:{owner}:{password}\n", postgres.port()))?;
    std::fs::set_permissions(&pgpass, std::fs::Permissions::from_mode(0o600))?;
    let api = free()?;
    let settings = |machine: &mut Machine| -> Result<()> {
        // What the document has there, so that nothing that it sets is forgotten here ...
        machine.run(block("sh settings")?)?;
        // ... and what is ours.
        machine.set("PGHOST", "127.0.0.1");
        machine.set("PGPORT", postgres.port().to_string());
        machine.set("PGUSER", owner);
        machine.set("NATS", nats.url());
        machine.set("API", &*api);
        Ok(())
    };
    settings(&mut user)?;
    for step in blocks.iter().filter(|block| block.what == "sh").take(3) {
        user.run(&step.text)?;
    }

    let mut hosts = Vec::new();
    for name in ["one", "two", "three"] {
        let mut host = Machine::new(root.path(), name)?;
        settings(&mut host)?;
        let programs = format!("{}:{}", old.join("bin").display(), std::env::var("PATH")?);
        host.set("PATH", programs);
        host.run(block("sh settings on each host")?)?;
        host.set("LISTEN", free()?);
        std::fs::copy(user.home.join("threeport-move/host.tar"), host.home.join("host.tar")).context("host.tar")?;
        host.run(block("sh on each host")?)?;
        hosts.push(host);
    }
    let script = block("sh server on each host")?;
    let mut running = Vec::new();
    for host in &hosts {
        running.push(host.start(&mut host.command("bash", &["-c", script]), "log")?);
    }
    let config = user.home.join("haproxy.cfg");
    std::fs::write(&config, block("haproxy")?)?;
    let mut balancer = user.command("haproxy", &["-f", config.to_str().context("path")?]);
    balancer.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH")?)).env("LISTEN", &api);
    for (number, host) in hosts.iter().enumerate() {
        balancer.env(format!("HOST{}", number + 1), host.get("LISTEN"));
    }
    let balancer = user.start(&mut balancer, "haproxy.log")?;
    let logs = || running.iter().chain([&balancer]).map(Running::said).collect::<Vec<_>>().join("\n");
    // The only place where a reader waits: until somebody answers.
    eventually("the hosts answer", SOON, || async {
        for host in &hosts {
            let ready = host.command("curl", &["-sfk", &format!("https://{}/readyz", host.get("LISTEN"))]).output()?;
            ensure!(ready.status.success(), "{}", String::from_utf8_lossy(&ready.stdout));
        }
        let ready = user.command("curl", &["-sfk", &format!("https://{api}/readyz")]).status()?;
        ensure!(ready.success(), "the load balancer has no host");
        Ok(())
    })
    .await
    .with_context(logs)?;
    let last = blocks.iter().filter(|block| block.what == "sh").nth(3).context("the clients' block")?;
    let seen = user.run(&last.text).with_context(logs)?;
    ensure!(seen.contains("web"), "{seen}");

    // Everything is as it was: objects, versions that only go up, Secrets, what is on the target, and who is let in.
    let after = Kubectl::new(&old.join("kubeconfig"))?;
    let moved = after.get(&["workload", "web"])?;
    ensure!(moved["metadata"]["uid"] == workload["metadata"]["uid"] && moved["spec"] == workload["spec"], "{moved}");
    ensure!(version(&moved) >= version(&workload), "{moved}");
    let password = after.run(&["get", "secret", "own", "-o", "jsonpath={.data.password}"])?;
    ensure!(password == "aHVudGVyMg==", "{password}");
    ensure!(
        on_target(&cluster, namespace)? == placed,
        "something was applied anew: {}",
        on_target(&cluster, namespace)?
    );
    let who = after.run(&["--token", token.trim(), "auth", "whoami"])?;
    ensure!(who.contains(&format!("system:serviceaccount:{namespace}:ci")), "{who}");
    // A watch goes on where it was: what happened since before the move, and what happens now, through whatever host.
    after.run(&["create", "configmap", "on-three-hosts"])?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps?watch=true&resourceVersion={since}&timeoutSeconds=2");
    let events = after.run(&["get", "--raw", &path])?;
    for name in ["after-the-watch", "on-three-hosts"] {
        ensure!(events.contains(name) && !events.contains("\"ERROR\""), "{events}");
    }

    // All three work, ring over NATS, and one of them may die.
    for host in &hosts {
        let kubectl = Kubectl::new(&host.home.join(".config/threeport/kubeconfig"))?;
        eventually("its rings go over NATS", SOON, || async {
            let metrics = kubectl.run(&["get", "--raw", "/metrics"])?;
            ensure!(metrics.contains("\nthreeport_bell_connected 1\n"), "{metrics}");
            Ok(())
        })
        .await?;
    }
    running[0].signal("-KILL")?;
    eventually("the others carry on", SOON, || async {
        after.run(&["patch", "workload", "web", "--type=merge", "-p", r#"{"spec":{"replicas":1}}"#])
    })
    .await?;
    eventually("it comes to the target", SOON, || async {
        let deployment = cluster.kubectl.get(&["deployment", "web", "-n", namespace])?;
        ensure!(deployment["spec"]["replicas"] == 1, "{deployment}");
        Ok(())
    })
    .await?;
    after.run(&["wait", "--for=condition=Ready", "--timeout=60s", "workload/web"])?;
    for object in ["workload/web", "cluster/local"] {
        after.run(&["delete", object, "--timeout=60s"])?;
    }
    let left = cluster.kubectl.run(&["get", "deployments,services", "-n", namespace, "-o", "name"])?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    Ok(())
}

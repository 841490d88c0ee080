//! One nats-server process with a directory of its own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{eventually, tool};

/// A running nats-server with JetStream. Dropping it kills the process.
#[derive(Debug)]
pub struct Nats {
    dir: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Nats {
    /// Starts one on a free port and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start() -> Result<Self> {
        let mut nats = Self { dir: tempfile::tempdir().context("make a directory")?, port: 0, process: None };
        nats.boot("-1").await?;
        Ok(nats)
    }

    /// What `--nats` takes.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// kill -9, and waits until the process is gone.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("nats-server does not run")?;
        process.kill().context("kill nats-server")?;
        process.wait().context("wait for nats-server")?;
        Ok(())
    }

    /// Forgets everything that it stored.
    ///
    /// # Errors
    /// When it runs, or never did.
    pub fn wipe(&self) -> Result<()> {
        ensure!(self.process.is_none(), "nats-server runs");
        std::fs::remove_dir_all(self.dir.path().join("store")).context("remove what nats-server stored")
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        let port = self.port.to_string();
        self.boot(&port).await
    }

    /// Nothing moves any more, and connections stand, until [`thaw`](Self::thaw).
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// Goes on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let id = self.process.as_ref().context("nats-server does not run")?.id().to_string();
        ensure!(Command::new("kill").args([signal, &id]).status().context("run kill")?.success(), "kill refused");
        Ok(())
    }

    async fn boot(&mut self, port: &str) -> Result<()> {
        let dir = self.dir.path();
        let process = Command::new(tool("NATS_SERVER")?)
            .args(["-a", "127.0.0.1", "-p", port, "-js", "-sd"])
            .arg(dir.join("store"))
            .arg("--ports_file_dir")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start nats-server")?;
        let ports = dir.join(format!("nats-server_{}.ports", process.id()));
        self.process = Some(process);
        self.port = eventually("nats-server answers", Duration::from_secs(30), || async {
            let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(&ports)?)?;
            let address = ports["nats"][0].as_str().context("no address")?.trim_start_matches("nats://").to_owned();
            std::net::TcpStream::connect(&address)?;
            Ok(address.rsplit_once(':').context("no port")?.1.parse()?)
        })
        .await?;
        Ok(())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _gone = process.kill();
            let _waited = process.wait();
        }
    }
}

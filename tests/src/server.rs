//! One `threeport server` process with directories of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{Kubectl, Samples, eventually, guest, tool};

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    dir: TempDir,
    process: Option<Child>,
    environment: Vec<(String, String)>,
    listen: SocketAddr,
}

impl Server {
    /// Starts one on an empty data directory and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; says its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// [`start`](Self::start), with these environment variables besides.
    ///
    /// # Errors
    /// When it does not come up; says its log.
    pub async fn start_with(environment: &[(&str, &str)]) -> Result<Self> {
        let mut server = Self::new(environment)?;
        server.boot(&[]).await?;
        Ok(server)
    }

    /// One that is not started yet.
    ///
    /// # Errors
    /// When there is no room for its directories.
    pub fn new(environment: &[(&str, &str)]) -> Result<Self> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok(Self { dir: tempfile::tempdir().context("make a directory")?, process: None, environment, listen })
    }

    /// [`start_with`](Self::start_with), on an address that it has again when it is booted again: for clients that outlive it.
    ///
    /// # Errors
    /// When it does not come up; says its log.
    pub async fn start_to_stay(environment: &[(&str, &str)]) -> Result<Self> {
        let mut server = Self::new_to_stay(environment)?;
        server.boot(&[]).await?;
        Ok(server)
    }

    /// [`new`](Self::new), on an address that it has again whenever it is started again.
    ///
    /// # Errors
    /// When there is no room for its directories, or no port is free.
    pub fn new_to_stay(environment: &[(&str, &str)]) -> Result<Self> {
        let mut server = Self::new(environment)?;
        server.listen = lasting_address()?;
        Ok(server)
    }

    /// Starts the process on the same directories again, under `wrapper` (a program and its arguments) if one is given.
    ///
    /// # Errors
    /// When it does not come up; says its log.
    pub async fn boot(&mut self, wrapper: &[&str]) -> Result<()> {
        self.launch(wrapper)?;
        let ready = eventually("the server answers", Duration::from_secs(30), || async {
            self.kubectl()?.run(&["get", "--raw", "/readyz"])
        })
        .await;
        if let Err(error) = ready {
            bail!("{error:#}\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        }
        Ok(())
    }

    /// [`boot`](Self::boot) without waiting for what comes of it.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn launch(&mut self, wrapper: &[&str]) -> Result<()> {
        ensure!(self.process.is_none(), "the server runs already");
        let _absent = std::fs::remove_file(self.kubeconfig());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).context("open the log")?;
        let binary = tool("THREEPORT")?;
        let mut command = match wrapper.split_first() {
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .args(["server", "--listen", &self.listen.to_string(), "--data-dir"])
            .arg(self.path("data"))
            .arg("--config-dir")
            .arg(self.path("config"))
            .env("RUST_LOG", "info,async_nats=off,threeport_controller=debug")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process =
            Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("start the server")?);
        Ok(())
    }

    /// Whether the process has ended by itself; then it can be started again.
    ///
    /// # Errors
    /// When it cannot be asked for.
    pub fn has_ended(&mut self) -> Result<bool> {
        let Some(process) = &mut self.process else { return Ok(true) };
        if process.try_wait().context("look at the server")?.is_none() {
            return Ok(false);
        }
        self.process = None;
        Ok(true)
    }

    /// An environment variable for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// kill -9, and waits until the process is gone.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server does not run")?;
        process.kill().context("kill the server")?;
        process.wait().context("wait for the server")?;
        Ok(())
    }

    /// Sends it a signal (`STOP`, `CONT`, `TERM`).
    ///
    /// # Errors
    /// When there is no process.
    pub fn signal(&self, name: &str) -> Result<()> {
        let id = self.id().context("the server does not run")?;
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().context("run kill")?;
        ensure!(sent.success(), "kill -{name} {id} refused");
        Ok(())
    }

    /// Waits for its end, and gives the exit code.
    ///
    /// # Errors
    /// When there is no process.
    pub fn wait(&mut self) -> Result<Option<i32>> {
        let mut process = self.process.take().context("the server does not run")?;
        Ok(process.wait().context("wait for the server")?.code())
    }

    /// SIGTERM, and the exit code.
    ///
    /// # Errors
    /// When there is none.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        self.signal("TERM")?;
        self.wait()
    }

    /// Process id.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// kubectl for it.
    ///
    /// # Errors
    /// When `tests/run` did not say where kubectl is.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.kubeconfig())
    }

    /// A kube-rs client for it.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn client(&self) -> Result<kube::Client> {
        crate::client(&self.kubeconfig()).await
    }

    /// Runs `threeport ARGS` against it; gives exit code 0's output or fails with stderr.
    ///
    /// # Errors
    /// When it exits with anything but 0.
    pub fn threeport(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(tool("THREEPORT")?)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(args)
            .output()
            .context("start threeport")?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "threeport {}: {stderr}{stdout}", args.join(" "));
        Ok(stdout.into_owned())
    }

    /// Pushes the named guests and approves what they ask for.
    ///
    /// # Errors
    /// When one does not come to serve.
    pub fn push(&self, guests: &[&str]) -> Result<()> {
        for name in guests {
            let file = guest(name)?;
            self.threeport(&["plugin", "push", file.to_str().context("path")?, "--approve-grants"])?;
        }
        Ok(())
    }

    /// Where its kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("config/kubeconfig")
    }

    /// What its `/metrics` says.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Samples> {
        Ok(Samples(self.kubectl()?.run(&["get", "--raw", "/metrics"])?))
    }

    /// Where its log is.
    pub fn log(&self) -> PathBuf {
        self.path("server.log")
    }

    /// A path in the server's own directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// An address that nobody else is given while the server is down: connections get theirs from the ports above these, other tests of this process
/// the next one.
fn lasting_address() -> Result<SocketAddr> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).context("a port")?;
    let mut ports =
        std::iter::repeat_with(|| start + GIVEN.fetch_add(1, Ordering::Relaxed)).take_while(|port| *port < 32_000);
    let free = ports.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    free.context("no port is free")?.local_addr().context("its address")
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _gone = process.kill();
            let _waited = process.wait();
        }
    }
}

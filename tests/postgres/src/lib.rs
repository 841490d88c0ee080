//! A real PostgreSQL for tests: a data directory of its own, a free port on loopback, started and stopped by id.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// Who owns everything, and whose password is no secret.
const USER: &str = "tester";
const PASSWORD: &str = "not-a-secret";

/// How long it may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Dropping it, or the end of this process in whatever way, stops the server and removes its data.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    port: u16,
    server: Option<Child>,
    /// Stops what is left when this process is gone: it sees the end of its input.
    guard: Child,
    databases: AtomicUsize,
    settings: Vec<String>,
}

/// Where the programs are: `POSTGRES_BIN`, Debian's directories, or the path.
///
/// # Errors
/// When they are nowhere.
pub fn programs() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("POSTGRES_BIN").map(PathBuf::from) {
        ensure!(named.join("postgres").exists(), "POSTGRES_BIN names {}, where no postgres is", named.display());
        return Ok(named);
    }
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = found.into_iter().rev().chain(std::env::split_paths(&path));
    let mut with = all.filter(|directory| directory.join("postgres").exists() && directory.join("initdb").exists());
    with.next()
        .context("PostgreSQL is not installed: run `deploy/setup test`, or set POSTGRES_BIN to where its programs are")
}

/// The server refuses to be root.
fn user() -> Result<Option<(u32, u32)>> {
    // What we make is ours.
    let probe = tempfile::NamedTempFile::new().context("make a file")?;
    let own = std::os::unix::fs::MetadataExt::uid(&probe.as_file().metadata().context("look at the file")?);
    if own != 0 {
        return Ok(None);
    }
    let known = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let ids = |name: &str| {
        let line = known.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).map(Some).context("there is no user that PostgreSQL could run as")
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    // What the caller's terminal says to its own does not concern the server.
    command.process_group(0).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").current_dir("/");
    command
}

fn output(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}: {stderr}{stdout}", command.get_program().display());
    Ok(stdout.into_owned())
}

impl Postgres {
    /// Starts one with an empty data directory.
    ///
    /// # Errors
    /// When it is not installed or does not come up; says its log.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// [`start`](Self::start), with further settings (`name=value`). Without `fsync=on` it does not wait for the disk: what tests kill is processes, and what
    /// these wrote outlives them.
    ///
    /// # Errors
    /// When it is not installed or does not come up; says its log.
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        let mut made = Self::prepare(settings)?;
        made.boot()?;
        Ok(made)
    }

    /// [`start`](Self::start), encrypted: with a certificate and its key, both PEM.
    ///
    /// # Errors
    /// When it is not installed or does not come up; says its log.
    pub fn start_tls(certificate: &str, key: &str) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let mut made = Self::prepare(&["ssl=on"])?;
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let path = made.data().join(name);
            std::fs::write(&path, pem).context("write a certificate")?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).context("protect it")?;
            if let Some((user, group)) = user()? {
                chown(&path, Some(user), Some(group)).context("give it away")?;
            }
        }
        made.boot()?;
        Ok(made)
    }

    /// A standby of this one, streaming from it. It may be read.
    ///
    /// # Errors
    /// When it does not come up; says its log.
    pub fn standby(&self) -> Result<Self> {
        let mut made = Self::bare(&[])?;
        let mut copy = command(&programs()?.join("pg_basebackup"), user()?);
        copy.args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync"]);
        copy.arg("-d").arg(self.url("postgres")).arg("-D").arg(made.data());
        output(copy)?;
        made.boot()?;
        Ok(made)
    }

    /// Whether this standby has all that its primary has written by now.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub fn has_all_of(&self, primary: &Self) -> Result<bool> {
        let written = primary.sql("postgres", "select pg_current_wal_flush_lsn()")?;
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{}'::pg_lsn", written.trim());
        Ok(self.sql("postgres", &replayed)?.trim() == "t")
    }

    /// A standby takes over, at the address of its primary, which is killed if it still runs.
    ///
    /// # Errors
    /// When it cannot; says its log.
    pub fn take_over(&mut self, primary: &mut Self) -> Result<()> {
        if primary.server.is_some() {
            primary.kill()?;
        }
        if self.server.is_none() {
            self.boot()?;
        }
        self.sql("postgres", "select pg_promote(true, 60)")?;
        self.stop()?;
        self.port = primary.port;
        self.boot()
    }

    fn prepare(settings: &[&str]) -> Result<Self> {
        let made = Self::bare(settings)?;
        let secret = made.directory.path().join("password");
        std::fs::write(&secret, PASSWORD).context("write the password")?;
        let mut initdb = command(&programs()?.join("initdb"), user()?);
        initdb.args([
            &format!("--username={USER}"),
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-sync",
            "--no-instructions",
        ]);
        initdb.arg("--pwfile").arg(&secret).arg("-D").arg(made.data());
        output(initdb)?;
        Ok(made)
    }

    /// Without data.
    fn bare(settings: &[&str]) -> Result<Self> {
        let user = user()?;
        let directory = tempfile::Builder::new().prefix("threeport-postgres").tempdir().context("make a directory")?;
        if let Some((user, group)) = user {
            chown(directory.path(), Some(user), Some(group)).context("give the directory away")?;
        }
        // The guard ends with this process, however that ends.
        let script = r#"trap '' INT TERM HUP; read -r _; pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null && sleep 0.5; rm -rf "$1""#;
        let mut guard = command(Path::new("/bin/sh"), None);
        let guard = guard.args(["-c", script, "guard"]).arg(directory.path()).stdin(Stdio::piped());
        let guard = guard.stdout(Stdio::null()).stderr(Stdio::null());
        let guard = guard.spawn().context("start the guard")?;
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Ok(Self { directory, port: 0, server: None, guard, databases: AtomicUsize::new(0), settings })
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Starts it again on its data and its port.
    ///
    /// # Errors
    /// When it does not come up; says its log.
    pub fn boot(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the server runs already");
        let (programs, user) = (programs()?, user()?);
        if self.port == 0 {
            let free = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
            self.port = free.local_addr().context("read the port")?.port();
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.directory.path().join("log"));
        let mut server = command(&programs.join("postgres"), user);
        server.arg("-D").arg(self.data()).args([
            "-p",
            &self.port.to_string(),
            "-k",
            "",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
        ]);
        for setting in &self.settings {
            server.args(["-c", setting]);
        }
        let server =
            server.stdout(Stdio::null()).stderr(log.context("open the log")?).spawn().context("start postgres")?;
        self.server = Some(server);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.sql("postgres", "select 1") {
            let ended =
                self.server.as_mut().is_some_and(|server| server.try_wait().is_ok_and(|status| status.is_some()));
            if ended || Instant::now() > deadline {
                bail!("{error:#}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A database that nobody has used whose tables are in this directory, which the server's user must be able to write to; gives its address.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn database_in(&self, directory: &Path) -> Result<String> {
        if let Some((user, group)) = user()? {
            chown(directory, Some(user), Some(group)).context("give the directory away")?;
        }
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create tablespace {name} location '{}'", directory.display()))?;
        self.sql("postgres", &format!("create database {name} tablespace {name}"))?;
        Ok(self.url(&name))
    }

    /// Whoever comes from this machine is let in without a password.
    ///
    /// # Errors
    /// When its file cannot be written, or the server is not there.
    pub fn trust(&self) -> Result<()> {
        std::fs::write(self.data().join("pg_hba.conf"), "host all all 127.0.0.1/32 trust\n")
            .context("write pg_hba.conf")?;
        let server = self.server.as_ref().context("the server does not run")?;
        let told = Command::new("kill").args(["-HUP", &server.id().to_string()]).status().context("run kill")?;
        ensure!(told.success(), "kill refused");
        Ok(())
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who may do everything, and the password.
    pub fn owner(&self) -> (&'static str, &'static str) {
        (USER, PASSWORD)
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a database that nobody has used; gives its address.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn database(&self) -> Result<String> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name}"))?;
        Ok(self.url(&name))
    }

    /// Runs SQL with psql; gives what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = command(&programs()?.join("psql"), None);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql]);
        output(psql)
    }

    /// kill -9 of the server, and waits until the last of its processes is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the server does not run")?;
        server.kill().context("kill postgres")?;
        server.wait().context("wait for postgres")?;
        Ok(())
    }

    /// A signal by name, such as STOP and CONT, to the server and all its sessions.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, name: &str) -> Result<()> {
        let server = self.server.as_ref().context("the server does not run")?;
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).unwrap_or_default();
        let ids = std::iter::once(server.id().to_string()).chain(children.split_whitespace().map(str::to_owned));
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).args(ids);
        // A session may be over by now.
        let _some_gone = kill.stderr(Stdio::null()).status().context("run kill")?;
        Ok(())
    }

    /// Stops it as an operator does, and its sessions with it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the server does not run")?;
        let stopped = Command::new("kill").args(["-INT", &server.id().to_string()]).status().context("run kill")?;
        ensure!(stopped.success(), "kill refused");
        server.wait().context("wait for postgres")?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Nobody needs what it would write on its way out.
            let quit = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status();
            if quit.is_err() {
                let _gone = server.kill();
            }
            let _reaped = server.wait();
        }
        // Its input ends with this.
        drop(self.guard.stdin.take());
        let _reaped = self.guard.wait();
    }
}

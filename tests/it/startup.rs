//! Servers that cannot start: each says which file or setting is wrong and what to do, and leaves what is stored as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use threeport_tests::{Server, tool};

/// Longest that a server may take to find out that it cannot start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a server that must not start, and gives what it said.
pub(crate) fn refused(what: &str, command: &mut Command) -> Result<String> {
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let began = Instant::now();
    while process.try_wait()?.is_none() {
        if began.elapsed() > PATIENCE {
            process.kill()?;
            let Output { stderr, .. } = process.wait_with_output()?;
            bail!("{what}: it runs all the same:\n{}", String::from_utf8_lossy(&stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let Output { status, stderr, .. } = process.wait_with_output()?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(status.code() == Some(1), "{what}: {status}, {said}");
    ensure!(!said.contains("panicked"), "{what}: {said}");
    Ok(said)
}

/// `threeport server` on the directories of another server.
fn again(server: &Server) -> Result<Command> {
    let mut command = Command::new(tool("THREEPORT")?);
    command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(server.path("data"));
    command.arg("--config-dir").arg(server.path("config"));
    Ok(command)
}

/// A server with one object, stopped.
async fn stopped() -> Result<Server> {
    let mut server = Server::start().await?;
    server.kubectl()?.run(&["create", "configmap", "kept", "--from-literal=key=needle-in-the-data"])?;
    server.stop()?;
    Ok(server)
}

/// It starts, and its object is there.
async fn whole(mut server: Server) -> Result<()> {
    server.boot(&[]).await?;
    let kept = server.kubectl()?.get(&["configmap", "kept"])?;
    ensure!(kept["data"]["key"] == "needle-in-the-data", "{kept}");
    Ok(())
}

fn contains(said: &str, what: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(said.contains(part), "{what}: {part:?} is not in: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_configuration_that_cannot_be_used_is_named() -> Result<()> {
    let server = stopped().await?;
    let key = "0".repeat(64);
    let cases: [(&str, &str, &[&str]); 7] = [
        ("encryption.key", "not hexadecimal", &["hexadecimal", "put the file back"]),
        ("encryption.key", "abcd", &["2 bytes", "32"]),
        ("encryption.key", &key, &["threeport.db", "put the key back"]),
        ("token", "garbage", &["hexadecimal", "put the file back"]),
        ("cache.key", "garbage", &["hexadecimal"]),
        ("pki/ca.key", "garbage", &["put the file back"]),
        ("pki/ca.crt", "garbage", &["put the file back"]),
    ];
    for (name, content, parts) in cases {
        let path = server.path("config").join(name);
        let good = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        fs::write(&path, content)?;
        let said = refused(name, &mut again(&server)?)?;
        fs::write(&path, good)?;
        contains(&said, name, &[&path.to_string_lossy()])?;
        contains(&said, name, parts)?;
    }
    // What is not a file, and what everybody may read.
    let path = server.path("config/encryption.key");
    let aside = server.path("config/aside");
    fs::rename(&path, &aside)?;
    fs::create_dir(&path)?;
    let said = refused("a directory", &mut again(&server)?)?;
    contains(&said, "a directory", &[&path.to_string_lossy(), "is a directory"])?;
    fs::remove_dir(&path)?;
    fs::rename(&aside, &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    let said = refused("a key for everybody", &mut again(&server)?)?;
    contains(&said, "a key for everybody", &[&path.to_string_lossy(), "chmod 600"])?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    whole(server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_directories_that_the_user_may_not_use_are_named() -> Result<()> {
    let server = stopped().await?;
    // Nobody may go everywhere but to the file in question.
    let program = server.path("threeport");
    fs::copy(tool("THREEPORT")?, &program)?;
    let everybody = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    everybody(&server.path(""))?;
    everybody(&server.path("config"))?;
    let key = server.path("config/encryption.key");
    let before = fs::metadata(&key)?.permissions();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o000))?;
    let nobody = |data: &Path, config: &Path| -> Result<String> {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
        refused("another user", command.arg("--config-dir").arg(config))
    };
    let (mine, foreign) = (tempfile::tempdir()?, server.path("data"));
    fs::set_permissions(mine.path(), fs::Permissions::from_mode(0o777))?;
    let said = nobody(&mine.path().join("data"), &server.path("config"))?;
    contains(&said, "the key", &[&key.to_string_lossy(), "ermission denied", "user"])?;
    fs::set_permissions(&key, before)?;
    let said = nobody(&foreign, &mine.path().join("config"))?;
    contains(&said, "the data", &[&foreign.to_string_lossy(), "ermission denied"])?;
    whole(server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_cannot_be_used_is_named() -> Result<()> {
    let server = stopped().await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let said = refused("the port", again(&server)?.args(["--listen", &address]).env_remove("THREEPORT_LISTEN"));
    // The flag stands there twice: clap refuses that with its own exit code.
    ensure!(said.is_err(), "--listen twice");
    let mut command = Command::new(tool("THREEPORT")?);
    command.args(["server", "--listen", &address, "--data-dir"]).arg(server.path("data"));
    let said = refused("the port", command.arg("--config-dir").arg(server.path("config")))?;
    contains(&said, "the port", &[&address, "in use", "--listen"])?;

    let file = server.path("file");
    fs::write(&file, "a file")?;
    for (flag, other) in [("--data-dir", "--config-dir"), ("--config-dir", "--data-dir")] {
        let mut command = Command::new(tool("THREEPORT")?);
        command.args(["server", "--listen", "127.0.0.1:0", flag]).arg(&file).arg(other).arg(server.path("new"));
        let said = refused(flag, &mut command)?;
        contains(&said, flag, &[&file.to_string_lossy(), "is not a directory", flag])?;
    }
    for (variable, value, parts) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "not an address", &["http://127.0.0.1:4318"]),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", &["http/protobuf"]),
        ("THREEPORT_NATS", "http://127.0.0.1:1", &["http://127.0.0.1:1"]),
    ] {
        let mut command = again(&server)?;
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env(variable, value);
        let said = refused(variable, &mut command)?;
        contains(&said, variable, parts)?;
        ensure!(variable == "THREEPORT_NATS" || said.contains(variable), "{variable}: {said}");
    }
    whole(server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_named_with_what_to_do_and_never_started_on() -> Result<()> {
    let server = stopped().await?;
    let path = server.path("data/threeport.db");
    let good = fs::read(&path).context("read the database")?;
    ensure!(
        fs::metadata(server.path("data/threeport.db-wal")).map_or(0, |wal| wal.len()) == 0,
        "a stop empties the log"
    );
    let needle = b"needle-in-the-data";
    let at = good.windows(needle.len()).position(|bytes| bytes == needle).context("the object is not in the file")?;
    let flipped = |at: usize, length: usize| {
        let mut bytes = good.clone();
        bytes[at..at + length].iter_mut().for_each(|byte| *byte ^= 0x5a);
        bytes
    };
    let cases = [
        ("its header", flipped(0, 100)),
        ("the schema's page", flipped(100, 400)),
        ("a page in the middle", flipped(good.len() / 2 / 4096 * 4096, 4096)),
        ("one byte of an object", flipped(at, 1)),
        ("its last half", good[..good.len() / 2 / 4096 * 4096].to_vec()),
        ("all of it", b"this is no database".repeat(500)),
    ];
    for (what, bytes) in cases {
        fs::write(&path, &bytes)?;
        let said = refused(what, &mut again(&server)?)?;
        contains(&said, what, &[&path.to_string_lossy(), "restore it from a backup"])?;
        ensure!(fs::read(&path)? == bytes, "{what}: the damaged file was written to");
    }
    fs::write(&path, &good)?;
    whole(server).await
}

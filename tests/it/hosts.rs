//! Several hosts on one PostgreSQL: processes that share the work, and take it over from each other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tempfile::TempDir;
use threeport_tests::{Postgres, Server, condition, eventually, guest, tool};

use crate::startup::refused;

pub(crate) const SOON: Duration = Duration::from_secs(30);

fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("test.threeport.dev", "v1", "Note"), "notes")
}

/// The Notes of a namespace, through one host.
pub(crate) async fn notes(server: &Server) -> Result<Api<DynamicObject>> {
    Ok(Api::default_namespaced_with(server.client().await?, &resource()))
}

pub(crate) fn note(name: &str, text: &str) -> DynamicObject {
    let mut note = DynamicObject::new(name, &resource());
    note.data = json!({"spec": {"text": text}});
    note
}

/// A database, and hosts that share it: each has directories of its own, and the key of the first.
pub(crate) struct Fleet {
    pub(crate) hosts: Vec<Server>,
    pub(crate) url: String,
    environment: Vec<(String, String)>,
    /// The key of the database, as an operator keeps it.
    pub(crate) key: PathBuf,
    _directory: TempDir,
    // Goes last.
    pub(crate) postgres: Postgres,
}

impl Fleet {
    pub(crate) async fn start(count: usize) -> Result<Self> {
        Self::start_with(count, &[]).await
    }

    /// [`start`](Self::start), with these environment variables on all.
    pub(crate) async fn start_with(count: usize, environment: &[(&str, &str)]) -> Result<Self> {
        let postgres = tokio::task::spawn_blocking(Postgres::start).await.context("join")??;
        let url = postgres.database()?;
        let first = Server::start_with(&[environment, &[("THREEPORT_DATABASE", &url)]].concat()).await?;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let directory = tempfile::tempdir().context("make a directory")?;
        let key = directory.path().join("encryption.key");
        std::fs::copy(first.path("config/encryption.key"), &key).context("copy the key")?;
        let mut fleet = Self { hosts: vec![first], url, environment, key, _directory: directory, postgres };
        let mut others: Vec<Server> = (1..count).map(|_| fleet.host()).collect::<Result<_>>()?;
        try_join_all(others.iter_mut().map(|host| host.boot(&[]))).await?;
        fleet.hosts.extend(others);
        Ok(fleet)
    }

    /// A further host that is not started yet.
    pub(crate) fn host(&self) -> Result<Server> {
        let key = self.key.to_str().context("path")?;
        let mut host = Server::new(&[("THREEPORT_DATABASE", &self.url), ("THREEPORT_ENCRYPTION_KEY", key)])?;
        self.environment.iter().for_each(|(name, value)| host.set(name, value));
        Ok(host)
    }

    /// What the database says.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        let name = self.url.rsplit('/').next().context("the database's name")?;
        Ok(self.postgres.sql(name, sql)?.trim().to_owned())
    }

    /// The host of this name, which claims are made with.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        let is = |host: &Server| host.id().is_some_and(|id| name.contains(&format!("-{id}-")));
        self.hosts.iter().position(is)
    }

    pub(crate) fn push(&self, host: usize, name: &str) -> Result<()> {
        let file = guest(name)?;
        let file = file.to_str().context("path")?;
        self.hosts[host].threeport(&["plugin", "push", file, "--name", "note", "--approve-grants"]).map(drop)
    }

    /// Runs that a host completed.
    fn runs(&self, host: usize) -> Result<f64> {
        Ok(self.hosts[host]
            .metrics()?
            .of("threeport_runs_total", &["resource=\"notes\"", "outcome=\"succeeded\""])
            .sum())
    }
}

/// Waits until these Notes are as they should be, and tells how long that took.
pub(crate) async fn settled(
    api: &Api<DynamicObject>,
    wanted: &BTreeMap<String, String>,
    within: Duration,
) -> Result<Duration> {
    let began = Instant::now();
    eventually("all Notes say what they should", within, || async {
        let found = api.list(&Default::default()).await?.items;
        let mut wrong = Vec::new();
        for (name, text) in wanted {
            let note =
                found.iter().find(|note| note.metadata.name.as_ref() == Some(name)).context("it is not there")?;
            let body = serde_json::to_value(note)?;
            if body["status"]["text"] != text.as_str() || condition(&body, "Ready").0 != "True" {
                wrong.push(format!("{name}: {}", body["status"]));
            }
        }
        ensure!(wrong.is_empty(), "{} are not: {}", wrong.len(), wrong[0]);
        Ok(())
    })
    .await?;
    Ok(began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_share_the_work_the_plugins_and_who_is_let_in() -> Result<()> {
    let fleet = Fleet::start(2).await?;
    let [one, two] = &fleet.hosts[..] else { unreachable!("two were asked for") };

    // Without the key of the database, or with another one, a host says what to do and leaves nothing behind.
    for key in [None, Some("0".repeat(64))] {
        let directory = tempfile::tempdir()?;
        let (config, file) = (directory.path().join("config"), directory.path().join("config/encryption.key"));
        std::fs::create_dir(&config)?;
        if let Some(key) = &key {
            std::fs::write(&file, key)?;
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        }
        let mut command = Command::new(tool("THREEPORT")?);
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.path().join("data"));
        let said = refused("the key", command.arg("--config-dir").arg(&config).args(["--database", &fleet.url]))?;
        ensure!(said.contains("encryption.key") && said.contains("--encryption-key"), "{said}");
        ensure!(file.exists() == key.is_some(), "a key that was made for nothing is left behind");
        ensure!(!said.contains("not-a-secret"), "the password is shown: {said}");
    }

    // Tokens of the administrator and of accounts are good on both, and so is the authority.
    let configs = [std::fs::read_to_string(one.kubeconfig())?, std::fs::read_to_string(two.kubeconfig())?];
    let lines =
        |text: &str| text.lines().filter(|line| !line.contains("server:")).map(str::to_owned).collect::<Vec<_>>();
    ensure!(lines(&configs[0]) == lines(&configs[1]), "the kubeconfigs differ in more than the address");
    let token = one.kubectl()?.run(&["create", "token", "default"])?;
    let who = two.kubectl()?.run(&["--token", token.trim(), "auth", "whoami"])?;
    ensure!(who.contains("system:serviceaccount:default:default"), "{who}");

    // Both work, with the plugin that was given to one.
    fleet.push(0, "note-v1")?;
    let (by_one, by_two) = (notes(one).await?, notes(two).await?);
    let mut wanted = BTreeMap::new();
    for number in 0..60 {
        let (name, api) = (format!("note-{number}"), if number % 2 == 0 { &by_one } else { &by_two });
        // The kind is served by the host that it was given to at once, and by the other one a moment later.
        let made = eventually("the kind is served", SOON, || async {
            Ok(api.create(&PostParams::default(), &note(&name, "first")).await?)
        });
        made.await?;
        wanted.insert(name, "first".to_owned());
    }
    settled(&by_two, &wanted, SOON).await?;
    let runs = [fleet.runs(0)?, fleet.runs(1)?];
    println!("runs on each host: {runs:?}");
    ensure!(runs.iter().all(|runs| *runs > 0.0), "one host did it all: {runs:?}");

    // A version that is pushed through one serves on both: what is written through the other is not run by the version before.
    fleet.push(1, "note-v2")?;
    let began = Instant::now();
    for (host, api) in [&by_one, &by_two].into_iter().enumerate() {
        for number in 0..10 {
            let name = format!("new-{host}-{number}");
            api.create(&PostParams::default(), &note(&name, "second")).await?;
            let served = eventually("the new version runs it", SOON, || async {
                let body = serde_json::to_value(api.get(&name).await?)?;
                Ok(body["status"]["servedBy"].as_str().context("not run yet")?.to_owned())
            });
            ensure!(
                served.await? == "v2",
                "{name} was run by the version before, {:?} after the swap",
                began.elapsed()
            );
        }
    }
    Ok(())
}

/// Writes every Note once, through these hosts in turn.
pub(crate) async fn change(
    fleet: &Fleet,
    wanted: &mut BTreeMap<String, String>,
    round: usize,
    hosts: &[usize],
) -> Result<()> {
    let apis = try_join_all(hosts.iter().map(|host| notes(&fleet.hosts[*host]))).await?;
    for (number, (name, text)) in wanted.iter_mut().enumerate() {
        *text = format!("{round}-{number}");
        let patch = json!({"spec": {"text": text.as_str()}});
        apis[number % apis.len()].patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

/// One host is killed and another frozen while objects change; the third does it all.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_and_a_frozen_host_held_is_done_by_the_others() -> Result<()> {
    let mut fleet = Fleet::start(3).await?;
    fleet.push(0, "note-v1")?;
    let api = notes(&fleet.hosts[0]).await?;
    let mut wanted = BTreeMap::new();
    for number in 0..30 {
        let name = format!("note-{number}");
        api.create(&PostParams::default(), &note(&name, "0")).await?;
        wanted.insert(name, "0".to_owned());
    }
    settled(&api, &wanted, SOON).await?;

    change(&fleet, &mut wanted, 1, &[0, 1, 2]).await?;
    fleet.hosts[1].kill()?;
    let took = settled(&api, &wanted, SOON).await?;
    println!("after kill -9: all Notes settled within {took:?}");
    ensure!(took < Duration::from_secs(5), "work did not move: {took:?}");

    change(&fleet, &mut wanted, 2, &[0, 2]).await?;
    fleet.hosts[2].signal("STOP")?;
    let took = settled(&api, &wanted, SOON).await?;
    println!("after SIGSTOP: all Notes settled within {took:?}");
    change(&fleet, &mut wanted, 3, &[0]).await?;
    settled(&api, &wanted, SOON).await?;
    fleet.hosts[2].signal("CONT")?;
    // What it was about to write is of no effect, and it works again.
    let third = notes(&fleet.hosts[2]).await?;
    change(&fleet, &mut wanted, 4, &[2]).await?;
    settled(&third, &wanted, SOON).await?;
    settled(&api, &wanted, SOON).await?;
    Ok(())
}

/// SIGTERM ends a host with exit code 0 within the grace time, and hands its work on at once; told again, it ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_told_to_stop_hands_its_work_on() -> Result<()> {
    let mut fleet = Fleet::start(2).await?;
    fleet.push(0, "note-v1")?;
    let api = notes(&fleet.hosts[0]).await?;
    let mut wanted = BTreeMap::new();
    let second = notes(&fleet.hosts[1]).await?;
    eventually("the kind is served", SOON, || async { Ok(second.list(&Default::default()).await?) }).await?;
    let mut watch = Command::new(tool("KUBECTL")?)
        .arg("--kubeconfig")
        .arg(fleet.hosts[1].kubeconfig())
        .args(["get", "notes", "--watch"])
        .stdout(std::process::Stdio::null())
        .spawn()?;
    for number in 0..40 {
        let name = format!("note-{number}");
        let made = eventually("the kind is served", SOON, || async {
            Ok(second.create(&PostParams::default(), &note(&name, "0")).await?)
        });
        made.await?;
        wanted.insert(name, "0".to_owned());
    }
    let began = Instant::now();
    let code = fleet.hosts[1].stop()?;
    let stopped = began.elapsed();
    let took = settled(&api, &wanted, SOON).await?;
    println!("a clean stop took {stopped:?}; all Notes settled {took:?} later");
    ensure!(code == Some(0), "exit code {code:?}");
    ensure!(stopped < Duration::from_secs(10), "it took {stopped:?}");
    watch.wait()?;
    let log = std::fs::read_to_string(fleet.hosts[1].log())?;
    ensure!(log.contains("stopped") && !log.contains("panicked"), "{log}");
    Ok(())
}

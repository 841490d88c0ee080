//! Hosts that are replaced one at a time, and hosts of two versions on one database.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;
use threeport_tests::{Server, eventually, tool};

use crate::hosts::{Fleet, SOON, note, notes, settled};
use crate::startup::refused;

/// As long as a host has from SIGTERM to its end.
const GRACE: Duration = Duration::from_secs(15);

/// Runs that did not end well.
fn bad_runs(host: &Server) -> Result<f64> {
    let metrics = host.metrics()?;
    let ended = |outcome: &str| metrics.sum("threeport_runs_total", &[&format!("outcome={outcome:?}")]);
    Ok(["failed", "panicked", "lease_lost"].into_iter().map(ended).sum())
}

/// Writes Notes through hosts that are there, until it is told to stop; what was acknowledged last is given.
async fn write(
    mut hosts: tokio::sync::watch::Receiver<Vec<Api<DynamicObject>>>,
    mut wanted: BTreeMap<String, String>,
    written: Arc<AtomicUsize>,
) -> Result<BTreeMap<String, String>> {
    let names: Vec<String> = wanted.keys().cloned().collect();
    for count in 0.. {
        let (name, text) = (&names[count % names.len()], format!("text-{count}"));
        let patch = Patch::Merge(json!({"spec": {"text": text}}));
        let api = {
            let hosts = hosts.borrow_and_update();
            if hosts.is_empty() {
                break;
            }
            hosts[count % hosts.len()].clone()
        };
        api.patch(name, &PatchParams::default(), &patch).await.context("a host that is there refuses a write")?;
        wanted.insert(name.clone(), text);
        written.store(count, Relaxed);
    }
    Ok(wanted)
}

/// What a newer version's migration adds, which older hosts need not know.
const LATER: &str = "alter table workitem add column later text not null default 'x'; alter table host add column later text; create table later (name text); \
     insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9000, 'later', true, '', 0)";

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_replaced_one_at_a_time_under_load_and_nothing_is_lost() -> Result<()> {
    let mut fleet = Fleet::start(3).await?;
    fleet.hosts[0].push(&["note-v1"])?;
    let first = notes(&fleet.hosts[0]).await?;
    let mut wanted = BTreeMap::new();
    for number in 0..20 {
        let name = format!("note-{number}");
        let made = eventually("the kind is served", SOON, || async {
            Ok(first.create(&PostParams::default(), &note(&name, "new")).await?)
        });
        made.await?;
        wanted.insert(name, "new".to_owned());
    }
    for host in &fleet.hosts {
        settled(&notes(host).await?, &wanted, SOON).await?;
    }
    let all = try_join_all(fleet.hosts.iter().map(notes)).await?;
    let (there, hosts) = tokio::sync::watch::channel(all.clone());
    let written = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn(write(hosts, wanted, written.clone()));
    let some_more = async || {
        let enough = written.load(Relaxed) + 40;
        eventually("the writes go on", SOON, || async {
            ensure!(!writing.is_finished(), "the writer has ended");
            ensure!(written.load(Relaxed) >= enough, "{written:?} of {enough}");
            Ok(())
        })
        .await
    };
    some_more().await?;
    for old in 0..3 {
        let others: Vec<_> = (0..3).filter(|host| *host != old).map(|host| there.borrow()[host].clone()).collect();
        let before = there.send_replace([others[0].clone(), others[1].clone(), others[0].clone()].to_vec());
        some_more().await?;
        let bad = bad_runs(&fleet.hosts[old])?;
        ensure!(bad == 0.0, "{bad} runs of host {old} did not end well");
        let began = Instant::now();
        let unused = fleet.host()?;
        let mut host = std::mem::replace(&mut fleet.hosts[old], unused);
        let code = host.stop()?;
        let took = began.elapsed();
        println!("host {old} went after {took:?}");
        ensure!(code == Some(0) && took < GRACE, "exit code {code:?} after {took:?}");
        let log = std::fs::read_to_string(host.log())?;
        ensure!(!log.contains("lease was lost") && !log.contains("panicked"), "{log}");
        if old == 1 {
            // The next one is newer, and adds something to the tables while the others run.
            fleet.sql(LATER)?;
        }
        some_more().await?;
        fleet.hosts[old].boot(&[]).await?;
        let mut now = before;
        now[old] = notes(&fleet.hosts[old]).await?;
        there.send_replace(now);
        some_more().await?;
    }
    there.send_replace(Vec::new());
    let wanted = writing.await.context("the writer does not panic")??;
    for host in &fleet.hosts {
        settled(&notes(host).await?, &wanted, SOON).await?;
        let bad = bad_runs(host)?;
        ensure!(bad == 0.0, "{bad} runs did not end well");
    }
    println!("{written:?} writes, one at a time, while three hosts were replaced");

    // A version that older hosts cannot live with says so: none starts any more; those that run do what they can until the newer one writes.
    fleet.sql("update meta set value = 9000 where name = 'needs'")?;
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(tool("THREEPORT")?);
    command
        .args(["server", "--listen", "127.0.0.1:0", "--database", &fleet.url, "--data-dir"])
        .arg(directory.path().join("data"));
    command.arg("--config-dir").arg(directory.path().join("config")).arg("--encryption-key").arg(&fleet.key);
    let said = refused("an older host on a newer database", &mut command)?;
    ensure!(said.contains("9000") && said.contains("upgrade this host"), "{said}");
    Ok(())
}

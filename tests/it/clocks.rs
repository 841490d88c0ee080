//! Hosts whose clocks differ by a minute.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::PostParams;
use threeport_tests::{Server, eventually};

use crate::hosts::{Fleet, SOON, change, note, notes, settled};

/// What makes a process believe in another time.
fn library() -> Result<PathBuf> {
    let machines = std::fs::read_dir("/usr/lib").context("look into /usr/lib")?.flatten();
    let mut places = machines.map(|machine| machine.path().join("faketime/libfaketimeMT.so.1"));
    places.find(|place| place.exists()).context("libfaketime is not installed: run `deploy/setup test`")
}

/// This host's wall clock is wrong; timers go right.
fn set_clock(host: &mut Server, offset: &str) -> Result<()> {
    host.set("LD_PRELOAD", library()?.to_str().context("path")?);
    host.set("FAKETIME", offset);
    host.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    host.set("DONT_FAKE_MONOTONIC", "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_whose_clocks_differ_by_a_minute_share_the_work_and_say_so() -> Result<()> {
    let mut fleet = Fleet::start(1).await?;
    for offset in ["+60s", "-60s"] {
        let mut host = fleet.host()?;
        set_clock(&mut host, offset)?;
        host.boot(&[]).await?;
        fleet.hosts.push(host);
    }
    fleet.push(0, "note-v1")?;
    let api = notes(&fleet.hosts[0]).await?;
    let mut wanted = BTreeMap::new();
    for number in 0..30 {
        let (name, host) = (format!("note-{number}"), notes(&fleet.hosts[number % 3]).await?);
        let made = eventually("the kind is served", SOON, || async {
            Ok(host.create(&PostParams::default(), &note(&name, "0")).await?)
        });
        made.await?;
        wanted.insert(name, "0".to_owned());
    }
    settled(&api, &wanted, SOON).await?;
    for round in 1..4 {
        change(&fleet, &mut wanted, round, &[0, 1, 2]).await?;
        settled(&api, &wanted, SOON).await?;
    }
    for (number, (host, ahead)) in fleet.hosts.iter().zip([0.0, 60.0, -60.0]).enumerate() {
        let metrics = host.metrics()?;
        let of = |outcome: &str| {
            metrics.sum("threeport_runs_total", &["resource=\"notes\"", &format!("outcome={outcome:?}")])
        };
        let (clock, runs) = (metrics.sum("threeport_clock_ahead_seconds", &[]), of("succeeded"));
        println!("host {number}: its clock is {clock:.3} s ahead; {runs} runs");
        ensure!((clock - ahead).abs() < 5.0, "clock: {clock}");
        ensure!(runs > 0.0 && of("lease_lost") == 0.0 && of("failed") == 0.0, "{metrics}");
        let log = std::fs::read_to_string(host.log())?;
        ensure!(log.contains("set its clock") == (ahead != 0.0), "{log}");
    }
    ensure!(fleet.sql("select count(*) from host where ahead between 55000000 and 65000000 or ahead between -65000000 and -55000000")? == "2");

    // A token that is made where it is later is good where it is earlier, and the other way round.
    for (makes, takes) in [(1, 2), (2, 1)] {
        let token = fleet.hosts[makes].kubectl()?.run(&["create", "token", "default"])?;
        let who = fleet.hosts[takes].kubectl()?.run(&["--token", token.trim(), "auth", "whoami"])?;
        ensure!(who.contains("system:serviceaccount:default:default"), "{who}");
    }

    // Work moves from those whose clocks are wrong as from any.
    change(&fleet, &mut wanted, 4, &[0, 1, 2]).await?;
    fleet.hosts[1].kill()?;
    let took = settled(&api, &wanted, SOON).await?;
    change(&fleet, &mut wanted, 5, &[0, 2]).await?;
    ensure!(fleet.hosts[2].stop()? == Some(0));
    settled(&api, &wanted, SOON).await?;
    println!("after kill -9 of the host that is ahead: all Notes settled within {took:?}");
    ensure!(took < Duration::from_secs(10), "work did not move: {took:?}");
    Ok(())
}

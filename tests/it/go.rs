//! client-go and controller-runtime, unmodified: the program in `tests/clients` says what it found to hold.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use threeport_tests::Server;

/// Builds the program, or finds it built.
fn program() -> Result<String> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/build");
    let output = Command::new(build).stderr(Stdio::inherit()).output().context("run tests/clients/build")?;
    ensure!(output.status.success(), "tests/clients/build: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Runs a scenario, which has to find these to hold and nothing else.
async fn finds(server: &mut Server, scenario: &str, holds: &[&str]) -> Result<()> {
    finds_with(server, scenario, &[], holds).await
}

/// [`finds`], with these environment variables.
async fn finds_with(server: &mut Server, scenario: &str, with: &[(&str, &str)], holds: &[&str]) -> Result<()> {
    let mut process = Command::new(program()?)
        .arg(server.kubeconfig())
        .arg(scenario)
        // client-go then holds every streamed list against an exact one of the same version, and panics if they differ. It cannot for an
        // operator's types, with Kubernetes neither: a list of custom objects names the kind of each.
        .env("KUBE_WATCHLIST_INCONSISTENCY_DETECTOR", if scenario == "manager" { "false" } else { "true" })
        .envs(with.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(server.path("clients.log"))?)
        .spawn()
        .context("start the program")?;
    let mut input = process.stdin.take().context("its input")?;
    let mut found = BTreeSet::new();
    for line in BufReader::new(process.stdout.take().context("its output")?).lines() {
        let line = line.context("read its output")?;
        match line.strip_prefix("holds: ") {
            Some(sentence) => ensure!(found.insert(sentence.to_owned()), "twice: {sentence}"),
            None if line == "restart" => {
                server.kill()?;
                server.boot(&[]).await?;
                writeln!(input, "done").context("say that the server is back")?;
            }
            None => bail!("not understood: {line}"),
        }
    }
    let status = process.wait().context("wait for the program")?;
    let log = std::fs::read_to_string(server.path("clients.log"))?;
    ensure!(status.success(), "{status}\nfound: {found:#?}\n{log}");
    let wanted: BTreeSet<String> = holds.iter().map(|&sentence| sentence.to_owned()).collect();
    let differ: Vec<&String> = wanted.symmetric_difference(&found).collect();
    ensure!(differ.is_empty(), "found or wanted, but not both: {differ:#?}");
    Ok(())
}

/// Informers on a built-in kind, a user's and a plugin's, whose lists come in this way.
async fn informers_follow(with: &[(&str, &str)], list: &str) -> Result<()> {
    let mut server = Server::start_to_stay(&[]).await?;
    server.push(&["note-v1"])?;
    let mut holds = vec!["ConfigMap: written as protobuf".to_owned()];
    for kind in ["ConfigMap", "Gadget", "Note"] {
        for what in [
            "the informer tells each change once and in order",
            list,
            "over a restart the informer misses nothing and tells nothing twice",
            "it goes on where it was, without a list",
        ] {
            holds.push(format!("{kind}: {what}"));
        }
    }
    finds_with(&mut server, "informers", with, &holds.iter().map(String::as_str).collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn informers_see_each_change_once_in_order_and_go_on_after_a_restart() -> Result<()> {
    informers_follow(&[], "its list is streamed").await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_do_informers_that_do_not_stream_lists() -> Result<()> {
    informers_follow(&[("KUBE_FEATURE_WatchListClient", "false")], "its list is read at once").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_informer_that_comes_back_too_late_lists_again() -> Result<()> {
    let mut server = Server::start_with(&[("THREEPORT_KEEP_CHANGES", "100")]).await?;
    let holds = [
        "a watch from a version that is gone ends with 410 Expired",
        "an informer that is told so lists again, and tells what it missed",
        "a later page of a list that is gone is refused with 410 and a token for the rest",
        "the token gives the rest as it is now: 1",
        "a pager then reads the list whole",
    ];
    finds(&mut server, "expired", &holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_managers_apply_to_one_object() -> Result<()> {
    let mut server = Server::start().await?;
    let holds = [
        "a second manager is refused with the field that the first one has",
        "by force it takes the field over",
        "what a manager does not apply any more is removed",
        "status is applied apart",
        "a manager's own part is extracted from managedFields",
        "applied again without a field, the other manager's stays",
        "applied again unchanged, there is no new version",
        "an update of an old version is a conflict",
        "a delete of another uid is a conflict",
    ];
    finds(&mut server, "apply", &holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_elects_one_leader_after_the_other() -> Result<()> {
    let mut server = Server::start().await?;
    let holds = [
        "one leads while it renews its lease",
        "the other takes over when it steps down",
        "a lease that is not renewed is taken when it has run out",
        "the lease tells who holds it and how often it changed hands",
    ];
    finds(&mut server, "leases", &holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_retry_on_conflict_lose_nothing() -> Result<()> {
    let mut server = Server::start().await?;
    let holds = ["typed updates: two writers lose nothing", "merge patches with a version: two writers lose nothing"];
    finds(&mut server, "storms", &holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_maps_and_scales_a_users_kind() -> Result<()> {
    let mut server = Server::start().await?;
    let holds = [
        "both forms of discovery tell the same kinds, a user's among them",
        "a RESTMapper maps kinds, resources and short names",
        "OpenAPI v3 is found by group and version",
        "the scale client reads, updates and patches a user's kind",
    ];
    finds(&mut server, "discovery", &holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_of_one_moment() -> Result<()> {
    let mut server = Server::start().await?;
    let holds = ["a pager sees the list as it was when it began", "the metadata client reads metadata alone"];
    finds(&mut server, "pages", &holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_reconciles_over_a_restart() -> Result<()> {
    let mut server = Server::start_to_stay(&[]).await?;
    let holds = [
        "a new object is reconciled: finalizer, owned object, status",
        "a change is reconciled, status does not count as one",
        "what it owns comes back when it is deleted",
        "after a restart of the server it goes on",
        "a deletion waits for the finalizer and takes along what is owned",
        "a manager that is ended gives its lease back",
    ];
    finds(&mut server, "manager", &holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_recorders_record_events() -> Result<()> {
    let mut server = Server::start().await?;
    let holds = ["what is said again is counted, in one Event", "events.k8s.io records the same Events, in series"];
    finds(&mut server, "events", &holds).await
}

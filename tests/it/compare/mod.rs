//! The same calls to the local kube-apiserver and to ours: the answers must be the same, apart from what `ignored.yaml` names with its reason.
//!
//! `open.yaml` names the calls that are not answered as Kubernetes does yet. Neither list can rot: a call that differs and is in none fails the
//! test, and so does one that is in it and no longer differs, and a place that no answer needs to have ignored.

mod calls;
mod normal;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use threeport_tests::{Cluster, Server, plain_client};

use calls::{Answer, Call, Caller, calls};
use normal::{Ignored, differences, ignored};

#[tokio::test(flavor = "multi_thread")]
async fn kube_apiserver_and_ours_give_the_same_answers() -> Result<()> {
    let server = Server::start().await?;
    let cluster = Cluster::connect()?;
    let namespace = format!("compare-{}", std::process::id());
    let theirs = Caller::new(plain_client(&cluster.kubeconfig).await?, &namespace);
    let ours = Caller::new(plain_client(&server.kubeconfig()).await?, &namespace);
    let outcome = compare(theirs, ours).await;
    let kubectl = &cluster.kubectl;
    let kind = "customresourcedefinition/widgets.compare.example.com";
    kubectl.run(&["delete", "--ignore-not-found", "--wait=false", kind, &format!("namespace/{namespace}")])?;
    outcome
}

async fn compare(mut theirs: Caller, mut ours: Caller) -> Result<()> {
    let (everywhere, calls) = (ignored()?, calls()?);
    let open: BTreeSet<String> = serde_yaml_ng::from_str(include_str!("open.yaml")).context("read open.yaml")?;
    let (mut report, mut differ, mut same) = (String::new(), BTreeSet::new(), 0);
    for caller in [&mut theirs, &mut ours] {
        caller.make_namespace().await?;
    }
    theirs.settle().await?;
    for call in &calls {
        let (expected, found) =
            tokio::try_join!(theirs.make(call), ours.make(call)).with_context(|| format!("call {:?}", call.name))?;
        let rows = judge(call, &everywhere, expected, found);
        if rows.is_empty() {
            same += 1;
            continue;
        }
        let known = if open.contains(&call.name) { "open" } else { "NEW" };
        writeln!(report, "\n[{known}] {} ({})", call.name, call.what)?;
        rows.iter().take(12).try_for_each(|row| writeln!(report, "    {row}"))?;
        differ.insert(call.name.clone());
    }
    println!("{same} calls answered alike, {} differ\n{report}", differ.len());
    let (new, mended): (Vec<_>, Vec<_>) = (differ.difference(&open).collect(), open.difference(&differ).collect());
    ensure!(new.is_empty(), "answered in another way than kube-apiserver does: {new:?}\n{report}");
    ensure!(mended.is_empty(), "answered alike now, take them out of open.yaml: {mended:?}");
    let needless: Vec<String> = everywhere.iter().flat_map(Ignored::needless).collect();
    ensure!(needless.is_empty(), "no answer needs these of ignored.yaml any more: {needless:?}");
    let of_calls = calls.iter().flat_map(|call| call.ignore.iter().map(move |place| (call, place.needless())));
    let needless: Vec<_> =
        of_calls.filter(|(_, places)| !places.is_empty()).map(|(call, places)| (&call.name, places)).collect();
    ensure!(needless.is_empty(), "these calls need not ignore these places any more: {needless:?}");
    Ok(())
}

/// What is not the same, one line each.
fn judge(call: &Call, everywhere: &[Ignored], expected: Answer, found: Answer) -> Vec<String> {
    let ignored: Vec<&Ignored> = everywhere.iter().chain(&call.ignore).collect();
    let mut rows = Vec::new();
    let parts = [
        ("/http", json!(expected.status), json!(found.status)),
        ("", expected.body, found.body),
        ("/warnings", json!(expected.warnings), json!(found.warnings)),
        ("/events", json!(expected.events), json!(found.events)),
    ];
    for (at, expected, found) in parts {
        rows.extend(differences(&call.name, at, &expected, &found, &ignored));
    }
    rows
}

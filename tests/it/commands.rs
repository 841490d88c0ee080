//! The command line against a real server: what it prints where, and with which exit code. Where kubectl has the same command, both have to say the same.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use threeport_tests::{Server, eventually, tool};

/// A server with the kind Note, and objects of it.
async fn notes() -> Result<Server> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    let file = server.path("notes.yaml");
    std::fs::write(&file, NOTES)?;
    server.threeport(&["apply", "-f", text(&file)?, "--wait"])?;
    Ok(server)
}

const NOTES: &str = "
apiVersion: test.threeport.dev/v1
kind: Note
metadata: {name: one, namespace: default, labels: {tier: front, app.kubernetes.io/name: shop}}
spec: {text: hello}
---
apiVersion: test.threeport.dev/v1
kind: Note
metadata: {name: two, namespace: default}
spec: {text: there}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: plain, namespace: default}
data: {a: '1'}
";

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

fn threeport(server: &Server, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(tool("THREEPORT")?);
    command.arg("--kubeconfig").arg(server.kubeconfig()).args(args).stdin(Stdio::null());
    command.output().context("start threeport")
}

/// Output, errors and exit code, with ages made equal.
fn said(output: &Output) -> (String, String, Option<i32>) {
    let plain = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        // AGE is the last column of our tables, and the seconds go on between two calls.
        let lines = text.lines().map(|line| match line.rsplit_once("   ") {
            Some((start, age))
                if age.ends_with('s') && age.trim_end_matches('s').chars().all(|c| c.is_ascii_digit() || c == 'm') =>
            {
                format!("{start}   AGE")
            }
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    (plain(&output.stdout), plain(&output.stderr), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_can_do_too_is_said_in_its_words() -> Result<()> {
    let server = notes().await?;
    let kubectl = server.kubectl()?;
    let file = server.path("notes.yaml");
    let file = text(&file)?;
    let calls: &[&[&str]] = &[
        &["get", "notes"],
        &["get", "note", "one"],
        &["get", "notes", "one", "two"],
        &["get", "note/one", "configmap/plain"],
        &["get", "notes,configmaps"],
        &["get", "notes", "-A"],
        &["get", "notes", "-o", "wide"],
        &["get", "notes", "-l", "tier=front"],
        &["get", "notes", "-l", "tier notin (front)"],
        &["get", "notes", "-l", "tier=none"],
        &["get", "notes", "--field-selector", "metadata.name=two"],
        &["get", "notes", "--show-labels"],
        &["get", "notes", "--no-headers"],
        &["get", "notes", "--sort-by=.spec.text"],
        &["get", "notes", "-o", "name"],
        &["get", "note/one", "-o", "json"],
        &["get", "note/one", "-o", "yaml"],
        &["get", "notes", "-o", "yaml"],
        &["get", "notes", "-o", "json", "-l", "tier=none"],
        &["get", "notes", "-o", "jsonpath={.items[*].metadata.name}"],
        &["get", "notes", "-o", "jsonpath={range .items[*]}{.metadata.name}{\"\\t\"}{.spec.text}{\"\\n\"}{end}"],
        &["get", "note/one", "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}"],
        &["get", "note/one", "-o", "jsonpath={.metadata.labels.app\\.kubernetes\\.io/name}"],
        &["get", "-f", file],
        &["get", "-f", file, "-o", "name"],
        &["get", "notes", "-n", "elsewhere"],
        &["get", "plugins"],
        &["get", "namespaces", "default", "-o", "name"],
        &["get", "note", "absent"],
        &["get", "note", "absent", "--ignore-not-found"],
        &["get", "note", "one", "absent"],
        &["get", "note", "one", "absent", "-o", "name"],
        &["get", "gadgets"],
        &["get", "note", "one", "-l", "a=b"],
        &["wait", "note/one", "--for=condition=Ready"],
        &["wait", "notes", "--all", "--for=condition=Ready"],
        &["wait", "note/one", "--for=jsonpath={.spec.text}=hello"],
        &["wait", "note/one", "--for=condition=Absent", "--timeout=1s"],
        &["wait", "note/absent", "--for=condition=Ready"],
        &["wait", "note/absent", "--for=delete"],
        &["wait", "notes", "-l", "tier=none", "--for=condition=Ready"],
        &["delete", "note", "absent"],
        &["delete", "note", "absent", "--ignore-not-found"],
        &["delete", "note", "one", "--dry-run=server"],
        &["delete", "notes", "-l", "tier=none"],
    ];
    let mut different = Vec::new();
    for call in calls {
        let (mut ours, mut theirs) = (said(&threeport(&server, call)?), said(&kubectl.output(call, None)?));
        if call.ends_with(&["-o", "yaml"]) {
            // The two libraries quote in different ways.
            for (text, ..) in [&mut ours, &mut theirs] {
                *text = serde_yaml_ng::from_str::<Value>(text)?.to_string();
            }
        }
        // kubectl says nothing while it waits.
        ours.1 =
            ours.1.lines().filter(|line| !line.starts_with("note.test.threeport.dev/")).collect::<Vec<_>>().join("\n");
        if ours != theirs {
            different.push(format!("{}\n  ours:    {ours:?}\n  kubectl: {theirs:?}", call.join(" ")));
        }
    }
    ensure!(different.is_empty(), "{}", different.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_applied_followed_and_deleted() -> Result<()> {
    let server = notes().await?;
    let file = server.path("notes.yaml");
    let again = threeport(&server, &["apply", "-f", text(&file)?])?;
    let unchanged =
        "note.test.threeport.dev/one unchanged\nnote.test.threeport.dev/two unchanged\nconfigmap/plain unchanged";
    ensure!(said(&again) == (unchanged.to_owned(), String::new(), Some(0)), "{again:?}");

    std::fs::write(&file, NOTES.replace("text: hello", "text: changed"))?;
    let dry = server.threeport(&["apply", "-f", text(&file)?, "--dry-run=server"])?;
    ensure!(dry.starts_with("note.test.threeport.dev/one configured (server dry run)\n"), "{dry}");
    let stored = server.threeport(&["get", "note/one", "-o", "jsonpath={.spec.text}"])?;
    ensure!(stored == "hello", "a dry run wrote {stored}");

    // A follower sees the change, and each line comes at once.
    let mut follower = Command::new(tool("THREEPORT")?)
        .arg("--kubeconfig")
        .arg(server.kubeconfig())
        .args(["get", "notes", "-w", "--output-watch-events", "-o", "name"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(follower.stdout.take().context("its output")?).lines();
    let first = lines.next().context("a line")??;
    ensure!(first == "note.test.threeport.dev/one", "{first}");
    lines.next().context("a line")??;
    let applied = server.threeport(&["apply", "-f", text(&file)?, "--wait"])?;
    ensure!(applied.contains("note.test.threeport.dev/one configured\n"), "{applied}");
    ensure!(applied.contains("note.test.threeport.dev/one is Ready\n"), "{applied}");
    let change = lines.next().context("a line")??;
    ensure!(change == "note.test.threeport.dev/one", "{change}");
    follower.kill()?;
    follower.wait()?;

    // What another set is not taken over, unless that is asked for; what the file no longer says goes.
    let theirs = NOTES.replace("text: hello", "text: theirs");
    server.kubectl()?.output(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&theirs))?;
    let refused = threeport(&server, &["apply", "-f", text(&file)?])?;
    let (_, err, code) = said(&refused);
    ensure!(
        code == Some(1) && err.contains(".spec.text: conflict with \"kubectl\"") && err.contains("--force-conflicts"),
        "{err}"
    );
    std::fs::write(&file, NOTES.replace("text: hello", "text: ours").replace("data: {a: '1'}", "data: {b: '1'}"))?;
    server.threeport(&["apply", "-f", text(&file)?, "--force-conflicts"])?;
    ensure!(server.threeport(&["get", "note/one", "-o", "jsonpath={.spec.text}"])? == "ours");

    let deleted = threeport(&server, &["delete", "-f", text(&file)?])?;
    let (out, err, code) = said(&deleted);
    ensure!(code == Some(0) && err.lines().all(|line| line.contains(": being deleted")), "{deleted:?}");
    ensure!(out.contains("note.test.threeport.dev \"one\" deleted"), "{out}");
    let left = threeport(&server, &["get", "notes"])?;
    ensure!(said(&left) == (String::new(), "No resources found in default namespace.".to_owned(), Some(0)), "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_names_the_file_and_the_field_and_the_rest_is_applied() -> Result<()> {
    let server = notes().await?;
    let file = server.path("mixed.yaml");
    let note = |name: &str, spec: &str| {
        format!("---\napiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let mixed = note("good", "{text: a}")
        + &note("odd", "{text: a, colour: red}")
        + &note("empty", "{}")
        + "---\napiVersion: test.threeport.dev/v1\nkind: Gadget\nmetadata: {name: g}\n";
    std::fs::write(&file, mixed)?;
    let output = threeport(&server, &["apply", "-f", text(&file)?])?;
    let (out, err, code) = said(&output);
    ensure!(out == "note.test.threeport.dev/good created" && code == Some(1), "{output:?}");
    for part in [
        "spec.colour",
        "The Note \"empty\" is invalid:",
        "spec.text: Required value",
        "no matches for kind \"Gadget\"",
        "mixed.yaml",
    ] {
        ensure!(err.contains(part), "{part} is not in: {err}");
    }
    for (args, part) in [
        (&["apply", "-f", "/nowhere.yaml"][..], "does not exist"),
        (&["apply", "-f", "https://example.org/x.yaml"], "is a URL"),
        (&["get", "notes", "-o", "xml"], "unable to match a printer"),
        (&["get"], "You must provide"),
        (&["wait", "note/one", "--for=sunshine"], "unrecognized condition"),
        (&["tree", "notes"], "name one object"),
        (&["why", "note/absent"], "notes.test.threeport.dev \"absent\" not found"),
        (&["plugin", "push", "/etc/hostname"], "is not a plugin"),
        (&["plugin", "swap", "/nowhere.wasm"], "/nowhere.wasm"),
        (&["plugin", "rollback", "absent"], "plugins.threeport.dev \"absent\" not found"),
    ] {
        let output = threeport(&server, args)?;
        let (out, err, code) = said(&output);
        ensure!(code.is_some_and(|code| code != 0) && out.is_empty() && err.contains(part), "{args:?}: {output:?}");
    }
    // A server that is not there is said in one line.
    let gone = server.path("gone");
    std::fs::write(&gone, std::fs::read_to_string(server.kubeconfig())?.replace("127.0.0.1:", "127.0.0.1:1"))?;
    let output = Command::new(tool("THREEPORT")?).arg("--kubeconfig").arg(&gone).args(["get", "notes"]).output()?;
    let (_, err, code) = said(&output);
    ensure!(code == Some(1) && err.lines().count() == 1 && err.starts_with("error: "), "{output:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_shows_what_hangs_together_and_why_finds_the_first_cause() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["cluster", "workload", "note-v1"])?;
    let file = server.path("objects.yaml");
    // A Workload on a Cluster whose kubeconfig is not there, and a ConfigMap that says who owns it.
    std::fs::write(
        &file,
        "apiVersion: threeport.dev/v1\nkind: Cluster\nmetadata: {name: prod}\nspec: {adopt: {kubeconfigSecret: {name: key}}}\n---\n\
         apiVersion: threeport.dev/v1\nkind: Workload\nmetadata: {name: web}\nspec: {cluster: prod, image: 'web:1'}\n",
    )?;
    server.threeport(&["apply", "-f", text(&file)?])?;
    server.threeport(&[
        "wait",
        "workload/web",
        "--for=jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}=ClusterNotReady",
    ])?;
    server.threeport(&[
        "wait",
        "cluster/prod",
        "--for=jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}=WaitingForSecret",
    ])?;
    let uid = server.threeport(&["get", "workload/web", "-o", "jsonpath={.metadata.uid}"])?;
    std::fs::write(
        &file,
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: child\n  ownerReferences:\n  - {{apiVersion: threeport.dev/v1, kind: Workload, name: web, uid: {uid}}}\n"
        ),
    )?;
    server.threeport(&["apply", "-f", text(&file)?])?;

    let tree = server.threeport(&["tree", "workload/web"])?;
    let lines: Vec<&str> = tree.lines().collect();
    for (line, start, end) in [
        (1, "Workload default/web", "ClusterNotReady"),
        (2, "├─ refers to", ""),
        (3, "│  └─ Cluster default/prod (spec.cluster)", "WaitingForSecret"),
        (4, "│     └─ Secret default/key (spec.adopt.kubeconfigSecret)", "NotFound"),
        (5, "└─ children", ""),
        (6, "   └─ ConfigMap default/child", "Exists"),
    ] {
        let found = lines.get(line).copied().unwrap_or_default();
        ensure!(found.starts_with(start) && found.contains(end), "line {line} is not {start} ... {end}:\n{tree}");
    }
    let of_cluster: Value = serde_json::from_str(&server.threeport(&["tree", "cluster", "prod", "-o", "json"])?)?;
    ensure!(of_cluster["kind"] == "Tree" && of_cluster["apiVersion"] == "threeport.dev/v1", "{of_cluster}");
    ensure!(
        of_cluster["referrers"][0]["object"]["name"] == "web" && of_cluster["referrers"][0]["role"] == "target",
        "{of_cluster}"
    );

    let why: Value = serde_json::from_str(&server.threeport(&["why", "workload/web", "-o", "json"])?)?;
    let names: Vec<&str> =
        why["chain"].as_array().context("a chain")?.iter().filter_map(|step| step["object"]["name"].as_str()).collect();
    ensure!(names == ["web", "prod", "key"], "{why:#}");
    ensure!(why["summary"] == "secrets \"default/key\" does not exist: create it", "{why:#}");
    let work = &why["chain"][0]["work"];
    ensure!(work["plugin"] == "workload" && work["nextRun"].is_string() && work["lastRun"].is_string(), "{why:#}");
    let told = server.threeport(&["why", "workload/web"])?;
    ensure!(told.ends_with("First cause: secrets \"default/key\" does not exist: create it\n"), "{told}");
    let described = server.threeport(&["describe", "workload/web"])?;
    for part in ["Name:         web", "Conditions:", "References:", "Children:", "Events:", "ClusterNotReady"] {
        ensure!(described.contains(part), "{part} is not in:\n{described}");
    }

    // One that is well is said to be well; one whose plugin is gone leads to the plugin.
    std::fs::write(&file, "apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: n}\nspec: {text: a}\n")?;
    server.threeport(&["apply", "-f", text(&file)?, "--wait"])?;
    let why = server.threeport(&["why", "note/n"])?;
    ensure!(why.starts_with("Note default/n is Ready"), "{why}");

    // They are subresources as any other: listed, and only read.
    let listed: Value = serde_json::from_str(&server.kubectl()?.run(&["get", "--raw", "/apis/threeport.dev/v1"])?)?;
    for name in ["workloads/tree", "workloads/why", "plugins/tree"] {
        let found = listed["resources"].as_array().into_iter().flatten().any(|resource| resource["name"] == name);
        ensure!(found, "{name} is not listed: {listed}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_listed_swapped_and_rolled_back() -> Result<()> {
    let server = notes().await?;
    let second = threeport_tests::guest("note-v2")?;
    let swapped = threeport(&server, &["plugin", "swap", text(&second)?, "--name", "note-v1"])?;
    let (out, err, code) = said(&swapped);
    ensure!(code == Some(0) && out.starts_with("plugin note-v1 serves version 2.0.0 (sha256:"), "{swapped:?}");
    // Piped, progress is plain lines, one for each gate that was seen.
    ensure!(err.contains("plugin.threeport.dev/note-v1: Serving: version 2.0.0"), "{err}");
    let list = server.threeport(&["plugin", "list"])?;
    let row: Vec<&str> = list.lines().nth(1).context("a plugin")?.split_whitespace().collect();
    ensure!(row[..6] == ["note-v1", "2.0.0", "True", "Serving", "none", "Note"], "{list}");
    // Version 3 narrows the schema: refused by name, and version 2 serves on.
    let third = threeport_tests::guest("note-v3")?;
    let refused = threeport(&server, &["plugin", "swap", text(&third)?, "--name", "note-v1"])?;
    let (_, err, code) = said(&refused);
    ensure!(code == Some(1) && err.contains("SchemaIncompatible") && err.contains("spec.text"), "{refused:?}");
    let back = server.threeport(&["plugin", "rollback", "note-v1"])?;
    ensure!(back.starts_with("plugin note-v1 serves version 2.0.0"), "{back}");
    let back = server.threeport(&["plugin", "rollback", "note-v1"])?;
    ensure!(back.starts_with("plugin note-v1 serves version 1.0.0"), "{back}");
    // What it asks for is listed with the way to approve it.
    let asks = threeport(&server, &["plugin", "push", text(&threeport_tests::guest("workload")?)?])?;
    let (out, err, code) = said(&asks);
    ensure!(code == Some(1) && out.is_empty(), "{asks:?}");
    ensure!(err.contains("Deployment") && err.contains("--approve-grants"), "{err}");
    let list = server.threeport(&["plugin", "list"])?;
    ensure!(list.lines().any(|line| line.starts_with("workload") && line.contains("pending")), "{list}");
    let other = threeport(&server, &["plugin", "push", text(&threeport_tests::guest("wrong-contract")?)?])?;
    let (_, err, code) = said(&other);
    ensure!(
        code == Some(1) && err.contains("ContractUnsupported") && err.contains("threeport plugin build"),
        "{other:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_explains_itself_and_completes() -> Result<()> {
    let program = tool("THREEPORT")?;
    for command in ["apply", "get", "describe", "delete", "wait", "tree", "why", "version", "completion"] {
        let help = Command::new(&program).args([command, "--help"]).output()?;
        let text = String::from_utf8_lossy(&help.stdout);
        ensure!(help.status.success() && text.contains("Examples:"), "{command}: {text}");
    }
    for command in ["new", "build", "test", "push", "list", "swap", "rollback"] {
        let help = Command::new(&program).args(["plugin", command, "--help"]).output()?;
        let text = String::from_utf8_lossy(&help.stdout);
        ensure!(help.status.success() && text.contains("Examples:"), "plugin {command}: {text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = Command::new(&program).args(["completion", shell]).output()?;
        ensure!(script.status.success() && String::from_utf8_lossy(&script.stdout).contains("rollback"), "{shell}");
    }
    // As kubectl's plugin it is another name of the same program.
    let place = tempfile::tempdir()?;
    let linked = place.path().join("kubectl-threeport");
    std::os::unix::fs::symlink(&program, &linked)?;
    let path = std::env::join_paths(
        [place.path().to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").context("PATH")?)),
    )?;
    let help = Command::new(tool("KUBECTL")?).args(["threeport", "get", "--help"]).env("PATH", path).output()?;
    ensure!(String::from_utf8_lossy(&help.stdout).contains("Usage: kubectl threeport get"), "{help:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_is_no_failure_and_a_wait_ends_when_its_object_does() -> Result<()> {
    let server = notes().await?;
    let mut piped = Command::new(tool("THREEPORT")?)
        .arg("--kubeconfig")
        .arg(server.kubeconfig())
        .args(["get", "notes", "-o", "yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(piped.stdout.take());
    let mut err = String::new();
    piped.stderr.take().context("stderr")?.read_to_string(&mut err)?;
    ensure!(piped.wait()?.success() && err.is_empty(), "{err}");

    let mut waiting = Command::new(tool("THREEPORT")?)
        .arg("--kubeconfig")
        .arg(server.kubeconfig())
        .args(["wait", "note/two", "--for=delete", "--timeout=20s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It has looked once when it says how the object is.
    let mut progress = BufReader::new(waiting.stderr.take().context("stderr")?).lines();
    let line = progress.next().context("progress")??;
    ensure!(line.starts_with("note.test.threeport.dev/two: Ready"), "{line}");
    server.threeport(&["delete", "note/two"])?;
    eventually("the wait ends", Duration::from_secs(10), || {
        let ended = waiting.try_wait();
        async move { ended?.context("it waits") }
    })
    .await?;
    let mut out = String::new();
    waiting.stdout.take().context("stdout")?.read_to_string(&mut out)?;
    ensure!(out == "note.test.threeport.dev/two condition met\n", "{out}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_reaches_to_what_is_on_a_target_and_why_to_what_fails_there() -> Result<()> {
    let namespace = "cli-tree";
    let (server, kubectl, cluster) = crate::path::adopted(namespace).await?;
    cluster.image("localkube.test/cli-tree:1", "tree", 0)?;
    kubectl.apply(&crate::path::workload(namespace, "localkube.test/cli-tree:1", 1))?;
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=90s", "workload/web"])?;
    let tree = server.threeport(&["tree", "workload/web", "-n", namespace])?;
    for kind in ["Deployment", "Service"] {
        let line = format!("{kind} {namespace}/web on Cluster {namespace}/local");
        let found =
            tree.lines().find(|shown| shown.contains(&line)).with_context(|| format!("{kind} is not in\n{tree}"))?;
        ensure!(found.ends_with("current"), "{tree}");
    }
    let described = server.threeport(&["describe", "workload/web", "-n", namespace])?;
    ensure!(described.contains("On targets:"), "{described}");

    // An image that cannot be had: the Deployment is named as what is not well.
    kubectl.apply(&crate::path::workload(namespace, "localkube.test/cli-tree:absent", 1))?;
    eventually("why names the Deployment", Duration::from_secs(60), || async {
        let why: Value =
            serde_json::from_str(&server.threeport(&["why", "workload/web", "-n", namespace, "-o", "json"])?)?;
        let placed = &why["chain"][0]["targets"][0];
        ensure!(why["ready"] == "False" && placed["kind"] == "Deployment" && placed["health"] != "current", "{why}");
        Ok(())
    })
    .await
}

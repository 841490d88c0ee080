//! What an operator sees: metrics, spans and logs.

use anyhow::{Context, Result, ensure};
use threeport_tests::{Server, eventually};

const SECRET: &str = "c2VjcmV0LW9mLXRoaXMtdGVzdA==";

/// The samples of a metric, as `/metrics` has them, whose labels have all of these.
fn samples<'a>(text: &'a str, name: &str, labels: &[&str]) -> Vec<(&'a str, f64)> {
    text.lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit_once(' ').and_then(|(what, value)| Some((what, value.parse().ok()?))))
        .collect()
}

fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    samples(text, name, labels).iter().map(|(_, value)| value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_requests_runs_commits_plugins_and_the_process() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    let kubectl = server.kubectl()?;
    kubectl.apply("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: seen, namespace: default}\nspec: {text: hello}\n")?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "note/seen"])?;
    // Names of objects that are not there, and kinds that nobody serves, make no series of their own.
    for absent in ["/apis/test.threeport.dev/v1/namespaces/default/notes/absent", "/apis/absent.example.com/v1/absents"]
    {
        ensure!(!kubectl.output(&["get", "--raw", absent], None)?.status.success(), "{absent} is not there");
    }
    let text = eventually("the run is counted", std::time::Duration::from_secs(10), || async {
        let text = kubectl.run(&["get", "--raw", "/metrics"])?;
        ensure!(sum(&text, "threeport_runs_total", &["plugin=\"note-v1\"", "outcome=\"succeeded\""]) >= 1.0, "{text}");
        Ok(text)
    })
    .await?;
    let notes = ["resource=\"notes\"", "group=\"test.threeport.dev\""];
    for (verb, code) in [("POST", "201"), ("GET", "404"), ("GET", "200")] {
        let labels = [notes[0], notes[1], &format!("verb=\"{verb}\""), &format!("code=\"{code}\"")];
        ensure!(sum(&text, "apiserver_request_total", &labels) >= 1.0, "{verb} {code}:\n{text}");
    }
    for (name, labels) in [
        ("apiserver_request_duration_seconds_bucket", &["verb=\"POST\"", "le=\"+Inf\""][..]),
        ("apiserver_resource_objects", &notes),
        ("threeport_run_duration_seconds_count", &notes),
        ("threeport_run_wait_seconds_count", &notes),
        ("threeport_run_part_duration_seconds_count", &["part=\"plugin\""]),
        ("threeport_run_part_duration_seconds_count", &["part=\"complete\""]),
        ("threeport_claim_duration_seconds_count", &[]),
        ("threeport_store_commit_duration_seconds_count", &[]),
        ("threeport_store_commit_group_size_sum", &[]),
        ("threeport_wasm_call_duration_seconds_count", &[]),
        ("threeport_wasm_instance_memory_bytes_sum", &[]),
        ("threeport_queue_items", &[]),
        ("threeport_store_resource_version", &[]),
        ("process_resident_memory_bytes", &[]),
        ("process_open_fds", &[]),
        ("threeport_build_info", &[]),
    ] {
        ensure!(sum(&text, name, labels) > 0.0, "{name} {labels:?} is missing:\n{text}");
    }
    for gauge in [
        "threeport_wasm_instances",
        "threeport_queue_oldest_due_seconds",
        "threeport_queue_depth",
        "threeport_queue_leased",
    ] {
        ensure!(!samples(&text, gauge, &[]).is_empty(), "{gauge} is missing:\n{text}");
    }
    ensure!(!text.contains("absent") && !text.contains("seen"), "a name became a label:\n{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_those_who_may_come_in() -> Result<()> {
    let server = Server::start().await?;
    let output = server.kubectl()?.output(&["--token=wrong", "get", "--raw", "/metrics"], None)?;
    ensure!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_where_nobody_sits_and_never_say_a_secret() -> Result<()> {
    let mut server = Server::start().await?;
    let kubectl = server.kubectl()?;
    let secret = |kind: &str| {
        format!(
            "apiVersion: v1\nkind: {kind}\nmetadata: {{name: mine, namespace: default}}\ndata: {{password: {SECRET}}}\n"
        )
    };
    kubectl.apply(&secret("Secret"))?;
    // Refused for a field, and with the secret where no field is.
    kubectl.output(&["apply", "--validate=false", "-f", "-"], Some(&secret("Secrets")))?;
    kubectl.output(
        &["patch", "secret", "mine", "--type=merge", "-p", &format!("{{\"data\":{{\"password\":[\"{SECRET}\"]}}}}")],
        None,
    )?;
    let token = kubectl.run(&["config", "view", "--raw", "-o", "jsonpath={.users[0].user.token}"])?;
    server.stop()?;
    let log = std::fs::read_to_string(server.log()).context("read the log")?;
    ensure!(log.lines().count() > 1, "it says something");
    for line in log.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).with_context(|| format!("{line} is not JSON"))?;
        ensure!(parsed["level"].is_string() && parsed["timestamp"].is_string(), "{line}");
    }
    for said in [SECRET, "secret-of-this-test", token.as_str()] {
        ensure!(!said.is_empty() && !log.contains(said), "the log has a secret:\n{log}");
    }
    Ok(())
}

//! What an operator sees: metrics, spans and logs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use threeport_tests::{Cluster, Collector, Server, Span, eventually};

use crate::path::adopt;

const SECRET: &str = "c2VjcmV0LW9mLXRoaXMtdGVzdA==";

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
    let text = eventually("the run is counted", Duration::from_secs(10), || async {
        let text = server.metrics()?;
        ensure!(text.sum("threeport_runs_total", &["plugin=\"note-v1\"", "outcome=\"succeeded\""]) >= 1.0, "{text}");
        Ok(text)
    })
    .await?;
    let notes = ["resource=\"notes\"", "group=\"test.threeport.dev\""];
    for (verb, code) in [("POST", "201"), ("GET", "404"), ("GET", "200")] {
        let labels = [notes[0], notes[1], &format!("verb=\"{verb}\""), &format!("code=\"{code}\"")];
        ensure!(text.sum("apiserver_request_total", &labels) >= 1.0, "{verb} {code}:\n{text}");
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
        ensure!(text.sum(name, labels) > 0.0, "{name} {labels:?} is missing:\n{text}");
    }
    for gauge in [
        "threeport_wasm_instances",
        "threeport_queue_oldest_due_seconds",
        "threeport_queue_depth",
        "threeport_queue_leased",
    ] {
        ensure!(text.of(gauge, &[]).next().is_some(), "{gauge} is missing:\n{text}");
    }
    ensure!(!text.0.contains("absent") && !text.0.contains("seen"), "a name became a label:\n{text}");
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

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

/// Creates an object as a client that traces.
async fn create_traced(server: &Server, path: &str, object: &Value) -> Result<http::Response<kube::client::Body>> {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-{CLIENT}-01"))
        .header("audit-id", "of-this-test")
        .body(kube::client::Body::from(object.to_string().into_bytes()))?;
    let response = server.client().await?.send(request).await?;
    ensure!(response.status() == http::StatusCode::CREATED, "{response:?}");
    Ok(response)
}

/// The names of the spans above one, nearest first.
fn above<'a>(spans: &'a [Span], of: &Span) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut parent = &of.parent;
    while let Some(span) = spans.iter().find(|span| span.id == *parent) {
        names.push(span.name.as_str());
        parent = &span.parent;
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_call_of_the_api_to_the_call_on_the_target() -> Result<()> {
    let namespace = "seeing-trace";
    let cluster = Cluster::with_namespace(namespace)?;
    let collector = Collector::start().await?;
    let endpoint = format!("http://{}", collector.address);
    let server =
        Server::start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100")]).await?;
    server.push(&["cluster", "workload"])?;
    let kubectl = server.kubectl()?;
    kubectl.run(&["create", "namespace", namespace])?;
    adopt(&kubectl, namespace, &cluster.kubeconfig)?;
    kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=30s", "cluster/local"])?;

    let path = format!("/apis/threeport.dev/v1/namespaces/{namespace}/workloads");
    let workload = json!({"apiVersion": "threeport.dev/v1", "kind": "Workload", "metadata": {"name": "web"},
        "spec": {"cluster": "local", "image": "localkube.test/none:1", "replicas": 1}});
    let response = create_traced(&server, &path, &workload).await?;
    ensure!(response.headers()["audit-id"] == "of-this-test", "{response:?}");

    let (spans, call) =
        eventually("the trace has a call on the target that changes it", Duration::from_secs(30), || async {
            let mut spans = collector.spans();
            spans.retain(|span| span.trace == TRACE);
            let call = spans.iter().find(|span| {
                span.name == "target"
                    && span.attributes["http.request.method"] == "PATCH"
                    && span.attributes["url.path"].contains("/deployments/")
            });
            let call = call.cloned().with_context(|| format!("{spans:#?}"))?;
            ensure!(above(&spans, &call).ends_with(&["request"]), "{spans:#?}");
            Ok((spans, call))
        })
        .await?;
    ensure!(above(&spans, &call) == ["apply", "run", "commit", "request"], "{:?}", above(&spans, &call));
    let named =
        |name: &str| spans.iter().find(|span| span.name == name).with_context(|| format!("no {name}: {spans:#?}"));
    let request = named("request")?;
    ensure!(request.parent == CLIENT && request.service == "threeport", "{request:#?}");
    for (span, attribute, value) in [
        (request, "http.request.method", "POST"),
        (request, "url.path", path.as_str()),
        (request, "verb", "POST"),
        (request, "resource", "workloads.threeport.dev"),
        (request, "user", "threeport-admin"),
        (request, "request_id", "of-this-test"),
        (request, "http.response.status_code", "201"),
        (named("run")?, "object", &format!("workloads.threeport.dev \"{namespace}/web\"")),
        (named("run")?, "plugin", "workload"),
        (named("run")?, "generation", "1"),
        (named("run")?, "reason", "changed"),
        (named("run")?, "epoch", "1"),
    ] {
        ensure!(span.attributes.get(attribute).map(String::as_str) == Some(value), "{attribute}: {span:#?}");
    }
    for (name, over) in [("ring", "request"), ("claim", "commit"), ("observe", "run"), ("plugin", "run")] {
        ensure!(above(&spans, named(name)?).first() == Some(&over), "{name}: {:#?}", named(name)?);
    }
    ensure!(named("plugin")?.took > 0 && named("run")?.took >= named("plugin")?.took, "{spans:#?}");
    // What one looks for in the logs.
    let log = std::fs::read_to_string(server.log()).context("read the log")?;
    let told = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["span"]["trace_id"] == TRACE);
    ensure!(log.lines().any(told), "no line of the run has the trace's id:\n{log}");
    let token = kubectl.run(&["config", "view", "--raw", "-o", "jsonpath={.users[0].user.token}"])?;
    ensure!(!format!("{:?}", collector.spans()).contains(&token), "a span has the token");
    kubectl.run(&["delete", "workload", "web", "-n", namespace, "--timeout=60s"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_logs_of_a_run_have_the_trace_of_the_write() -> Result<()> {
    let mut server = Server::start().await?;
    server.push(&["note-v1"])?;
    let note = json!({"apiVersion": "test.threeport.dev/v1", "kind": "Note", "metadata": {"name": "seen"}, "spec": {"text": "a"}});
    let response = create_traced(&server, "/apis/test.threeport.dev/v1/namespaces/default/notes", &note).await?;
    ensure!(!response.headers()["audit-id"].is_empty(), "{response:?}");
    let kubectl = server.kubectl()?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "note/seen"])?;
    let told = |name: &str| -> Result<Vec<String>> {
        let log = std::fs::read_to_string(server.log()).context("read the log")?;
        let object = format!("notes.test.threeport.dev \"default/{name}\"");
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_run = lines.filter(|line| line["span"]["name"] == "run" && line["span"]["object"] == object.as_str());
        Ok(of_run.filter_map(|line| line["span"]["trace_id"].as_str().map(str::to_owned)).collect())
    };
    ensure!(told("seen")?.first().is_some_and(|trace| trace == TRACE), "{:?}", told("seen")?);
    // A client that does not trace begins a trace of its own.
    kubectl.apply("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: other, namespace: default}\nspec: {text: hello}\n")?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "note/other"])?;
    let other = told("other")?;
    ensure!(other.first().is_some_and(|trace| trace.len() == 32 && trace != TRACE), "{other:?}");
    server.stop()?;
    Ok(())
}

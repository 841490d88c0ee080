//! What is refused, and that the refusal says why, loses nothing and leaves the rest at work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use threeport_tests::{Server, condition, eventually, guest, plain_client};

use crate::path::{adopted, workload};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_does_not_load_is_refused_and_the_old_one_serves_on() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    for (bad, why) in [("wrong-contract", "ContractUnsupported"), ("traps-in-describe", "ComponentInvalid")] {
        let file = guest(bad)?;
        let error = server
            .threeport(&["plugin", "push", &file.to_string_lossy(), "--name", "note-v1", "--approve-grants"])
            .expect_err("a plugin that does not load must be refused")
            .to_string();
        ensure!(error.contains(why), "{bad}: {error}");
    }
    let text = server.path("not-a-component.wasm");
    std::fs::write(&text, "hello")?;
    let error = server
        .threeport(&["plugin", "push", &text.to_string_lossy(), "--name", "note-v1"])
        .expect_err("text is no plugin")
        .to_string();
    ensure!(error.contains("not-a-component.wasm"), "{error}");

    let kubectl = server.kubectl()?;
    kubectl
        .apply("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: after}\nspec: {text: still here}\n")?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=15s", "note/after"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_is_judged_again_when_what_stood_in_its_way_is_gone() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    let file = guest("note-v1")?.to_string_lossy().into_owned();
    let push = || server.threeport(&["plugin", "push", &file, "--name", "second", "--approve-grants"]);
    for attempt in ["at first", "with nothing changed"] {
        let error = push().expect_err("the kind has another plugin").to_string();
        ensure!(error.contains("KindConflict"), "{attempt}: {error}");
    }
    let kubectl = server.kubectl()?;
    kubectl.apply("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: held}\nspec: {text: hello}\n")?;
    let error = kubectl.run(&["delete", "plugin", "note-v1", "--timeout=15s"]).expect_err("it is needed").to_string();
    ensure!(error.contains("Conflict") && error.contains("default/held"), "{error}");
    kubectl.run(&["delete", "note", "held", "--timeout=15s"])?;
    kubectl.run(&["delete", "plugin", "note-v1", "--timeout=15s"])?;
    push()?;
    let (status, reason, message) = condition(&kubectl.get(&["plugin", "second"])?, "Ready");
    ensure!((status.as_str(), reason.as_str()) == ("True", "Serving"), "{status} {reason} {message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_the_field_and_the_fix() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["cluster", "workload"])?;
    let kubectl = server.kubectl()?;
    let cases = [
        ("kind: Workload\nmetadata: {name: a}\nspec: {cluster: c, image: i, replicas: many}", "spec.replicas"),
        ("kind: Workload\nmetadata: {name: a}\nspec: {cluster: c, image: i, replica: 2}", "spec.replica"),
        ("kind: Workload\nmetadata: {name: a}\nspec: {cluster: c}", "spec.image"),
        ("kind: Workload\nmetadata: {name: A_b}\nspec: {cluster: c, image: i}", "metadata.name"),
        (
            "kind: Cluster\nmetadata: {name: a}\nspec: {adopt: {kubeconfigSecret: {name: s}}, tenants: [{namespace: shop, namespaces: [A_b]}]}",
            "spec.tenants[0].namespaces[0]",
        ),
        (
            "kind: Cluster\nmetadata: {name: a}\nspec: {adopt: {kubeconfigSecret: {name: s}}, tenants: [{namespace: a}, {namespace: a}]}",
            "spec.tenants[1]",
        ),
        ("kind: Wrkload\nmetadata: {name: a}\nspec: {}", "Wrkload"),
    ];
    for (manifest, named) in cases {
        let error = kubectl
            .apply(&format!("apiVersion: threeport.dev/v1\n{manifest}\n"))
            .expect_err("bad input must be refused")
            .to_string();
        ensure!(error.contains(named), "{manifest}: {error}");
    }
    ensure!(kubectl.run(&["get", "workloads", "-o", "name"])?.trim().is_empty());
    kubectl.apply(include_str!("../../plugins/cluster/examples/tenants.yaml"))?;
    // A way to serve that this version does not have is not taken for one that it has.
    let error = kubectl
        .apply("apiVersion: threeport.dev/v1\nkind: Plugin\nmetadata: {name: a}\nspec: {component: x, rollout: {canary: 10}}\n")
        .expect_err("an unknown field must be refused")
        .to_string();
    ensure!(error.contains("canary"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_is_garbage_is_a_condition_that_names_it() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["cluster"])?;
    let kubectl = server.kubectl()?;
    kubectl.run(&["create", "secret", "generic", "local-kubeconfig", "--from-literal=kubeconfig=nonsense"])?;
    kubectl.apply(
        "apiVersion: threeport.dev/v1\nkind: Cluster\nmetadata: {name: local}\nspec: {adopt: {kubeconfigSecret: {name: local-kubeconfig}}}\n",
    )?;
    eventually("the Cluster says what is wrong", Duration::from_secs(20), || async {
        let (status, reason, message) = condition(&kubectl.get(&["cluster", "local"])?, "Ready");
        ensure!(
            status == "False" && reason == "InvalidKubeconfig" && message.contains("kubeconfig"),
            "{status} {reason} {message}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_data_is_refused_with_the_path() -> Result<()> {
    let server = Server::start().await?;
    let data = server.path("data");
    let output = std::process::Command::new(threeport_tests::tool("THREEPORT")?)
        .args(["server", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .arg("--config-dir")
        .arg(server.path("config"))
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && stderr.contains(&*data.to_string_lossy()), "{stderr}");
    server.kubectl()?.run(&["get", "namespaces"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_get_a_status_that_says_what_is_wrong() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    let client = plain_client(&server.kubeconfig()).await?;
    let maps = "/api/v1/namespaces/default/configmaps";
    let notes = "/apis/test.threeport.dev/v1/namespaces/default/notes";
    let (json, yaml) = ("application/json", "application/yaml");
    let named = |name: &str| json!({"metadata": {"name": name}}).to_string();
    let note = |spec: Value| json!({"apiVersion": "test.threeport.dev/v1", "kind": "Note", "metadata": {"name": "a"}, "spec": spec});
    let strict = format!("{notes}?fieldValidation=Strict");
    let large = json!({"metadata": {"name": "large"}, "data": {"text": "x".repeat(1_600_000)}}).to_string();
    let deep = format!(r#"{{"metadata":{{"name":"deep"}},"data":{}1{}}}"#, r#"{"a":"#.repeat(5000), "}".repeat(5000));
    let label = json!({"metadata": {"name": "a", "labels": {"app": "x".repeat(64)}}}).to_string();
    let cases: &[(&str, &str, &str, String, u16, &str, &str)] = &[
        ("JSON that ends too early", maps, json, r#"{"metadata": {"name": "a""#.into(), 400, "BadRequest", "line 1"),
        ("JSON that is none", maps, json, "}{".into(), 400, "BadRequest", "line 1"),
        ("YAML that is none", maps, yaml, "metadata: {name: a\n  b: [".into(), 400, "BadRequest", "line"),
        ("bytes", maps, json, "\u{1}\u{2}".into(), 400, "BadRequest", ""),
        ("a list in place of an object", maps, json, "[]".into(), 400, "BadRequest", ""),
        ("nothing", maps, json, String::new(), 400, "BadRequest", ""),
        ("another media type", maps, "text/plain", named("a"), 415, "UnsupportedMediaType", "application/json"),
        (
            "another kind than the path's",
            maps,
            json,
            json!({"kind": "Secret", "metadata": {"name": "a"}}).to_string(),
            400,
            "BadRequest",
            "Secret",
        ),
        (
            "an unknown field",
            &strict,
            json,
            note(json!({"text": "a", "txet": 1})).to_string(),
            400,
            "BadRequest",
            "spec.txet",
        ),
        ("a number in place of text", notes, json, note(json!({"text": 7})).to_string(), 422, "Invalid", "spec.text"),
        ("text in place of an object", notes, json, note(json!("text")).to_string(), 422, "Invalid", "spec"),
        ("a name that is too long", maps, json, named(&"n".repeat(254)), 422, "Invalid", "metadata.name"),
        ("a name that is none", maps, json, named("A_b"), 422, "Invalid", "metadata.name"),
        ("a label that is too long", maps, json, label, 422, "Invalid", "metadata.labels"),
        ("more than 1.5 MB", maps, json, large, 413, "RequestEntityTooLarge", "1572864"),
        ("more than any body", maps, json, "x".repeat(4 << 20), 413, "RequestEntityTooLarge", "3145728"),
        ("deeper than anything", maps, json, deep, 400, "BadRequest", ""),
    ];
    for (what, path, media, body, code, reason, named) in cases {
        let request = http::Request::post(*path).header("content-type", *media);
        let response = client.send(request.body(kube::client::Body::from(body.clone().into_bytes()))?).await?;
        let got = response.status().as_u16();
        let answer = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
        let status: Value = serde_json::from_slice(&answer).with_context(|| format!("{what}: {answer:?}"))?;
        ensure!(got == *code && status["code"] == *code && status["kind"] == "Status", "{what}: {got} {status}");
        ensure!(status["reason"] == *reason, "{what}: {status}");
        let said = status["message"].as_str().unwrap_or_default();
        ensure!(!said.is_empty() && said.len() < 4096 && said.contains(named), "{what}: {status}");
        if *code == 422 {
            let fields = status["details"]["causes"].as_array().context("causes")?;
            ensure!(
                fields.iter().any(|cause| cause["field"].as_str().is_some_and(|field| field.starts_with(named))),
                "{what}: {status}"
            );
        }
    }
    // As kube-apiserver says it: of what nobody serves there is no Status either.
    let request = http::Request::post("/apis/absent.example.com/v1/things").header("content-type", json);
    let response = client.send(request.body(kube::client::Body::from(named("a").into_bytes()))?).await?;
    ensure!(response.status().as_u16() == 404, "a kind that nobody serves: {}", response.status());
    // Nothing of it is there, and the server goes on.
    let kubectl = server.kubectl()?;
    let left = kubectl.run(&["get", "notes,configmaps", "-o", "name"])?;
    ensure!(left.lines().all(|name| name == "configmap/kube-root-ca.crt"), "{left}");
    kubectl.apply("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: after}\nspec: {text: fine}\n")?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=15s", "note/after"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_points_nowhere_is_a_condition_that_says_where() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["cluster", "workload"])?;
    let kubectl = server.kubectl()?;
    let nowhere = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\n\
                   contexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {token: t}}]\n";
    kubectl.run(&["create", "secret", "generic", "nowhere", &format!("--from-literal=kubeconfig={nowhere}")])?;
    kubectl.apply(
        "apiVersion: threeport.dev/v1\nkind: Cluster\nmetadata: {name: nowhere}\nspec: {adopt: {kubeconfigSecret: {name: nowhere}}}\n---\n\
         apiVersion: threeport.dev/v1\nkind: Workload\nmetadata: {name: web}\nspec: {cluster: nowhere, image: 'localkube.test/a:1'}\n",
    )?;
    for (object, reasons, named) in [
        ("cluster/nowhere", &["ClusterUnreachable"][..], "127.0.0.1:1"),
        ("workload/web", &["WaitingForTarget", "ClusterNotReady", "ClusterUnreachable"], "nowhere"),
    ] {
        eventually(object, Duration::from_secs(30), || async {
            let (status, reason, message) = condition(&kubectl.get(&[object])?, "Ready");
            ensure!(
                status != "True" && reasons.contains(&reason.as_str()) && message.contains(named),
                "{status} {reason} {message}"
            );
            Ok(())
        })
        .await?;
    }
    // Both can go.
    kubectl.run(&["delete", "workload/web", "--timeout=20s"])?;
    kubectl.run(&["delete", "cluster/nowhere", "--timeout=20s"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_is_a_condition_that_names_it() -> Result<()> {
    let namespace = "seeing-image";
    let (_server, kubectl, _cluster) = adopted(namespace).await?;
    for (image, named) in [("Not An Image", "Not An Image"), ("localkube.test/absent:1", "localkube.test/absent:1")] {
        let applied = kubectl.apply(&workload(namespace, &format!("'{image}'"), 1));
        let Ok(_) = applied else {
            let error = applied.expect_err("refused").to_string();
            ensure!(error.contains("spec.image") && error.contains(named), "{error}");
            continue;
        };
        eventually(image, Duration::from_secs(60), || async {
            let (status, reason, message) = condition(&kubectl.get(&["workload", "web", "-n", namespace])?, "Ready");
            ensure!(status == "False" && message.contains(named) && !reason.is_empty(), "{status} {reason} {message}");
            Ok(())
        })
        .await?;
    }
    kubectl.run(&["delete", "workload", "web", "-n", namespace, "--ignore-not-found", "--timeout=60s"])?;
    Ok(())
}

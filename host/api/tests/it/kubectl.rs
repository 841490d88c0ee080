//! kubectl works unmodified.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{Server, WIDGETS, widgets};

const WIDGET: &str = "
apiVersion: example.com/v1
kind: Widget
metadata: {name: one, labels: {app: one}}
spec: {image: 'web:1', replicas: 2}
";

#[tokio::test]
async fn kubectl_defines_a_kind_and_lives_with_its_objects() {
    let server = Server::start().await;
    let definition = server.file("crd.yaml", WIDGETS);
    assert!(server.kubectl_ok(&["apply", "-f", &definition]).await.contains("created"));
    server.kubectl_ok(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s"]).await;
    assert!(server.kubectl_ok(&["apply", "-f", &definition]).await.contains("unchanged"));
    let kinds = server.kubectl_ok(&["api-resources"]).await;
    assert!(kinds.contains("widgets") && kinds.contains("wd") && kinds.contains("plugins"), "{kinds}");

    let file = server.file("widget.yaml", WIDGET);
    assert!(server.kubectl_ok(&["apply", "-f", &file]).await.contains("created"));
    assert!(server.kubectl_ok(&["apply", "-f", &file]).await.contains("unchanged"));
    let changed = server.file("widget.yaml", &WIDGET.replace("replicas: 2", "replicas: 3"));
    assert!(server.kubectl_ok(&["apply", "-f", &changed]).await.contains("configured"));

    let table = server.kubectl_ok(&["get", "widgets"]).await;
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "IMAGE", "REPLICAS", "READY", "AGE"]);
    assert_eq!(lines[1][..3], ["one", "web:1", "3"]);
    assert!(server.kubectl_ok(&["get", "wd", "-o", "wide"]).await.contains("slow"));
    assert!(server.kubectl_ok(&["get", "all"]).await.contains("one"));
    assert!(server.kubectl_ok(&["get", "wd", "-A", "-l", "app=one"]).await.contains("default"));
    assert!(server.kubectl_ok(&["get", "wd", "one", "-o", "yaml"]).await.contains("replicas: 3"));
    assert_eq!(server.kubectl_ok(&["get", "wd", "one", "-o", "jsonpath={.spec.mode}"]).await, "slow");

    let described = server.kubectl_ok(&["describe", "wd", "one"]).await;
    assert!(described.contains("Image:     web:1") && described.contains("Events:"), "{described}");
    let explained = server.kubectl_ok(&["explain", "widget.spec"]).await;
    assert!(explained.contains("What the widget should be.") && explained.contains("How many of it."), "{explained}");
    assert!(server.kubectl_ok(&["explain", "widget.spec.replicas"]).await.contains("integer"));
    assert!(server.kubectl_ok(&["explain", "secret.stringData"]).await.contains("never output"));
    assert!(server.kubectl_ok(&["explain", "plugin.spec.component"]).await.contains("Digest"));

    server.kubectl_ok(&["patch", "wd", "one", "--type=merge", "-p", r#"{"spec":{"replicas":4}}"#]).await;
    server.kubectl_ok(&["label", "wd", "one", "tier=front"]).await;
    server.kubectl_ok(&["annotate", "wd", "one", "note=x"]).await;
    let patch = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    server.kubectl_ok(&["patch", "wd", "one", "--subresource=status", "--type=merge", "-p", patch]).await;
    server.kubectl_ok(&["wait", "--for=condition=Ready", "wd/one", "--timeout=10s"]).await;
    assert!(server.kubectl_ok(&["delete", "-f", &file]).await.contains("deleted"));
    assert!(server.kubectl_ok(&["get", "wd"]).await.is_empty());
    server.kubectl_ok(&["delete", "crd", "widgets.example.com"]).await;
    server.stop().await;
}

#[tokio::test]
async fn kubectl_names_the_field_that_is_wrong() {
    let server = Server::start().await;
    server.define_widgets().await;
    let unknown = server.file("unknown.yaml", &WIDGET.replace("replicas", "replica"));
    let error = server.kubectl_fails(&["apply", "-f", &unknown]).await;
    assert!(error.contains(r#"unknown field "spec.replica""#), "{error}");
    let wrong = server.file("wrong.yaml", &WIDGET.replace("replicas: 2", "replicas: two"));
    let error = server.kubectl_fails(&["apply", "-f", &wrong]).await;
    assert!(error.contains(r#"spec.replicas in body must be of type integer: "string""#), "{error}");
    let ruled = server.file("ruled.yaml", &WIDGET.replace("'web:1', replicas: 2", "big, replicas: 600"));
    let error = server.kubectl_fails(&["apply", "-f", &ruled]).await;
    assert!(error.contains("big ones need less replicas"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn kubectl_applies_the_builtin_kinds() {
    let server = Server::start().await;
    let text = "
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: team}
stringData: {password: secret}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: team}
data: {a: '1', b: '2'}
";
    let file = server.file("builtin.yaml", text);
    assert_eq!(server.kubectl_ok(&["apply", "-f", &file]).await.matches("created").count(), 3);
    // A Secret with stringData is always written again, with Kubernetes too: what was applied is not what is there.
    assert_eq!(server.kubectl_ok(&["apply", "-f", &file]).await.matches("unchanged").count(), 2);
    server.file("builtin.yaml", &text.replace(", b: '2'", ", c: '3'"));
    assert!(server.kubectl_ok(&["apply", "-f", &file]).await.contains("configmap/c configured"));
    let data = server.kubectl_ok(&["get", "cm", "c", "-n", "team", "-o", "jsonpath={.data}"]).await;
    assert_eq!(data, r#"{"a":"1","c":"3"}"#);
    let password = server.kubectl_ok(&["get", "secret", "s", "-n", "team", "-o", "jsonpath={.data.password}"]).await;
    assert_eq!(password, "c2VjcmV0");
    let described = server.kubectl_ok(&["describe", "secret", "s", "-n", "team"]).await;
    assert!(described.contains("password:  6 bytes"), "{described}");
    assert!(server.kubectl_ok(&["get", "ns"]).await.contains("Active"));
    server.kubectl_ok(&["delete", "ns", "team"]).await;
    assert!(server.kubectl_fails(&["get", "secret", "s", "-n", "team"]).await.contains("NotFound"));
    server.kubectl_ok(&["create", "secret", "generic", "k", "--from-literal=a=b"]).await;
    server.kubectl_ok(&["create", "configmap", "k", "--from-literal=a=b", "--dry-run=server"]).await;
    assert!(server.kubectl_fails(&["get", "configmap", "k"]).await.contains("NotFound"));
    server.stop().await;
}

#[tokio::test]
async fn kubectl_follows_changes() {
    let server = Server::start().await;
    server.define_widgets().await;
    server.make(&widgets("default"), &crate::harness::widget("first")).await;
    let mut child = server
        .kubectl_command()
        .args(["get", "widgets", "-w", "--output-watch-events"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut line = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.expect("in time");
        line.expect("readable").expect("kubectl goes on")
    };
    assert!(line().await.starts_with("EVENT"));
    assert!(line().await.contains("first"), "it has listed, and watches from there");
    server.make(&widgets("default"), &crate::harness::widget("seen")).await;
    let path = format!("{}/seen", widgets("default"));
    server.patch(&path, "merge-patch", &json!({"spec": {"replicas": 7}})).await;
    server.delete(&path).await;
    for (kind, text) in [("ADDED", "seen"), ("MODIFIED", "7"), ("DELETED", "seen")] {
        let line = line().await;
        assert!(line.starts_with(kind) && line.contains(text), "{line}");
    }
    child.kill().await.expect("it ends");
    server.stop().await;
}

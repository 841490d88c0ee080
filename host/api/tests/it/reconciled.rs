//! Kinds that a reconciler looks after: work items, the cleanup finalizer, references.

use std::time::Duration;

use serde_json::{Value, json};
use threeport_scheduler::Listener as _;
use threeport_store::Completion;

use crate::harness::{Server, widget, widgets};

const PLUGINS: &str = "/apis/threeport.dev/v1/plugins";

async fn heard(server: &mut Server) -> Vec<String> {
    let wakes = tokio::time::timeout(Duration::from_secs(5), server.bell.heard()).await.expect("it rings");
    wakes.expect("the bell is there").into_iter().map(|ring| ring.wake.uid).collect()
}

#[tokio::test]
async fn a_write_makes_work_due_and_rings() {
    let mut server = Server::start().await;
    server.define_needing_widgets("widgets", "ConfigMap").await;
    let made = server.make(&widgets("default"), &widget("w")).await;
    let uid = made["metadata"]["uid"].as_str().expect("a uid").to_owned();
    assert_eq!(made["metadata"]["finalizers"], json!(["threeport.dev/cleanup"]));
    assert_eq!(heard(&mut server).await, std::slice::from_ref(&uid));
    let claims = server.store.claim("test", Duration::from_secs(30), 10).await.expect("claims");
    assert_eq!(claims.len(), 1);
    server.store.release(&claims[0]).await.expect("released");

    let path = format!("{}/w", widgets("default"));
    let (_, body) =
        server.patch(&path, "merge-patch", &json!({"metadata": {"finalizers": null}, "spec": {"replicas": 5}})).await;
    assert_eq!(body["metadata"]["finalizers"], json!(["threeport.dev/cleanup"]), "it cannot be lost");
    assert_eq!(heard(&mut server).await, std::slice::from_ref(&uid));
    let (_, body) = server.delete(&path).await;
    assert!(body["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(heard(&mut server).await, [uid]);
    server.stop().await;
}

#[tokio::test]
async fn the_host_is_named_as_the_manager_of_the_status_it_writes() {
    let server = Server::start().await;
    server.define_needing_widgets("widgets", "ConfigMap").await;
    let path = format!("{}/w", widgets("default"));
    server.make(&widgets("default"), &widget("w")).await;
    let apply = async |query: &str, status: Value| {
        let body =
            json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "status": status});
        let request = server.request(reqwest::Method::PATCH, &format!("{path}/status?fieldManager=user{query}"));
        let request = request.header("content-type", "application/apply-patch+yaml").body(body.to_string());
        crate::harness::answer(request.send().await.expect("an answer")).await
    };
    assert_eq!(apply("", json!({"observed": 7})).await.0, 200);
    let claim = server.store.claim("test", Duration::from_secs(30), 10).await.expect("claims").remove(0);
    let status = json!({"observed": 8, "conditions": [{"type": "Ready", "status": "True"}]});
    let completion = Completion { status: Some(status.clone()), ..Completion::default() };
    server.store.complete(&claim, completion).await.expect("completed");
    let (_, written) = server.get(&path).await;
    let entries = written["metadata"]["managedFields"].as_array().expect("managers");
    let of = |manager: &str| entries.iter().find(|entry| entry["manager"] == manager);
    assert!(of("user").is_none(), "the host took what it changed: {written}");
    let host = of("threeport").expect("the host's entry");
    assert_eq!(host["fieldsV1"], json!({"f:status": {".": {}, "f:observed": {}, "f:conditions": {}}}));
    assert_eq!((&host["operation"], &host["subresource"]), (&json!("Update"), &json!("status")));

    assert_eq!(apply("", json!({})).await.1["status"], status, "what is the host's by now stays");
    let (code, refused) = apply("", json!({"observed": 9})).await;
    assert_eq!((code.as_u16(), &refused["details"]["causes"][0]["field"]), (409, &json!(".status.observed")));
    server.stop().await;
}

#[tokio::test]
async fn what_others_require_is_not_deleted_and_its_changes_wake_them() {
    let mut server = Server::start().await;
    server.define_needing_widgets("widgets", "ConfigMap").await;
    let maps = "/api/v1/namespaces/default/configmaps";
    server.make(maps, &json!({"metadata": {"name": "c"}})).await;
    let mut user = widget("user");
    user["spec"]["extra"] = json!({"needs": ["c"]});
    let made = server.make(&widgets("default"), &user).await;
    let uid = made["metadata"]["uid"].as_str().expect("a uid").to_owned();
    assert_eq!(heard(&mut server).await, std::slice::from_ref(&uid));
    let (code, body) = server.delete(&format!("{maps}/c")).await;
    assert_eq!(code, 409, "{body}");
    assert!(body["message"].as_str().is_some_and(|m| m.contains("widgets.example.com \"default/user\"")), "{body}");
    assert_eq!(body["details"]["causes"][0]["field"], "spec.extra.needs[0]");
    server.patch(&format!("{maps}/c"), "merge-patch", &json!({"data": {"a": "b"}})).await;
    assert_eq!(heard(&mut server).await, [uid]);
    let path = format!("{}/user", widgets("default"));
    let across = json!({"spec": {"extra": {"needs": [{"name": "c", "namespace": "other"}]}}});
    let (code, body) = server.patch(&path, "merge-patch", &across).await;
    assert_eq!((code.as_u16(), &body["details"]["causes"][0]["field"]), (422, &json!("spec.extra.needs[0].namespace")));
    assert_eq!(server.patch(&path, "merge-patch", &json!({"spec": {"extra": null}})).await.0, 200);
    assert_eq!(server.delete(&format!("{maps}/c")).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_plugin_needs_its_component_to_be_uploaded() {
    let mut server = Server::start().await;
    let digest = format!("sha256:{}", "0".repeat(64));
    let plugin = |digest: &str| json!({"apiVersion": "threeport.dev/v1", "kind": "Plugin", "metadata": {"name": "p"}, "spec": {"component": digest, "grants": [{"capability": "kubernetes", "rules": [{"verbs": ["get"]}]}]}});
    let (code, body) = server.post(PLUGINS, &plugin(&digest)).await;
    assert_eq!((code.as_u16(), &body["details"]["causes"][0]["field"]), (422, &json!("spec.component")));
    assert!(body["message"].as_str().is_some_and(|m| m.contains("threeport plugin push")), "{body}");
    let (code, body) = server.post(PLUGINS, &plugin("latest")).await;
    assert_eq!(code, 422, "{body}");
    let blob =
        server.request(reqwest::Method::POST, "/blobs").body(vec![7_u8; 5_000_000]).send().await.expect("an answer");
    assert_eq!(blob.status(), 201);
    let large = server.request(reqwest::Method::POST, "/blobs").body(vec![7_u8; (64 << 20) + 1]).send().await;
    let large = large.expect("an answer");
    assert_eq!(large.status(), 413);
    assert!(large.text().await.expect("a Status").contains("--blob-limit"));
    let digest = blob.json::<Value>().await.expect("JSON")["digest"].as_str().expect("a digest").to_owned();
    let made = server.make(PLUGINS, &plugin(&digest)).await;
    assert_eq!(made["metadata"]["finalizers"], json!(["threeport.dev/cleanup"]));
    assert_eq!(made["spec"]["grants"][0]["rules"][0]["verbs"][0], "get");
    assert_eq!(heard(&mut server).await, [made["metadata"]["uid"].as_str().expect("a uid")]);
    server.stop().await;
}

//! Namespaces go as a whole.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, WIDGETS, eventually, widget, widgets};

const NAMESPACES: &str = "/api/v1/namespaces";

async fn make(server: &Server, name: &str) {
    server.make(NAMESPACES, &json!({"metadata": {"name": name}})).await;
}

async fn gone(server: &Server, name: &str) {
    let path = format!("{NAMESPACES}/{name}");
    eventually("the namespace is gone", async || (server.get(&path).await.0 == 404).then_some(())).await;
}

/// Waits for a condition of a going namespace; answers its message.
async fn condition(server: &Server, name: &str, kind: &str, reason: &str) -> String {
    let path = format!("{NAMESPACES}/{name}");
    eventually(&format!("{kind} says {reason}"), async || {
        let (_, body) = server.get(&path).await;
        let conditions = body["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|c| c["type"] == kind && c["reason"] == reason)?;
        condition["message"].as_str().map(str::to_owned)
    })
    .await
}

/// Widgets that read a Secret and need a widget, which may be elsewhere.
async fn define(server: &Server) {
    let mut definition: Value = serde_yaml_ng::from_str(WIDGETS).expect("YAML");
    let references = json!([
        {"kind": "Widget", "field": "spec.extra.needs", "toApiVersion": "example.com/v1", "toKinds": ["Widget"], "role": "target", "crossNamespace": true},
        {"kind": "Widget", "field": "spec.extra.reads", "toApiVersion": "v1", "toKinds": ["Secret"], "role": "uses"},
    ]);
    definition["metadata"]["annotations"] = json!({"threeport.dev/references": references.to_string()});
    server.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
}

async fn make_widget(server: &Server, namespace: &str, name: &str, extra: Value) {
    let mut body = widget(name);
    body["spec"]["extra"] = extra;
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.make(&widgets(namespace), &body).await;
}

async fn let_go(server: &Server, namespace: &str, name: &str) {
    let patch = json!({"metadata": {"finalizers": null}});
    assert_eq!(server.patch(&format!("{}/{name}", widgets(namespace)), "merge-patch", &patch).await.0, 200);
}

async fn going(server: &Server, namespace: &str, name: &str) -> bool {
    server.get(&format!("{}/{name}", widgets(namespace))).await.1["metadata"]["deletionTimestamp"].is_string()
}

/// A widget in one namespace that one in another needs.
async fn share(server: &Server) {
    define(server).await;
    make(server, "shared").await;
    make(server, "tenant").await;
    make_widget(server, "shared", "base", json!({})).await;
    make_widget(server, "tenant", "user", json!({"needs": {"name": "base", "namespace": "shared"}})).await;
}

#[tokio::test]
async fn what_is_referred_to_outlives_what_refers_to_it() {
    let server = Server::start().await;
    define(&server).await;
    make(&server, "team").await;
    let secret = "/api/v1/namespaces/team/secrets/s";
    server.make("/api/v1/namespaces/team/secrets", &json!({"metadata": {"name": "s"}})).await;
    server.make("/api/v1/namespaces/team/configmaps", &json!({"metadata": {"name": "c"}})).await;
    make_widget(&server, "team", "base", json!({"reads": "s"})).await;
    make_widget(&server, "team", "user", json!({"needs": {"name": "base"}})).await;
    let event =
        json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "ConfigMap", "name": "c", "namespace": "team"}});
    server.make("/api/v1/namespaces/team/events", &event).await;

    let (code, body) = server.delete(&format!("{NAMESPACES}/team")).await;
    assert_eq!((code.as_u16(), &body["status"]["phase"]), (200, &json!("Terminating")), "{body}");
    let message = condition(&server, "team", "NamespaceFinalizersRemaining", "SomeFinalizersRemain").await;
    assert_eq!(
        message,
        "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances"
    );
    let message = condition(&server, "team", "NamespaceContentRemaining", "SomeResourcesRemain").await;
    assert_eq!(
        message,
        "Some resources are remaining: secrets. has 1 resource instances, widgets.example.com has 2 resource instances"
    );
    let (code, body) = server.post("/api/v1/namespaces/team/configmaps", &json!({"metadata": {"name": "late"}})).await;
    assert_eq!(
        (code.as_u16(), &body["details"]["causes"][0]["reason"]),
        (403, &json!("NamespaceTerminating")),
        "{body}"
    );
    let label = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"finalizers": []}});
    assert_eq!(
        server.patch(&format!("{NAMESPACES}/team"), "merge-patch", &label).await.0,
        200,
        "it can be written, and stays"
    );

    assert!(going(&server, "team", "user").await && !going(&server, "team", "base").await);
    let_go(&server, "team", "user").await;
    eventually("the next one goes", async || going(&server, "team", "base").await.then_some(())).await;
    assert_eq!(server.get(secret).await.0, 200, "the Secret outlives what reads it");
    let_go(&server, "team", "base").await;
    gone(&server, "team").await;
    assert_eq!(server.get(secret).await.0, 404);
    assert_eq!(server.get("/api/v1/namespaces/team/events").await.1["items"], json!([]), "its events went along");
    assert_eq!(server.delete(&format!("{NAMESPACES}/default")).await.0, 403);
    assert_eq!(server.post(NAMESPACES, &json!({"metadata": {"name": "Bad_Name"}})).await.0, 422);
    server.stop().await;
}

#[tokio::test]
async fn what_others_need_from_outside_keeps_a_namespace_unless_they_are_to_go_along() {
    let server = Server::start().await;
    share(&server).await;
    let (code, body) = server.delete(&format!("{NAMESPACES}/shared")).await;
    assert_eq!((code.as_u16(), &body["details"]["causes"][0]["reason"]), (409, &json!("InUse")), "{body}");
    assert!(body["message"].as_str().is_some_and(|m| m.contains("tenant/user")), "{body}");

    let annotate = json!({"metadata": {"annotations": {"threeport.dev/delete": "with-dependants"}}});
    assert_eq!(server.patch(&format!("{NAMESPACES}/shared"), "merge-patch", &annotate).await.0, 200);
    assert_eq!(server.delete(&format!("{NAMESPACES}/shared")).await.0, 200);
    eventually("the user goes first", async || going(&server, "tenant", "user").await.then_some(())).await;
    assert!(!going(&server, "shared", "base").await);
    let_go(&server, "tenant", "user").await;
    eventually("then what it needs", async || going(&server, "shared", "base").await.then_some(())).await;
    let_go(&server, "shared", "base").await;
    gone(&server, "shared").await;
    assert_eq!(server.get(&format!("{NAMESPACES}/tenant")).await.1["status"]["phase"], "Active");
    server.stop().await;
}

#[tokio::test]
async fn a_namespace_with_a_finalizer_of_its_own_waits_for_that_too() {
    let server = Server::start().await;
    server.make(NAMESPACES, &json!({"metadata": {"name": "team", "finalizers": ["example.com/hold"]}})).await;
    server.make("/api/v1/namespaces/team/configmaps", &json!({"metadata": {"name": "c"}})).await;
    assert_eq!(server.delete(&format!("{NAMESPACES}/team")).await.0, 200);
    condition(&server, "team", "NamespaceContentRemaining", "ContentRemoved").await;
    eventually("only its own finalizer is left", async || {
        let (_, body) = server.get(&format!("{NAMESPACES}/team")).await;
        (body["spec"]["finalizers"] == json!([]) && body["status"]["phase"] == "Terminating").then_some(())
    })
    .await;
    let free = json!({"metadata": {"finalizers": null}});
    assert_eq!(server.patch(&format!("{NAMESPACES}/team"), "merge-patch", &free).await.0, 200);
    gone(&server, "team").await;
    server.stop().await;
}

#[tokio::test]
async fn what_goes_along_must_be_ones_own_to_delete() {
    let server = Server::start().await;
    share(&server).await;
    server.kubectl_ok(&["create", "serviceaccount", "robot", "-n", "shared"]).await;
    for namespace in ["shared", "tenant"] {
        let role = ["create", "role", "all", "-n", namespace, "--verb=*", "--resource=widgets.example.com"];
        server.kubectl_ok(&role).await;
    }
    let bind = async |namespace: &str| {
        let binding = ["create", "rolebinding", "b", "-n", namespace, "--role=all", "--serviceaccount=shared:robot"];
        server.kubectl_ok(&binding).await
    };
    bind("shared").await;
    let token = server.kubectl_ok(&["create", "token", "robot", "-n", "shared"]).await.trim().to_owned();
    let path = format!("{}/base", widgets("shared"));
    let annotate = json!({"metadata": {"annotations": {"threeport.dev/delete": "with-dependants"}}});
    let robot = async |method: Method, body: Option<&Value>| server.with_token(&token, method, &path, body).await;
    assert_eq!(robot(Method::PATCH, Some(&annotate)).await.0, 200);
    let (code, body) = robot(Method::DELETE, None).await;
    assert_eq!((code.as_u16(), &body["details"]["name"]), (403, &json!("user")), "{body}");
    assert!(!going(&server, "shared", "base").await && !going(&server, "tenant", "user").await);
    bind("tenant").await;
    assert_eq!(robot(Method::DELETE, None).await.0, 200);
    eventually("the user goes first", async || going(&server, "tenant", "user").await.then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_write_of_a_namespaces_status_writes_its_annotations_too() {
    let server = Server::start().await;
    make(&server, "told").await;
    let path = format!("{NAMESPACES}/told/status");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "said"});
    let patch = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"finalizers": []}, "status": {"conditions": [condition("One")]}});
    let (code, body) = server.patch(&path, "merge-patch", &patch).await;
    assert_eq!((code.as_u16(), &body["metadata"]["annotations"]["a"]), (200, &json!("b")), "{body}");
    assert_eq!(body["spec"]["finalizers"], json!(["kubernetes"]), "that is not its status");
    // One by one, by their type.
    let patch = json!({"status": {"conditions": [condition("Two")]}});
    let (_, body) = server.patch(&path, "strategic-merge-patch", &patch).await;
    let kinds: Vec<&str> = body["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .filter_map(|c| c["type"].as_str())
        .collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    let (code, _) = server.patch(&path, "merge-patch", &json!({"metadata": {"labels": {"no good": "x"}}})).await;
    assert_eq!(code, 422);
    server.stop().await;
}

#[tokio::test]
async fn a_finalizer_in_a_namespaces_spec_holds_it() {
    let server = Server::start().await;
    make(&server, "held").await;
    let path = format!("{NAMESPACES}/held");
    let with = |finalizers: Value| json!({"metadata": {"name": "held"}, "spec": {"finalizers": finalizers}});
    for (finalizers, field) in
        [(json!(["kubernetes", "plain"]), "spec.finalizers[1]"), (json!(["example.com/a"]), "spec.finalizers")]
    {
        let (code, refused) = server.put(&format!("{path}/finalize"), &with(finalizers)).await;
        assert_eq!((code.as_u16(), &refused["details"]["causes"][0]["field"]), (422, &json!(field)), "{refused}");
    }
    let (code, body) = server.put(&format!("{path}/finalize"), &with(json!(["kubernetes", "example.com/a"]))).await;
    assert_eq!((code.as_u16(), &body["spec"]["finalizers"][1]), (200, &json!("example.com/a")), "{body}");
    let (_, body) = server.put(&path, &with(json!([]))).await;
    assert_eq!(body["spec"]["finalizers"].as_array().map(Vec::len), Some(2), "only through finalize");

    server.make("/api/v1/namespaces/held/configmaps", &json!({"metadata": {"name": "inside"}})).await;
    assert_eq!(server.delete(&path).await.0, 200);
    eventually("what is in it goes", async || {
        (server.get(&path).await.1["spec"]["finalizers"] == json!(["example.com/a"])).then_some(())
    })
    .await;
    assert_eq!(server.get("/api/v1/namespaces/held/configmaps/inside").await.0, 404);
    assert_eq!(server.put(&format!("{path}/finalize"), &with(json!([]))).await.0, 200);
    gone(&server, "held").await;
    server.stop().await;
}

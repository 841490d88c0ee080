//! Server-side apply, who manages which fields, and dry runs: by kubectl and by plain HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, answer, widget, widgets};

const WIDGET: &str = "
apiVersion: example.com/v1
kind: Widget
metadata: {name: one, labels: {app: one}}
spec: {image: 'web:1', replicas: 2, env: [{name: A, value: '1'}, {name: B}]}
";

/// Applies as a manager.
async fn apply(server: &Server, path: &str, query: &str, body: &Value) -> (u16, Value) {
    let request = server
        .request(Method::PATCH, &format!("{path}?{query}"))
        .header("content-type", "application/apply-patch+yaml")
        .body(body.to_string());
    let (code, answer) = answer(request.send().await.expect("an answer")).await;
    (code.as_u16(), answer)
}

/// The managers with their operations, in order.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        [text("manager"), text("operation"), text("subresource")].join(" ").trim_end().to_owned()
    };
    entries.iter().map(name).collect()
}

#[tokio::test]
async fn kubectl_applies_server_side_after_it_applied_client_side() {
    let server = Server::start().await;
    server.define_widgets().await;
    let file = server.file("widget.yaml", WIDGET);
    server.kubectl_ok(&["apply", "-f", &file]).await;
    let last = server.kubectl_ok(&["apply", "view-last-applied", "-f", &file]).await;
    assert!(last.contains("image: web:1"), "{last}");
    let changed = server.file("changed.yaml", &WIDGET.replace("web:1", "web:2").replace(", {name: B}", ""));
    let difference = server.kubectl(&["diff", "--server-side", "-f", &changed]).await;
    let text = String::from_utf8_lossy(&difference.stdout).into_owned();
    assert_eq!(difference.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&difference.stderr));
    assert!(text.contains("-  image: web:1") && text.contains("+  image: web:2"), "{text}");
    let applied = server.kubectl_ok(&["apply", "--server-side", "-f", &changed]).await;
    assert!(applied.contains("serverside-applied"), "{applied}");
    let (_, stored) = server.get(&format!("{}/one", widgets("default"))).await;
    assert_eq!(stored["spec"]["env"], json!([{"name": "A", "value": "1"}]), "what is not applied any more is gone");
    assert_eq!(managers(&stored), ["kubectl-last-applied Apply", "kubectl Apply"]);
    assert_eq!(server.kubectl(&["diff", "--server-side", "-f", &changed]).await.status.code(), Some(0));
    let last = server.kubectl_ok(&["apply", "view-last-applied", "-f", &changed]).await;
    assert!(last.contains("image: web:2"), "{last}");

    server.kubectl_ok(&["label", "wd", "one", "tier=front", "--field-manager=someone"]).await;
    let labelled = server.file("labelled.yaml", &WIDGET.replace("app: one", "tier: back"));
    let error = server.kubectl_fails(&["apply", "--server-side", "-f", &labelled]).await;
    assert!(error.contains("conflict with \"someone\" using example.com/v1: .metadata.labels.tier"), "{error}");
    server.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-f", &labelled]).await;
    let shown = server.kubectl_ok(&["get", "wd", "one", "-o", "yaml", "--show-managed-fields"]).await;
    assert!(shown.contains("f:tier: {}") && shown.contains("operation: Apply"), "{shown}");
    assert!(!server.kubectl_ok(&["get", "wd", "one", "-o", "yaml"]).await.contains("managedFields"));
    server.stop().await;
}

#[tokio::test]
async fn kubectl_edits_diffs_and_runs_dry() {
    let server = Server::start().await;
    server.define_widgets().await;
    let file = server.file("widget.yaml", WIDGET);
    assert_eq!(server.kubectl(&["diff", "-f", &file]).await.status.code(), Some(1), "it is not there");
    for verb in [&["create"][..], &["apply"], &["apply", "--server-side"]] {
        server.kubectl_ok(&[verb, &["-f", &file, "--dry-run=server"]].concat()).await;
        assert!(server.kubectl_fails(&["get", "wd", "one"]).await.contains("NotFound"), "{verb:?}");
    }
    server.kubectl_ok(&["apply", "-f", &file]).await;
    let (_, before) = server.get(&format!("{}/one", widgets("default"))).await;
    let changed = server.file("changed.yaml", &WIDGET.replace("web:1", "web:2"));
    let patch = r#"{"spec":{"image":"web:3"}}"#;
    for arguments in [
        &["apply", "-f", &changed][..],
        &["apply", "--server-side", "-f", &changed],
        &["replace", "-f", &changed],
        &["patch", "wd", "one", "--type=merge", "-p", patch],
        &["label", "wd", "one", "new=label"],
        &["annotate", "wd", "one", "new=note"],
        &["delete", "wd", "one"],
    ] {
        server.kubectl_ok(&[arguments, &["--dry-run=server"]].concat()).await;
        assert_eq!(server.get(&format!("{}/one", widgets("default"))).await.1, before, "{arguments:?}");
    }
    let difference = server.kubectl(&["diff", "-f", &changed]).await;
    let text = String::from_utf8_lossy(&difference.stdout).into_owned();
    assert!(difference.status.code() == Some(1) && text.contains("+  image: web:2"), "{text}");

    let mut command = server.kubectl_command();
    command.args(["edit", "wd", "one"]).env("KUBE_EDITOR", "sed -i s/web:1/web:4/");
    let edited = command.output().await.expect("kubectl runs");
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    let (_, after) = server.get(&format!("{}/one", widgets("default"))).await;
    assert_eq!(after["spec"]["image"], "web:4");
    assert_eq!(managers(&after), ["kubectl-client-side-apply Update", "kubectl-edit Update"]);
    server.stop().await;
}

#[tokio::test]
async fn an_apply_makes_changes_and_shares() {
    let server = Server::start().await;
    server.define_widgets().await;
    let path = format!("{}/one", widgets("default"));
    let config = |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": spec});
    let (code, made) = apply(&server, &path, "fieldManager=a", &config(json!({"image": "web:1", "port": 80}))).await;
    assert_eq!(
        (code, &made["spec"]["replicas"], made["metadata"]["uid"].is_string()),
        (201, &json!(1), true),
        "{made}"
    );
    let (code, same) = apply(&server, &path, "fieldManager=a", &config(json!({"image": "web:1", "port": 80}))).await;
    assert_eq!((code, &same), (200, &made), "what changes nothing makes no version");
    let (code, shared) = apply(&server, &path, "fieldManager=b", &config(json!({"image": "web:1"}))).await;
    assert_eq!((code, managers(&shared)), (200, vec!["b Apply".to_owned(), "a Apply".to_owned()]));
    assert_ne!(shared["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(shared["metadata"]["generation"], 1, "nothing that is desired changed");
    let (code, refused) = apply(&server, &path, "fieldManager=b", &config(json!({"image": "web:2"}))).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    let cause = json!({"reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".spec.image"});
    assert_eq!(refused["details"]["causes"], json!([cause]));
    let (_, less) = apply(&server, &path, "fieldManager=a", &config(json!({"image": "web:1"}))).await;
    assert!(less["spec"].get("port").is_none(), "{less}");

    let status = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}, "status": {"observed": 1}});
    let (code, applied) = apply(&server, &format!("{path}/status"), "fieldManager=ctl", &status).await;
    assert_eq!((code, &applied["status"]["observed"]), (200, &json!(1)), "{applied}");
    assert!(managers(&applied).contains(&"ctl Apply status".to_owned()));
    let (_, ignored) = apply(&server, &path, "fieldManager=a", &config(json!({"image": "web:1"}))).await;
    assert_eq!(ignored["status"], applied["status"]);
    let absent = format!("{}/absent/status", widgets("default"));
    assert_eq!(apply(&server, &absent, "fieldManager=ctl", &status).await.0, 404);
    let dry = format!("{}/dry", widgets("default"));
    let mut body = config(json!({"image": "web:1"}));
    body["metadata"]["name"] = "dry".into();
    assert_eq!(apply(&server, &dry, "fieldManager=a&dryRun=All", &body).await.0, 201);
    assert_eq!(server.get(&dry).await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused() {
    let server = Server::start().await;
    server.define_widgets().await;
    let path = format!("{}/one", widgets("default"));
    let good = widget("one");
    let with = |pointer: &str, value: Value| {
        let mut body = widget("one");
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        body.pointer_mut(parent).expect("it is there")[field] = value;
        body
    };
    let cases = [
        ("", good.clone(), 422, "fieldManager: Required value: is required for apply patch"),
        ("fieldManager=a", with("/kind", json!("Gadget")), 400, "invalid object type: example.com/v1, Kind=Gadget"),
        ("fieldManager=a", with("/metadata/managedFields", json!([])), 400, "metadata.managedFields must be nil"),
        ("fieldManager=a", with("/metadata/name", json!("two")), 400, "does not match the name on the URL (one)"),
        ("fieldManager=a", with("/metadata/uid", json!("u")), 409, "uid mismatch"),
        ("fieldManager=a", with("/spec/colour", json!("red")), 500, ".spec.colour: field not declared in schema"),
        ("fieldManager=a", with("/spec/replicas", json!(-1)), 422, "spec.replicas"),
        ("fieldManager=a", json!([]), 400, "must be an object"),
    ];
    for (query, body, code, message) in cases {
        let (found, answer) = apply(&server, &path, query, &body).await;
        assert!(found == code && answer["message"].as_str().is_some_and(|m| m.contains(message)), "{found} {answer}");
    }
    let request = server
        .request(Method::PATCH, &format!("{path}?fieldManager=a"))
        .header("content-type", "application/apply-patch+yaml")
        .body("a: [");
    assert_eq!(request.send().await.expect("an answer").status(), 400);
    server.make(&widgets("default"), &good).await;
    assert_eq!(server.patch(&format!("{path}?force=true"), "merge-patch", &json!({})).await.0, 422);
    server.stop().await;
}

#[tokio::test]
async fn every_writer_is_remembered_until_it_is_asked_to_forget() {
    let server = Server::start().await;
    server.define_widgets().await;
    let path = format!("{}/one", widgets("default"));
    let made = server.make(&format!("{}?fieldManager=maker", widgets("default")), &widget("one")).await;
    assert_eq!(managers(&made), ["maker Update"]);
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("example.com/v1"), &json!("FieldsV1")));
    assert_eq!(entry["time"], made["metadata"]["creationTimestamp"]);
    let mut sent = made.clone();
    sent["spec"]["replicas"] = 5.into();
    sent["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    let request = server.request(Method::PUT, &path).header("user-agent", "robot/2 (x)").json(&sent);
    let (_, put) = answer(request.send().await.expect("an answer")).await;
    assert_eq!(managers(&put).len(), 2, "who does not know managedFields does not lose them: {put}");
    let find = |object: &Value, manager: &str| {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.into_iter().find(|entry| entry["manager"] == manager).map(|entry| entry["fieldsV1"].clone())
    };
    assert_eq!(find(&put, "robot"), Some(json!({"f:spec": {"f:replicas": {}}})));
    let (_, same) =
        server.patch(&format!("{path}?fieldManager=late"), "merge-patch", &json!({"spec": {"replicas": 5}})).await;
    assert_eq!(same, put, "a write that changes nothing leaves everything as it was");
    let (_, status) = server
        .patch(&format!("{path}/status?fieldManager=ctl"), "merge-patch", &json!({"status": {"observed": 1}}))
        .await;
    assert!(managers(&status).contains(&"ctl Update status".to_owned()), "{status}");

    let forget = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let (code, forgotten) = server.patch(&path, "json-patch", &forget).await;
    assert_eq!((code.as_u16(), managers(&forgotten).len()), (200, 0), "{forgotten}");
    server.patch(&path, "merge-patch", &json!({"spec": {"replicas": 6}})).await;
    assert_eq!(managers(&server.get(&path).await.1).len(), 0, "who is forgotten is not tracked");
    let config =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": {"replicas": 7}});
    let (code, refused) = apply(&server, &path, "fieldManager=a", &config).await;
    assert!(code == 409 && refused.to_string().contains("before-first-apply"), "{refused}");
    apply(&server, &path, "fieldManager=a&force=true", &config).await;
    assert_eq!(managers(&server.get(&path).await.1), ["a Apply", "before-first-apply Update"]);
    server.stop().await;
}

#[tokio::test]
async fn many_appliers_of_one_object_all_get_through() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps/shared";
    let writers = (0..8).map(|n| {
        let server = &server;
        async move {
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {format!("k{n}"): "v"}});
            apply(server, path, &format!("fieldManager=m{n}"), &body).await
        }
    });
    for (code, answer) in futures::future::join_all(writers).await {
        assert!(code == 200 || code == 201, "{answer}");
    }
    let (_, shared) = server.get(path).await;
    assert_eq!(shared["data"].as_object().map(serde_json::Map::len), Some(8));
    assert_eq!(managers(&shared).len(), 8);
    server.stop().await;
}

#[tokio::test]
async fn managers_without_end_are_refused_before_anything_is_done_with_them() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let entry = |number: usize| json!({"manager": format!("m{number}"), "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}});
    let with = |count: usize| {
        let entries: Vec<Value> = (0..count).map(entry).collect();
        json!({"metadata": {"name": "many", "managedFields": entries}, "data": {"a": "b"}})
    };
    let refused = |code: reqwest::StatusCode, status: &Value| {
        let cause = &status["details"]["causes"][0];
        assert_eq!((code.as_u16(), &cause["field"]), (422, &json!("metadata.managedFields")), "{status}");
        assert_eq!(cause["reason"], "FieldValueTooMany");
    };
    let (code, status) = server.post(maps, &with(10_000)).await;
    refused(code, &status);
    server.make(maps, &with(3)).await;
    let path = format!("{maps}/many");
    for (code, status) in
        [server.put(&path, &with(10_000)).await, server.patch(&path, "merge-patch", &with(10_000)).await]
    {
        refused(code, &status);
    }
    let (_, kept) = server.get(&path).await;
    assert_eq!((managers(&kept).len(), &kept["data"]["a"]), (1, &json!("b")), "{kept}");
}

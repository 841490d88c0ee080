//! The verbs, by plain HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, answer, widget, widgets};

#[tokio::test]
async fn only_the_holder_of_the_token_comes_in() {
    let server = Server::start().await;
    for (token, path, expected) in [
        (None, "/api", 401),
        (Some("wrong"), "/api/v1/secrets", 401),
        (Some(crate::harness::TOKEN), "/api", 200),
        (None, "/livez", 200),
        (None, "/readyz", 200),
        (None, "/version", 200),
    ] {
        let mut request = server.client.get(format!("{}{path}", server.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let (code, body) = answer(request.send().await.expect("an answer")).await;
        assert_eq!(code, expected, "{path} {token:?} {body}");
        if expected == 401 {
            assert_eq!((&body["kind"], &body["reason"]), (&json!("Status"), &json!("Unauthorized")));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn the_certificate_is_good_for_the_names_it_was_asked_for() {
    let server = Server::start().await;
    let address: std::net::SocketAddr = server.url.trim_start_matches("https://").parse().expect("an address");
    let ask = async |name: &str| {
        let ca = reqwest::Certificate::from_pem(server.ca_pem.as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().tls_certs_only([ca]).resolve(name, address).build().expect("a client");
        client.get(format!("https://{name}:{}/livez", address.port())).send().await
    };
    assert_eq!(ask("threeport.test").await.expect("an answer").status(), 200);
    assert!(ask("elsewhere.test").await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_served_is_refused_as_kubernetes_does() {
    let server = Server::start().await;
    server.define_widgets().await;
    let (code, body) = server.get("/apis/example.com/v1/namespaces/default/widgets/none").await;
    assert_eq!((code.as_u16(), &body["message"]), (404, &json!("widgets.example.com \"none\" not found")));
    assert_eq!(server.get("/apis/example.com/v2/widgets").await.0, 404);
    assert_eq!(server.get("/nothing").await.0, 404);
    assert_eq!(server.delete("/apis/example.com/v1/widgets").await.0, 404);
    assert_eq!(server.post("/apis/example.com/v1/widgets", &widget("x")).await.0, 400);
    let (code, body) = server.post(&widgets("absent"), &widget("x")).await;
    assert_eq!((code.as_u16(), &body["message"]), (404, &json!("namespaces \"absent\" not found")));
    let protobuf = server
        .request(Method::POST, "/api/v1/namespaces")
        .header("content-type", "application/vnd.kubernetes.protobuf")
        .body("k8s");
    assert_eq!(protobuf.send().await.expect("an answer").status(), 415);
    let only =
        server.request(Method::GET, "/api/v1/namespaces").header("accept", "application/vnd.kubernetes.protobuf");
    assert_eq!(only.send().await.expect("an answer").status(), 406);
    let path = format!("{}/x", widgets("default"));
    server.make(&widgets("default"), &widget("x")).await;
    assert_eq!(server.patch(&path, "strategic-merge-patch", &json!({})).await.0, 415);
    server.stop().await;
}

#[tokio::test]
async fn every_bad_field_is_named_at_once() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut bad = widget("bad");
    bad["spec"] = json!({"replicas": -1, "mode": "middling", "env": [{"name": "a"}, {"name": "a"}], "port": true});
    bad["metadata"]["labels"] = json!({"a b": "c"});
    let (code, body) = server.post(&widgets("default"), &bad).await;
    assert_eq!(code, 422, "{body}");
    let mut fields: Vec<&str> =
        body["details"]["causes"].as_array().expect("causes").iter().filter_map(|c| c["field"].as_str()).collect();
    fields.sort_unstable();
    fields.dedup();
    let expected = [
        // That rules were not asked.
        "<nil>",
        "metadata.labels",
        "spec.env[0].name",
        "spec.env[1]",
        "spec.env[1].name",
        "spec.image",
        "spec.mode",
        "spec.port",
        "spec.replicas",
    ];
    assert_eq!(fields, expected);
    server.stop().await;
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_pruned() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut odd = widget("odd");
    odd["spec"]["colour"] = "red".into();
    odd["spec"]["extra"] = json!({"anything": {"goes": 1}});
    let (code, body) = server.post(&format!("{}?fieldValidation=Strict", widgets("default")), &odd).await;
    assert_eq!(code, 400);
    assert!(body["message"].as_str().expect("a message").contains("unknown field \"spec.colour\""), "{body}");
    let warned = server.request(Method::POST, &widgets("default")).json(&odd).send().await.expect("an answer");
    let warning = warned.headers()["warning"].to_str().expect("text").to_owned();
    assert_eq!(warning, r#"299 - "unknown field \"spec.colour\"""#);
    let (_, made) = answer(warned).await;
    assert!(made["spec"].get("colour").is_none(), "{made}");
    assert_eq!(made["spec"]["extra"]["anything"]["goes"], 1);
    assert_eq!((&made["spec"]["mode"], &made["metadata"]["generation"]), (&json!("slow"), &json!(1)));
    server.stop().await;
}

#[tokio::test]
async fn a_write_on_an_old_version_is_refused_and_a_patch_without_one_is_not() {
    let server = Server::start().await;
    server.define_widgets().await;
    let made = server.make(&widgets("default"), &widget("w")).await;
    let path = format!("{}/w", widgets("default"));
    let mut next = made.clone();
    next["spec"]["replicas"] = 5.into();
    let (code, stored) = server.put(&path, &next).await;
    assert_eq!((code.as_u16(), &stored["metadata"]["generation"]), (200, &json!(2)), "{stored}");
    next["spec"]["replicas"] = 6.into();
    let (code, body) = server.put(&path, &next).await;
    assert_eq!((code.as_u16(), &body["reason"]), (409, &json!("Conflict")));
    let old = made["metadata"]["resourceVersion"].clone();
    let patch = json!({"metadata": {"resourceVersion": old}, "spec": {"replicas": 7}});
    assert_eq!(server.patch(&path, "merge-patch", &patch).await.0, 409);
    let mut unnamed = made.clone();
    unnamed["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    assert_eq!(server.put(&path, &unnamed).await.0, 422);
    // Twenty clients at once: each patch lands, none is told to try again.
    let patches = (0..20).map(|i| {
        let (server, path) = (&server, &path);
        async move {
            server.patch(path, "merge-patch", &json!({"metadata": {"annotations": {format!("a{i}"): "x"}}})).await.0
        }
    });
    for code in futures::future::join_all(patches).await {
        assert!(code == 200 || code == 409, "{code}");
    }
    let (code, body) =
        server.patch(&path, "json-patch", &json!([{"op": "replace", "path": "/spec/replicas", "value": 9}])).await;
    assert_eq!((code.as_u16(), &body["spec"]["replicas"]), (200, &json!(9)));
    server.stop().await;
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut sent = widget("w");
    sent["status"] = json!({"observed": 9});
    let made = server.make(&widgets("default"), &sent).await;
    assert!(made.get("status").is_none(), "{made}");
    let path = format!("{}/w", widgets("default"));
    let patch = json!({"spec": {"replicas": 9}, "status": {"observed": 1}});
    let (code, body) = server.patch(&format!("{path}/status"), "merge-patch", &patch).await;
    assert_eq!(
        (code.as_u16(), &body["spec"]["replicas"], &body["status"]["observed"]),
        (200, &json!(2), &json!(1)),
        "{body}"
    );
    assert_eq!(body["metadata"]["generation"], 1);
    let (_, body) =
        server.patch(&path, "merge-patch", &json!({"spec": {"replicas": 3}, "status": {"observed": 5}})).await;
    assert_eq!((&body["spec"]["replicas"], &body["status"]["observed"]), (&json!(3), &json!(1)), "{body}");
    let (code, body) =
        server.patch(&format!("{path}/status"), "merge-patch", &json!({"status": {"observed": "x"}})).await;
    assert_eq!((code.as_u16(), &body["details"]["causes"][0]["field"]), (422, &json!("status.observed")));
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"mode": "fast"}})).await;
    assert_eq!(
        (code.as_u16(), &body["details"]["causes"][0]["message"]),
        (422, &json!("Invalid value: mode is immutable"))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_list_of_kubernetes_own_kinds_says_once_what_it_is_of() {
    let server = Server::start().await;
    server.define_widgets().await;
    server.make("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": "c"}, "data": {"a": "1"}})).await;
    server.make(&widgets("default"), &widget("w")).await;
    let (_, maps) = server.get("/api/v1/namespaces/default/configmaps").await;
    let item = &maps["items"][0];
    assert_eq!((&item["metadata"]["name"], &item["data"]["a"]), (&json!("c"), &json!("1")), "{maps}");
    assert!(item["kind"].is_null() && item["apiVersion"].is_null(), "{maps}");
    let (_, list) = server.get(&widgets("default")).await;
    let item = &list["items"][0];
    assert_eq!((&item["kind"], &item["apiVersion"]), (&json!("Widget"), &json!("example.com/v1")), "{list}");
    server.stop().await;
}

#[tokio::test]
async fn a_list_comes_in_pages_of_one_snapshot() {
    let server = Server::start().await;
    server.define_widgets().await;
    for i in 0..5 {
        server.make(&widgets("default"), &widget(&format!("w{i}"))).await;
    }
    let (_, first) = server.get(&format!("{}?limit=2", widgets("default"))).await;
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    server.delete(&format!("{}/w3", widgets("default"))).await;
    server.make(&widgets("default"), &widget("w9")).await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let (_, second) = server.get(&format!("{}?limit=10&continue={token}", widgets("default"))).await;
    let names: Vec<&str> =
        second["items"].as_array().expect("items").iter().filter_map(|o| o["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["w2", "w3", "w4"], "as of the first page");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let count = async |query: &str| {
        let (code, list) = server.get(&format!("/apis/example.com/v1/widgets?{query}")).await;
        assert_eq!(code, 200, "{list}");
        list["items"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(count("labelSelector=app%3Dw1").await, 1);
    assert_eq!(count("labelSelector=app%20in%20(w1,w2)&limit=1").await, 1);
    assert_eq!(count("labelSelector=app!%3Dw1").await, 4);
    assert_eq!(count("fieldSelector=metadata.name%3Dw4").await, 1);
    assert_eq!(count("fieldSelector=metadata.namespace%3Dother").await, 0);
    assert_eq!(server.get("/apis/example.com/v1/widgets?fieldSelector=spec.image%3Dx").await.0, 400);
    assert_eq!(server.get("/apis/example.com/v1/widgets?continue=nonsense").await.0, 400);
    server.stop().await;
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_let_go() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut held = widget("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = server.make(&widgets("default"), &held).await;
    let path = format!("{}/held", widgets("default"));
    let wrong = json!({"preconditions": {"uid": "another"}});
    let refused = server.request(Method::DELETE, &path).json(&wrong).send().await.expect("an answer");
    assert_eq!(refused.status(), 409);
    let (code, body) = server.delete(&path).await;
    assert_eq!(code, 200);
    assert!(body["metadata"]["deletionTimestamp"].is_string(), "{body}");
    assert_eq!(server.delete(&path).await.0, 200, "twice is fine");
    let (code, _) = server
        .patch(&path, "merge-patch", &json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}))
        .await;
    assert_eq!(code, 422, "no new finalizers now");
    assert_eq!(server.patch(&path, "merge-patch", &json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(server.get(&path).await.0, 404);
    let (code, body) = server.post(&widgets("default"), &widget("free")).await;
    assert_eq!(code, 201);
    let (_, status) = server.delete(&format!("{}/free", widgets("default"))).await;
    assert_eq!((&status["status"], &status["details"]["uid"]), (&json!("Success"), &body["metadata"]["uid"]));
    assert_ne!(made["metadata"]["uid"], body["metadata"]["uid"]);
    server.stop().await;
}

#[tokio::test]
async fn secrets_fold_text_and_refuse_what_is_no_base64() {
    let server = Server::start().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let body = json!({"metadata": {"name": "s"}, "stringData": {"a": "text"}, "data": {"b": "Yg=="}});
    let made = server.make(secrets, &body).await;
    assert_eq!(made["data"], json!({"a": "dGV4dA==", "b": "Yg=="}));
    assert_eq!((&made["type"], made.get("stringData")), (&json!("Opaque"), None));
    let (code, body) = server.post(secrets, &json!({"metadata": {"name": "t"}, "data": {"x": "!"}})).await;
    assert_eq!(code, 400, "{body}");
    let message = body["message"].as_str().unwrap_or_default();
    assert!(message.contains("data.x") && message.contains("byte"), "{message}");
    let (code, _) = server.patch(&format!("{secrets}/s"), "merge-patch", &json!({"type": "other"})).await;
    assert_eq!(code, 422, "the type stays");
    assert_eq!(server.patch(&format!("{secrets}/s"), "merge-patch", &json!({"immutable": true})).await.0, 200);
    let (code, body) = server.patch(&format!("{secrets}/s"), "merge-patch", &json!({"data": {"a": "Yg=="}})).await;
    assert_eq!((code.as_u16(), &body["details"]["causes"][0]["field"]), (422, &json!("data")), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn too_large_is_refused() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for size in [1_600_000, 3_200_000] {
        let body = json!({"metadata": {"name": "big"}, "data": {"x": "y".repeat(size)}});
        let (code, body) = server.post(maps, &body).await;
        assert_eq!((code.as_u16(), &body["reason"]), (413, &json!("RequestEntityTooLarge")), "{size}");
    }
    // It would fit without what the server adds to it.
    let bare = json!({"metadata": {"name": "big"}, "data": {"x": ""}}).to_string().len();
    let body = json!({"metadata": {"name": "big"}, "data": {"x": "y".repeat(1_572_864 - bare)}});
    let (code, body) = server.post(maps, &body).await;
    assert_eq!(code, 413, "{}", body["message"]);
    assert_eq!(server.get(&format!("{maps}/big")).await.0, 404);
    let yaml = server
        .request(Method::POST, maps)
        .header("content-type", "application/yaml")
        .body("metadata: {generateName: y-}\ndata: {a: b}\n");
    let (code, body) = answer(yaml.send().await.expect("an answer")).await;
    assert_eq!((code.as_u16(), &body["data"]["a"]), (201, &json!("b")));
    assert!(body["metadata"]["name"].as_str().is_some_and(|n| n.starts_with("y-") && n.len() == 7), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn metadata_alone_and_dry_runs() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let body = json!({"metadata": {"name": "c"}, "data": {"a": "b"}});
    server.post(&format!("{maps}?dryRun=All"), &body).await;
    assert_eq!(server.get(&format!("{maps}/c")).await.0, 404);
    server.make(maps, &body).await;
    let (code, _) = server.patch(&format!("{maps}/c?dryRun=All"), "merge-patch", &json!({"data": {"a": "x"}})).await;
    assert_eq!(code, 200);
    assert_eq!(server.delete(&format!("{maps}/c?dryRun=All")).await.0, 200);
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = server.request(Method::GET, maps).header("accept", accept).send().await.expect("an answer");
    let (_, list): (_, Value) = answer(list).await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "c");
    assert!(list["items"][0].get("data").is_none());
    let (_, stored) = server.get(&format!("{maps}/c")).await;
    assert_eq!(stored["data"]["a"], "b");
    server.stop().await;
}

#[tokio::test]
async fn a_null_means_a_missing_field_unless_the_schema_allows_it() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut sent = widget("a");
    sent["spec"] = json!({"image": "web:1", "replicas": null, "port": null, "env": null, "extra": {"kept": null}});
    sent["metadata"]["annotations"] = json!(null);
    let made = server.make(&widgets("default"), &sent).await;
    assert_eq!(made["spec"], json!({"image": "web:1", "replicas": 1, "mode": "slow", "extra": {"kept": null}}));
    server.stop().await;
}

#[tokio::test]
async fn a_json_patch_cannot_make_the_server_grow() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut big = widget("a");
    big["spec"]["extra"] = json!({"a": "x".repeat(200_000)});
    server.make(&widgets("default"), &big).await;
    let path = format!("{}/a", widgets("default"));
    let copies = |n: usize| -> Value {
        (0..n).map(|i| json!({"op": "copy", "from": "/spec/extra/a", "path": format!("/spec/extra/c{i}")})).collect()
    };
    // Seven copies fit beside each other but not beside what is there; a thousand are not even made.
    for n in [1000, 7] {
        let (code, body) = server.patch(&path, "json-patch", &copies(n)).await;
        assert_eq!((code.as_u16(), &body["reason"]), (413, &json!("RequestEntityTooLarge")), "{n}");
    }
    let doubling: Value =
        (0..40).map(|i| json!({"op": "copy", "from": "/spec/extra", "path": format!("/spec/extra/d{i}")})).collect();
    assert_eq!(server.patch(&path, "json-patch", &doubling).await.0, 413);
    let many: Value = (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "Widget"})).collect();
    assert_eq!(server.patch(&path, "json-patch", &many).await.0, 413);
    let nested: Value = (0..200)
        .map(|i| json!({"op": "add", "path": format!("/spec/extra{}", "/n".repeat(i + 1)), "value": {}}))
        .collect();
    assert_eq!(server.patch(&path, "json-patch", &nested).await.0, 422, "nobody could read it any more");
    assert_eq!(server.patch(&path, "json-patch", &copies(3)).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn errors_do_not_repeat_what_a_secret_holds() {
    let server = Server::start().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    server.make(secrets, &json!({"metadata": {"name": "s"}})).await;
    for bad in [
        json!({"data": {"k": "hunter2!"}}),
        json!({"data": "hunter2!"}),
        json!({"data": {"k": {"deep": "hunter2!"}}}),
        json!({"stringData": {"k": ["hunter2!"]}}),
        json!({"stringData": ["hunter2!"]}),
        json!({"metadata": {"annotations": {"last": {"data": "hunter2!"}}}}),
    ] {
        let mut object = bad.clone();
        object["metadata"]["name"] = json!("t");
        let (code, body) = server.post(secrets, &object).await;
        assert_eq!(code, 400, "{bad}: {body}");
        assert!(!body.to_string().contains("hunter2"), "{body}");
        let message = body["message"].as_str().unwrap_or_default();
        assert!(["data", "stringData", "metadata"].iter().any(|f| message.contains(&format!(": {f}"))), "{body}");
    }
    let (code, body) = server.patch(&format!("{secrets}/s"), "json-patch", &json!(["hunter2!"])).await;
    assert_eq!(code, 400, "{body}");
    assert!(!body.to_string().contains("hunter2"), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn of_two_writers_the_slower_one_is_told_to_read_again() {
    let server = Server::start().await;
    server.define_widgets().await;
    let made = server.make(&widgets("default"), &widget("a")).await;
    let path = format!("{}/a", widgets("default"));
    let expected = "Operation cannot be fulfilled on widgets.example.com \"a\": the object has been modified; please apply your \
                    changes to the latest version and try again";
    let mut base = made;
    for round in 0..20 {
        let (mut one, mut other) = (base.clone(), base.clone());
        one["spec"]["replicas"] = json!(10 + round);
        other["spec"]["replicas"] = json!(100 + round);
        let (one, other) = tokio::join!(server.put(&path, &one), server.put(&path, &other));
        let (won, lost) = if one.0 == 200 { (one, other) } else { (other, one) };
        assert_eq!((won.0.as_u16(), lost.0.as_u16()), (200, 409), "{} {}", won.1, lost.1);
        assert_eq!(lost.1["message"], expected);
        base = won.1;
    }
    server.stop().await;
}

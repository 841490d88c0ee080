//! tree and why: what hangs together with an object, and the first cause.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use threeport_store::{Class, Completion, InventoryEntry, Key, Resource};

use crate::harness::{Server, eventually, widget, widgets};

async fn view(server: &Server, name: &str, view: &str) -> Value {
    let (code, body) = server.get(&format!("{}/{name}/{view}", widgets("default"))).await;
    assert_eq!(code, 200, "{body}");
    body
}

#[tokio::test]
async fn a_tree_has_references_users_and_children_and_an_end() {
    let server = Server::start().await;
    server.define_needing_widgets("toys", "ConfigMap").await;
    let mut needing = widget("w");
    needing["spec"]["extra"] = json!({"needs": ["there", "absent"]});
    let made = server.make(&widgets("default"), &needing).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    server.make(maps, &json!({"metadata": {"name": "there"}})).await;
    let owner =
        json!([{"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": made["metadata"]["uid"]}]);
    server.make(maps, &json!({"metadata": {"name": "child", "ownerReferences": owner}})).await;

    let tree = view(&server, "w", "tree").await;
    assert_eq!((&tree["apiVersion"], &tree["kind"]), (&json!("threeport.dev/v1"), &json!("Tree")));
    let root = &tree["root"];
    assert_eq!((&root["ready"], &root["reason"]), (&json!("Unknown"), &json!("NotReconciled")), "{tree}");
    let references = root["references"].as_array().expect("references");
    let said = |index: usize| {
        let link = &references[index];
        (link["field"].clone(), link["role"].clone(), link["object"]["ready"].clone(), link["object"]["reason"].clone())
    };
    assert_eq!(said(0), (json!("spec.extra.needs[0]"), json!("requires"), json!("True"), json!("Exists")));
    assert_eq!(said(1), (json!("spec.extra.needs[1]"), json!("requires"), json!("False"), json!("NotFound")));
    assert_eq!(root["children"][0]["name"], "child");

    // The other way round, from an object that nobody reconciles.
    let (_, tree) = server.get(&format!("{maps}/there/tree")).await;
    assert_eq!(tree["referrers"][0]["object"]["name"], "w", "{tree}");

    // One that owns itself by way of another is shown once.
    let uid = server.get(&format!("{maps}/child")).await.1["metadata"]["uid"].clone();
    let back = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "child", "uid": uid}]}});
    server.patch(&format!("{}/w", widgets("default")), "merge-patch", &back).await;
    let tree = view(&server, "w", "tree").await;
    assert_eq!(tree["root"]["children"][0]["children"], Value::Null, "{tree}");
    server.stop().await;
}

#[tokio::test]
async fn why_leads_to_what_is_missing_and_says_how_the_work_stands() {
    let server = Server::start().await;
    server.define_needing_widgets("toys", "ConfigMap").await;
    let mut needing = widget("w");
    needing["spec"]["extra"] = json!({"needs": ["absent"]});
    server.make(&widgets("default"), &needing).await;
    // A run that failed.
    let claims = server.store.claim("test", Duration::from_secs(30), 10).await.expect("claims");
    let condition = json!({"type": "Ready", "status": "False", "reason": "Waiting", "message": "for absent", "observedGeneration": 1});
    let failed = Completion {
        status: Some(json!({"conditions": [condition]})),
        failed: true,
        next: Some(Duration::from_secs(60)),
        ..Completion::default()
    };
    server.store.complete(&claims[0], failed).await.expect("completed");

    let why = view(&server, "w", "why").await;
    assert_eq!((&why["kind"], &why["ready"]), (&json!("Why"), &json!("False")));
    // The plugin is not there at all, which comes before everything.
    assert_eq!(why["chain"][1]["relation"], "plugin", "{why}");
    assert_eq!(why["summary"], "plugins.threeport.dev \"toys\" does not exist: create it");
    let also = why["chain"][0]["alsoWaitsFor"][0].clone();
    assert_eq!((&also["name"], &also["reason"]), (&json!("absent"), &json!("NotFound")), "{why}");
    let work = &why["chain"][0]["work"];
    assert_eq!((&work["plugin"], &work["attempts"], &work["running"]), (&json!("toys"), &json!(1), &json!(false)));
    assert!(work["nextRun"].is_string() && work["lastRun"].is_string(), "{why}");

    let blob = server.request(Method::POST, "/blobs").body(vec![7_u8; 64]).send().await.expect("an answer");
    let component = blob.json::<Value>().await.expect("JSON")["digest"].clone();
    server
        .make(
            "/apis/threeport.dev/v1/plugins",
            &json!({"apiVersion": "threeport.dev/v1", "kind": "Plugin", "metadata": {"name": "toys"}, "spec": {"component": component}}),
        )
        .await;
    let why = view(&server, "w", "why").await;
    assert_eq!(why["summary"], "configmaps \"default/absent\" does not exist: create it", "{why}");
    assert_eq!(why["chain"][1]["via"], json!({"field": "spec.extra.needs[0]", "role": "requires"}));
    server.stop().await;
}

#[tokio::test]
async fn they_are_only_read_and_only_by_whom_a_role_lets() {
    let server = Server::start().await;
    server.define_needing_widgets("toys", "ConfigMap").await;
    server.make(&widgets("default"), &widget("w")).await;
    let path = |view: &str| format!("{}/w/{view}", widgets("default"));
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = server.request(method.clone(), &path("tree")).json(&json!({})).send().await.expect("an answer");
        assert_eq!(answer.status(), 405, "{method}");
    }
    assert_eq!(server.get(&format!("{}/none/why", widgets("default"))).await.0, 404);
    assert_eq!(server.get(&format!("{}/w/what", widgets("default"))).await.0, 404);
    server.kubectl_ok(&["create", "serviceaccount", "reader"]).await;
    let token = server.kubectl_ok(&["create", "token", "reader"]).await.trim().to_owned();
    for view in ["tree", "why"] {
        assert_eq!(server.with_token(&token, Method::GET, &path(view), None).await.0, 403, "{view}");
    }
    server
        .kubectl_ok(&["create", "rolebinding", "reader", "--clusterrole=view", "--serviceaccount=default:reader"])
        .await;
    for view in ["tree", "why"] {
        eventually("the role is known", || async {
            (server.with_token(&token, Method::GET, &path(view), None).await.0 == 200).then_some(())
        })
        .await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_on_targets_is_told_by_the_store_too() {
    let server = Server::start().await;
    server.define_needing_widgets("toys", "ConfigMap").await;
    server.make(&widgets("default"), &widget("w")).await;
    let key =
        Key { resource: Resource::new("example.com", "widgets"), namespace: Some("default".into()), name: "w".into() };
    assert!(server.store.inventory(&key).await.expect("read").is_empty());
    let claims = server.store.claim("test", Duration::from_secs(30), 10).await.expect("claims");
    assert!(server.store.standing(&key).expect("work").running);
    let entry = InventoryEntry {
        target: "t".into(),
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        namespace: Some("a".into()),
        name: "n".into(),
        uid: None,
        stage: 1,
        state: json!({"hash": ""}),
    };
    let done = Completion { inventory: Some(vec![entry.clone()]), ..Completion::default() };
    server.store.complete(&claims[0], done).await.expect("completed");
    assert_eq!(server.store.inventory(&key).await.expect("read"), [entry]);
    let standing = server.store.standing(&key).expect("work");
    assert!(!standing.running && standing.attempts == 0 && standing.due_in.is_none() && standing.last.is_some());
    server.stop().await;
}

#[tokio::test]
async fn the_queue_says_what_is_due_who_holds_what_and_what_failed() {
    let server = Server::start().await;
    server.define_needing_widgets("toys", "ConfigMap").await;
    const PATH: &str = "/apis/threeport.dev/v1/queue";
    let queue = async || {
        let (code, body) = server.get(PATH).await;
        assert_eq!(code, 200, "{body}");
        body
    };
    let none = queue().await;
    assert_eq!((&none["kind"], &none["due"], &none["unseen"]), (&json!("Queue"), &json!(0), &json!(0)), "{none}");
    for name in ["failed", "held"] {
        server.make(&widgets("default"), &widget(name)).await;
    }
    let due = queue().await;
    assert_eq!(
        (&due["due"], &due["waiting"][0]["kind"], &due["waiting"][0]["class"]),
        (&json!(2), &json!("Widget"), &json!("user")),
        "{due}"
    );
    assert_eq!((&due["byPlugin"][0]["name"], &due["byPlugin"][0]["due"]), (&json!("toys"), &json!(2)), "{due}");
    let claims = server.store.claim("me", Duration::from_secs(30), 10).await.expect("claims");
    let of = |name: &str| claims.iter().find(|claim| &*claim.object.key.name == name).expect("claimed");
    let condition =
        json!({"type": "Ready", "status": "False", "reason": "Torn", "message": "mend it", "observedGeneration": 1});
    let failed = Completion {
        status: Some(json!({"conditions": [condition]})),
        failed: true,
        next: Some(Duration::from_secs(60)),
        next_class: Some(Class::Drift),
        next_reason: Some("retry"),
        verdict: Some("Torn".into()),
        ..Completion::default()
    };
    server.store.complete(of("failed"), failed).await.expect("completed");
    let queue = queue().await;
    let counts = |of: &Value| (of["due"].clone(), of["held"].clone(), of["backingOff"].clone());
    assert_eq!(counts(&queue), (json!(0), json!(1), json!(1)), "{queue}");
    let holder = &queue["holders"][0];
    assert_eq!(
        (&holder["name"], &holder["host"], &holder["epoch"]),
        (&json!("held"), &json!("me"), &json!(1)),
        "{queue}"
    );
    assert!(holder["since"].is_string() && holder["leaseUntil"].is_string(), "{queue}");
    let failing = &queue["failing"][0];
    assert_eq!(
        (&failing["name"], &failing["attempts"], &failing["cause"]),
        (&json!("failed"), &json!(1), &json!("retry")),
        "{queue}"
    );
    assert_eq!((&failing["reason"], &failing["message"]), (&json!("Torn"), &json!("mend it")), "{queue}");
    assert!(failing["next"].is_string(), "{queue}");
    assert_eq!(queue["byHost"][0]["name"], "me", "{queue}");

    let work = view(&server, "failed", "tree").await["work"].clone();
    let last = &work["last"];
    assert_eq!(
        (&last["outcome"], &last["verdict"], &last["host"]),
        (&json!("failed"), &json!("Torn"), &json!("me")),
        "{work}"
    );
    assert_eq!((&last["class"], &work["cause"]), (&json!("user"), &json!("retry")), "{work}");
    assert_eq!(server.kubectl_ok(&["get", "--raw", PATH]).await.parse::<Value>().expect("JSON")["held"], 1);
    server.stop().await;
}

#[tokio::test]
async fn the_queue_names_nothing_that_one_may_not_get() {
    let server = Server::start().await;
    server.define_needing_widgets("toys", "ConfigMap").await;
    server.make(&widgets("default"), &widget("w")).await;
    server.kubectl_ok(&["create", "namespace", "other"]).await;
    server.make(&widgets("other"), &widget("theirs")).await;
    server.kubectl_ok(&["create", "serviceaccount", "reader"]).await;
    let token = server.kubectl_ok(&["create", "token", "reader"]).await.trim().to_owned();
    let (whole, own) = ("/apis/threeport.dev/v1/queue", "/apis/threeport.dev/v1/namespaces/default/queue");
    for path in [whole, own] {
        assert_eq!(server.with_token(&token, Method::GET, path, None).await.0, 403, "{path}");
    }
    server
        .kubectl_ok(&["create", "rolebinding", "reader", "--clusterrole=view", "--serviceaccount=default:reader"])
        .await;
    let seen = eventually("the role is known", || async {
        let (code, body) = server.with_token(&token, Method::GET, own, None).await;
        (code == 200).then_some(body)
    })
    .await;
    assert_eq!(
        (&seen["due"], &seen["waiting"][0]["name"], &seen["unseen"]),
        (&json!(1), &json!("w"), &json!(0)),
        "{seen}"
    );
    assert_eq!(server.with_token(&token, Method::GET, whole, None).await.0, 403);
    // The right to the whole queue is not the right to what is in it.
    server.kubectl_ok(&["create", "clusterrole", "queue", "--verb=list", "--resource=configmaps"]).await;
    let rules = json!({"rules": [{"apiGroups": ["threeport.dev"], "resources": ["queue"], "verbs": ["list"]}]});
    server.patch("/apis/rbac.authorization.k8s.io/v1/clusterroles/queue", "merge-patch", &rules).await;
    server
        .kubectl_ok(&[
            "create",
            "clusterrolebinding",
            "queue",
            "--clusterrole=queue",
            "--serviceaccount=default:reader",
        ])
        .await;
    let seen = eventually("the role is known", || async {
        let (code, body) = server.with_token(&token, Method::GET, whole, None).await;
        (code == 200).then_some(body)
    })
    .await;
    assert_eq!((&seen["due"], &seen["unseen"]), (&json!(2), &json!(1)), "{seen}");
    assert!(!seen.to_string().contains("theirs"), "{seen}");
    for method in [Method::POST, Method::DELETE, Method::PUT] {
        let answer = server.request(method.clone(), whole).json(&json!({})).send().await.expect("an answer");
        assert_eq!(answer.status(), 405, "{method}");
    }
    server.stop().await;
}

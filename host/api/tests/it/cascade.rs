//! Owners, and what is deleted with what.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use threeport_store::{Edge, Key, Op, Precondition, Resource};

use crate::harness::{Server, WIDGETS, answer, eventually, widget, widgets};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A ConfigMap that these own.
async fn map(server: &Server, name: &str, owners: &[(&Value, bool)]) -> Value {
    let owners = owners.iter().map(|(owner, blocks)| reference(owner, *blocks));
    let body = json!({"metadata": {"name": name, "ownerReferences": owners.collect::<Vec<_>>()}});
    server.make(MAPS, &body).await
}

fn reference(owner: &Value, blocks: bool) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    })
}

async fn delete(server: &Server, name: &str, policy: &str) -> (StatusCode, Value) {
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
    answer(server.request(Method::DELETE, &format!("{MAPS}/{name}")).json(&options).send().await.expect("an answer"))
        .await
}

async fn names(server: &Server, path: &str) -> Vec<String> {
    let (_, list) = server.get(path).await;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let names = items.iter().filter_map(|item| item["metadata"]["name"].as_str()).map(str::to_owned);
    names.filter(|name| name != "kube-root-ca.crt").collect()
}

async fn left(server: &Server, expected: &[&str]) {
    let what = format!("{expected:?} are left");
    eventually(&what, async || (names(server, MAPS).await == expected).then_some(())).await;
}

async fn hold(server: &Server, name: &str, holds: bool) {
    let finalizers = if holds { json!(["example.com/hold"]) } else { json!(null) };
    let patch = json!({"metadata": {"finalizers": finalizers}});
    assert_eq!(server.patch(&format!("{MAPS}/{name}"), "merge-patch", &patch).await.0, 200);
}

async fn gone(server: &Server, path: &str) {
    eventually(&format!("{path} is gone"), async || (server.get(path).await.0 == 404).then_some(())).await;
}

#[tokio::test]
async fn what_is_owned_goes_after_its_owner_and_what_that_owns_too() {
    let server = Server::start().await;
    let owner = map(&server, "a", &[]).await;
    let child = map(&server, "b", &[(&owner, false)]).await;
    map(&server, "c", &[(&child, false)]).await;
    let other = map(&server, "d", &[]).await;
    map(&server, "e", &[(&owner, false), (&other, false)]).await;
    let (code, body) = delete(&server, "a", "Background").await;
    assert_eq!((code.as_u16(), &body["status"]), (200, &json!("Success")), "{body}");
    left(&server, &["d", "e"]).await;
    eventually("the dangling reference goes", async || {
        let (_, body) = server.get(&format!("{MAPS}/e")).await;
        (body["metadata"]["ownerReferences"] == json!([reference(&other, false)])).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn an_owner_that_goes_in_the_foreground_waits_for_those_that_block_it() {
    let server = Server::start().await;
    let owner = map(&server, "a", &[]).await;
    map(&server, "b", &[(&owner, true)]).await;
    map(&server, "c", &[(&owner, false)]).await;
    hold(&server, "b", true).await;
    hold(&server, "c", true).await;
    let (code, body) = delete(&server, "a", "Foreground").await;
    assert_eq!((code.as_u16(), &body["metadata"]["finalizers"]), (200, &json!(["foregroundDeletion"])), "{body}");
    assert_eq!(body["metadata"]["deletionGracePeriodSeconds"], 0);
    eventually("both are being deleted", async || {
        let (_, list) = server.get(MAPS).await;
        let items = list["items"].as_array()?;
        let going = items.iter().filter(|item| item["metadata"]["deletionTimestamp"].is_string());
        (going.count() == 3).then_some(())
    })
    .await;
    assert_eq!(names(&server, MAPS).await, ["a", "b", "c"]);
    hold(&server, "b", false).await;
    left(&server, &["c"]).await;
    hold(&server, "c", false).await;
    left(&server, &[]).await;
    server.stop().await;
}

#[tokio::test]
async fn orphans_stay_and_know_their_owner_no_more() {
    let server = Server::start().await;
    let owner = map(&server, "a", &[]).await;
    map(&server, "b", &[(&owner, true)]).await;
    let (code, body) = delete(&server, "a", "Orphan").await;
    assert_eq!((code.as_u16(), &body["metadata"]["finalizers"]), (200, &json!(["orphan"])), "{body}");
    left(&server, &["b"]).await;
    assert!(server.get(&format!("{MAPS}/b")).await.1["metadata"].get("ownerReferences").is_none());

    // The old way to say it, and that a second deletion may say otherwise.
    let owner = map(&server, "c", &[]).await;
    map(&server, "d", &[(&owner, true)]).await;
    hold(&server, "d", true).await;
    assert_eq!(delete(&server, "c", "Foreground").await.0, 200);
    eventually("what it owns is being deleted", async || {
        let (_, body) = server.get(&format!("{MAPS}/d")).await;
        body["metadata"]["deletionTimestamp"].is_string().then_some(())
    })
    .await;
    let old =
        server.request(Method::DELETE, &format!("{MAPS}/c?orphanDependents=true")).send().await.expect("an answer");
    assert_eq!(old.status(), 200);
    gone(&server, &format!("{MAPS}/c")).await;
    hold(&server, "d", false).await;
    left(&server, &["b"]).await;
    server.stop().await;
}

#[tokio::test]
async fn who_names_an_owner_that_is_not_there_goes_and_who_names_an_unknown_kind_stays() {
    let server = Server::start().await;
    let owner = map(&server, "a", &[]).await;
    let mut other_uid = owner.clone();
    other_uid["metadata"]["uid"] = "0f0f0f0f-0000-0000-0000-000000000000".into();
    map(&server, "b", &[(&other_uid, false)]).await;
    left(&server, &["a"]).await;
    server.make("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await;
    let there = "/api/v1/namespaces/other/configmaps";
    let across = json!({"metadata": {"name": "across", "ownerReferences": [reference(&owner, false)]}});
    server.make(there, &across).await;
    gone(&server, &format!("{there}/across")).await;

    let unknown = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "uid": "u"}});
    map(&server, "c", &[(&unknown, false)]).await;
    eventually("an Event says so", async || {
        let (_, events) = server.get("/api/v1/namespaces/default/events").await;
        events["items"].as_array()?.iter().any(|event| event["reason"] == "OwnerRefInvalid").then_some(())
    })
    .await;
    assert_eq!(names(&server, MAPS).await, ["a", "c"]);
    server.define_widgets().await;
    left(&server, &["a"]).await;
    server.stop().await;
}

#[tokio::test]
async fn owners_and_ways_to_delete_that_cannot_be_are_refused() {
    let server = Server::start().await;
    let owner = map(&server, "a", &[]).await;
    let mut two = [reference(&owner, false), reference(&owner, true)];
    two.iter_mut().for_each(|owner| owner["controller"] = true.into());
    let (code, body) = server.post(MAPS, &json!({"metadata": {"name": "b", "ownerReferences": two}})).await;
    assert_eq!(
        (code.as_u16(), &body["details"]["causes"][0]["field"]),
        (422, &json!("metadata.ownerReferences")),
        "{body}"
    );
    let (code, body) = delete(&server, "a", "Sideways").await;
    assert_eq!((code.as_u16(), &body["details"]["causes"][0]["field"]), (422, &json!("propagationPolicy")), "{body}");
    let path = format!("{MAPS}/a?propagationPolicy=Orphan&orphanDependents=true");
    assert_eq!(server.delete(&path).await.0, 422);
    assert_eq!(server.delete(&format!("{MAPS}/a?orphanDependents=perhaps")).await.0, 400);
    assert_eq!(names(&server, MAPS).await, ["a"]);
    server.stop().await;
}

#[tokio::test]
async fn a_collection_is_deleted_by_what_selects_it() {
    let server = Server::start().await;
    server.define_widgets().await;
    for name in ["a", "b", "c", "d"] {
        server.make(&widgets("default"), &widget(name)).await;
    }
    let path = widgets("default");
    let (code, list) = server.delete(&format!("{path}?labelSelector=app%3Da&dryRun=All")).await;
    assert_eq!((code.as_u16(), names(&server, &path).await.len()), (200, 4), "{list}");
    let (_, list) = server.delete(&format!("{path}?labelSelector=app%3Da")).await;
    assert_eq!((&list["kind"], &list["items"][0]["metadata"]["name"]), (&json!("WidgetList"), &json!("a")), "{list}");
    assert_eq!(server.delete(&format!("{path}?fieldSelector=metadata.name%3Db")).await.0, 200);
    assert_eq!(names(&server, &path).await, ["c", "d"]);
    let (_, list) = server.delete(&format!("{path}?limit=1")).await;
    assert!(list["metadata"]["continue"].is_string(), "{list}");
    assert_eq!(names(&server, &path).await, ["d"]);
    assert_eq!(server.delete("/apis/example.com/v1/widgets").await.0, 404);
    assert_eq!(server.delete("/api/v1/namespaces").await.0, 405);
    assert_eq!(server.delete(&path).await.0, 200);
    assert!(names(&server, &path).await.is_empty());
    server.stop().await;
}

/// Widgets that may need other widgets, as `spec.extra.needs` says.
async fn define_needy(server: &Server) {
    let mut definition: Value = serde_yaml_ng::from_str(WIDGETS).expect("YAML");
    let references = json!([
        {"kind": "Widget", "field": "spec.extra.needs[]", "toApiVersion": "example.com/v1", "toKinds": ["Widget"], "role": "requires"},
        {"kind": "Widget", "field": "spec.extra.reads", "toApiVersion": "v1", "toKinds": ["ConfigMap"], "role": "uses"},
    ]);
    definition["metadata"]["annotations"] = json!({"threeport.dev/references": references.to_string()});
    server.make(CRDS, &definition).await;
}

async fn needy(server: &Server, name: &str, needs: &[&str]) -> Value {
    let mut body = widget(name);
    body["spec"]["extra"] = json!({"needs": needs});
    server.make(&widgets("default"), &body).await
}

#[tokio::test]
async fn what_others_need_does_not_keep_the_rest_of_a_collection() {
    let server = Server::start().await;
    define_needy(&server).await;
    for (name, needs) in [("a", vec![]), ("b", vec!["a"]), ("c", vec!["b"]), ("x", vec![])] {
        needy(&server, name, &needs).await;
    }
    let path = widgets("default");
    let (code, body) = server.delete(&format!("{path}?labelSelector=app+in+%28a,x%29")).await;
    assert_eq!(code, 409, "{body}");
    assert!(body["message"].as_str().is_some_and(|m| m.starts_with("1 of 2") && m.contains("default/b")), "{body}");
    assert_eq!(body["details"]["causes"][0]["reason"], "InUse");
    assert_eq!(names(&server, &path).await, ["a", "b", "c"]);
    assert_eq!(server.delete(&path).await.0, 200, "in as many passes as it takes");
    assert!(names(&server, &path).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn those_who_need_it_go_first_if_it_says_so() {
    let server = Server::start().await;
    define_needy(&server).await;
    let path = widgets("default");
    needy(&server, "a", &[]).await;
    for (name, needs) in [("b", vec!["a"]), ("c", vec!["b"]), ("d", vec!["c", "a"])] {
        needy(&server, name, &needs).await;
    }
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    server.patch(&format!("{path}/c"), "merge-patch", &held).await;
    for policy in ["Foreground", "Background"] {
        let (code, body) = server.delete(&format!("{path}/a?propagationPolicy={policy}")).await;
        assert_eq!(code, 409, "{body}");
        assert!(body["message"].as_str().is_some_and(|m| m.contains("threeport.dev/delete=with-dependants")), "{body}");
    }
    let annotate = |way: &str| json!({"metadata": {"annotations": {"threeport.dev/delete": way}}});
    assert_eq!(server.patch(&format!("{path}/a"), "merge-patch", &annotate("everything")).await.0, 422);
    assert_eq!(server.patch(&format!("{path}/a"), "merge-patch", &annotate("with-dependants")).await.0, 200);
    let (code, body) = server.delete(&format!("{path}/a")).await;
    assert_eq!((code.as_u16(), &body["metadata"]["finalizers"]), (200, &json!(["threeport.dev/dependants"])), "{body}");
    gone(&server, &format!("{path}/d")).await;
    eventually("it is told", async || {
        let (_, events) = server.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Da").await;
        events["items"].as_array()?.iter().any(|event| event["reason"] == "DeletingDependants").then_some(())
    })
    .await;
    assert_eq!(names(&server, &path).await, ["a", "b", "c"], "b and a wait for c");
    server.patch(&format!("{path}/c"), "merge-patch", &json!({"metadata": {"finalizers": null}})).await;
    gone(&server, &format!("{path}/a")).await;
    assert!(names(&server, &path).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn an_owner_that_requires_what_it_owns_goes_after_it_once_it_is_cleaned_up() {
    let server = Server::start().await;
    define_needy(&server).await;
    let path = widgets("default");
    for cleaned in [true, false] {
        needy(&server, "owned", &[]).await;
        let owner = needy(&server, "owner", &["owned"]).await;
        if !cleaned {
            let held = json!({"metadata": {"finalizers": ["threeport.dev/cleanup"]}});
            assert_eq!(server.patch(&format!("{path}/owner"), "merge-patch", &held).await.0, 200);
        }
        let owned = json!({"metadata": {"ownerReferences": [reference(&owner, true)]}});
        assert_eq!(server.patch(&format!("{path}/owned"), "merge-patch", &owned).await.0, 200);
        assert_eq!(server.delete(&format!("{path}/owner?propagationPolicy=Foreground")).await.0, 200);
        if !cleaned {
            eventually("it is told what is in the way", async || {
                let events = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Downed";
                let (_, events) = server.get(events).await;
                events["items"].as_array()?.iter().any(|event| event["reason"] == "InUse").then_some(())
            })
            .await;
            assert_eq!(names(&server, &path).await, ["owned", "owner"], "the clean-up may need it");
            let done = json!({"metadata": {"finalizers": ["foregroundDeletion"]}});
            assert_eq!(server.patch(&format!("{path}/owner"), "merge-patch", &done).await.0, 200);
        }
        gone(&server, &format!("{path}/owner")).await;
        assert!(names(&server, &path).await.is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_being_deleted_is_no_longer_taken_for_what_others_need() {
    let server = Server::start().await;
    define_needy(&server).await;
    let path = widgets("default");
    let hold = json!({"metadata": {
        "finalizers": ["example.com/hold"], "annotations": {"threeport.dev/delete": "with-dependants"},
    }});
    needy(&server, "old", &[]).await;
    needy(&server, "before", &["old"]).await;
    needy(&server, "free", &[]).await;
    for name in ["old", "before"] {
        assert_eq!(server.patch(&format!("{path}/{name}"), "merge-patch", &hold).await.0, 200);
    }
    assert_eq!(server.delete(&format!("{path}/old")).await.0, 200);
    let mut late = widget("late");
    late["spec"]["extra"] = json!({"needs": ["free", "old"]});
    let created = server.post(&path, &late).await;
    late["spec"]["extra"] = json!({"needs": ["old"]});
    let moved = server.patch(&format!("{path}/free"), "merge-patch", &json!({"spec": late["spec"]})).await;
    for (code, body) in [created, moved] {
        assert_eq!((code.as_u16(), &body["reason"]), (409, &json!("Conflict")), "{body}");
        let field = body["details"]["causes"][0]["field"].as_str().unwrap_or_default();
        assert!(field.starts_with("spec.extra.needs["), "{body}");
        assert!(body["message"].as_str().is_some_and(|said| said.contains("default/old")), "{body}");
    }
    let labelled = json!({"metadata": {"labels": {"more": "labels"}}});
    let (code, body) = server.patch(&format!("{path}/before"), "merge-patch", &labelled).await;
    assert_eq!(code, 200, "what it needed before it may go on to need: {body}");
    server.stop().await;
}

/// Closes a circle, which the API refuses: there may be one from before it did.
async fn close_circle(server: &Server, namespace: &str, from: &str, to: &str) {
    let key = |name: &str| Key {
        resource: Resource::new("example.com", "widgets"),
        namespace: Some(namespace.into()),
        name: name.into(),
    };
    let body = server.store.get(&key(from)).await.expect("a store").expect("it is there").value();
    let edge = Edge { to: key(to), role: "requires".to_owned(), field: "spec.extra.needs[0]".to_owned() };
    let precondition = Precondition::Present { uid: None, resource_version: None };
    let op = Op::Put { key: key(from), body, precondition, edges: Some(vec![edge]), wake: None };
    server.store.write(vec![op]).await.expect("written");
}

#[tokio::test]
async fn two_that_need_each_other_go_together() {
    let server = Server::start().await;
    define_needy(&server).await;
    server.make("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await;
    for namespace in ["default", "team"] {
        for (name, needs) in [("a", json!([])), ("b", json!(["a"]))] {
            let mut body = widget(name);
            body["spec"]["extra"] = json!({"needs": needs});
            server.make(&widgets(namespace), &body).await;
        }
        close_circle(&server, namespace, "a", "b").await;
    }
    let path = widgets("default");
    assert_eq!(server.delete(&format!("{path}/a")).await.0, 409);
    let annotate = json!({"annotations": {"threeport.dev/delete": "with-dependants"}});
    let (code, body) = server.patch(&format!("{path}/a"), "merge-patch", &json!({"metadata": annotate})).await;
    assert_eq!(code, 200, "{body}");
    close_circle(&server, "default", "a", "b").await;
    assert_eq!(server.delete(&format!("{path}/a")).await.0, 200);
    gone(&server, &format!("{path}/a")).await;
    assert!(names(&server, &path).await.is_empty());
    assert_eq!(server.delete("/api/v1/namespaces/team").await.0, 200);
    gone(&server, "/api/v1/namespaces/team").await;
    server.stop().await;
}

#[tokio::test]
async fn a_definition_of_users_takes_its_objects_along() {
    let server = Server::start().await;
    define_needy(&server).await;
    needy(&server, "a", &[]).await;
    needy(&server, "b", &["a"]).await;
    let path = widgets("default");
    server.patch(&format!("{path}/b"), "merge-patch", &json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    let crd = format!("{CRDS}/widgets.example.com");
    let (code, body) = server.delete(&crd).await;
    assert_eq!(
        (code.as_u16(), &body["metadata"]["finalizers"]),
        (200, &json!(["customresourcecleanup.apiextensions.k8s.io"])),
        "{body}"
    );
    eventually("it says that it waits", async || {
        let (_, body) = server.get(&crd).await;
        let conditions = body["status"]["conditions"].as_array()?;
        conditions
            .iter()
            .any(|c| c["type"] == "Terminating" && c["reason"] == "InstanceDeletionInProgress")
            .then_some(())
    })
    .await;
    let (code, body) = server.post(&path, &widget("late")).await;
    assert_eq!((code.as_u16(), &body["reason"]), (405, &json!("MethodNotAllowed")), "{body}");
    assert_eq!(names(&server, &path).await, ["a", "b"]);
    server.patch(&format!("{path}/b"), "merge-patch", &json!({"metadata": {"finalizers": null}})).await;
    gone(&server, &crd).await;
    eventually("nor is the kind served", async || (server.get(&path).await.0 == 404).then_some(())).await;
    server.stop().await;
}

//! Definitions and the objects that use them, as clients write them.

use serde_json::{Value, json};

use crate::harness::{Server, WIDGETS, widget, widgets};

const DEFINITIONS: &str = "/apis/threeport.dev/v1/namespaces/default/definitions";
const REVISIONS: &str = "/apis/threeport.dev/v1/namespaces/default/definitionrevisions";

/// A server whose widgets a plugin serves; `spec.extra.needs` names ConfigMaps that a widget requires.
async fn served() -> Server {
    let server = Server::start().await;
    let mut crd: Value = serde_yaml_ng::from_str(WIDGETS).expect("YAML");
    let references = json!([{"kind": "Widget", "field": "spec.extra.needs[]", "toApiVersion": "v1", "toKinds": ["ConfigMap"], "role": "requires"}]);
    crd["metadata"]["annotations"] =
        json!({"threeport.dev/plugin": "widgets", "threeport.dev/references": references.to_string()});
    server.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await;
    server
}

fn definition(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "threeport.dev/v1", "kind": "Definition", "metadata": {"name": name},
        "spec": {"for": {"apiVersion": "example.com/v1", "kind": "Widget"}, "template": {"spec": spec}},
    })
}

/// A widget that says nothing but this.
fn using(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

fn used(object: &Value) -> (Option<&str>, i64) {
    let metadata = &object["metadata"];
    let used = metadata["annotations"]["threeport.dev/definition-revision"].as_str();
    (used, metadata["generation"].as_i64().unwrap_or_default())
}

async fn change(server: &Server, path: &str, patch: Value) -> Value {
    let (code, body) = server.patch(path, "merge-patch", &patch).await;
    assert_eq!(code, 200, "{body}");
    body
}

fn causes(body: &Value) -> Vec<(&str, &str)> {
    let causes = body["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    causes
        .iter()
        .map(|cause| (cause["field"].as_str().unwrap_or_default(), cause["message"].as_str().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn each_change_of_a_template_makes_a_revision_that_never_changes() {
    let server = served().await;
    let made = server.make(DEFINITIONS, &definition("web", json!({"image": "web:1"}))).await;
    assert_eq!(made["metadata"]["annotations"]["threeport.dev/revision"], "1");
    let path = format!("{DEFINITIONS}/web");
    let same = change(
        &server,
        &path,
        json!({"metadata": {"annotations": null, "labels": {"a": "b"}}, "spec": {"revisionHistoryLimit": 3}}),
    )
    .await;
    assert_eq!(same["metadata"]["annotations"]["threeport.dev/revision"], "1", "nothing of the template changed");
    let patch = json!({"metadata": {"annotations": {"threeport.dev/revision": "7"}}, "spec": {"template": {"spec": {"image": "web:2"}}}});
    assert_eq!(change(&server, &path, patch).await["metadata"]["annotations"]["threeport.dev/revision"], "2");
    let (_, list) = server.get(REVISIONS).await;
    let found: Vec<_> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|it| (&it["metadata"]["name"], &it["spec"]["template"]["spec"]["image"]))
        .collect();
    assert_eq!(found, [(&json!("web-1"), &json!("web:1")), (&json!("web-2"), &json!("web:2"))]);
    assert_eq!(list["items"][0]["metadata"]["ownerReferences"][0]["uid"], made["metadata"]["uid"]);

    let (code, body) =
        server.patch(&format!("{REVISIONS}/web-1"), "merge-patch", &json!({"spec": {"revision": 5}})).await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec"), "{body}");
    let (code, body) = server
        .post(REVISIONS, &json!({"apiVersion": "threeport.dev/v1", "kind": "DefinitionRevision", "metadata": {"name": "web-9"}, "spec": {"revision": 9, "for": {}, "template": {}}}))
        .await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec"), "{body}");
    let (code, body) = server.delete(&format!("{REVISIONS}/web-2")).await;
    assert_eq!(code, 409, "the newest is in use by its Definition: {body}");
    assert_eq!(server.delete(&format!("{REVISIONS}/web-1")).await.0, 200);
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"for": {"kind": "Gadget"}}})).await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec.for"), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn a_template_is_held_against_the_kind_but_need_not_be_all_of_it() {
    let server = served().await;
    for (spec, field) in [
        (json!({"replicas": -1}), "spec.template.spec.replicas"),
        (json!({"imago": "x"}), "spec.template.spec.imago"),
        (json!({"env": [{"value": "x"}]}), "spec.template.spec.env[0].name"),
        (json!({"definition": {"name": "other", "revision": 1}}), "spec.template.spec.definition"),
    ] {
        let (code, body) = server.post(DEFINITIONS, &definition("bad", spec)).await;
        assert_eq!((code.as_u16(), causes(&body)[0].0), (422, field), "{body}");
    }
    let mut of_maps = definition("maps", json!({}));
    of_maps["spec"]["for"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let (code, body) = server.post(DEFINITIONS, &of_maps).await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec.for.kind"), "{body}");
    let mut early = definition("early", json!({"anything": 1}));
    early["spec"]["for"] = json!({"apiVersion": "example.com/v1", "kind": "Gadget"});
    let answer = server.request(reqwest::Method::POST, DEFINITIONS).json(&early).send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
    let warning = answer.headers()["warning"].to_str().expect("text");
    assert!(warning.contains("not served yet"), "{warning}");
    server.stop().await;
}

#[tokio::test]
async fn an_object_is_judged_by_its_whole_spec_and_stored_as_it_was_written() {
    let server = served().await;
    let template = json!({"image": "web:1", "replicas": 3, "mode": "fast", "env": [{"name": "A"}]});
    server.make(DEFINITIONS, &definition("web", template)).await;
    let spec = json!({"definition": {"name": "web", "revision": 1}, "replicas": 5});
    let made = server.make(&widgets("default"), &using("w", spec.clone())).await;
    assert_eq!((&made["spec"], used(&made)), (&spec, (Some("1"), 1)), "no default hides what the Definition says");

    // Required, rules, types: of the whole. What the Definition said is told as such.
    let bad = |spec: Value| async {
        let (code, body) = server.post(&widgets("default"), &using("bad", spec)).await;
        assert_eq!(code, 422, "{body}");
        let (field, message) = causes(&body)[0];
        (field.to_owned(), message.to_owned())
    };
    let of = json!({"name": "web", "revision": 1});
    assert_eq!(bad(json!({"definition": of, "image": null})).await.0, "spec.image");
    assert_eq!(bad(json!({"definition": of, "replicas": "many"})).await.0, "spec.replicas");
    let (field, message) = bad(json!({"definition": of, "image": "big", "replicas": 600})).await;
    assert!(field == "spec" && message.contains("big ones need less replicas"), "{message}");
    assert_eq!(bad(json!({"definition": {"name": "web"}})).await.0, "spec.definition");
    assert_eq!(
        bad(json!({"definition": {"name": "web", "revision": 1, "track": "latest"}})).await.0,
        "spec.definition"
    );
    assert_eq!(bad(json!({"definition": {"revision": 1}})).await.0, "spec.definition.name");
    assert_eq!(bad(json!({"definition": {"name": "web", "track": "newest"}})).await.0, "spec.definition.track");

    // A transition rule compares whole specs.
    let path = format!("{}/w", widgets("default"));
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"mode": "slow"}})).await;
    assert!(code == 422 && body.to_string().contains("mode is immutable"), "{body}");
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"mode": "fast"}})).await;
    assert_eq!(code, 200, "{body}");
    // Without the Definition the object has to say it all.
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"definition": null}})).await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec.image"), "{body}");
    let whole = json!({"spec": {"definition": null, "image": "web:1"}});
    assert_eq!(used(&change(&server, &path, whole).await), (None, 3));
    assert_eq!(server.delete(&format!("{DEFINITIONS}/web")).await.0, 200, "nobody uses it any more");
    server.stop().await;
}

#[tokio::test]
async fn an_object_may_come_before_its_definition() {
    let server = served().await;
    let spec = json!({"definition": {"name": "web", "track": "latest"}});
    let answer = server.request(reqwest::Method::POST, &widgets("default")).json(&using("w", spec)).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 201);
    assert!(answer.headers()["warning"].to_str().expect("text").contains("does not exist"));
    let (code, body) = server
        .post(&widgets("default"), &using("bad", json!({"definition": {"name": "web", "revision": 1}, "replicas": -1})))
        .await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec.replicas"), "what can be judged is: {body}");
    let pinned = using("pinned", json!({"definition": {"name": "web", "revision": 2}}));
    assert_eq!(used(&server.make(&widgets("default"), &pinned).await), (None, 1));

    server.make(DEFINITIONS, &definition("web", json!({"image": "web:1"}))).await;
    let path = format!("{}/w", widgets("default"));
    let touched = change(&server, &path, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(used(&touched), (Some("1"), 2), "another whole spec is another generation");
    server.stop().await;
}

#[tokio::test]
async fn a_definition_or_a_revision_in_use_is_not_deleted() {
    let server = served().await;
    server.make(DEFINITIONS, &definition("web", json!({"image": "web:1"}))).await;
    server.make(&widgets("default"), &using("pinned", json!({"definition": {"name": "web", "revision": 1}}))).await;
    change(&server, &format!("{DEFINITIONS}/web"), json!({"spec": {"template": {"spec": {"image": "web:2"}}}})).await;
    server
        .make(&widgets("default"), &using("follows", json!({"definition": {"name": "web", "track": "latest"}})))
        .await;
    let (code, body) = server.delete(&format!("{DEFINITIONS}/web")).await;
    let message = body["message"].as_str().unwrap_or_default();
    assert!(code == 409 && message.contains("default/pinned") && message.contains("default/follows"), "{body}");
    let (code, body) = server.delete(&format!("{REVISIONS}/web-1")).await;
    assert!(code == 409 && body["message"].as_str().is_some_and(|it| it.contains("default/pinned")), "{body}");
    let path = format!("{}/pinned", widgets("default"));
    let moved = change(&server, &path, json!({"spec": {"definition": {"revision": 2}}})).await;
    assert_eq!(used(&moved), (Some("2"), 2));
    assert_eq!(server.delete(&format!("{REVISIONS}/web-1")).await.0, 200);
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"definition": {"revision": 1}}})).await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec.definition.revision"), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn an_object_that_a_new_revision_does_not_fit_stays_changeable() {
    let server = served().await;
    server.make(DEFINITIONS, &definition("web", json!({"image": "web:1", "replicas": 1}))).await;
    let path = format!("{}/w", widgets("default"));
    let spec = json!({"definition": {"name": "web", "track": "latest"}, "image": "big"});
    server.make(&widgets("default"), &using("w", spec.clone())).await;
    change(&server, &format!("{DEFINITIONS}/web"), json!({"spec": {"template": {"spec": {"replicas": 900}}}})).await;
    let answer = server.request(reqwest::Method::PATCH, &path).header("content-type", "application/merge-patch+json");
    let answer = answer.body(json!({"metadata": {"labels": {"a": "b"}}}).to_string()).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["warning"].to_str().expect("text").contains("it stays on revision 1"));
    assert_eq!(used(&answer.json().await.expect("JSON")), (Some("1"), 1));
    let (code, body) = server.post(&widgets("default"), &using("new", spec)).await;
    assert_eq!(code, 422, "a new one has nothing to stay on: {body}");
    let fits = change(&server, &path, json!({"spec": {"replicas": 2}})).await;
    assert_eq!(used(&fits), (Some("2"), 2));
    server.stop().await;
}

#[tokio::test]
async fn references_in_a_definition_are_those_of_the_object() {
    let server = served().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    server.make(maps, &json!({"metadata": {"name": "c"}})).await;
    server.make(DEFINITIONS, &definition("web", json!({"image": "web:1", "extra": {"needs": ["c"]}}))).await;
    server.make(&widgets("default"), &using("w", json!({"definition": {"name": "web", "revision": 1}}))).await;
    let (code, body) = server.delete(&format!("{maps}/c")).await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (409, "spec.extra.needs[0]"), "{body}");
    change(&server, &format!("{}/w", widgets("default")), json!({"spec": {"extra": {"needs": []}}})).await;
    assert_eq!(server.delete(&format!("{maps}/c")).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn the_published_schema_has_the_definition_and_requires_nothing_that_it_may_say() {
    let server = served().await;
    let shown = server.kubectl_ok(&["explain", "widget.spec"]).await;
    assert!(shown.contains("definition\t<Object>"), "{shown}");
    assert!(shown.contains("image\t<string>\n") && shown.contains("Required, here or in the Definition"), "{shown}");
    let shown = server.kubectl_ok(&["explain", "widget.spec.definition"]).await;
    assert!(shown.contains("track\t<string>") && shown.contains("name\t<string> -required-"), "{shown}");

    let file = server.file(
        "all.yaml",
        "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {definition: {name: web, track: latest}, replicas: 4}\n---\n\
         apiVersion: threeport.dev/v1\nkind: Definition\nmetadata: {name: web}\nspec:\n  for: {apiVersion: example.com/v1, kind: Widget}\n  template:\n    spec: {image: 'web:1'}\n",
    );
    server.kubectl_ok(&["apply", "-f", &file]).await;
    let again = server.kubectl_ok(&["apply", "-f", &file]).await;
    assert!(again.contains("definition.threeport.dev/web unchanged"), "{again}");
    let applied = server.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-f", &file]).await;
    assert!(applied.contains("widget.example.com/w serverside-applied"), "{applied}");
    let (_, w) = server.get(&format!("{}/w", widgets("default"))).await;
    assert_eq!(used(&w), (Some("1"), 2), "{w}");
    // A plain widget is judged as before.
    let mut plain = widget("plain");
    plain["spec"].as_object_mut().expect("a spec").remove("image");
    let (code, body) = server.post(&widgets("default"), &plain).await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec.image"), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn objects_do_not_require_each_other_in_a_circle() {
    let server = Server::start().await;
    let mut crd: Value = serde_yaml_ng::from_str(WIDGETS).expect("YAML");
    let references = json!([{"kind": "Widget", "field": "spec.extra.after", "toApiVersion": "example.com/v1", "toKinds": ["Widget"], "role": "requires"}]);
    crd["metadata"]["annotations"] =
        json!({"threeport.dev/plugin": "widgets", "threeport.dev/references": references.to_string()});
    server.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await;
    let after = |name: &str, after: &str| {
        let mut made = widget(name);
        made["spec"]["extra"] = json!({"after": after});
        made
    };
    // The one that is required need not be there yet.
    server.make(&widgets("default"), &after("a", "b")).await;
    server.make(&widgets("default"), &after("b", "c")).await;
    let (code, body) = server.post(&widgets("default"), &after("c", "a")).await;
    let (field, message) = causes(&body)[0];
    assert_eq!((code.as_u16(), field), (422, "spec.extra.after"), "{body}");
    assert!(message.contains("default/c\" -> widgets.example.com \"default/a\""), "{message}");
    let (code, body) = server.post(&widgets("default"), &after("d", "d")).await;
    assert_eq!(code, 422, "{body}");
    // One in a Definition is no other.
    server.make(DEFINITIONS, &definition("round", json!({"image": "x", "extra": {"after": "a"}}))).await;
    let (code, body) = server
        .post(&widgets("default"), &using("c", json!({"definition": {"name": "round", "track": "latest"}})))
        .await;
    assert_eq!((code.as_u16(), causes(&body)[0].0), (422, "spec.extra.after"), "{body}");
    server.make(&widgets("default"), &widget("c")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_number_never_stands_for_what_another_definition_of_that_name_said() {
    let server = served().await;
    let mut earlier = definition("web", json!({"image": "old:1"}));
    earlier["metadata"]["namespace"] = json!("default");
    // What is left when a Definition is deleted without its dependents.
    let mut left = threeport_store::definitions::revision_object(&earlier, 1, jiff::Timestamp::UNIX_EPOCH, "left");
    left["metadata"].as_object_mut().expect("an object").remove("ownerReferences");
    let key = threeport_store::definitions::revision_key(Some("default"), "web", 1);
    let precondition = threeport_store::Precondition::Absent;
    let op = threeport_store::Op::Put { key, body: left, precondition, edges: None, wake: None };
    server.store.write(vec![op]).await.expect("written");
    let made = server.make(DEFINITIONS, &definition("web", json!({"image": "new:1"}))).await;
    assert_eq!(made["metadata"]["annotations"]["threeport.dev/revision"], "2");
    for (number, image) in [(1, "old:1"), (2, "new:1")] {
        let (_, revision) = server.get(&format!("{REVISIONS}/web-{number}")).await;
        assert_eq!(revision["spec"]["template"]["spec"]["image"], image, "{revision}");
    }
    server.stop().await;
}

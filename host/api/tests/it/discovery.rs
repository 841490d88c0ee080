//! What is served, and the parts of a kind that have paths of their own.

use serde_json::{Value, json};

use crate::harness::{Server, answer, widget, widgets};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A kind with everything that a version can say, and a second version.
fn scaled(name: &str, kind: &str, short: &str) -> Value {
    let version = |version: &str, storage: bool| {
        json!({
            "name": version, "served": true, "storage": storage,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"}},
            "selectableFields": [{"jsonPath": ".spec.colour"}, {"jsonPath": ".spec.size"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"size": {"type": "integer", "maximum": 9}, "colour": {"type": "string"}}},
                "status": {"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}},
            }}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{name}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": name, "kind": kind, "shortNames": [short]},
                 "versions": [version("v1", true), version("v1beta1", false)]},
    })
}

#[tokio::test]
async fn everything_is_found_in_one_answer() {
    let server = Server::start().await;
    server.make(CRDS, &scaled("sets", "Set", "st")).await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let ask = || server.request(reqwest::Method::GET, "/apis").header("accept", accept);
    let response = ask().send().await.expect("an answer");
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert!(header("content-type").contains("as=APIGroupDiscoveryList"), "{response:?}");
    let tag = header("etag");
    let (_, all) = answer(response).await;
    let groups = all["items"].as_array().expect("groups");
    let group = groups.iter().find(|group| group["metadata"]["name"] == "example.com").expect("the group");
    let versions: Vec<&Value> = group["versions"].as_array().expect("versions").iter().map(|v| &v["version"]).collect();
    assert_eq!(versions, ["v1", "v1beta1"]);
    let found = &group["versions"][0]["resources"][0];
    assert_eq!(
        (&found["resource"], &found["scope"], &found["shortNames"]),
        (&json!("sets"), &json!("Namespaced"), &json!(["st"]))
    );
    let scale = json!({"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get", "patch", "update"]});
    assert_eq!(found["subresources"][1], scale);
    assert_eq!(ask().header("if-none-match", tag).send().await.expect("an answer").status(), 304);
    let (_, core) = server.get("/api").await;
    let reached = server.url.trim_start_matches("https://");
    assert_eq!(core["serverAddressByClientCIDRs"][0]["serverAddress"], reached);
    let (_, list) = server.get("/apis/example.com/v1").await;
    assert_eq!(
        (&list["resources"][2]["name"], &list["resources"][2]["group"]),
        (&json!("sets/scale"), &json!("autoscaling"))
    );
    let (code, body) = server.get("/apis/nowhere.example.com/v1").await;
    assert_eq!((code.as_u16(), body), (404, json!("404 page not found\n")));
    server.stop().await;
}

#[tokio::test]
async fn what_has_replicas_is_scaled_where_it_keeps_them() {
    let server = Server::start().await;
    server.make(CRDS, &scaled("sets", "Set", "st")).await;
    let sets = "/apis/example.com/v1/namespaces/default/sets";
    let body = json!({"apiVersion": "example.com/v1", "kind": "Set", "metadata": {"name": "a"}, "spec": {"size": 2, "colour": "red"}});
    server.make(sets, &body).await;
    let path = format!("{sets}/a/scale");
    let (code, scale) = server.get(&path).await;
    assert_eq!(
        (code.as_u16(), &scale["kind"], &scale["spec"]),
        (200, &json!("Scale"), &json!({"replicas": 2})),
        "{scale}"
    );
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"replicas": 3}})).await;
    assert_eq!((code.as_u16(), &body["spec"]["replicas"]), (200, &json!(3)), "{body}");
    let mut old = scale.clone();
    old["spec"]["replicas"] = 4.into();
    let (code, body) = server.put(&path, &old).await;
    assert_eq!(code, 409, "the version that was read is not the present one: {body}");
    old["metadata"]["resourceVersion"] = Value::Null;
    assert_eq!(server.put(&path, &old).await.0, 200);
    let (_, set) = server.get(&format!("{sets}/a")).await;
    assert_eq!(
        (&set["spec"]["size"], &set["spec"]["colour"], &set["metadata"]["generation"]),
        (&json!(4), &json!("red"), &json!(3))
    );
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"replicas": -1}})).await;
    assert_eq!((code.as_u16(), &body["details"]["causes"][0]["field"]), (422, &json!(".spec.size")), "{body}");
    let (code, body) = server.patch(&path, "merge-patch", &json!({"spec": {"replicas": 10}})).await;
    assert_eq!((code.as_u16(), &body["details"]["causes"][0]["field"]), (422, &json!("spec.size")), "{body}");
    let (code, _) = server.get("/apis/example.com/v1beta1/namespaces/default/sets/a").await;
    assert_eq!(code, 200);
    for (selector, found) in [("spec.colour=red", 1), ("spec.size=4", 1), ("spec.size!=4", 0), ("spec.colour=", 0)] {
        let (_, list) = server.get(&format!("{sets}?fieldSelector={}", selector.replace('=', "%3D"))).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(found), "{selector}: {list}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_name_that_another_kind_has_is_waited_for() {
    let server = Server::start().await;
    server.make(CRDS, &scaled("sets", "Set", "st")).await;
    let second = server.make(CRDS, &scaled("sorts", "Sort", "st")).await;
    let conditions = &second["status"]["conditions"];
    assert_eq!((&conditions[0]["reason"], &conditions[1]["status"]), (&json!("ShortNamesConflict"), &json!("False")));
    assert_eq!(server.get("/apis/example.com/v1/sorts").await.0, 404);
    assert_eq!(server.delete(&format!("{CRDS}/sets.example.com")).await.0, 200);
    crate::harness::eventually("the name is free", async || {
        (server.get("/apis/example.com/v1/sorts").await.0 == 200).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn what_was_stored_before_a_default_is_read_with_it() {
    let server = Server::start().await;
    server.define_widgets().await;
    server.make(&widgets("default"), &widget("old")).await;
    let path = format!("{CRDS}/widgets.example.com");
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let patch =
        json!([{"op": "add", "path": format!("{schema}/taste"), "value": {"type": "string", "default": "sweet"}}]);
    let (code, body) = server.patch(&path, "json-patch", &patch).await;
    assert_eq!(code, 200, "{body}");
    let (_, read) = server.get(&format!("{}/old", widgets("default"))).await;
    let (_, list) = server.get(&widgets("default")).await;
    assert_eq!((&read["spec"]["taste"], &list["items"][0]["spec"]["taste"]), (&json!("sweet"), &json!("sweet")));
    let patch = json!([{"op": "remove", "path": format!("{schema}/taste")}]);
    assert_eq!(server.patch(&path, "json-patch", &patch).await.0, 200);
    let (_, read) = server.get(&format!("{}/old", widgets("default"))).await;
    assert_eq!(read["spec"].get("taste"), None, "and without it when it is no longer one");
    server.stop().await;
}

#[tokio::test]
async fn a_body_may_be_yaml_and_what_it_says_twice_is_told() {
    let server = Server::start().await;
    server.define_widgets().await;
    let path = widgets("default");
    let body = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"image":"web:1","image":"web:2"}}"#;
    let post = |query: &str| {
        let request = server.request(reqwest::Method::POST, &format!("{path}?{query}"));
        request.header("content-type", "application/json").body(body)
    };
    let (code, refused) = answer(post("fieldValidation=Strict").send().await.expect("an answer")).await;
    assert_eq!(code, 400);
    assert!(refused["message"].as_str().is_some_and(|m| m.ends_with("duplicate field \"spec.image\"")), "{refused}");
    let response = post("dryRun=All").send().await.expect("an answer");
    assert_eq!(response.headers()["warning"], "299 - \"duplicate field \\\"spec.image\\\"\"");
    // YAML that is applied, or posted: by the line.
    let yaml = "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: twice\nspec:\n  image: a\n  image: b\n";
    for (method, path, kind) in [
        (reqwest::Method::POST, widgets("default"), "application/yaml"),
        (reqwest::Method::PATCH, format!("{}/twice", widgets("default")), "application/apply-patch+yaml"),
    ] {
        let path = format!("{path}?fieldManager=me&fieldValidation=Strict");
        let sent = server.request(method, &path).header("content-type", kind).body(yaml);
        let refused: Value = sent.send().await.expect("an answer").json().await.expect("JSON");
        let message = refused["message"].as_str().unwrap_or_default();
        assert!(message.ends_with("line 7: key \"image\" already set in map"), "{refused}");
    }
    let made = post("fieldValidation=Ignore").send().await.expect("an answer");
    assert!(!made.headers().contains_key("warning"));
    let read = server.request(reqwest::Method::GET, &format!("{path}/a")).header("accept", "application/yaml");
    let response = read.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "application/yaml");
    let read: Value = serde_yaml_ng::from_str(&response.text().await.expect("a body")).expect("YAML");
    assert_eq!(read["spec"]["image"], "web:2", "the last one counts");
    server.stop().await;
}

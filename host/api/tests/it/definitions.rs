//! CustomResourceDefinitions: what cannot work is refused, what is accepted is served at once.

use reqwest::Method;
use serde_json::{Value, json};
use threeport_store::{Key, Op, Precondition, Resource, lifecycle};

use crate::harness::{Server, WIDGETS, eventually, widget, widgets};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition() -> Value {
    serde_yaml_ng::from_str(WIDGETS).expect("YAML")
}

fn schema_of(definition: &mut Value) -> &mut Value {
    &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

#[tokio::test]
async fn a_definition_that_cannot_work_is_refused_with_the_field() {
    let server = Server::start().await;
    type Damage = fn(&mut Value);
    let cases: [(&str, Damage); 9] = [
        ("metadata.name", |d| d["metadata"]["name"] = "other.example.com".into()),
        ("spec.versions", |d| d["spec"]["versions"][0]["storage"] = false.into()),
        ("spec.scope", |d| d["spec"]["scope"] = "Galactic".into()),
        ("x-kubernetes-validations[0].rule", |d| {
            schema_of(d)["properties"]["spec"]["x-kubernetes-validations"] = json!([{"rule": "self.replicas <"}]);
        }),
        ("x-kubernetes-validations[0].rule", |d| {
            schema_of(d)["properties"]["spec"]["x-kubernetes-validations"] =
                json!([{"rule": "self.image.launch() == 1"}]);
        }),
        ("x-kubernetes-validations[0].rule", |d| {
            schema_of(d)["properties"]["spec"]["x-kubernetes-validations"] = json!([{"rule": "request.user == 'x'"}]);
        }),
        ("pattern", |d| schema_of(d)["properties"]["spec"]["properties"]["image"]["pattern"] = "(".into()),
        ("default", |d| schema_of(d)["properties"]["spec"]["properties"]["replicas"]["default"] = "many".into()),
        ("JSONPath", |d| d["spec"]["versions"][0]["additionalPrinterColumns"][0]["jsonPath"] = "spec".into()),
    ];
    for (field, break_it) in cases {
        let mut broken = definition();
        break_it(&mut broken);
        let (code, body) = server.post(CRDS, &broken).await;
        assert_eq!(code, 422, "{field}: {body}");
        let causes = body["details"]["causes"].to_string();
        assert!(causes.contains(field), "{field}: {causes}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_definition_is_served_when_its_creation_has_returned() {
    let server = Server::start().await;
    let made = server.make(CRDS, &definition()).await;
    assert_eq!(made["spec"]["names"]["listKind"], "WidgetList");
    let conditions = made["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True"), "{conditions:?}");
    assert_eq!(server.get(&widgets("default")).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_definition_written_into_the_store_is_served_and_established() {
    let server = Server::start().await;
    let body = lifecycle::create(definition(), "2026-11-23T20:00:00Z".parse().expect("a time"), "uid-1", true);
    let key = Key {
        resource: Resource::new("apiextensions.k8s.io", "customresourcedefinitions"),
        namespace: None,
        name: "widgets.example.com".into(),
    };
    let op = Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: None };
    server.store.write(vec![op]).await.expect("written");
    eventually("it is served", async || (server.get(&widgets("default")).await.0 == 200).then_some(())).await;
    eventually("it is established", async || {
        let (_, body) = server.get(&format!("{CRDS}/widgets.example.com")).await;
        body["status"]["conditions"].as_array().is_some_and(|c| c.len() == 2).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn discovery_and_openapi_follow_the_definitions() {
    let server = Server::start().await;
    let (_, before) = server.get("/openapi/v3").await;
    server.define_widgets().await;
    let (_, groups) = server.get("/apis").await;
    let names: Vec<&str> =
        groups["groups"].as_array().expect("groups").iter().filter_map(|g| g["name"].as_str()).collect();
    for group in ["apiextensions.k8s.io", "example.com", "rbac.authorization.k8s.io", "threeport.dev"] {
        assert!(names.contains(&group), "{group} is not in {names:?}");
    }
    let (_, list) = server.get("/apis/example.com/v1").await;
    let names: Vec<&str> =
        list["resources"].as_array().expect("resources").iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/tree", "widgets/why"]);
    let (_, after) = server.get("/openapi/v3").await;
    assert_eq!(before["paths"]["api/v1"], after["paths"]["api/v1"], "what did not change keeps its address");
    let address = after["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().expect("an address").to_owned();
    assert!(address.contains("hash="));
    let (_, document) = server.get(&address).await;
    assert_eq!(document["openapi"], "3.0.0");
    let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert!(patch["parameters"].as_array().expect("parameters").iter().any(|p| p["name"] == "fieldValidation"));
    let old = server.request(Method::GET, "/openapi/v2").send().await.expect("an answer");
    let tag = old.headers()["etag"].clone();
    let old: Value = old.json().await.expect("JSON");
    let widget = &old["definitions"]["com.example.v1.Widget"];
    assert_eq!(
        widget["properties"]["metadata"]["$ref"],
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    let again =
        server.request(Method::GET, "/openapi/v2").header("if-none-match", tag).send().await.expect("an answer");
    assert_eq!(again.status(), 304);
    server.stop().await;
}

#[tokio::test]
async fn what_the_host_says_of_a_definition_stands_beside_what_others_say() {
    let server = Server::start().await;
    server.define_widgets().await;
    let path = format!("{CRDS}/widgets.example.com/status");
    let patch = json!([{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]);
    let (code, body) = server.patch(&path, "json-patch", &patch).await;
    assert_eq!(code, 200, "{body}");
    let conditions = body["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|condition| condition["message"] == "patched"), "{body}");
    assert!(conditions.iter().any(|condition| condition["type"] == "Established"), "{body}");
    assert_eq!(server.get(&widgets("default")).await.0, 200, "it is served as before");
    server.stop().await;
}

#[tokio::test]
async fn another_version_of_a_kind_shows_the_same_objects() {
    let server = Server::start().await;
    let mut two = definition();
    let mut beta = two["spec"]["versions"][0].clone();
    beta["name"] = "v1beta1".into();
    beta["storage"] = false.into();
    two["spec"]["versions"].as_array_mut().expect("versions").push(beta);
    server.make(CRDS, &two).await;
    server.make(&widgets("default"), &widget("a")).await;
    let path = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let (_, body) = server.get(&format!("{path}/a")).await;
    assert_eq!(body["apiVersion"], "example.com/v1beta1");
    let (code, body) = server.patch(&format!("{path}/a"), "merge-patch", &json!({"spec": {"replicas": 8}})).await;
    assert_eq!((code.as_u16(), &body["apiVersion"]), (200, &json!("example.com/v1beta1")), "{body}");
    let (_, body) = server.get(&format!("{}/a", widgets("default"))).await;
    assert_eq!((&body["apiVersion"], &body["spec"]["replicas"]), (&json!("example.com/v1"), &json!(8)));
    server.stop().await;
}

#[tokio::test]
async fn what_was_stored_in_another_version_comes_back_as_it_is_asked_for() {
    let server = Server::start().await;
    let mut two = definition();
    let mut beta = two["spec"]["versions"][0].clone();
    beta["name"] = "v1beta1".into();
    two["spec"]["versions"][0]["storage"] = false.into();
    two["spec"]["versions"].as_array_mut().expect("versions").push(beta);
    server.make(CRDS, &two).await;
    server.make(&widgets("default"), &widget("old")).await;
    for (index, storage) in [(0, true), (1, false)] {
        two["spec"]["versions"][index]["storage"] = storage.into();
    }
    let patch = json!({"spec": {"versions": two["spec"]["versions"]}});
    let (code, body) = server.patch(&format!("{CRDS}/widgets.example.com"), "merge-patch", &patch).await;
    assert_eq!(code, 200, "{body}");
    for version in ["v1", "v1beta1"] {
        let path = format!("/apis/example.com/{version}/namespaces/default/widgets");
        let expected = json!(format!("example.com/{version}"));
        assert_eq!(server.get(&format!("{path}/old")).await.1["apiVersion"], expected);
        assert_eq!(server.get(&path).await.1["items"][0]["apiVersion"], expected);
        let (_, event) = server.get(&format!("{path}?watch=true&resourceVersion=0&timeoutSeconds=1")).await;
        assert_eq!((&event["type"], &event["object"]["apiVersion"]), (&json!("ADDED"), &expected), "{event}");
    }
    server.stop().await;
}

#[test]
fn what_keeps_a_definition_from_being_served_is_named() {
    let definition = |spec: Value| {
        json!({"metadata": {"name": "kites.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"plural": "kites", "kind": "Kite"}, "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]}})
    };
    assert_eq!(threeport_api::definition_errors(&definition(json!({"type": "object"}))), Vec::<String>::new());
    let wrong = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.a ==="}]});
    let errors = threeport_api::definition_errors(&definition(wrong));
    assert!(errors.len() == 1 && errors[0].contains("spec.versions[0].schema"), "{errors:?}");
}

#[tokio::test]
async fn a_definition_with_the_names_of_a_built_in_kind_is_refused_and_takes_nothing_with_it() {
    let server = Server::start().await;
    let mut body = definition();
    body["metadata"]["name"] = "clusterroles.rbac.authorization.k8s.io".into();
    body["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, for a test"});
    body["spec"]["group"] = "rbac.authorization.k8s.io".into();
    body["spec"]["names"] = json!({"plural": "clusterroles", "kind": "Widget"});
    let (code, answer) = server.post(CRDS, &body).await;
    assert_eq!(
        (code.as_u16(), &answer["details"]["causes"][0]["field"]),
        (422, &json!("spec.names.plural")),
        "{answer}"
    );
    // One that got past the API is never served, and goes alone.
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let before = server.get(roles).await.1["items"].as_array().expect("roles").len();
    let stored = lifecycle::create(body, "2026-11-23T20:00:00Z".parse().expect("a time"), "uid-1", true);
    let key = Key {
        resource: Resource::new("apiextensions.k8s.io", "customresourcedefinitions"),
        namespace: None,
        name: "clusterroles.rbac.authorization.k8s.io".into(),
    };
    let op = Op::Put { key, body: stored, precondition: Precondition::Absent, edges: None, wake: None };
    server.store.write(vec![op]).await.expect("written");
    let path = format!("{CRDS}/clusterroles.rbac.authorization.k8s.io");
    eventually("its names are refused", async || {
        let conditions = &server.get(&path).await.1["status"]["conditions"];
        conditions
            .as_array()
            .is_some_and(|c| c.iter().any(|c| c["type"] == "Established" && c["status"] == "False"))
            .then_some(())
    })
    .await;
    assert_eq!(server.delete(&path).await.0, 200);
    eventually("it is gone", async || (server.get(&path).await.0 == 404).then_some(())).await;
    assert_eq!(server.get(roles).await.1["items"].as_array().expect("roles").len(), before);
    server.stop().await;
}

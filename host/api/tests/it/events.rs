//! Events under both of their names.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;

const NEW: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const CORE: &str = "/api/v1/namespaces/default/events";

fn event(name: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
        "regarding": {"kind": "ConfigMap", "name": "a", "namespace": "default"}, "note": "it was seen", "reason": "Seen", "type": "Normal",
        "action": "Look", "eventTime": "2026-11-25T10:00:00.000001Z", "reportingController": "example.com/test", "reportingInstance": "one",
    })
}

#[tokio::test]
async fn an_event_is_one_under_both_of_its_names() {
    let server = Server::start().await;
    let made = server.make(NEW, &event("seen")).await;
    assert_eq!((&made["apiVersion"], &made["note"]), (&json!("events.k8s.io/v1"), &json!("it was seen")));
    let (_, core) = server.get(&format!("{CORE}/seen")).await;
    assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("it was seen")), "{core}");
    assert_eq!(
        (&core["involvedObject"]["name"], &core["reportingComponent"]),
        (&json!("a"), &json!("example.com/test"))
    );
    assert!(core.get("regarding").is_none() && core.get("note").is_none(), "{core}");

    server
        .make(CORE, &json!({
            "metadata": {"name": "old"}, "involvedObject": {"kind": "ConfigMap", "name": "b", "namespace": "default"}, "message": "before",
            "reason": "Old", "type": "Warning", "count": 3, "source": {"component": "them"}, "firstTimestamp": "2026-11-25T10:00:00Z",
        }))
        .await;
    let (_, list) = server.get(&format!("{NEW}?fieldSelector=regarding.name%3Db")).await;
    let items = list["items"].as_array().expect("items");
    assert_eq!((items.len(), &list["kind"], &list["apiVersion"]), (1, &json!("EventList"), &json!("events.k8s.io/v1")));
    let old = &items[0];
    assert_eq!((&old["note"], &old["deprecatedCount"]), (&json!("before"), &json!(3)), "{old}");
    assert_eq!(old["deprecatedSource"]["component"], "them");
    assert_eq!(old["deprecatedFirstTimestamp"], "2026-11-25T10:00:00Z");
    let (code, refused) = server.get(&format!("{NEW}?fieldSelector=involvedObject.name%3Db")).await;
    assert_eq!(code, 400, "{refused}");

    let patch = json!({"series": {"count": 2, "lastObservedTime": "2026-11-25T10:01:00.000000Z"}});
    let (code, patched) = server.patch(&format!("{NEW}/seen"), "strategic-merge-patch", &patch).await;
    assert_eq!((code.as_u16(), &patched["series"]["count"]), (200, &json!(2)), "{patched}");
    let (code, _) = server.request(Method::DELETE, NEW).send().await.map(|a| (a.status(), ())).expect("an answer");
    assert_eq!(code, 200);
    let (_, left) = server.get(CORE).await;
    assert_eq!(left["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn an_event_of_the_new_group_says_all_and_changes_little() {
    let server = Server::start().await;
    let mut bare = event("bare");
    for field in ["eventTime", "type", "reportingController"] {
        bare.as_object_mut().expect("an object").remove(field);
    }
    bare["deprecatedCount"] = 1.into();
    let (code, refused) = server.post(NEW, &bare).await;
    assert_eq!(code, 422);
    let causes = refused["details"]["causes"].as_array().expect("causes");
    let fields: Vec<&str> = causes.iter().filter_map(|cause| cause["field"].as_str()).collect();
    assert_eq!(fields, ["eventTime", "type", "count"], "{refused}");

    server.make(NEW, &event("seen")).await;
    let path = format!("{NEW}/seen");
    let change =
        json!({"note": "something else", "series": {"count": 1, "lastObservedTime": "2026-11-25T10:01:00.000000Z"}});
    let (code, refused) = server.patch(&path, "merge-patch", &change).await;
    assert_eq!(code, 422);
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains("message: Invalid value: \"something else\": field is immutable"), "{message}");
    assert!(message.contains("series.count: Invalid value: \"\": should be at least 2"), "{message}");
    // Through the core group, clients have always been free to.
    let (code, _) = server.patch(&format!("{CORE}/seen"), "merge-patch", &json!({"message": "something else"})).await;
    assert_eq!(code, 200);
    server.stop().await;
}

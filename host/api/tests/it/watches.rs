//! Watches: nothing is missed, and a client can take them up again.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{Server, widget, widgets};

/// Reads the events of a watch.
struct Events {
    response: Response,
    buffer: Vec<u8>,
}

impl Events {
    async fn open(server: &Server, query: &str) -> Self {
        let path = format!("/apis/example.com/v1/widgets?watch=true&{query}");
        let response = server.request(Method::GET, &path).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        Self { response, buffer: Vec::new() }
    }

    /// The next event; None when the watch has ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("JSON"));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.response.chunk()).await.expect("in time");
            self.buffer.extend_from_slice(&chunk.expect("readable")?);
        }
    }

    async fn expect(&mut self, kind: &str, name: &str) -> Value {
        let event = self.next().await.expect("an event");
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!(kind), &json!(name)), "{event}");
        event
    }
}

#[tokio::test]
async fn a_watch_tells_every_change_and_resumes_where_it_broke_off() {
    let server = Server::start().await;
    server.define_widgets().await;
    server.make(&widgets("default"), &widget("a")).await;
    let mut events = Events::open(&server, "").await;
    let first = events.expect("ADDED", "a").await;
    server.make(&widgets("default"), &widget("b")).await;
    server.patch(&format!("{}/b", widgets("default")), "merge-patch", &json!({"spec": {"replicas": 3}})).await;
    server.delete(&format!("{}/b", widgets("default"))).await;
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        events.expect(kind, "b").await;
    }
    drop(events);
    let version = first["object"]["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let mut again = Events::open(&server, &format!("resourceVersion={version}")).await;
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        again.expect(kind, "b").await;
    }
    drop(again);
    server.store.compact(server.store.version()).await.expect("compacted");
    // In the stream, not as the answer: clients list again on the event only.
    for version in [version.as_str(), "999999"] {
        let mut lost = Events::open(&server, &format!("resourceVersion={version}")).await;
        let error = lost.next().await.expect("an error");
        let status = &error["object"];
        assert_eq!((&error["type"], &status["kind"]), (&json!("ERROR"), &json!("Status")), "{error}");
        assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")), "{error}");
        assert_eq!(lost.next().await, None);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_selector_turns_changes_into_comings_and_goings() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut events = Events::open(&server, "labelSelector=app%3Da").await;
    let mut named = Events::open(&server, "fieldSelector=metadata.name%3Db").await;
    server.make(&widgets("default"), &widget("a")).await;
    server.make(&widgets("default"), &widget("b")).await;
    events.expect("ADDED", "a").await;
    named.expect("ADDED", "b").await;
    let label = |value: &str| json!({"metadata": {"labels": {"app": value}}});
    server.patch(&format!("{}/b", widgets("default")), "merge-patch", &label("a")).await;
    events.expect("ADDED", "b").await;
    server.patch(&format!("{}/a", widgets("default")), "merge-patch", &label("x")).await;
    events.expect("DELETED", "a").await;
    server.delete(&format!("{}/a", widgets("default"))).await;
    server.delete(&format!("{}/b", widgets("default"))).await;
    events.expect("DELETED", "b").await;
    named.expect("MODIFIED", "b").await;
    named.expect("DELETED", "b").await;
    server.stop().await;
}

#[tokio::test]
async fn a_watch_ends_with_a_bookmark_that_is_up_to_date() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut events = Events::open(&server, "allowWatchBookmarks=true&timeoutSeconds=1").await;
    // Foreign changes move it on too: a quiet kind's watch does not become too old.
    server.make("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": "c"}})).await;
    let bookmark = events.next().await.expect("a bookmark");
    assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("Widget")));
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], server.store.version().to_string());
    assert_eq!(events.next().await, None);
    server.stop().await;
}

#[tokio::test]
async fn a_streamed_list_ends_with_its_mark() {
    let server = Server::start().await;
    server.define_widgets().await;
    server.make(&widgets("default"), &widget("a")).await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = Events::open(&server, query).await;
    events.expect("ADDED", "a").await;
    let mark = events.next().await.expect("the mark");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    server.make(&widgets("default"), &widget("b")).await;
    events.expect("ADDED", "b").await;
    assert_eq!(server.get("/apis/example.com/v1/widgets?watch=true&sendInitialEvents=true").await.0, 422);
    server.stop().await;
}

#[tokio::test]
async fn stopping_the_server_ends_watches() {
    let server = Server::start().await;
    server.define_widgets().await;
    let mut events = Events::open(&server, "").await;
    server.stop().await;
    assert_eq!(events.next().await, None);
}

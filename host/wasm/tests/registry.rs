//! Which generation of a plugin serves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod common;

use std::sync::Arc;

use common::{Empty, guest, request};
use serde_json::json;
use threeport_wasm::{Entry, Limits, Plugin, Registry, Runtime};

async fn served_by(plugin: &Plugin) -> String {
    let plan =
        plugin.run(Entry::Reconcile, request("Note", json!({"text": "a"})), Empty::new()).await.unwrap().unwrap();
    let status: serde_json::Value = serde_json::from_str(&plan.status).unwrap();
    status["servedBy"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_swap_serves_the_next_runs_and_a_rollback_is_one_pointer_back() {
    let runtime = Runtime::new(Limits::default()).unwrap();
    let (one, two) = (
        Arc::new(runtime.load(guest("note-v1")).await.unwrap()),
        Arc::new(runtime.load(guest("note-v2")).await.unwrap()),
    );
    let registry = Registry::new();
    assert!(registry.serving("note").is_none());
    registry.install("note", one.clone());
    let running = registry.serving("note").unwrap();
    registry.install("note", two.clone());
    assert_eq!(served_by(&registry.serving("note").unwrap()).await, "v2");
    assert_eq!(served_by(&running).await, "v1", "what runs stays what it was");

    let back = registry.find_loaded("note", &one.digest).unwrap();
    assert!(Arc::ptr_eq(&back, &one));
    registry.install("note", back);
    assert_eq!(served_by(&registry.serving("note").unwrap()).await, "v1");
    assert_eq!(registry.previous("note").len(), 1);

    // After a restart: what served before is loaded behind what serves now, in its order, and nothing twice.
    let after = Registry::new();
    after.remember("note", vec![two.clone()]);
    assert!(after.serving("note").is_none(), "nothing serves because it is remembered");
    after.install("note", one.clone());
    after.remember("note", vec![one.clone(), two.clone()]);
    assert_eq!(after.previous("note").iter().map(|plugin| &plugin.digest).collect::<Vec<_>>(), [&two.digest]);

    assert!(registry.remove("note").is_some());
    assert!(registry.serving("note").is_none() && registry.find_loaded("note", &one.digest).is_none());
}

#[tokio::test]
async fn a_plugin_says_what_it_is() {
    let runtime = Runtime::new(Limits::default()).unwrap();
    let plugin = runtime.load(guest("note-v2")).await.unwrap();
    assert_eq!((plugin.descriptor.name.as_str(), plugin.descriptor.version.as_str()), ("note-v2", "2.0.0"));
    assert_eq!(plugin.kinds[0].spec.names.kind, "Note");
    assert!(plugin.digest.starts_with("sha256:") && plugin.digest.len() == 71);
    assert_eq!(plugin.requested, threeport_wasm::Grants::default());
    let refused = plugin.convert("{}", "v2").await.unwrap().unwrap_err();
    assert_eq!(refused.code, "NotSupported");
}

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::until;
use crate::world::*;

/// Its version has been judged: compiling takes as long as the machine takes.
fn judged(plugin: &Value) -> bool {
    condition(plugin, "Ready").is_some_and(|ready| ready.1 != "Compiling")
}

#[tokio::test]
async fn a_pushed_component_serves_its_kinds_when_its_grants_are_approved() {
    let world = World::new().await;
    let digest = world.push("puppet", component("puppet"), false).await;
    let refused = world.until("plugins", None, "puppet", judged).await;
    let (status, reason, message) = condition(&refused, "Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "GrantsNotApproved"));
    assert!(message.contains("Deployment") && message.contains("no version serves"), "{message}");
    assert!(world.find("customresourcedefinitions", None, "puppets.test.threeport.dev").await.is_none());
    assert_eq!(world.monitor.serving("puppet"), None);

    assert_eq!(world.serve("puppet", "puppet").await, digest);
    let plugin = world.find("plugins", None, "puppet").await.unwrap();
    assert_eq!(plugin["status"]["kinds"], json!(["Puppet"]));
    assert_eq!(plugin["status"]["history"], json!([digest]));
    let crd = world.find("customresourcedefinitions", None, "puppets.test.threeport.dev").await.unwrap();
    assert_eq!(crd["metadata"]["annotations"]["threeport.dev/plugin"], "puppet");
    let references: Value =
        serde_json::from_str(crd["metadata"]["annotations"]["threeport.dev/references"].as_str().unwrap()).unwrap();
    assert_eq!((&references[0]["kind"], &references[0]["role"]), (&json!("Puppet"), &json!("target")));
    assert_eq!(crd["status"]["conditions"][1]["type"], "Established");
    world.stop().await;
}

#[tokio::test]
async fn a_component_that_does_not_load_is_refused_and_the_old_one_serves_on() {
    let world = World::new().await;
    let old = world.serve("note", "note-v1").await;
    let broken = [
        (b"no component".to_vec(), "ComponentInvalid"),
        (component("wrong-contract"), "ContractUnsupported"),
        (component("traps-in-describe"), "ComponentInvalid"),
    ];
    for (bytes, reason) in broken {
        world.push("note", bytes, false).await;
        let refused = world
            .until("plugins", None, "note", |object| condition(object, "Ready").is_some_and(|ready| ready.1 == reason))
            .await;
        let (status, _, message) = condition(&refused, "Ready").unwrap();
        assert!(status == "False" && message.contains("serves on"), "{message}");
        assert_eq!(condition(&refused, "Stalled").unwrap().0, "True");
        assert_eq!(refused["status"]["digest"], json!(old));
        assert_eq!(world.monitor.serving("note"), Some(old.clone()));
    }
    world.put("notes", "a", "one", json!({"text": "still"})).await;
    world.ready("notes", "a", "one", "True", "Kept").await;
    world.stop().await;
}

#[tokio::test]
async fn a_kind_has_one_plugin() {
    let world = World::new().await;
    world.serve("note", "note-v1").await;
    world.push("other", component("note-v2"), false).await;
    let refused = world.until("plugins", None, "other", judged).await;
    let (_, reason, message) = condition(&refused, "Ready").unwrap();
    assert!(reason == "KindConflict" && message.contains("\"note\""), "{reason}: {message}");
    world.stop().await;
}

#[tokio::test]
async fn a_plugin_goes_after_the_last_object_of_its_kinds() {
    let world = World::new().await;
    world.serve("note", "note-v1").await;
    world.put("notes", "a", "one", json!({"text": "x"})).await;
    world.ready("notes", "a", "one", "True", "Kept").await;
    world.delete("plugins", None, "note").await;
    let held = world
        .until("plugins", None, "note", |object| condition(object, "Ready").is_some_and(|ready| ready.1 == "InUse"))
        .await;
    assert!(condition(&held, "Ready").unwrap().2.contains("a/one"));
    world.delete("notes", Some("a"), "one").await;
    world.gone("notes", Some("a"), "one").await;
    world.gone("plugins", None, "note").await;
    assert!(world.find("customresourcedefinitions", None, "notes.test.threeport.dev").await.is_none());
    world.stop().await;
}

#[tokio::test]
async fn what_served_serves_again_after_a_restart() {
    let world = World::new().await;
    let digest = world.serve("note", "note-v1").await;
    world.put("notes", "a", "one", json!({"text": "x"})).await;
    world.ready("notes", "a", "one", "True", "Kept").await;
    let version = world.store.version();
    let world = world.restarted().await;
    world.until("plugins", None, "note", |_| world.monitor.serving("note").as_ref() == Some(&digest)).await;
    let started = std::time::Instant::now();
    while world.monitor.stats().runs < 2 {
        assert!(started.elapsed() < crate::support::SOON, "not everything was looked at after the start");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(world.store.version(), version, "a restart writes nothing");
    world.stop().await;
}

#[tokio::test]
async fn an_object_without_its_plugin_says_so_and_goes_on_when_the_plugin_comes() {
    let world = World::new().await;
    world.put("notes", "a", "early", json!({"text": "x"})).await;
    world.ready("notes", "a", "early", "Unknown", "PluginNotLoaded").await;
    world.serve("note", "note-v1").await;
    world.ready("notes", "a", "early", "True", "Kept").await;
    world.stop().await;
}

#[tokio::test]
async fn components_that_no_plugin_names_are_collected_after_a_while() {
    let world = World::tuned(|config, _| {
        config.blob_sweep = Duration::from_millis(50);
        config.blob_grace = Duration::from_millis(200);
    })
    .await;
    let first = world.serve("note", "note-v1").await;
    let second = world.push("note", component("note-v2"), false).await;
    world.until("plugins", None, "note", |note| note["status"]["digest"] == json!(second)).await;
    let stray = world.store.put_blob("nobody's").await.unwrap();
    until(|| "the stray one goes".into(), async || world.store.get_blob(&stray).await.unwrap().is_none()).await;
    for kept in [&first, &second] {
        assert!(world.store.get_blob(kept).await.unwrap().is_some(), "it can be gone back to");
    }
    world.delete("plugins", None, "note").await;
    world.gone("plugins", None, "note").await;
    until(|| "with the Plugin they go".into(), async || world.store.get_blob(&first).await.unwrap().is_none()).await;
    world.stop().await;
}

fn gates(plugin: &Value) -> Vec<String> {
    let gates = ["Verified", "Compiled", "Described", "GrantsApproved", "SchemaCompatible", "Serving"].into_iter();
    gates.map(|gate| condition(plugin, gate).map_or("none".to_owned(), |found| found.0)).collect()
}

#[tokio::test]
async fn how_far_a_version_has_come_is_seen_step_by_step() {
    let world = World::new().await;
    let old = world.serve("note", "note-v1").await;
    let served = world.find("plugins", None, "note").await.unwrap();
    assert_eq!(gates(&served), ["True"; 6]);
    world.put("notes", "a", "one", json!({"text": "a long text"})).await;
    let (yes, no, unknown) = ("True", "False", "Unknown");
    let cases = [
        (b"no component".to_vec(), "ComponentInvalid", [no, unknown, unknown, unknown, unknown, unknown]),
        (component("traps-in-describe"), "ComponentInvalid", [yes, yes, no, unknown, unknown, unknown]),
        (component("puppet"), "GrantsNotApproved", [yes, yes, yes, no, unknown, unknown]),
        (component("note-v3"), "SchemaIncompatible", [yes, yes, yes, yes, no, unknown]),
    ];
    for (bytes, reason, expected) in cases {
        let digest = world.push("note", bytes, false).await;
        let judged = |plugin: &Value| {
            plugin["spec"]["component"] == digest && condition(plugin, "Ready").is_some_and(|ready| ready.1 == reason)
        };
        let refused = world.until("plugins", None, "note", judged).await;
        assert_eq!(gates(&refused), expected, "{refused:#}");
        assert!(condition(&refused, "Ready").unwrap().2.contains("serves on"));
        assert_eq!(world.monitor.serving("note"), Some(old.clone()));
    }
    let refused = world.find("plugins", None, "note").await.unwrap();
    let why = condition(&refused, "Ready").unwrap().2;
    assert!(why.contains("v1: spec.text gets maxLength 3") && why.contains("a/one"), "{why}");

    // Without objects there is nothing that it could spoil.
    world.delete("notes", Some("a"), "one").await;
    world.gone("notes", Some("a"), "one").await;
    let narrow = world.push("note", component("note-v2"), false).await;
    world.until("plugins", None, "note", |note| note["status"]["digest"] == json!(narrow)).await;
    let narrow = world.push("note", component("note-v3"), false).await;
    world.until("plugins", None, "note", |note| note["status"]["digest"] == json!(narrow)).await;
    let crd = world.find("customresourcedefinitions", None, "notes.test.threeport.dev").await.unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    assert_eq!(spec, &json!({"text": {"type": "string", "maxLength": 3}}));
    world.stop().await;
}

#[tokio::test]
async fn going_back_keeps_what_the_later_version_stored() {
    let world = World::new().await;
    let first = world.serve("note", "note-v1").await;
    let second = world.push("note", component("note-v2"), false).await;
    world.until("plugins", None, "note", |note| note["status"]["digest"] == json!(second)).await;
    world.put("notes", "a", "one", json!({"text": "x", "mood": "fine"})).await;
    world.ready("notes", "a", "one", "True", "Kept").await;
    world.push("note", component("note-v1"), false).await;
    let back = world.until("plugins", None, "note", |note| note["status"]["digest"] == json!(first)).await;
    assert_eq!(back["status"]["history"], json!([first, second]));
    let crd = world.find("customresourcedefinitions", None, "notes.test.threeport.dev").await.unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    assert_eq!(spec["mood"]["type"], "string");
    world.stop().await;
}

#[tokio::test]
async fn a_rollout_that_is_paused_is_judged_and_does_not_serve() {
    let world = World::new().await;
    let old = world.serve("note", "note-v1").await;
    let new = world.push_with("note", component("note-v2"), json!({"rollout": {"paused": true}})).await;
    let paused = |plugin: &Value| condition(plugin, "Serving").is_some_and(|serving| serving.1 == "RolloutPaused");
    let plugin = world.until("plugins", None, "note", paused).await;
    assert_eq!(gates(&plugin), ["True", "True", "True", "True", "True", "False"]);
    assert_eq!(world.monitor.serving("note"), Some(old));
    world.push_with("note", component("note-v2"), json!({"rollout": {"paused": false}})).await;
    world.until("plugins", None, "note", |note| note["status"]["digest"] == json!(new)).await;
    world.stop().await;
}

#[tokio::test]
async fn what_takes_long_to_compile_is_said_and_holds_up_nobody() {
    let world = World::tuned(|config, _| config.compile_patience = Duration::ZERO).await;
    let digest = world.push("note", component("note-v1"), false).await;
    let compiling = |plugin: &Value| condition(plugin, "Ready").is_some_and(|ready| ready.1 == "Compiling");
    let plugin = world.until("plugins", None, "note", compiling).await;
    assert_eq!(condition(&plugin, "Compiled").unwrap().0, "Unknown");
    world.until("plugins", None, "note", |note| note["status"]["digest"] == json!(digest)).await;
    world.stop().await;
}

#[tokio::test]
async fn a_plugin_that_does_not_load_any_more_still_owns_its_kinds() {
    let world = World::new().await;
    world.serve("note", "note-v1").await;
    world.put("notes", "a", "one", json!({"text": "x"})).await;
    world.ready("notes", "a", "one", "True", "Kept").await;
    world.store.collect_blobs(Vec::new(), Duration::ZERO).await.unwrap();
    let world = world.restarted().await;
    let missing = |plugin: &Value| condition(plugin, "Ready").is_some_and(|ready| ready.1 == "ComponentMissing");
    world.until("plugins", None, "note", missing).await;
    world.delete("plugins", None, "note").await;
    let in_use = |plugin: &Value| condition(plugin, "Ready").is_some_and(|ready| ready.1 == "InUse");
    world.until("plugins", None, "note", in_use).await;
    assert!(world.find("customresourcedefinitions", None, "notes.test.threeport.dev").await.is_some());
    world.stop().await;
}

#[tokio::test]
async fn a_kind_that_the_api_could_not_serve_is_refused() {
    let world = World::tuned(|config, _| {
        config.definition_errors = |definition| vec![format!("{}: no", definition["spec"]["names"]["plural"])];
    })
    .await;
    world.push("note", component("note-v1"), false).await;
    let invalid = |plugin: &Value| condition(plugin, "Ready").is_some_and(|ready| ready.1 == "SchemaInvalid");
    let refused = world.until("plugins", None, "note", invalid).await;
    assert!(condition(&refused, "SchemaCompatible").unwrap().2.contains("\"notes\": no"));
    assert!(world.find("customresourcedefinitions", None, "notes.test.threeport.dev").await.is_none());
    world.stop().await;
}

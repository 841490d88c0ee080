use std::time::Duration;

use serde_json::{Value, json};

use crate::support::until;
use crate::world::*;

#[tokio::test]
async fn a_pushed_component_serves_its_kinds_when_its_grants_are_approved() {
    let world = World::new().await;
    let digest = world.push("puppet", component("puppet"), false).await;
    let refused = world.until("plugins", None, "puppet", |object| condition(object, "Ready").is_some()).await;
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
    let refused = world.until("plugins", None, "other", |object| condition(object, "Ready").is_some()).await;
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

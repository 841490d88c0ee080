//! What is paused by itself, by its target or by its plugin.

use serde_json::{Value, json};

use crate::support::{config_map, live, meddle, until};
use crate::targets::{exists, plan, world};
use crate::world::*;

const PAUSE: &str = "threeport.dev/paused";

/// The object once it says that it is paused as it is now; the message.
async fn paused(world: &World, plural: &str, namespace: &str, name: &str) -> String {
    let object = world.until(plural, Some(namespace), name, |object| condition(object, "Paused").is_some()).await;
    let (status, reason, message) = condition(&object, "Paused").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Paused"), "{object:#}");
    message
}

fn goes_on(object: &Value) -> bool {
    condition(object, "Paused").is_none() && condition(object, "Ready").is_some_and(|ready| ready.0 == "True")
}

#[tokio::test]
async fn nothing_is_done_for_a_paused_object_and_all_of_it_once_it_goes_on() {
    let (world, target, ns) = world().await;
    let first = config_map(&ns, "settings", json!({"a": "1"}));
    world.put("puppets", &ns, "app", plan(&[&first])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    world.annotate("puppets", &ns, "app", PAUSE, Some("yes")).await;
    world.ready("puppets", &ns, "app", "False", "AnnotationInvalid").await;
    world.annotate("puppets", &ns, "app", PAUSE, Some("true")).await;
    let message = paused(&world, "puppets", &ns, "app").await;
    assert!(
        message.contains(&format!("kubectl annotate -n {ns} puppets.test.threeport.dev/app {PAUSE}-")),
        "{message}"
    );

    // What others do stays.
    meddle(&first, json!({"data": {"a": "theirs"}})).await;
    for _ in 0..3 {
        assert!(world.look_again("puppets", &ns, "app").await, "a look at what is paused wrote something");
    }
    assert_eq!(live(&target, &first).await["data"]["a"], "theirs");
    world.annotate("puppets", &ns, "app", PAUSE, None).await;
    world.until("puppets", Some(&ns), "app", goes_on).await;
    crate::support::until(|| "it is put back".into(), async || live(&target, &first).await["data"]["a"] == "1").await;

    // Its end waits, too.
    world.annotate("puppets", &ns, "app", PAUSE, Some("true")).await;
    paused(&world, "puppets", &ns, "app").await;
    world.delete("puppets", Some(&ns), "app").await;
    let going = world.ready("puppets", &ns, "app", "False", "Paused").await;
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going:#}");
    world.look_again("puppets", &ns, "app").await;
    assert!(exists(&target, &first).await);
    world.annotate("puppets", &ns, "app", PAUSE, None).await;
    world.gone("puppets", Some(&ns), "app").await;
    assert!(!exists(&target, &first).await);
    world.stop().await;
}

#[tokio::test]
async fn a_paused_target_pauses_what_is_on_it_and_lets_it_go_on_at_once() {
    let (world, target, ns) = world().await;
    let (first, second) =
        (config_map(&ns, "settings", json!({"a": "1"})), config_map(&ns, "settings", json!({"a": "2"})));
    world.put("puppets", &ns, "app", plan(&[&first])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    world.annotate("puppets", &ns, "place", PAUSE, Some("true")).await;
    let message = paused(&world, "puppets", &ns, "app").await;
    assert!(message.contains(&format!("{ns}/place")), "{message}");
    let app = world.find("puppets", Some(&ns), "app").await.unwrap();
    assert_eq!(condition(&app, "Ready").unwrap().1, "AsSaid", "what was seen of this spec stands: {app:#}");
    world.put("puppets", &ns, "app", plan(&[&second])).await;
    world.ready("puppets", &ns, "app", "False", "Paused").await;
    assert_eq!(live(&target, &first).await["data"]["a"], "1");
    // One that refers to it no more is paused as long as it has something there.
    world.put("puppets", &ns, "app", json!({})).await;
    world.ready("puppets", &ns, "app", "False", "Paused").await;
    assert!(exists(&target, &first).await);
    world.put("puppets", &ns, "app", plan(&[&second])).await;
    world.annotate("puppets", &ns, "place", PAUSE, None).await;
    // By itself it would look again in minutes.
    world.until("puppets", Some(&ns), "app", goes_on).await;
    assert_eq!(live(&target, &first).await["data"]["a"], "2");
    world.stop().await;
}

#[tokio::test]
async fn a_paused_plugin_is_swapped_and_its_objects_wait() {
    let world = World::new().await;
    world.serve("note", "note-v1").await;
    world.put("notes", "a", "one", json!({"text": "1"})).await;
    world.ready("notes", "a", "one", "True", "Kept").await;
    world.push_with("note", component("note-v1"), json!({"paused": true})).await;
    let message = paused(&world, "notes", "a", "one").await;
    assert!(message.contains("Plugin note") && message.contains("spec.paused"), "{message}");
    let digest = world.push_with("note", component("note-v2"), json!({"paused": true})).await;
    let plugin = world.until("plugins", None, "note", |plugin| plugin["status"]["digest"] == digest).await;
    assert_eq!(condition(&plugin, "Paused").map(|paused| paused.0).as_deref(), Some("True"), "{plugin:#}");
    world.put("notes", "a", "one", json!({"text": "2"})).await;
    world.put("notes", "a", "two", json!({"text": "new"})).await;
    for name in ["one", "two"] {
        world.ready("notes", "a", name, "False", "Paused").await;
    }
    world.push_with("note", component("note-v2"), json!({"paused": false})).await;
    for (name, text) in [("one", "2"), ("two", "new")] {
        let note = world.until("notes", Some("a"), name, goes_on).await;
        assert_eq!((&note["status"]["text"], &note["status"]["servedBy"]), (&json!(text), &json!("v2")), "{note:#}");
    }
    until(
        || "the Plugin says that it goes on".into(),
        async || condition(&world.find("plugins", None, "note").await.unwrap(), "Paused").is_none(),
    )
    .await;
    world.stop().await;
}

//! What was there before, what shall stay, and what cannot be reached any more.

use serde_json::{Value, json};
use threeport_kube::kube::api::PostParams;

use crate::support::{ADMIN, cluster, config_map, live, plain, target};
use crate::targets::{adopt, exists, plan, world};
use crate::world::*;

/// Makes an object as a person with kubectl would.
async fn foreign(manifest: &Value) {
    let params = PostParams { field_manager: Some("person".into()), ..PostParams::default() };
    plain(manifest).await.create(&params, &serde_json::from_value(manifest.clone()).unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_was_there_is_taken_over_when_asked_and_let_go_of_in_the_end() {
    let (world, target, ns) = world().await;
    let (old, new) = (config_map(&ns, "old", json!({"a": "1"})), config_map(&ns, "new", json!({})));
    foreign(&old).await;
    world.put("puppets", &ns, "app", plan(&[&old, &new])).await;
    let refused = world.ready("puppets", &ns, "app", "False", "AlreadyExists").await;
    let (_, _, message) = condition(&refused, "Ready").unwrap();
    for word in [&format!("ConfigMap {ns}/old"), "person", "threeport.dev/adopt=true"] {
        assert!(message.contains(word), "{message}");
    }

    // Only what is listed.
    world.annotate("puppets", &ns, "app", "threeport.dev/adopt", Some("ConfigMap/elsewhere/old")).await;
    for _ in 0..3 {
        world.look_again("puppets", &ns, "app").await;
    }
    assert!(live(&target, &old).await["metadata"]["labels"].is_null());
    world.annotate("puppets", &ns, "app", "threeport.dev/adopt", Some(&format!("ConfigMap/{ns}/old"))).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    let events = world.events(&ns, "app").await;
    assert!(events.contains(&"Adopted".to_owned()), "{events:?}");
    assert_eq!(live(&target, &old).await["metadata"]["annotations"]["threeport.dev/adopted"], "person");

    // Another owner does not get it, asked for or not.
    world.put("puppets", &ns, "rival", plan(&[&old])).await;
    world.annotate("puppets", &ns, "rival", "threeport.dev/adopt", Some("true")).await;
    let rival = world.ready("puppets", &ns, "rival", "False", "OwnedByOther").await;
    assert!(condition(&rival, "Ready").unwrap().2.contains(&format!("{ns}/app")));

    world.delete("puppets", Some(&ns), "app").await;
    world.gone("puppets", Some(&ns), "app").await;
    assert!(!exists(&target, &new).await);
    let left = live(&target, &old).await;
    assert_eq!(left["data"], json!({"a": "1"}));
    assert!(!left["metadata"].to_string().contains("threeport"), "{left:#}");
    world.stop().await;
}

#[tokio::test]
async fn an_annotation_says_what_becomes_of_things_when_the_owner_goes() {
    let (world, target, ns) = world().await;
    let (old, new) = (config_map(&ns, "old", json!({})), config_map(&ns, "new", json!({})));
    foreign(&old).await;
    world.put("puppets", &ns, "taker", plan(&[&old])).await;
    world.put("puppets", &ns, "maker", plan(&[&new])).await;
    world.annotate("puppets", &ns, "taker", "threeport.dev/adopt", Some("true")).await;
    world.annotate("puppets", &ns, "taker", "threeport.dev/on-delete", Some("delete")).await;
    world.annotate("puppets", &ns, "maker", "threeport.dev/on-delete", Some("keep")).await;
    let bad = world.ready("puppets", &ns, "maker", "False", "AnnotationInvalid").await;
    assert!(condition(&bad, "Ready").unwrap().2.contains("orphan"));
    world.annotate("puppets", &ns, "maker", "threeport.dev/on-delete", Some("orphan")).await;
    for name in ["taker", "maker"] {
        world.ready("puppets", &ns, name, "True", "AsSaid").await;
        world.delete("puppets", Some(&ns), name).await;
        world.gone("puppets", Some(&ns), name).await;
    }
    assert!(!exists(&target, &old).await && exists(&target, &new).await);
    assert!(world.events(&ns, "maker").await.contains(&"Orphaned".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn what_is_shared_has_parts_of_several_owners_and_goes_with_the_last() {
    let (world, target, ns) = world().await;
    let part = |key: &str, value: &str| {
        let mut plan = plan(&[&config_map(&ns, "common", json!({key: value}))]);
        plan["manifests"][0]["options"] = json!(["shared"]);
        plan
    };
    let common = config_map(&ns, "common", json!({}));
    for (name, key) in [("one", "a"), ("two", "b")] {
        world.put("puppets", &ns, name, part(key, "1")).await;
        world.ready("puppets", &ns, name, "True", "AsSaid").await;
    }
    assert_eq!(live(&target, &common).await["data"], json!({"a": "1", "b": "1"}));
    world.put("puppets", &ns, "one", part("a", "2")).await;
    world.until("puppets", Some(&ns), "one", |one| one["status"]["observedGeneration"] == 2).await;
    world.ready("puppets", &ns, "one", "True", "AsSaid").await;
    assert_eq!(live(&target, &common).await["data"], json!({"a": "2", "b": "1"}));

    // A field of another's is not touched, and an owner that does not share is refused.
    world.put("puppets", &ns, "thief", part("b", "mine")).await;
    world.ready("puppets", &ns, "thief", "False", "FieldConflict").await;
    world.put("puppets", &ns, "alone", plan(&[&common])).await;
    world.ready("puppets", &ns, "alone", "False", "OwnedByOther").await;
    for name in ["thief", "alone", "one"] {
        world.delete("puppets", Some(&ns), name).await;
        world.gone("puppets", Some(&ns), name).await;
    }
    assert_eq!(live(&target, &common).await["data"], json!({"b": "1"}));
    world.ready("puppets", &ns, "two", "True", "AsSaid").await;
    world.delete("puppets", Some(&ns), "two").await;
    world.gone("puppets", Some(&ns), "two").await;
    assert!(!exists(&target, &common).await);
    world.stop().await;
}

/// A host with an object `app` on the target `place`, whose API server has just been stopped.
async fn away() -> (World, String) {
    let (_, ns) = target().await;
    let (cluster, _) = cluster().await;
    let mut server = cluster.api_server().await;
    let world = World::tuned(|config, _| config.backoff_cap = std::time::Duration::from_secs(1)).await;
    world.serve("puppet", "puppet").await;
    adopt(&world, &ns, "place", &cluster.kubeconfig(server.port, ADMIN)).await;
    let mut spec = plan(&[&config_map(&ns, "one", json!({})), &config_map(&ns, "two", json!({}))]);
    spec["requeueMs"] = json!(300);
    world.put("puppets", &ns, "app", spec).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    server.stop();
    (world, ns)
}

#[tokio::test]
async fn an_object_on_a_target_that_is_gone_for_good_goes_when_it_is_abandoned() {
    let (world, ns) = away().await;
    world.delete("puppets", Some(&ns), "app").await;
    let held = world.ready("puppets", &ns, "app", "Unknown", "ClusterUnreachable").await;
    assert!(condition(&held, "Ready").unwrap().2.contains("threeport.dev/abandon=true"), "{held:#}");
    world.annotate("puppets", &ns, "app", "threeport.dev/abandon", Some("true")).await;
    world.gone("puppets", Some(&ns), "app").await;
    let told = world.told(&ns, "app").await;
    let left = &told.iter().find(|(reason, _)| reason == "Abandoned").expect("an Event").1;
    for word in [&format!("ConfigMap {ns}/one"), &format!("ConfigMap {ns}/two"), &format!("Puppet {ns}/place")] {
        assert!(left.contains(word), "{left}");
    }

    // The target's own object waits, too: what was made there for tenants is still there.
    world.delete("puppets", Some(&ns), "place").await;
    let held = world.until("puppets", Some(&ns), "place", |place| {
        condition(place, "Ready")
            .is_some_and(|it| it.1 == "ClusterUnreachable" && it.2.contains("threeport.dev/abandon=true"))
    });
    held.await;
    world.annotate("puppets", &ns, "place", "threeport.dev/abandon", Some("true")).await;
    world.gone("puppets", Some(&ns), "place").await;
    let told = world.told(&ns, "place").await;
    let left = &told.iter().find(|(reason, _)| reason == "Abandoned").expect("an Event").1;
    assert!(left.contains("threeport.dev/target-uid="), "{left}");
    world.stop().await;
}

#[tokio::test]
async fn a_target_that_is_abandoned_holds_up_nothing_that_was_on_it() {
    let (world, ns) = away().await;
    world.delete("puppets", Some(&ns), "app").await;
    world.ready("puppets", &ns, "app", "Unknown", "ClusterUnreachable").await;
    world.annotate("puppets", &ns, "place", "threeport.dev/abandon", Some("true")).await;
    world.gone("puppets", Some(&ns), "app").await;
    assert!(world.events(&ns, "app").await.contains(&"Abandoned".to_owned()));
    world.delete("puppets", Some(&ns), "place").await;
    world.gone("puppets", Some(&ns), "place").await;
    world.stop().await;
}

#[tokio::test]
async fn a_namespace_goes_as_a_whole_and_what_it_leaves_on_an_abandoned_target_is_told_outside() {
    let (world, ns) = away().await;
    let (stop, collecting) = world.collect();
    world.go(&ns).await;
    world.ready("puppets", &ns, "app", "Unknown", "ClusterUnreachable").await;
    let place = world.find("puppets", Some(&ns), "place").await.unwrap();
    assert!(place["metadata"].get("deletionTimestamp").is_none(), "it outlives what is on it");
    world.annotate("puppets", &ns, "place", "threeport.dev/abandon", Some("true")).await;
    for name in ["app", "place"] {
        world.gone("puppets", Some(&ns), name).await;
    }
    world.gone("namespaces", None, &ns).await;
    assert!(world.events(&ns, "app").await.is_empty(), "the namespace's own Events went with it");
    let told = world.told("default", &ns).await;
    let all: Vec<&str> = told.iter().filter(|(reason, _)| reason == "Abandoned").map(|(_, it)| it.as_str()).collect();
    for word in [format!("ConfigMap {ns}/one"), format!("{ns}/app"), "threeport.dev/target-uid=".to_owned()] {
        assert!(all.iter().any(|message| message.contains(&word)), "{word}: {told:?}");
    }
    stop.send_replace(true);
    collecting.await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn a_cleanup_plan_that_cannot_be_carried_out_holds_up_nothing_that_is_nowhere() {
    let (world, _, ns) = world().await;
    let foreign = config_map("default", "x", json!({}));
    world.put("puppets", &ns, "bad", plan(&[&foreign])).await;
    world.ready("puppets", &ns, "bad", "False", "Denied").await;
    world.delete("puppets", Some(&ns), "bad").await;
    world.gone("puppets", Some(&ns), "bad").await;
    world.stop().await;
}

#[tokio::test]
async fn a_plan_that_suddenly_drops_everything_is_held_until_somebody_says_so() {
    let (world, target, ns) = world().await;
    let many: Vec<Value> = (0..5).map(|index| config_map(&ns, &format!("c{index}"), json!({}))).collect();
    world.put("puppets", &ns, "app", plan(&many.iter().collect::<Vec<_>>())).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    // As another version of a plugin would plan for the same spec.
    world.replan("puppets", &ns, "app", plan(&[])).await;
    let held = world.ready("puppets", &ns, "app", "False", "PruneHeld").await;
    assert!(condition(&held, "Ready").unwrap().2.contains("all 5 objects"), "{held:#}");
    assert!(exists(&target, &many[0]).await && exists(&target, &many[4]).await);
    world.annotate("puppets", &ns, "app", "threeport.dev/allow-prune", Some("true")).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    assert!(!exists(&target, &many[0]).await && !exists(&target, &many[4]).await);

    // A changed spec says so by itself.
    world.annotate("puppets", &ns, "app", "threeport.dev/allow-prune", None).await;
    world.put("puppets", &ns, "app", plan(&many.iter().collect::<Vec<_>>())).await;
    world
        .until("puppets", Some(&ns), "app", |app| {
            app["status"]["observed"].as_array().is_some_and(|all| all.len() == 5)
        })
        .await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    world.put("puppets", &ns, "app", plan(&[])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    assert!(!exists(&target, &many[0]).await);
    world.stop().await;
}

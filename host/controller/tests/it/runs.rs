use std::time::Duration;

use serde_json::json;

use crate::support::until;
use crate::world::*;

#[tokio::test]
async fn an_object_is_reconciled_and_after_that_looking_writes_nothing() {
    let world = World::new().await;
    world.serve("note", "note-v1").await;
    world.put("notes", "a", "one", json!({"text": "hello"})).await;
    let note = world.ready("notes", "a", "one", "True", "Kept").await;
    assert_eq!((&note["status"]["text"], &note["status"]["observedGeneration"]), (&json!("hello"), &json!(1)));
    assert_eq!(world.events("a", "one").await, ["Kept"]);
    for _ in 0..5 {
        assert!(world.look_again("notes", "a", "one").await, "a look at what is as it should be wrote something");
    }
    world.put("notes", "a", "one", json!({"text": "again"})).await;
    let note = world.until("notes", Some("a"), "one", |note| note["status"]["text"] == "again").await;
    assert_eq!(note["status"]["observedGeneration"], 2);
    world.stop().await;
}

#[tokio::test]
async fn a_plugin_that_does_its_worst_ends_as_a_condition_and_harms_nobody() {
    let world = World::tuned(|_, limits| limits.wall = Duration::from_millis(300)).await;
    world.serve("hostile", "hostile").await;
    world.serve("note", "note-v1").await;
    let deeds: [(&str, &str); 14] = include!("../../../../tests/components/hostile/deeds.rs");
    for (deed, reason) in deeds {
        world.put("hostiles", "a", deed, json!({"deed": deed})).await;
        let object = world.ready("hostiles", "a", deed, "False", reason).await;
        let (_, _, hint) = condition(&object, "Stalled").expect("only a person can mend it");
        assert!(hint.len() > 40, "{deed}: {hint}");
    }
    world.put("notes", "a", "one", json!({"text": "x"})).await;
    world.ready("notes", "a", "one", "True", "Kept").await;
    for (deed, _) in deeds {
        world.delete("hostiles", Some("a"), deed).await;
        world.gone("hostiles", Some("a"), deed).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn each_kind_of_failure_has_its_condition() {
    let world = World::new().await;
    world.serve("puppet", "puppet").await;
    let failures = [
        ("waiting-for", "x", "False", "WaitingForDependency", "Reconciling"),
        ("transient", "Busy", "False", "Busy", "Reconciling"),
        ("transient", "Unreachable", "Unknown", "ClusterUnreachable", "Reconciling"),
        ("invalid", "spec.fail", "False", "InvalidSpec", "Stalled"),
        ("denied", "x", "False", "Denied", "Stalled"),
        ("terminal", "Broken", "False", "Broken", "Stalled"),
    ];
    for (index, (kind, code, status, reason, other)) in failures.into_iter().enumerate() {
        let name = format!("p{index}");
        world.put("puppets", "a", &name, json!({"fail": [kind, code, "do this"]})).await;
        let object = world.ready("puppets", "a", &name, status, reason).await;
        assert!(condition(&object, "Ready").unwrap().2.contains("do this"));
        assert_eq!(condition(&object, other).unwrap().0, "True");
        world.put("puppets", "a", &name, json!({})).await;
        let object = world.ready("puppets", "a", &name, "True", "AsSaid").await;
        assert!(condition(&object, other).is_none(), "{object:#}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_dependency_that_becomes_ready_wakes_who_waits_for_it() {
    let world = World::new().await;
    world.serve("puppet", "puppet").await;
    world.put("puppets", "a", "user", json!({"requires": "base"})).await;
    let waiting = world.ready("puppets", "a", "user", "False", "WaitingForDependency").await;
    assert!(condition(&waiting, "Ready").unwrap().2.contains("base"));
    world.put("puppets", "a", "base", json!({"outputs": {"port": "1"}})).await;
    let user = world.ready("puppets", "a", "user", "True", "AsSaid").await;
    assert_eq!(user["status"]["heard"], json!({"port": "1"}));
    world.put("puppets", "a", "base", json!({"outputs": {"port": "2"}})).await;
    world.until("puppets", Some("a"), "user", |user| user["status"]["heard"]["port"] == "2").await;

    world.delete("puppets", Some("a"), "base").await;
    let base = world
        .until("puppets", Some("a"), "base", |base| condition(base, "Ready").is_some_and(|ready| ready.1 == "InUse"))
        .await;
    assert!(condition(&base, "Ready").unwrap().2.contains("a/user"));
    // By itself it looks again in half a minute.
    let began = std::time::Instant::now();
    world.delete("puppets", Some("a"), "user").await;
    world.gone("puppets", Some("a"), "user").await;
    world.gone("puppets", Some("a"), "base").await;
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "nobody told it that it is needed no more");
    world.stop().await;
}

#[tokio::test]
async fn what_has_nothing_on_targets_goes_though_it_refers_to_itself_or_makes_no_sense() {
    let world = World::new().await;
    world.serve("puppet", "puppet").await;
    world.put("puppets", "a", "selfish", json!({"target": "selfish"})).await;
    world.ready("puppets", "a", "selfish", "True", "AsSaid").await;
    // Neither of these two can the plugin read either.
    world.put("puppets", "a", "lost", json!({"requires": {"name": "x", "namespace": "away"}})).await;
    world.ready("puppets", "a", "lost", "False", "ReferenceInvalid").await;
    world.put("puppets", "a", "garbled", json!({"manifests": 5})).await;
    world.until("puppets", Some("a"), "garbled", |it| condition(it, "Ready").is_some_and(|it| it.0 == "False")).await;
    for name in ["selfish", "lost", "garbled"] {
        world.delete("puppets", Some("a"), name).await;
        world.gone("puppets", Some("a"), name).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn a_run_whose_lease_is_lost_is_ended_and_says_nothing() {
    let world = World::tuned(|config, limits| {
        config.lease = Duration::from_millis(1500);
        limits.wall = Duration::from_secs(60);
    })
    .await;
    world.serve("hostile", "hostile").await;
    world.put("hostiles", "a", "endless", json!({"deed": "loop"})).await;
    let running = async || world.monitor.stats().running == 1;
    until(|| "the run is under way".into(), running).await;
    // Its row goes, and the lease with it.
    let stored = world.store.get(&key("hostiles", Some("a"), "endless")).await.unwrap().unwrap();
    let precondition = threeport_store::Precondition::Present { uid: Some(stored.uid), resource_version: None };
    world.store.write(vec![threeport_store::Op::Remove { key: stored.key, precondition }]).await.unwrap();
    until(|| "the run is ended".into(), async || world.monitor.stats().running == 0).await;
    assert_eq!(world.monitor.stats().leases_lost, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_run_keeps_its_lease() {
    let world = World::tuned(|config, limits| {
        config.lease = Duration::from_secs(3);
        limits.wall = Duration::from_secs(7);
    })
    .await;
    world.serve("hostile", "hostile").await;
    world.put("hostiles", "a", "slow", json!({"deed": "loop"})).await;
    world.ready("hostiles", "a", "slow", "False", "DeadlineExceeded").await;
    assert_eq!(world.monitor.stats().leases_lost, 0);
    world.stop().await;
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_given_back_at_shutdown() {
    let world = World::tuned(|config, limits| {
        config.grace = Duration::from_millis(200);
        limits.wall = Duration::from_secs(60);
    })
    .await;
    world.serve("hostile", "hostile").await;
    world.put("hostiles", "a", "endless", json!({"deed": "loop"})).await;
    until(|| "the run is under way".into(), async || world.monitor.stats().running == 1).await;
    assert_eq!(world.store.queue().leased, 1);
    let began = std::time::Instant::now();
    world.stop().await;
    assert!(began.elapsed() < Duration::from_secs(30), "the host waited for a run without end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_runs_never_end_leaves_others_room() {
    let world = World::tuned(|config, limits| {
        config.slots = 4;
        config.grace = Duration::from_millis(100);
        limits.wall = Duration::from_secs(600);
    })
    .await;
    world.serve("hostile", "hostile").await;
    world.serve("note", "note-v1").await;
    for number in 0..8 {
        world.put("hostiles", "a", &format!("h{number}"), json!({"deed": "loop"})).await;
    }
    until(|| "three of them run".into(), async || world.monitor.stats().running == 3).await;
    for number in 0..10 {
        let name = format!("n{number}");
        world.put("notes", "a", &name, json!({"text": "x"})).await;
        world.ready("notes", "a", &name, "True", "Kept").await;
    }
    assert_eq!(world.monitor.stats().running, 3, "no more than its share");
    world.stop().await;
}

use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_change_under_load_without_a_failed_run() {
    let world = World::new().await;
    let first = world.serve("note", "note-v1").await;
    let notes = 20;
    for note in 0..notes {
        world.put("notes", "a", &format!("n{note}"), json!({"text": "0"})).await;
    }
    let began = Instant::now();
    let mut second = String::new();
    let mut written = 0_u32;
    let mut back = false;
    // 500 updates each second for four seconds, with a swap and a way back in the middle; on a machine that has no time, for as long as 200 take.
    while began.elapsed() < Duration::from_secs(4) || written <= 200 {
        assert!(began.elapsed() < crate::support::SOON, "only {written} updates");
        world.put("notes", "a", &format!("n{}", written % notes), json!({"text": written.to_string()})).await;
        written += 1;
        if second.is_empty() && began.elapsed() > Duration::from_secs(1) {
            second = world.push("note", component("note-v2"), false).await;
        }
        if !back && began.elapsed() > Duration::from_millis(2500) {
            back = true;
            world.push("note", component("note-v1"), false).await;
        }
        tokio::time::sleep_until((began + Duration::from_millis(2) * written).into()).await;
    }
    let last = world.push("note", component("note-v2"), false).await;
    assert_eq!((&last, world.store.get_blob(&first).await.unwrap().is_some()), (&second, true));
    for note in 0..notes {
        world
            .until("notes", Some("a"), &format!("n{note}"), |object| {
                object["status"]["servedBy"] == "v2"
                    && object["status"]["text"] == object["spec"]["text"]
                    && condition(object, "Ready").is_some_and(|ready| ready.0 == "True")
            })
            .await;
    }
    let stats = world.monitor.stats();
    assert_eq!((stats.failures, stats.leases_lost), (0, 0), "{stats:?}");
    // Each update once, each object once more for each of three versions, and the Plugin's own.
    let most = u64::from(written + 4 * notes) + 10;
    assert!(stats.runs <= most, "{} runs for {written} updates: some were repeated", stats.runs);
    let plugin = world.find("plugins", None, "note").await.unwrap();
    assert_eq!(plugin["status"]["history"], json!([second, first]));
    world.stop().await;
}

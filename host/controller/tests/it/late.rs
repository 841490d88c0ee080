//! A host whose lease is over, and who wakes up and goes on where it was.

use std::time::Duration;

use serde_json::json;
use threeport_kube::{ApplyOptions, Error as TargetError, Owner, Reference};
use threeport_store::{Completion, Error, InventoryEntry};

use crate::support::{config_map, live, until};
use crate::targets::{exists, plan, world};
use crate::world::key;

#[tokio::test]
async fn a_host_that_wakes_after_its_lease_changes_nothing_and_what_escaped_is_removed() {
    let (world, target, ns) = world().await;
    let config = config_map(&ns, "settings", json!({"a": "1"}));
    let escaped = config_map(&ns, "escaped", json!({"a": "1"}));
    world.put("puppets", &ns, "app", plan(&[&config])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    let app = key("puppets", Some(&ns), "app");
    let uid = world.store.get(&app).await.unwrap().unwrap().uid;

    // A host takes the object, means to make something, and is frozen.
    let mut taken = None;
    let world = world
        .restarted_after(async |store| {
            store.wake(std::slice::from_ref(&uid), threeport_store::Class::User).await.unwrap();
            for claim in store.claim("frozen", Duration::from_millis(200), 50).await.unwrap() {
                if claim.object.key == app {
                    let entry = InventoryEntry {
                        target: claim.inventory[0].target.clone(),
                        api_version: "v1".into(),
                        kind: "ConfigMap".into(),
                        namespace: Some(ns.clone()),
                        name: "escaped".into(),
                        uid: None,
                        stage: claim.inventory[0].stage,
                        state: json!({}),
                    };
                    store.intend(&claim, vec![entry]).await.unwrap();
                    taken = Some(claim);
                } else {
                    store.release(&claim).await.unwrap();
                }
            }
        })
        .await;
    let taken = taken.expect("the object is due");

    // Another one goes on, finds everything as it should be, and leaves its epoch on it all the same.
    let epoch = async || {
        let live = live(&target, &config).await;
        live["metadata"]["annotations"]["threeport.dev/epoch"].as_str().unwrap().parse::<u64>().unwrap()
    };
    until(|| "a newer run has been there".into(), async || epoch().await > taken.epoch).await;
    until(
        || "the newer run is completed".into(),
        async || world.store.standing(&app).is_some_and(|standing| !standing.running),
    )
    .await;

    // The frozen host wakes. Nothing that it writes counts ...
    let status = Completion { status: Some(json!({"stale": true})), ..Completion::default() };
    assert!(matches!(world.store.complete(&taken, status).await, Err(Error::LeaseLost { .. })));
    assert!(matches!(world.store.intend(&taken, Vec::new()).await, Err(Error::LeaseLost { .. })));
    assert!(matches!(world.store.release(&taken).await, Err(Error::LeaseLost { .. })));
    let renewed = [(taken.object.uid.clone(), taken.epoch)];
    let lost = world.store.renew("frozen", &renewed, Duration::from_secs(9)).await.unwrap();
    assert_eq!(lost.as_slice(), std::slice::from_ref(&uid));
    // ... the target refuses its apply and its removal ...
    let owner = Owner { uid: uid.to_string(), name: "app".into(), epoch: taken.epoch };
    let old = config_map(&ns, "settings", json!({"a": "stale"}));
    let refused = target.apply(&owner, &old, &ApplyOptions::default()).await;
    assert!(matches!(refused, Err(TargetError::Fenced { .. })), "{refused:?}");
    let refused = target.remove(&owner, &Reference::of(&config)).await;
    assert!(matches!(refused, Err(TargetError::Fenced { .. })), "{refused:?}");
    assert_eq!(live(&target, &config).await["data"]["a"], "1");
    // ... and what it makes where nothing was is found and removed.
    target.apply(&owner, &escaped, &ApplyOptions::default()).await.unwrap();
    world.look_again("puppets", &ns, "app").await;
    until(|| "what escaped is gone".into(), async || !exists(&target, &escaped).await).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    world.stop().await;
}

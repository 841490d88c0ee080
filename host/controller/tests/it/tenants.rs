//! What the objects of one namespace may do to another's on a target that they both use.

use serde_json::{Value, json};

use crate::support::config_map;
use crate::targets::{exists, plan, world};
use crate::world::*;

fn priority_class(name: &str) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1})
}

fn service_account(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}})
}

#[tokio::test]
async fn a_tenant_reaches_what_the_target_says_and_nothing_else_however_wide_the_grant() {
    let (world, target, ns) = world().await;
    let (_, other) = crate::support::target().await;
    let theirs = service_account(&other, "robot");
    let class = priority_class(&format!("{ns}-high"));
    let applies = world.monitor.stats().applies;
    for (name, bad, words) in [
        ("aims-at-b", &theirs, [format!("ServiceAccount {other}/robot"), "no entry".to_owned()]),
        ("aims-at-all", &class, [format!("PriorityClass {ns}-high"), "cluster-scoped".to_owned()]),
        ("aims-at-us", &service_account("threeport-system", "x"), ["threeport-system".to_owned(), "nobody".to_owned()]),
    ] {
        let fine = config_map(&ns, name, json!({}));
        world.put("puppets", &ns, name, plan(&[&fine, bad])).await;
        let object = world.ready("puppets", &ns, name, "False", "Denied").await;
        let message = condition(&object, "Ready").unwrap().2;
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert!(condition(&object, "Stalled").is_some());
        assert!(!exists(&target, &fine).await, "nothing of a plan that goes too far is sent");
    }
    assert_eq!(world.monitor.stats().applies, applies);

    // The target says otherwise; the objects are looked at again by themselves.
    let mut place = world.find("puppets", Some(&ns), "place").await.unwrap()["spec"].clone();
    place["tenants"] = json!([{"namespace": ns, "namespaces": [ns, other],
        "clusterScoped": [{"apiGroups": ["scheduling.k8s.io"], "kinds": ["PriorityClass"], "names": [format!("{ns}-high")],
            "verbs": ["get", "list", "watch", "apply", "delete"]}]}]);
    world.put("puppets", &ns, "place", place.clone()).await;
    for name in ["aims-at-b", "aims-at-all"] {
        world.ready("puppets", &ns, name, "True", "AsSaid").await;
    }
    assert!(exists(&target, &theirs).await && exists(&target, &class).await);

    // Taken back, it is said of what is there, and what is there stays until somebody decides.
    place["tenants"] = json!([{"namespace": ns, "namespaces": []}]);
    world.put("puppets", &ns, "place", place.clone()).await;
    let denied = world.ready("puppets", &ns, "aims-at-b", "False", "Denied").await;
    assert!(condition(&denied, "Ready").unwrap().2.contains(r#""namespaces":[]"#), "{denied:#}");
    world.delete("puppets", Some(&ns), "aims-at-b").await;
    world
        .until("puppets", Some(&ns), "aims-at-b", |it| {
            condition(it, "Ready").is_some_and(|it| it.1 == "Denied" && it.2.contains("remove"))
        })
        .await;
    assert!(exists(&target, &theirs).await);
    place["tenants"] = json!([{"namespace": ns, "namespaces": [ns, other]}]);
    world.put("puppets", &ns, "place", place).await;
    world.gone("puppets", Some(&ns), "aims-at-b").await;
    assert!(!exists(&target, &theirs).await);
    world.stop().await;
}

#[tokio::test]
async fn tenants_that_make_no_sense_are_refused_by_name() {
    let (world, _, ns) = world().await;
    let mut place = world.find("puppets", Some(&ns), "place").await.unwrap()["spec"].clone();
    place["tenants"] = json!([{"namespace": ns, "namespaces": ["threeport-system"]}]);
    world.put("puppets", &ns, "place", place).await;
    let object = world.ready("puppets", &ns, "place", "False", "PlanInvalid").await;
    let message = condition(&object, "Ready").unwrap().2;
    assert!(message.contains("tenants[0]") && message.contains("threeport-system"), "{message}");
    world.stop().await;
}

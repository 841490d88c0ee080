use std::sync::{Arc, Mutex};

use serde_json::json;
use threeport_kube::{ApplyOptions, Reference, Ring, Target, WatchScope, Watches};

use crate::support::*;

/// Who was rung, in order.
#[derive(Clone, Default)]
struct Rung(Arc<Mutex<Vec<String>>>);

impl Rung {
    fn ring(&self) -> Ring {
        let rung = self.0.clone();
        Arc::new(move |uid: &str| rung.lock().unwrap().push(uid.to_owned()))
    }

    fn count(&self, uid: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|rung| *rung == uid).count()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    async fn wait(&self, uid: &str) {
        until(|| format!("{uid} is rung"), async || self.count(uid) > 0).await;
    }
}

#[tokio::test]
async fn drift_rings_the_owner_on_change_and_delete() {
    let (target, ns) = target().await;
    let (first, second) = (config_map(&ns, "first", json!({"a": "1"})), config_map(&ns, "second", json!({})));
    let rung = Rung::default();
    let watches = Watches::new(rung.ring());
    watches.ensure("keeper", "t", &target, WatchScope::owned("v1", "ConfigMap"));
    target.apply(&owner("drift-1", 1), &first, &ApplyOptions::default()).await.unwrap();
    target.apply(&owner("drift-2", 1), &second, &ApplyOptions::default()).await.unwrap();
    rung.wait("drift-1").await;
    rung.wait("drift-2").await;
    rung.clear();

    meddle(&first, json!({"data": {"a": "changed"}})).await;
    rung.wait("drift-1").await;
    target.remove(&owner("drift-2", 1), &Reference::of(&second)).await.unwrap();
    rung.wait("drift-2").await;
    assert_eq!(rung.count("keeper"), 0, "who keeps the watch up is not rung");
    assert_eq!(rung.count("drift-1"), 1, "nor is the owner of another object");
}

#[tokio::test]
async fn a_change_of_status_rings_too() {
    let (target, ns) = target().await;
    let manifest = deployment(&ns, "web", "1");
    target.apply(&owner("status-1", 1), &manifest, &ApplyOptions::default()).await.unwrap();
    let rung = Rung::default();
    let watches = Watches::new(rung.ring());
    watches.ensure("keeper", "t", &target, WatchScope::owned("apps/v1", "Deployment"));
    rung.wait("status-1").await;
    rung.clear();
    write_status(&manifest, json!({"replicas": 1})).await;
    rung.wait("status-1").await;
}

#[tokio::test]
async fn a_declared_watch_rings_only_for_its_fields_and_ends_with_the_last_subscriber() {
    let (target, ns) = target().await;
    let manifest = config_map(&ns, "web", json!({"a": "1", "b": "1"}));
    target.apply(&owner("u1", 1), &manifest, &ApplyOptions::default()).await.unwrap();
    let rung = Rung::default();
    let watches = Watches::new(rung.ring());
    let scope = |field: &str| WatchScope {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        namespace: Some(ns.clone()),
        selector: None,
        fields: vec![field.to_owned()],
    };
    watches.replace("sub-a", vec![("t".into(), scope("/data/a"))]);
    assert!(watches.is_empty(), "the target is not known yet");
    watches.set_target("t", &target);
    watches.replace("sub-b", vec![("t".into(), scope("data.b"))]);
    assert_eq!(watches.len(), 1, "one watch for both");
    rung.wait("sub-a").await;
    rung.wait("sub-b").await;
    rung.clear();

    meddle(&manifest, json!({"data": {"a": "2"}})).await;
    rung.wait("sub-a").await;
    meddle(&manifest, json!({"data": {"b": "2"}})).await;
    rung.wait("sub-b").await;
    assert_eq!((rung.count("sub-a"), rung.count("sub-b")), (1, 1));

    watches.replace("sub-a", Vec::new());
    assert_eq!(watches.len(), 1);
    watches.forget_target("t");
    assert!(watches.is_empty());
}

#[tokio::test]
async fn those_who_want_different_values_of_a_label_share_a_watch() {
    let (target, ns) = target().await;
    let labelled = |name: &str, set: &str| {
        let mut manifest = config_map(&ns, name, json!({"a": "1"}));
        manifest["metadata"]["labels"] = json!({"example.org/set": set});
        manifest
    };
    let rung = Rung::default();
    let watches = Watches::new(rung.ring());
    watches.set_target("t", &target);
    for set in ["one", "two"] {
        let scope = WatchScope {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: Some(ns.clone()),
            selector: Some(format!("example.org/set={set}")),
            fields: vec!["data.a".to_owned()],
        };
        watches.replace(set, vec![("t".into(), scope)]);
    }
    assert_eq!(watches.len(), 1, "one watch for both");
    for set in ["one", "two"] {
        rung.wait(set).await;
    }
    rung.clear();
    target
        .apply(&owner("u1", 1), &config_map(&ns, "unlabelled", json!({"a": "1"})), &ApplyOptions::default())
        .await
        .unwrap();
    target.apply(&owner("u1", 1), &labelled("first", "one"), &ApplyOptions::default()).await.unwrap();
    rung.wait("one").await;
    assert_eq!(rung.count("two"), 0);
    rung.clear();
    meddle(&labelled("first", "one"), json!({"metadata": {"labels": {"example.org/set": "two"}}})).await;
    rung.wait("one").await;
    rung.wait("two").await;
    rung.clear();
    meddle(&labelled("first", "two"), json!({"metadata": {"labels": {"example.org/set": null}}})).await;
    rung.wait("two").await;
    assert_eq!(rung.count("one"), 0);
}

#[tokio::test]
async fn a_watch_survives_its_api_server_and_rings_for_what_happened_meanwhile() {
    let (_, ns) = target().await;
    let (cluster, main) = cluster().await;
    let admin = Target::connect(&cluster.kubeconfig(main.port, ADMIN)).unwrap();
    let mut server = cluster.api_server().await;
    let target = Target::connect(&cluster.kubeconfig(server.port, ADMIN)).unwrap();
    let manifest = |name: &str, v: u32| config_map(&ns, name, json!({"v": v.to_string()}));
    for name in ["away", "still"] {
        admin.apply(&owner(&format!("re-{name}"), 1), &manifest(name, 1), &ApplyOptions::default()).await.unwrap();
    }
    let rung = Rung::default();
    let watches = Watches::new(rung.ring());
    watches.ensure("keeper", "t", &target, WatchScope::owned("v1", "ConfigMap"));
    rung.wait("re-away").await;
    rung.wait("re-still").await;
    rung.clear();

    server.stop();
    until(|| "the server is away".into(), async || target.ready().await.is_err()).await;
    admin.apply(&owner("re-away", 2), &manifest("away", 2), &ApplyOptions::default()).await.unwrap();
    server.start(cluster).await;
    rung.wait("re-away").await;
    assert_eq!(rung.count("re-still"), 0);
    admin.apply(&owner("re-still", 2), &manifest("still", 2), &ApplyOptions::default()).await.unwrap();
    rung.wait("re-still").await;
}

#[tokio::test]
async fn a_kind_that_comes_later_is_watched_from_then_on() {
    let (target, ns) = target().await;
    let rung = Rung::default();
    let watches = Watches::new(rung.ring());
    watches.ensure("keeper", "t", &target, WatchScope::owned("watched.example.com/v1", "Gadget"));
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.watched.example.com"},
        "spec": {"group": "watched.example.com", "scope": "Namespaced", "names": {"kind": "Gadget", "plural": "gadgets", "singular": "gadget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    target.apply(&owner("u1", 1), &definition, &ApplyOptions::default()).await.unwrap();
    let gadget =
        json!({"apiVersion": "watched.example.com/v1", "kind": "Gadget", "metadata": {"namespace": ns, "name": "x"}});
    until(
        || "the kind is served".into(),
        async || target.apply(&owner("late", 1), &gadget, &ApplyOptions::default()).await.is_ok(),
    )
    .await;
    rung.wait("late").await;
}

use base64::Engine as _;
use serde_json::{Value, json};
use threeport_kube::kube::api::{Api, ApiResource, DeleteParams, DynamicObject};
use threeport_kube::kube::core::GroupVersionKind;
use threeport_kube::{Reference, Target};

use crate::support::{ADMIN, cluster, config_map, deployment, live, meddle, target, until, write_status};
use crate::world::*;

/// A host that has adopted the test's kube-apiserver as the target `place`.
pub(crate) async fn world() -> (World, Target, String) {
    let (target, namespace) = target().await;
    let world = World::new().await;
    world.serve("puppet", "puppet").await;
    let (cluster, server) = cluster().await;
    adopt(&world, &namespace, "place", &cluster.kubeconfig(server.port, ADMIN)).await;
    (world, target, namespace)
}

pub(crate) async fn adopt(world: &World, namespace: &str, name: &str, kubeconfig: &str) {
    let encoded = base64::engine::general_purpose::STANDARD.encode(kubeconfig);
    world.secret(namespace, name, json!({"kubeconfig": encoded})).await;
    world
        .put("puppets", namespace, name, json!({"connection": [name, "kubeconfig"], "open": true, "requeueMs": 300}))
        .await;
    world
        .until("puppets", Some(namespace), name, |object| {
            object["status"]["targetVersion"].as_str().is_some_and(|version| version.starts_with("v1."))
                && condition(object, "Ready").is_some_and(|ready| ready.0 == "True")
        })
        .await;
}

pub(crate) fn plan(manifests: &[&Value]) -> Value {
    let manifests: Vec<Value> = manifests.iter().map(|body| json!({"body": body})).collect();
    json!({"target": "place", "manifests": manifests})
}

/// Plays the deployment controller: all pods of this generation are there.
async fn roll_out(target: &Target, manifest: &Value) {
    let live = live(target, manifest).await;
    let replicas = live["spec"]["replicas"].clone();
    let status = json!({"observedGeneration": live["metadata"]["generation"], "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas, "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": ""},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": ""}]});
    write_status(manifest, status).await;
}

pub(crate) async fn exists(target: &Target, manifest: &Value) -> bool {
    target.get(&Reference::of(manifest)).await.unwrap().is_some()
}

#[tokio::test]
async fn ready_waits_for_the_pods_of_this_generation() {
    let (world, target, ns) = world().await;
    let (config, mut web) = (config_map(&ns, "settings", json!({"a": "1"})), deployment(&ns, "web", "100m"));
    world.put("puppets", &ns, "app", plan(&[&web, &config])).await;
    let object = world.ready("puppets", &ns, "app", "False", "Progressing").await;
    until(|| "it is applied".into(), async || exists(&target, &web).await && exists(&target, &config).await).await;
    assert!(condition(&object, "Reconciling").is_some());
    roll_out(&target, &web).await;
    let object = world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    assert!(condition(&object, "Reconciling").is_none());
    let events = world.events(&ns, "app").await;
    assert!(
        ["Progressing", "Applied", "AsSaid"].iter().all(|reason| events.contains(&(*reason).to_owned())),
        "{events:?}"
    );

    // Another image: the status of the old pods must not do.
    web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    world.put("puppets", &ns, "app", plan(&[&web, &config])).await;
    world.ready("puppets", &ns, "app", "False", "Progressing").await;
    until(
        || "the image is changed".into(),
        async || live(&target, &web).await.pointer("/spec/template/spec/containers/0/image") == Some(&json!("web:2")),
    )
    .await;
    for _ in 0..5 {
        world.look_again("puppets", &ns, "app").await;
        let app = world.find("puppets", Some(&ns), "app").await.unwrap();
        assert_eq!(condition(&app, "Ready").unwrap().1, "Progressing", "{app:#}");
    }
    roll_out(&target, &web).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;

    // From here on nothing changes, so nothing is done.
    let applies = world.monitor.stats().applies;
    let uid = live(&target, &web).await["metadata"]["resourceVersion"].clone();
    for _ in 0..5 {
        world.look_again("puppets", &ns, "app").await;
    }
    assert_eq!(world.monitor.stats().applies, applies);
    assert_eq!(live(&target, &web).await["metadata"]["resourceVersion"], uid);
    world.stop().await;
}

#[tokio::test]
async fn what_someone_else_changes_or_deletes_is_put_back() {
    let (world, target, ns) = world().await;
    let config = config_map(&ns, "settings", json!({"a": "1"}));
    world.put("puppets", &ns, "app", plan(&[&config])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    meddle(&config, json!({"data": {"a": "theirs"}})).await;
    until(|| "the change is taken back".into(), async || live(&target, &config).await["data"]["a"] == "1").await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    let first = live(&target, &config).await["metadata"]["uid"].clone();
    remove(&config).await;
    until(
        || "it is there again".into(),
        async || {
            target.get(&Reference::of(&config)).await.unwrap().is_some_and(|live| live["metadata"]["uid"] != first)
        },
    )
    .await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    let events = world.events(&ns, "app").await;
    assert!(events.contains(&"DriftRepaired".to_owned()), "{events:?}");
    world.stop().await;
}

#[tokio::test]
async fn after_a_restore_of_the_database_a_target_that_is_ahead_is_caught_up_with() {
    let (world, target, ns) = world().await;
    let config = config_map(&ns, "settings", json!({"a": "1"}));
    world.put("puppets", &ns, "app", plan(&[&config])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    // What runs left there that the restored database knows nothing of.
    let later = json!({"metadata": {"annotations": {"threeport.dev/epoch": "1000"}}, "data": {"a": "2"}});
    meddle(&config, later).await;
    until(|| "the change is taken back".into(), async || live(&target, &config).await["data"]["a"] == "1").await;
    let live = live(&target, &config).await;
    assert_eq!(live["metadata"]["annotations"]["threeport.dev/epoch"], "1001");
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    let events = world.events(&ns, "app").await;
    assert!(events.contains(&"Fenced".to_owned()), "{events:?}");
    world.stop().await;
}

/// Deletes as a person with kubectl would.
async fn remove(manifest: &Value) {
    let (cluster, server) = cluster().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cluster.kubeconfig(server.port, ADMIN)).unwrap();
    let client = threeport_kube::client(Some(file.path().to_owned())).await.unwrap();
    let reference = Reference::of(manifest);
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let api: Api<DynamicObject> = Api::namespaced_with(client, reference.namespace.as_deref().unwrap(), &resource);
    api.delete(&reference.name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn what_leaves_the_plan_is_removed_and_in_the_end_everything_but_what_is_kept() {
    let (world, target, ns) = world().await;
    let (one, two, kept) =
        (config_map(&ns, "one", json!({})), config_map(&ns, "two", json!({})), config_map(&ns, "kept", json!({})));
    let mut spec = plan(&[&one, &two, &kept]);
    spec["manifests"][2]["options"] = json!(["keep"]);
    world.put("puppets", &ns, "app", spec.clone()).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    spec["manifests"].as_array_mut().unwrap().remove(1);
    world.put("puppets", &ns, "app", spec).await;
    until(|| "two is gone".into(), async || !exists(&target, &two).await).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    assert!(exists(&target, &one).await && exists(&target, &kept).await);

    // The target is in use as long as something is on it.
    world.delete("puppets", Some(&ns), "place").await;
    world.ready("puppets", &ns, "place", "False", "InUse").await;
    world.delete("puppets", Some(&ns), "app").await;
    world.gone("puppets", Some(&ns), "app").await;
    assert!(!exists(&target, &one).await && exists(&target, &kept).await);
    world.gone("puppets", Some(&ns), "place").await;
    world.stop().await;
}

#[tokio::test]
async fn a_later_manifest_waits_until_the_one_before_is_healthy() {
    let (world, target, ns) = world().await;
    let (web, after) = (deployment(&ns, "web", "100m"), config_map(&ns, "after", json!({})));
    let mut spec = plan(&[&after, &web]);
    spec["manifests"][0]["after"] = json!([format!("Deployment/{ns}/web")]);
    world.put("puppets", &ns, "app", spec).await;
    until(|| "the first is applied".into(), async || exists(&target, &web).await).await;
    world.ready("puppets", &ns, "app", "False", "Progressing").await;
    world.look_again("puppets", &ns, "app").await;
    assert!(!exists(&target, &after).await);
    roll_out(&target, &web).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    assert!(exists(&target, &after).await);
    world.stop().await;
}

#[tokio::test]
async fn a_plan_that_goes_too_far_is_refused_before_anything_is_sent() {
    let (world, target, ns) = world().await;
    let fine = config_map(&ns, "fine", json!({}));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": ns, "name": "s"}});
    let foreign = config_map("default", "x", json!({}));
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}});
    let applies = world.monitor.stats().applies;
    for (index, (bad, word)) in
        [(&secret, "Secret"), (&foreign, "default"), (&role, "ClusterRole"), (&namespace, "kube-system")]
            .iter()
            .enumerate()
    {
        let name = format!("bad{index}");
        world.put("puppets", &ns, &name, plan(&[&fine, *bad])).await;
        let object = world.ready("puppets", &ns, &name, "False", "Denied").await;
        assert!(condition(&object, "Ready").unwrap().2.contains(word), "{object:#}");
        assert!(condition(&object, "Stalled").is_some());
    }
    let mut replace = plan(&[&fine]);
    replace["manifests"][0]["options"] = json!(["replace"]);
    world.put("puppets", &ns, "replace", replace).await;
    let object = world.ready("puppets", &ns, "replace", "False", "PlanNotSupported").await;
    assert!(condition(&object, "Ready").unwrap().2.contains("replace"));
    world.put("puppets", &ns, "twice", plan(&[&fine, &fine])).await;
    world.ready("puppets", &ns, "twice", "False", "PlanInvalid").await;
    assert_eq!(world.monitor.stats().applies, applies);
    assert!(!exists(&target, &fine).await);
    world.stop().await;
}

#[tokio::test]
async fn a_refusal_of_the_target_is_told_in_its_words_and_a_second_owner_by_name() {
    let (world, _target, ns) = world().await;
    let mut web = deployment(&ns, "web", "100m");
    web["spec"]["replica"] = json!(1);
    world.put("puppets", &ns, "app", plan(&[&web])).await;
    let object = world.ready("puppets", &ns, "app", "False", "Invalid").await;
    assert!(condition(&object, "Ready").unwrap().2.contains("replica"));
    let config = config_map(&ns, "settings", json!({}));
    world.put("puppets", &ns, "app", plan(&[&config])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    world.put("puppets", &ns, "rival", plan(&[&config])).await;
    let rival = world.ready("puppets", &ns, "rival", "False", "OwnedByOther").await;
    assert!(condition(&rival, "Ready").unwrap().2.contains("app"), "{rival:#}");
    world.delete("puppets", Some(&ns), "rival").await;
    world.gone("puppets", Some(&ns), "rival").await;
    assert!(world.find("puppets", Some(&ns), "app").await.is_some());
    world.stop().await;
}

#[tokio::test]
async fn a_target_that_is_away_makes_things_unknown_and_nothing_is_lost() {
    let (_, namespace) = target().await;
    let (cluster, _) = cluster().await;
    let mut server = cluster.api_server().await;
    let world = World::tuned(|config, _| config.backoff_cap = std::time::Duration::from_secs(1)).await;
    world.serve("puppet", "puppet").await;
    adopt(&world, &namespace, "place", &cluster.kubeconfig(server.port, ADMIN)).await;
    let config = config_map(&namespace, "settings", json!({"a": "1"}));
    let mut spec = plan(&[&config]);
    spec["requeueMs"] = json!(300);
    world.put("puppets", &namespace, "app", spec).await;
    world.ready("puppets", &namespace, "app", "True", "AsSaid").await;
    let before = world
        .until("puppets", Some(&namespace), "app", |app| app["status"]["observed"] == json!(["ConfigMap current"]))
        .await;
    server.stop();
    let away = world.ready("puppets", &namespace, "app", "Unknown", "ClusterUnreachable").await;
    assert_eq!(away["status"]["observed"], before["status"]["observed"], "the last known status is kept");
    world.ready("puppets", &namespace, "place", "Unknown", "ClusterUnreachable").await;
    server.start(cluster).await;
    world.ready("puppets", &namespace, "place", "True", "AsSaid").await;
    world.ready("puppets", &namespace, "app", "True", "AsSaid").await;
    world.stop().await;
}

#[tokio::test]
async fn an_object_that_moves_away_from_a_dead_target_goes_on_and_forgets_nothing() {
    let (target, ns) = target().await;
    let (cluster, alive) = cluster().await;
    let mut server = cluster.api_server().await;
    let world = World::tuned(|config, _| config.backoff_cap = std::time::Duration::from_secs(1)).await;
    world.serve("puppet", "puppet").await;
    adopt(&world, &ns, "old", &cluster.kubeconfig(server.port, ADMIN)).await;
    adopt(&world, &ns, "new", &cluster.kubeconfig(alive.port, ADMIN)).await;
    let (one, two) = (config_map(&ns, "one", json!({})), config_map(&ns, "two", json!({})));
    world.put("puppets", &ns, "app", json!({"target": "old", "manifests": [{"body": &one}], "requeueMs": 300})).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    server.stop();
    world.put("puppets", &ns, "app", json!({"target": "new", "manifests": [{"body": &two}], "requeueMs": 300})).await;
    let app = world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    assert!(exists(&target, &one).await && exists(&target, &two).await);
    let left = condition(&app, "Reconciling").unwrap();
    assert!(left.1 == "ClusterUnreachable" && left.2.contains("one"), "{app:#}");
    // The target that nobody refers to any more is in use as long as something is on it.
    world.delete("puppets", Some(&ns), "old").await;
    let old =
        world.until("puppets", Some(&ns), "old", |old| condition(old, "Ready").is_some_and(|it| it.1 == "InUse")).await;
    assert!(condition(&old, "Ready").unwrap().2.contains("app"), "{old:#}");
    // Nor does it go before what is left there is removed.
    world.delete("puppets", Some(&ns), "app").await;
    world.ready("puppets", &ns, "app", "Unknown", "ClusterUnreachable").await;
    until(|| "what can be removed is".into(), async || !exists(&target, &two).await).await;
    assert!(exists(&target, &one).await);
    server.start(cluster).await;
    world.gone("puppets", Some(&ns), "app").await;
    assert!(!exists(&target, &one).await);
    world.stop().await;
}

#[tokio::test]
async fn without_a_connection_the_target_is_waited_for() {
    let (target, ns) = target().await;
    let world = World::new().await;
    world.serve("puppet", "puppet").await;
    let config = config_map(&ns, "settings", json!({}));
    world.put("puppets", &ns, "app", plan(&[&config])).await;
    world.ready("puppets", &ns, "app", "False", "WaitingForTarget").await;
    let (cluster, server) = cluster().await;
    adopt(&world, &ns, "place", &cluster.kubeconfig(server.port, ADMIN)).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    assert!(exists(&target, &config).await);
    world.stop().await;
}

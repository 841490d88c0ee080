//! What the objects of one namespace may do to another's on a target that they both use.

use serde_json::{Value, json};
use threeport_kube::kube::api::DeleteParams;
use threeport_kube::{ApplyOptions, Error, Reference, Target};

use crate::support::{ADMIN, NOBODY, cluster, config_map, live, owner, plain, until};
use crate::targets::{adopt, exists, plan, world};
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

/// The ServiceAccounts that were made for the target of that uid.
async fn accounts(target: &Target, uid: &str) -> Vec<String> {
    let labels = format!("threeport.dev/target-uid={uid}");
    let found = target.list("v1", "ServiceAccount", Some("threeport-system"), Some(&labels), 0, None).await.unwrap().0;
    found.iter().map(|account| account["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The target as somebody who got hold of an account's token.
async fn acting_as(account: &str) -> Target {
    let (cluster, server) = cluster().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cluster.kubeconfig(server.port, ADMIN)).unwrap();
    let client = threeport_kube::client(Some(file.path().to_owned())).await.unwrap();
    let request = http::Request::post(format!("/api/v1/namespaces/threeport-system/serviceaccounts/{account}/token"))
        .header("content-type", "application/json")
        .body(
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
                .to_string()
                .into_bytes(),
        );
    let answer: Value = client.request(request.unwrap()).await.unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    Target::connect(&cluster.kubeconfig(server.port, token)).unwrap()
}

#[tokio::test]
async fn the_target_enforces_it_too_and_nothing_of_that_outlives_its_last_user() {
    let (world, target, ns) = world().await;
    let (_, other) = crate::support::target().await;
    let uid = world.find("puppets", Some(&ns), "place").await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let isolated = |object: &Value| condition(object, "Isolated").is_some_and(|it| it.0 == "True");
    world.until("puppets", Some(&ns), "place", isolated).await;
    let own = accounts(&target, &uid).await;
    assert_eq!(own.len(), 1, "of the target object itself: {own:?}");

    world.put("puppets", &ns, "app", plan(&[&config_map(&ns, "mine", json!({}))])).await;
    world.put("puppets", &ns, "second", plan(&[&config_map(&ns, "second", json!({}))])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    world.ready("puppets", &ns, "second", "True", "AsSaid").await;
    let account = accounts(&target, &uid).await.into_iter().find(|name| !own.contains(name)).expect("the tenant's");

    // With what the host itself uses for the tenant, past all checks of the host.
    let tenant = acting_as(&account).await;
    let (options, owner) = (ApplyOptions::default(), owner("past-the-host", 1));
    tenant.apply(&owner, &config_map(&ns, "allowed", json!({})), &options).await.unwrap();
    tenant.remove(&owner, &Reference::of(&config_map(&ns, "allowed", json!({})))).await.unwrap();
    for beyond in [
        &config_map(&other, "x", json!({})),
        &priority_class(&format!("{ns}-x")),
        &service_account("threeport-system", "x"),
    ] {
        let refused = tenant.apply(&owner, beyond, &options).await.unwrap_err();
        assert!(matches!(refused, Error::Forbidden { .. }), "{refused}");
    }

    // Somebody takes the rights away: they are made again by themselves.
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"namespace": ns, "name": account}});
    plain(&binding).await.delete(&account, &DeleteParams::default()).await.unwrap();
    world.put("puppets", &ns, "app", plan(&[&config_map(&ns, "mine", json!({"a": "2"}))])).await;
    until(
        || "it is changed".into(),
        async || live(&target, &config_map(&ns, "mine", json!({}))).await["data"]["a"] == "2",
    )
    .await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;

    for (name, left) in [("app", 2), ("second", 1)] {
        world.delete("puppets", Some(&ns), name).await;
        world.gone("puppets", Some(&ns), name).await;
        assert_eq!(accounts(&target, &uid).await.len(), left, "after {name}");
    }
    world.delete("puppets", Some(&ns), "place").await;
    world.gone("puppets", Some(&ns), "place").await;
    assert!(accounts(&target, &uid).await.is_empty());
    for (kind, namespace) in
        [("Role", Some(&ns)), ("RoleBinding", Some(&ns)), ("ClusterRole", None), ("ClusterRoleBinding", None)]
    {
        let labels = format!("threeport.dev/target-uid={uid}");
        let version = "rbac.authorization.k8s.io/v1";
        let left = target.list(version, kind, namespace.map(String::as_str), Some(&labels), 0, None).await.unwrap().0;
        assert!(left.is_empty(), "{left:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_made_for_its_tenant_and_goes_with_its_last_user() {
    let (world, target, ns) = world().await;
    let made = format!("{ns}-made");
    let mut place = world.find("puppets", Some(&ns), "place").await.unwrap()["spec"].clone();
    place["tenants"] = json!([{"namespace": ns, "namespaces": [ns, made]}]);
    world.put("puppets", &ns, "place", place).await;
    world.put("puppets", &ns, "app", plan(&[&config_map(&made, "settings", json!({}))])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;
    world.delete("puppets", Some(&ns), "app").await;
    world.gone("puppets", Some(&ns), "app").await;
    let left = |name: &str| {
        let target = target.clone();
        let reference =
            Reference { api_version: "v1".into(), kind: "Namespace".into(), namespace: None, name: name.into() };
        async move {
            target.get(&reference).await.unwrap().is_some_and(|it| it["metadata"].get("deletionTimestamp").is_none())
        }
    };
    assert!(!left(&made).await && left(&ns).await, "what we did not make stays");
    world.stop().await;
}

/// A kubeconfig that may use one namespace, and may make nobody.
async fn limited(target: &Target, namespace: &str) -> String {
    let rbac = "rbac.authorization.k8s.io/v1";
    let metadata = json!({"namespace": namespace, "name": "limited"});
    let role = json!({"apiVersion": rbac, "kind": "Role", "metadata": metadata,
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    let binding = json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "limited"}, "subjects": [{"kind": "User", "name": "nobody"}]});
    for object in [role, binding] {
        target.apply(&owner("tests", 1), &object, &ApplyOptions::default()).await.unwrap();
    }
    let (cluster, server) = cluster().await;
    cluster.kubeconfig(server.port, NOBODY)
}

#[tokio::test]
async fn a_kubeconfig_that_may_make_no_identities_is_used_itself_and_that_is_said_or_refused() {
    let (target, ns) = crate::support::target().await;
    let world = World::new().await;
    world.serve("puppet", "puppet").await;
    adopt(&world, &ns, "place", &limited(&target, &ns).await).await;
    let place = world
        .until("puppets", Some(&ns), "place", |it| condition(it, "Isolated").is_some_and(|it| it.0 == "False"))
        .await;
    assert!(condition(&place, "Isolated").unwrap().2.contains("by this host only"));
    let config = config_map(&ns, "settings", json!({}));
    world.put("puppets", &ns, "app", plan(&[&config])).await;
    world.ready("puppets", &ns, "app", "True", "AsSaid").await;

    let mut spec = place["spec"].clone();
    spec["isolation"] = json!("Required");
    spec["open"] = json!(false);
    world.put("puppets", &ns, "place", spec).await;
    world.put("puppets", &ns, "other", plan(&[&config_map(&ns, "other", json!({}))])).await;
    let refused = world.ready("puppets", &ns, "other", "False", "IsolationNotPossible").await;
    assert!(condition(&refused, "Ready").unwrap().2.contains("Required"));
    world.stop().await;
}

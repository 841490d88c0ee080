//! What the target itself refuses, when the host does not.

use serde_json::{Value, json};
use threeport_kube::{ApplyOptions, Error, Identity, Permission, Place, Reference, SYSTEM_NAMESPACE, Target};

use crate::support::*;

const ALL: [&str; 5] = ["get", "list", "watch", "create", "patch"];

fn permission(groups: &[&str], kinds: &[&str], names: Option<&[&str]>, place: Place) -> Permission {
    let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let mut verbs = owned(&ALL);
    verbs.push("delete".into());
    Permission { groups: owned(groups), kinds: owned(kinds), verbs, names: names.map(owned), place }
}

fn identity(name: &str, permissions: Vec<Permission>) -> Identity {
    Identity { name: name.into(), target_uid: format!("uid-{name}"), purpose: "a test".into(), permissions }
}

fn place(namespaces: &[&str]) -> Place {
    Place::Namespaces(namespaces.iter().map(|name| (*name).to_owned()).collect())
}

async fn apply(target: &Target, manifest: &Value) -> Result<(), Error> {
    target.apply(&owner("u1", 1), manifest, &ApplyOptions::default()).await.map(drop)
}

fn forbidden(answer: Result<impl std::fmt::Debug, Error>) -> bool {
    matches!(answer, Err(Error::Forbidden { .. }))
}

fn priority_class(name: &str) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1})
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn of(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Reference {
    Reference {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: namespace.map(Into::into),
        name: name.into(),
    }
}

#[tokio::test]
async fn an_identity_does_what_it_may_and_the_target_refuses_the_rest() {
    let (admin, a) = target().await;
    let (_, b) = target().await;
    let (class, made) = (format!("{a}-high"), format!("{a}-made"));
    let permissions = vec![
        permission(&[""], &["ConfigMap"], None, place(&[&a, &made])),
        permission(&["scheduling.k8s.io"], &["PriorityClass"], Some(&[&class]), Place::Cluster),
        permission(&[""], &["Namespace"], Some(&[&made]), Place::Cluster),
    ];
    let name = format!("tp-{a}");
    let tenant = admin.establish(&identity(&name, permissions.clone())).await.unwrap();
    assert_eq!(tenant.namespaces.iter().collect::<Vec<_>>(), [&a]);
    let acting = &tenant.target;
    acting.version().await.unwrap();

    // Its own: created, changed, read, removed.
    let own = config_map(&a, "own", json!({"a": "1"}));
    apply(acting, &own).await.unwrap();
    assert_eq!(acting.list("v1", "ConfigMap", Some(&a), None, 0, None).await.unwrap().0.len(), 1);
    apply(acting, &priority_class(&class)).await.unwrap();
    apply(acting, &namespace(&made)).await.unwrap();
    acting.remove(&owner("u1", 1), &Reference::of(&own)).await.unwrap();
    acting.remove(&owner("u1", 1), &Reference::of(&priority_class(&class))).await.unwrap();

    // B's namespace, what has no namespace, other kinds, all namespaces, its own rights and account: 403 from the target.
    assert!(forbidden(apply(acting, &config_map(&b, "theirs", json!({}))).await));
    assert!(forbidden(apply(acting, &priority_class("other")).await));
    assert!(forbidden(apply(acting, &namespace("another")).await));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": a, "name": "s"}});
    assert!(forbidden(apply(acting, &secret).await));
    assert!(forbidden(acting.get(&of("v1", "ConfigMap", Some(&b), "x")).await));
    assert!(forbidden(acting.list("v1", "ConfigMap", None, None, 0, None).await));
    assert!(forbidden(acting.list("v1", "Node", None, None, 0, None).await));
    let role = of("rbac.authorization.k8s.io/v1", "Role", Some(&a), &name);
    assert!(forbidden(acting.get(&role).await));
    assert!(forbidden(acting.get(&of("v1", "ServiceAccount", Some(SYSTEM_NAMESPACE), &name)).await));
    let role = admin.get(&role).await.unwrap().unwrap();
    assert_eq!(role["rules"].as_array().unwrap().len(), 1);
    assert_eq!(role["rules"][0]["resources"], json!(["configmaps"]), "no subresources, nothing else");

    // The namespace is there now; in the other one it may nothing any more.
    let mut permissions = permissions;
    permissions[0].place = place(&[&made]);
    let again = admin.establish(&identity(&name, permissions)).await.unwrap();
    apply(&again.target, &config_map(&made, "own", json!({}))).await.unwrap();
    let refused = async || forbidden(acting.get(&of("v1", "ConfigMap", Some(&a), "x")).await);
    until(|| "the earlier right is gone".into(), refused).await;
    let of_a = of("rbac.authorization.k8s.io/v1", "Role", Some(&a), &name);
    assert_eq!(admin.get(&of_a).await.unwrap(), None);

    // Nothing of it is left.
    admin.retire(&name).await.unwrap();
    for left in [
        of("v1", "ServiceAccount", Some(SYSTEM_NAMESPACE), &name),
        of("rbac.authorization.k8s.io/v1", "Role", Some(&made), &name),
        of("rbac.authorization.k8s.io/v1", "RoleBinding", Some(&made), &name),
        of("rbac.authorization.k8s.io/v1", "ClusterRole", None, &name),
        of("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", None, &name),
    ] {
        assert_eq!(admin.get(&left).await.unwrap(), None, "{left}");
    }
    let refused = async || again.target.get(&of("v1", "ConfigMap", Some(&made), "own")).await.is_err();
    until(|| "its token is of no use".into(), refused).await;
}

#[tokio::test]
async fn namespaces_made_for_tenants_go_when_they_are_empty() {
    let (admin, ns) = target().await;
    let (used, empty) = (format!("{ns}-used"), format!("{ns}-empty"));
    for name in [&used, &empty] {
        assert!(admin.ensure_namespace(name, Some(&ns), "a test").await.unwrap());
        assert!(!admin.ensure_namespace(name, Some(&ns), "a test").await.unwrap());
    }
    apply(&admin, &config_map(&used, "theirs", json!({}))).await.unwrap();
    admin.uproot(&ns).await.unwrap();
    let goes = async |name: &str| match admin.get(&of("v1", "Namespace", None, name)).await.unwrap() {
        // No controller manager runs here: it stays in its last phase.
        Some(live) => live["metadata"].get("deletionTimestamp").is_some(),
        None => true,
    };
    assert!(!goes(&used).await && goes(&empty).await && !goes(&ns).await);
}

#[tokio::test]
async fn who_may_not_make_identities_is_told_so() {
    let (_, ns) = target().await;
    let (cluster, server) = cluster().await;
    let nobody = Target::connect(&cluster.kubeconfig(server.port, NOBODY)).unwrap();
    let asked = identity(&format!("tp-{ns}"), vec![permission(&[""], &["ConfigMap"], None, place(&[&ns]))]);
    assert!(matches!(nobody.establish(&asked).await, Err(Error::Forbidden { .. })));
}

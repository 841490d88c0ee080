use serde_json::json;
use threeport_kube::{ApplyOptions, Class, Error, Reference, Removed, State, health};

use crate::support::*;

#[tokio::test]
async fn what_is_removed_is_gone_and_removing_it_again_is_no_error() {
    let (target, ns) = target().await;
    let manifest = config_map(&ns, "web", json!({}));
    let reference = Reference::of(&manifest);
    target.apply(&owner("u1", 1), &manifest, &ApplyOptions::default()).await.unwrap();
    assert_eq!(target.remove(&owner("u2", 1), &reference).await.unwrap(), Removed::NotOurs);
    assert_eq!(target.remove(&owner("u1", 1), &reference).await.unwrap(), Removed::Gone);
    assert_eq!(target.get(&reference).await.unwrap(), None);
    assert_eq!(target.remove(&owner("u1", 1), &reference).await.unwrap(), Removed::Gone);
    let unknown = Reference { api_version: "never.example.com/v1".into(), kind: "Thing".into(), ..reference };
    assert_eq!(target.remove(&owner("u1", 1), &unknown).await.unwrap(), Removed::Gone);
}

#[tokio::test]
async fn an_owner_of_pods_waits_for_them_and_nothing_is_applied_over_it_meanwhile() {
    let (target, ns) = target().await;
    let manifest = deployment(&ns, "web", "1");
    let reference = Reference::of(&manifest);
    target.apply(&owner("u1", 1), &manifest, &ApplyOptions::default()).await.unwrap();
    // No controller manager runs here: the foreground deletion stays where it waits for the pods.
    assert_eq!(target.remove(&owner("u1", 1), &reference).await.unwrap(), Removed::Terminating);
    assert_eq!(target.remove(&owner("u1", 1), &reference).await.unwrap(), Removed::Terminating);
    // Applied in a version that is no longer served, it is found in another one.
    let older = Reference { api_version: "apps/v1beta1".into(), ..reference };
    assert!(matches!(target.find(&older).await, Err(Error::KindUnknown { .. })));
    assert_eq!(target.remove(&owner("u1", 1), &older).await.unwrap(), Removed::Terminating);
    let nowhere = Reference { namespace: None, ..Reference::of(&manifest) };
    assert_eq!(target.find(&nowhere).await.unwrap(), None);
    let live = live(&target, &manifest).await;
    assert_eq!(live["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(health(&live).class, State::Terminating);
    let error = target.apply(&owner("u1", 2), &manifest, &ApplyOptions::default()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Terminating { finalizers, .. } if finalizers == &["foregroundDeletion"]),
        "{error}"
    );
    assert_eq!(error.class(), Class::Waiting);
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_takes_nothing_new() {
    let (target, ns) = target().await;
    let namespace = Reference { api_version: "v1".into(), kind: "Namespace".into(), namespace: None, name: ns.clone() };
    assert_eq!(target.remove(&owner("tests", 2), &namespace).await.unwrap(), Removed::Terminating);
    let error =
        target.apply(&owner("u1", 1), &config_map(&ns, "late", json!({})), &ApplyOptions::default()).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (Class::Waiting, "Terminating"), "{error}");
    assert!(error.to_string().contains(&ns), "{error}");
}

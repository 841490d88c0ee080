use serde_json::json;
use threeport_kube::{ApplyOptions, Class, Error, Reference, get_path, project};

use crate::support::*;

fn options() -> ApplyOptions {
    ApplyOptions::default()
}

#[tokio::test]
async fn what_is_applied_is_there_carries_its_owner_and_is_not_written_twice() {
    let (target, ns) = target().await;
    let manifest = config_map(&ns, "web", json!({"a": "1"}));
    let first = target.apply(&owner("u1", 3), &manifest, &options()).await.unwrap();
    assert!(first.changed);
    let live = live(&target, &manifest).await;
    assert_eq!(live["data"], json!({"a": "1"}));
    assert_eq!(live["metadata"]["labels"]["app.kubernetes.io/managed-by"], "threeport");
    assert_eq!(live["metadata"]["labels"]["threeport.dev/owner-uid"], "u1");
    assert_eq!(live["metadata"]["annotations"]["threeport.dev/owner"], "thing.example.com/tests/u1");
    assert_eq!(live["metadata"]["annotations"]["threeport.dev/epoch"], "3");
    assert_eq!(live["metadata"]["managedFields"][0]["manager"], "threeport-u1");

    let again = target.apply(&owner("u1", 4), &manifest, &options()).await.unwrap();
    assert!(!again.changed, "a later run that wants the same writes nothing");
    assert_eq!(again.live["metadata"]["resourceVersion"], first.live["metadata"]["resourceVersion"]);

    let other = target.apply(&owner("u1", 5), &config_map(&ns, "web", json!({"a": "2"})), &options()).await.unwrap();
    assert!(other.changed);
    assert_eq!(other.live["metadata"]["annotations"]["threeport.dev/epoch"], "5");
}

#[tokio::test]
async fn what_is_thought_to_be_absent_and_is_not_is_looked_at_as_ever() {
    let (target, ns) = target().await;
    let absent = ApplyOptions { absent: true, ..options() };
    let manifest = config_map(&ns, "web", json!({"a": "1"}));
    let first = target.apply(&owner("u1", 3), &manifest, &absent).await.unwrap();
    assert!(first.changed);
    let again = target.apply(&owner("u1", 4), &manifest, &absent).await.unwrap();
    assert!(!again.changed, "it is ours and as wanted");
    let refused = target.apply(&owner("u1", 2), &config_map(&ns, "web", json!({"a": "0"})), &absent).await;
    assert!(matches!(refused, Err(Error::Fenced { ours: 2, theirs: 3, .. })), "{refused:?}");
    for adopt in [false, true] {
        let refused = target.apply(&owner("u2", 1), &manifest, &ApplyOptions { adopt, ..absent }).await;
        assert!(matches!(refused, Err(Error::OwnedByOther { .. })), "{refused:?}");
    }
    assert_eq!(
        live(&target, &manifest).await["metadata"]["resourceVersion"],
        first.live["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn a_field_left_out_is_removed_and_what_others_set_stays() {
    let (target, ns) = target().await;
    target.apply(&owner("u1", 1), &config_map(&ns, "web", json!({"a": "1", "b": "2"})), &options()).await.unwrap();
    let less = config_map(&ns, "web", json!({"a": "1"}));
    meddle(&less, json!({"data": {"theirs": "x"}})).await;
    assert!(target.apply(&owner("u1", 2), &less, &options()).await.unwrap().changed);
    assert_eq!(live(&target, &less).await["data"], json!({"a": "1", "theirs": "x"}));
}

#[tokio::test]
async fn drift_shows_in_the_projection_and_is_taken_back() {
    let (target, ns) = target().await;
    let manifest = deployment(&ns, "web", "100m");
    let applied = target.apply(&owner("u1", 1), &manifest, &options()).await.unwrap();
    let before = project(&applied.live, &manifest);
    meddle(&manifest, json!({"metadata": {"annotations": {"note": "x"}}, "spec": {"paused": true}})).await;
    assert_eq!(project(&live(&target, &manifest).await, &manifest), before, "what others add is no drift");
    meddle(&manifest, json!({"spec": {"replicas": 5}})).await;
    let drifted = live(&target, &manifest).await;
    assert_ne!(project(&drifted, &manifest), before);
    assert_eq!(get_path(&drifted, "spec.replicas"), Some(&json!(5)));
    let repaired = target.apply(&owner("u1", 2), &manifest, &options()).await.unwrap();
    assert!(repaired.changed);
    assert_eq!(project(&repaired.live, &manifest), before);
}

#[tokio::test]
async fn a_value_that_the_target_writes_differently_is_no_change() {
    let (target, ns) = target().await;
    let manifest = deployment(&ns, "web", "1000m");
    let first = target.apply(&owner("u1", 1), &manifest, &options()).await.unwrap();
    assert_eq!(first.live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
    assert!(!target.apply(&owner("u1", 2), &manifest, &options()).await.unwrap().changed);
}

#[tokio::test]
async fn plain_text_of_a_secret_is_encoded_and_a_key_left_out_is_removed() {
    let (target, ns) = target().await;
    let secret = |data| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": ns, "name": "s"}, "stringData": data});
    let applied = target.apply(&owner("u1", 1), &secret(json!({"a": "x", "b": "y"})), &options()).await.unwrap();
    assert_eq!(applied.live["data"], json!({"a": "eA==", "b": "eQ=="}));
    assert!(applied.live["metadata"]["annotations"].get("threeport.dev/applied").is_none(), "no digest of a secret");
    assert!(!target.apply(&owner("u1", 2), &secret(json!({"a": "x", "b": "y"})), &options()).await.unwrap().changed);
    let applied = target.apply(&owner("u1", 3), &secret(json!({"a": "x"})), &options()).await.unwrap();
    assert_eq!(applied.live["data"], json!({"a": "eA=="}));
}

#[tokio::test]
async fn status_and_server_fields_of_a_manifest_are_not_sent() {
    let (target, ns) = target().await;
    let mut manifest = deployment(&ns, "web", "1");
    manifest["status"] = json!({"replicas": 7});
    manifest["metadata"]["resourceVersion"] = "1".into();
    manifest["metadata"]["uid"] = "0".into();
    manifest["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let applied = target.apply(&owner("u1", 1), &manifest, &options()).await.unwrap();
    assert!(applied.live["status"].get("replicas").is_none());
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_the_targets_words() {
    let (target, ns) = target().await;
    let apply = async |manifest| target.apply(&owner("u1", 1), &manifest, &options()).await.unwrap_err();

    let error =
        apply(json!({"apiVersion": "example.com/v1", "kind": "Nothing", "metadata": {"namespace": ns, "name": "x"}}))
            .await;
    assert_eq!((error.class(), error.reason()), (Class::Waiting, "KindUnknown"));
    let error =
        apply(json!({"apiVersion": "apps/v1", "kind": "Nothing", "metadata": {"namespace": ns, "name": "x"}})).await;
    assert_eq!(error.reason(), "KindUnknown");

    let error = apply(config_map("nowhere", "x", json!({}))).await;
    assert!(matches!(&error, Error::NamespaceMissing { namespace, .. } if namespace == "nowhere"), "{error}");
    assert_eq!(error.class(), Class::Waiting);

    let mut unknown = deployment(&ns, "x", "1");
    unknown["spec"]["replica"] = 1.into();
    let error = apply(unknown).await;
    assert_eq!((error.class(), error.reason()), (Class::Invalid, "Invalid"));
    assert!(error.to_string().contains("replica"), "{error}");

    let mut negative = deployment(&ns, "x", "1");
    negative["spec"]["replicas"] = (-1).into();
    assert_eq!(apply(negative).await.reason(), "Invalid");

    let mut scoped = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"namespace": ns, "name": "x"}});
    assert!(apply(scoped.clone()).await.to_string().contains("cluster-scoped"));
    scoped["kind"] = "Role".into();
    scoped["metadata"] = json!({"name": "x"});
    assert!(apply(scoped).await.to_string().contains("needs a namespace"));
    assert_eq!(apply(config_map(&ns, "../../secrets/x", json!({}))).await.reason(), "Invalid");
    let mut forged = config_map(&ns, "x", json!({}));
    forged["metadata"]["labels"] = json!({"threeport.dev/owner-uid": "someone"});
    assert_eq!(apply(forged).await.reason(), "Invalid");
}

#[tokio::test]
async fn a_field_that_is_fixed_at_creation_is_told_as_such() {
    let (target, ns) = target().await;
    let mut manifest = deployment(&ns, "web", "1");
    target.apply(&owner("u1", 1), &manifest, &options()).await.unwrap();
    for place in ["/spec/selector/matchLabels/app", "/spec/template/metadata/labels/app"] {
        *manifest.pointer_mut(place).unwrap() = "other".into();
    }
    let error = target.apply(&owner("u1", 2), &manifest, &options()).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (Class::Invalid, "ImmutableField"), "{error}");
}

#[tokio::test]
async fn a_kind_that_comes_later_is_found() {
    let (target, ns) = target().await;
    let thing = json!({"apiVersion": "later.example.com/v1", "kind": "Thing", "metadata": {"namespace": ns, "name": "x"}, "spec": {"size": 1}});
    assert!(!target.has_kind("later.example.com/v1", "Thing").await.unwrap());
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.later.example.com"},
        "spec": {"group": "later.example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    target.apply(&owner("u1", 1), &definition, &options()).await.unwrap();
    until(|| "the kind is served".into(), async || target.apply(&owner("u1", 1), &thing, &options()).await.is_ok())
        .await;
    assert_eq!(live(&target, &thing).await["spec"]["size"], 1);
    assert_eq!(target.namespaced("later.example.com/v1", "Thing").await.unwrap(), Some(true));

    target.remove(&owner("u1", 1), &Reference::of(&definition)).await.unwrap();
    until(
        || "the kind is gone".into(),
        async || matches!(target.get(&Reference::of(&thing)).await, Err(Error::KindUnknown { .. })),
    )
    .await;
}

#[tokio::test]
async fn an_admission_rule_of_the_target_is_told_in_its_words() {
    let (target, ns) = target().await;
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": format!("no-latest-{ns}")},
        "spec": {"failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]},
            "validations": [{"expression": "!has(object.data.forbidden)", "message": "not on this cluster"}]}});
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": ns}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": format!("no-latest-{ns}")},
        "spec": {"policyName": format!("no-latest-{ns}"), "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector}}});
    for rule in [&policy, &binding] {
        target.apply(&owner("rules", 1), rule, &options()).await.unwrap();
    }
    let manifest = config_map(&ns, "x", json!({"forbidden": "1"}));
    let refused = async || {
        let outcome = target.apply(&owner("u1", 1), &manifest, &options()).await;
        if outcome.is_ok() {
            // The rule is not in force yet.
            target.remove(&owner("u1", 1), &Reference::of(&manifest)).await.unwrap();
        }
        outcome.err().is_some_and(|error| {
            assert_eq!((error.class(), error.reason()), (Class::Invalid, "AdmissionDenied"), "{error}");
            error.to_string().contains("not on this cluster")
        })
    };
    until(|| "the rule is in force".into(), refused).await;
}

use serde_json::json;

use super::*;

const NOW: &str = "2026-11-23T12:00:00Z";

#[track_caller]
fn check(api_version: &str, kind: &str, cases: &[(Value, State, &str)]) {
    for (object, state, message) in cases {
        let mut object = object.clone();
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        let health = health_at(&object, NOW.parse().expect("a time"));
        assert_eq!(health.class, *state, "{kind}: {object}: {}", health.message);
        assert!(health.message.contains(message), "{kind}: {:?} does not say {message:?}", health.message);
    }
}

fn conditions(list: &[(&str, &str, &str)]) -> Value {
    list.iter().map(|(kind, status, reason)| json!({"type": kind, "status": status, "reason": reason})).collect()
}

#[test]
fn what_holds_for_every_kind() {
    assert_eq!(health(&Value::Null).class, State::NotFound);
    assert_eq!(health(&json!("x")).class, State::Unknown);
    check(
        "v1",
        "ConfigMap",
        &[
            (json!({}), State::Current, ""),
            (json!({"metadata": {"deletionTimestamp": NOW}}), State::Terminating, "deleted"),
            (
                json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}}),
                State::InProgress,
                "generation 3",
            ),
            (json!({"status": {"conditions": conditions(&[("Stalled", "True", "Broken")])}}), State::Failed, "Broken"),
            (
                json!({"status": {"conditions": conditions(&[("Reconciling", "True", "Working")])}}),
                State::InProgress,
                "Working",
            ),
        ],
    );
}

#[test]
fn a_custom_resource_is_as_ready_as_it_says_and_current_when_it_says_nothing() {
    check(
        "example.com/v1",
        "Thing",
        &[
            (json!({"spec": {}}), State::Current, ""),
            (json!({"status": {"conditions": []}}), State::Current, ""),
            (json!({"status": {"conditions": conditions(&[("Ready", "True", "Fine")])}}), State::Current, ""),
            (
                json!({"status": {"conditions": conditions(&[("Ready", "False", "Starting")])}}),
                State::InProgress,
                "Starting",
            ),
            (
                json!({"status": {"conditions": conditions(&[("Ready", "Unknown", "")])}}),
                State::InProgress,
                "Ready is Unknown",
            ),
        ],
    );
}

#[test]
fn a_deployment_is_current_when_all_of_its_new_pods_are_available_and_no_old_ones_run() {
    let status = |updated: i64, total: i64, available: i64, conditions: Value| {
        json!({"metadata": {"generation": 2}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 2, "updatedReplicas": updated, "replicas": total, "availableReplicas": available, "conditions": conditions}})
    };
    let available = || conditions(&[("Available", "True", "MinimumReplicasAvailable")]);
    let stuck = conditions(&[("Progressing", "False", "ProgressDeadlineExceeded"), ("Available", "True", "")]);
    check(
        "apps/v1",
        "Deployment",
        &[
            (json!({"metadata": {"generation": 1}, "spec": {}}), State::InProgress, "not looked"),
            (status(2, 2, 2, available()), State::Current, ""),
            (status(1, 3, 2, available()), State::InProgress, "1 of 2 replicas updated"),
            (status(2, 3, 2, available()), State::InProgress, "1 old replicas"),
            (status(2, 2, 1, available()), State::InProgress, "1 of 2 replicas available"),
            (status(2, 2, 2, json!([])), State::InProgress, "Available"),
            (status(1, 2, 2, stuck), State::Failed, "ProgressDeadlineExceeded"),
            (
                json!({"spec": {"replicas": 0}, "status": {"observedGeneration": 1, "conditions": available()}}),
                State::Current,
                "",
            ),
        ],
    );
}

#[test]
fn a_stateful_set_is_current_when_its_revision_is_everywhere() {
    let with = |strategy: Value, status: Value| json!({"metadata": {"generation": 1}, "spec": {"replicas": 2, "updateStrategy": strategy}, "status": status});
    let status = |ready: i64, current: i64, updated: i64, update: &str| {
        json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": ready, "currentReplicas": current, "updatedReplicas": updated,
            "currentRevision": "a", "updateRevision": update})
    };
    check(
        "apps/v1",
        "StatefulSet",
        &[
            (with(json!({"type": "OnDelete"}), json!({"observedGeneration": 1})), State::Current, ""),
            (with(json!({}), status(2, 2, 2, "a")), State::Current, ""),
            (with(json!({}), status(1, 2, 2, "a")), State::InProgress, "1 of 2 replicas ready"),
            (with(json!({}), status(2, 1, 1, "b")), State::InProgress, "1 of 2 replicas updated"),
            (with(json!({"rollingUpdate": {"partition": 1}}), status(2, 1, 1, "b")), State::Current, ""),
            (with(json!({"rollingUpdate": {"partition": 1}}), status(2, 2, 0, "b")), State::InProgress, "partition"),
            (with(json!({}), json!({})), State::InProgress, "not looked"),
        ],
    );
}

#[test]
fn daemon_and_replica_sets_count_their_pods() {
    let daemon = |updated: i64, ready: i64| json!({"status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": ready, "numberReady": ready}});
    check(
        "apps/v1",
        "DaemonSet",
        &[
            (daemon(2, 2), State::Current, ""),
            (daemon(1, 2), State::InProgress, "updated"),
            (daemon(2, 1), State::InProgress, "available"),
        ],
    );
    let replica = |ready: i64| json!({"spec": {"replicas": 2}, "status": {"observedGeneration": 1, "fullyLabeledReplicas": 2, "availableReplicas": ready, "readyReplicas": ready}});
    check("apps/v1", "ReplicaSet", &[(replica(2), State::Current, ""), (replica(0), State::InProgress, "0 of 2")]);
}

#[test]
fn a_job_is_current_when_complete() {
    let status = |list: &[(&str, &str, &str)]| json!({"status": {"active": 1, "conditions": conditions(list)}});
    check(
        "batch/v1",
        "Job",
        &[
            (status(&[("Complete", "True", "")]), State::Current, ""),
            (status(&[("Failed", "True", "BackoffLimitExceeded")]), State::Failed, "BackoffLimitExceeded"),
            (status(&[]), State::InProgress, "1 pods run"),
        ],
    );
    check("batch/v1", "CronJob", &[(json!({}), State::Current, "")]);
}

#[test]
fn a_pod_fails_when_it_cannot_get_there_by_itself() {
    let waiting = |reason: &str| {
        let container = json!({"name": "web", "state": {"waiting": {"reason": reason, "message": "back-off"}}});
        json!({"status": {"phase": "Pending", "containerStatuses": [container]}})
    };
    let unschedulable = |since: &str| {
        let scheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes", "lastTransitionTime": since});
        json!({"status": {"phase": "Pending", "conditions": [scheduled]}})
    };
    check(
        "v1",
        "Pod",
        &[
            (
                json!({"status": {"phase": "Running", "conditions": conditions(&[("Ready", "True", "")])}}),
                State::Current,
                "",
            ),
            (
                json!({"status": {"phase": "Running", "conditions": conditions(&[("Ready", "False", "ContainersNotReady")])}}),
                State::InProgress,
                "ContainersNotReady",
            ),
            (json!({"status": {"phase": "Succeeded"}}), State::Current, ""),
            (json!({"status": {"phase": "Failed", "reason": "Evicted"}}), State::Failed, "Evicted"),
            (waiting("CrashLoopBackOff"), State::Failed, "container web: CrashLoopBackOff: back-off"),
            (waiting("ImagePullBackOff"), State::Failed, "ImagePullBackOff"),
            (waiting("ErrImagePull"), State::Failed, "ErrImagePull"),
            (waiting("CreateContainerConfigError"), State::Failed, "CreateContainerConfigError"),
            (waiting("ContainerCreating"), State::InProgress, ""),
            (unschedulable("2026-11-23T11:59:55Z"), State::InProgress, "0/1 nodes"),
            (unschedulable("2026-11-23T11:59:00Z"), State::Failed, "0/1 nodes"),
            (json!({}), State::InProgress, "Ready"),
        ],
    );
}

#[test]
fn phases_and_addresses() {
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    check(
        "v1",
        "PersistentVolumeClaim",
        &[
            (phase("Bound"), State::Current, ""),
            (phase("Pending"), State::InProgress, "Pending"),
            (phase("Lost"), State::Failed, "Lost"),
        ],
    );
    check("v1", "Namespace", &[(phase("Active"), State::Current, ""), (json!({}), State::InProgress, "Active")]);
    let balancer =
        |ingress: Value| json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": ingress}}});
    check(
        "v1",
        "Service",
        &[
            (json!({"spec": {"type": "ClusterIP"}}), State::Current, ""),
            (balancer(json!([])), State::InProgress, "no address"),
            (balancer(json!([{"ip": "10.0.0.1"}])), State::Current, ""),
        ],
    );
}

#[test]
fn definitions_services_of_the_api_budgets_and_autoscalers() {
    let with = |list: &[(&str, &str, &str)]| json!({"status": {"conditions": conditions(list)}});
    check(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &[
            (with(&[("NamesAccepted", "True", ""), ("Established", "True", "")]), State::Current, ""),
            (
                with(&[("NamesAccepted", "True", ""), ("Established", "False", "Installing")]),
                State::InProgress,
                "Installing",
            ),
            (with(&[("NamesAccepted", "False", "PluralConflict")]), State::Failed, "PluralConflict"),
            (json!({}), State::InProgress, "Established"),
        ],
    );
    check(
        "apiregistration.k8s.io/v1",
        "APIService",
        &[(with(&[("Available", "False", "MissingEndpoints")]), State::InProgress, "MissingEndpoints")],
    );
    check(
        "policy/v1",
        "PodDisruptionBudget",
        &[
            (json!({"metadata": {"generation": 1}}), State::InProgress, ""),
            (json!({"status": {"observedGeneration": 1}}), State::Current, ""),
        ],
    );
    check(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        &[
            (with(&[("AbleToScale", "True", ""), ("ScalingActive", "True", "")]), State::Current, ""),
            (with(&[("AbleToScale", "False", "FailedGetScale")]), State::InProgress, "FailedGetScale"),
            (with(&[("ScalingActive", "False", "ScalingDisabled")]), State::Current, ""),
        ],
    );
}

#[test]
fn names_are_those_of_the_contract() {
    let all = [State::Current, State::InProgress, State::Failed, State::Terminating, State::NotFound, State::Unknown];
    assert_eq!(all.map(State::as_str), ["current", "in-progress", "failed", "terminating", "not-found", "unknown"]);
}

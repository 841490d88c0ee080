//! Runs containers on a cluster: a Deployment, and a Service where it listens.

mod manifests;
mod pods;
mod spec;

use std::time::Duration;

use serde_json::Value;
use threeport_sdk::{
    Condition, Description, Failure, Manifest, Observed, Plan, Reconciler, Related, Request, Role, Status,
    include_yaml, json,
};

pub use spec::{Workload, WorkloadSpec, WorkloadStatus};

/// The field that names the Cluster.
const CLUSTER: &str = "spec.cluster";
/// While it is not as it should be, pods are looked at again this much later: what they say is not watched.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Serves the kind.
pub struct Workloads;

impl Reconciler for Workloads {
    type Resource = Workload;

    fn reconcile(request: Request<Workload>) -> Result<Plan<Workload>, Failure> {
        let object = &request.object;
        let cluster = request.ready(CLUSTER).map_err(|failure| waiting(&request, failure))?;
        let target = cluster.reference.clone();
        let deployment = request.observed("Deployment", &object.name);
        let status = seen(&request, deployment);
        let endpoint = status.endpoint.clone();
        let (condition, settled) = ready(&request, cluster, deployment, &status);

        let mut plan = Plan::new(status)
            .condition(condition)
            .manifest(Manifest::new(target.clone(), &manifests::deployment(object)));
        if let Some(service) = manifests::service(object) {
            plan = plan.manifest(Manifest::new(target.clone(), &service));
        }
        if let Some(endpoint) = endpoint {
            plan = plan.output("endpoint", endpoint);
        }
        let selector = format!("{}={}", manifests::LABEL, object.name);
        let fields = ["status.readyReplicas", "status.updatedReplicas", "status.conditions"];
        plan = plan.watch_labelled(target, "apps/v1", "Deployment", object.namespace.as_deref(), &fields, &selector);
        Ok(if settled { plan } else { plan.requeue_after(LOOK_AGAIN) })
    }
}

/// The failure of a run without its cluster: what was last seen stays, and Ready says why.
fn waiting(request: &Request<Workload>, failure: Failure) -> Failure {
    let cluster = request.existing(CLUSTER).ok();
    // Nobody knows how it runs there while the cluster cannot be seen.
    let unseen = cluster.and_then(|cluster| cluster.condition("Ready")).is_some_and(|(status, ..)| status == "Unknown");
    let status = if unseen { Status::Unknown } else { Status::False };
    let reason = if cluster.is_some() { "ClusterNotReady" } else { "ClusterMissing" };
    let message = failure.message().to_owned();
    failure.status(&request.object.status).condition(Condition::ready(status, reason, message))
}

/// Status as the Deployment shows it.
fn seen(request: &Request<Workload>, deployment: Option<&Observed>) -> WorkloadStatus {
    let object = &request.object;
    let body = deployment.map_or(&Value::Null, |seen| &seen.body);
    let count = |field: &str| body["status"][field].as_u64().unwrap_or(0);
    let ready_replicas = count("readyReplicas");
    let endpoint = object.spec.ports.first().map(|port| {
        let namespace = object.namespace.as_deref().unwrap_or("default");
        format!("{}.{namespace}.svc:{}", object.name, port.on_service())
    });
    WorkloadStatus {
        image: body.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).map(str::to_owned),
        replicas: count("replicas"),
        ready_replicas,
        summary: format!("{ready_replicas}/{}", object.spec.replicas),
        endpoint,
    }
}

/// The claim, from what was seen before this plan, and whether nothing is left to wait for. The host lowers it when the plan changes anything.
fn ready(
    request: &Request<Workload>,
    cluster: &Related,
    deployment: Option<&Observed>,
    status: &WorkloadStatus,
) -> (Condition, bool) {
    let spec = &request.object.spec;
    let not = |reason: &str, message: String| (Condition::ready(Status::False, reason, message), false);
    if let Some(refused) = request.observed.iter().find_map(|seen| seen.error.as_ref().map(|error| (seen, error))) {
        let (seen, error) = refused;
        return not(&error.code, format!("{} refused {}: {}", cluster.reference, seen.reference, error.message));
    }
    let Some(deployment) = deployment else {
        return not("Progressing", format!("it is being put on {}", cluster.reference));
    };
    let counts = match spec.replicas {
        1 => format!("{} of 1 replica is ready", status.ready_replicas),
        wanted => format!("{} of {wanted} replicas are ready", status.ready_replicas),
    };
    // Healthy as an earlier plan wanted it is not Ready as this one does: the host finds that out too, but a claim should be true by itself.
    let rolled_out =
        deployment.body["spec"]["replicas"] == spec.replicas && status.image.as_deref() == Some(spec.image.as_str());
    if deployment.health == "current" && !rolled_out {
        return not("Progressing", format!("{counts}: the change is being put on {}", cluster.reference));
    }
    if deployment.health == "current" {
        return (Condition::ready(Status::True, "Available", counts), true);
    }
    // Only now is it worth a look at the pods.
    let namespace = request.object.namespace.as_deref();
    match pods::trouble(&cluster.reference, namespace, &request.object.name, &spec.image) {
        Ok(Some(trouble)) => not(&trouble.reason, format!("{counts}: {}", trouble.message)),
        Ok(None) | Err(_) => {
            let why = if deployment.message.is_empty() { String::new() } else { format!(": {}", deployment.message) };
            let reason = if deployment.health == "failed" { "Failed" } else { "Progressing" };
            not(reason, format!("{counts}{why}"))
        }
    }
}

/// What the plugin serves and asks for.
pub fn describe() -> Description {
    Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .kind(include_yaml!("crd.yaml"))
        .reference("Workload", CLUSTER, "threeport.dev/v1", &["Cluster"], Role::Target)
        .kubernetes(&json!([
            {"apiGroups": ["apps"], "kinds": ["Deployment"], "verbs": ["get", "list", "watch", "apply", "delete"]},
            {"apiGroups": [""], "kinds": ["Service"], "verbs": ["get", "list", "watch", "apply", "delete"]},
            {"apiGroups": [""], "kinds": ["Pod"], "verbs": ["get", "list"]},
        ]))
        .documentation(include_str!("../README.md"))
}

threeport_sdk::export!(describe, [Workloads]);

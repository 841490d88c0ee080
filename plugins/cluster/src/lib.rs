//! Adopts Kubernetes clusters: keeps a connection to each, and says how it is.
//!
//! A Cluster publishes the way in (a kubeconfig in a Secret) with its plan; the host opens the target with the connection of the last accepted
//! plan, so the first run only publishes and the second one looks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use threeport_sdk::{
    Condition, Description, Failure, ObjectRef, Plan, Problem, Reconciler, Request, Resource, Role, Status,
    include_yaml, json, kubernetes,
};

/// The field that names the Secret.
const SECRET: &str = "spec.adopt.kubeconfigSecret";
/// A cluster that answers is asked again this much later, in case it stops answering.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// One that does not answer is asked again this much later.
const RETRY: Duration = Duration::from_secs(5);

/// The kind Cluster.
pub struct Cluster;

/// What the user wants.
#[derive(Deserialize)]
pub struct ClusterSpec {
    adopt: Adopt,
    /// As the host reads it: the schema knows its shape.
    #[serde(default)]
    tenants: Option<Value>,
    #[serde(default)]
    isolation: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Adopt {
    kubeconfig_secret: SecretKey,
}

#[derive(Deserialize)]
struct SecretKey {
    name: String,
    #[serde(default = "default_key")]
    key: String,
}

fn default_key() -> String {
    "kubeconfig".into()
}

/// How the cluster was when it was last reached.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ClusterStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Nodes>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Nodes {
    ready: usize,
    total: usize,
    #[serde(default)]
    summary: String,
}

impl Resource for Cluster {
    const API_VERSION: &'static str = "threeport.dev/v1";
    const KIND: &'static str = "Cluster";
    type Spec = ClusterSpec;
    type Status = ClusterStatus;
}

/// Serves it.
pub struct Clusters;

impl Reconciler for Clusters {
    type Resource = Cluster;

    fn reconcile(request: Request<Cluster>) -> Result<Plan<Cluster>, Failure> {
        let object = &request.object;
        let secret = &object.spec.adopt.kubeconfig_secret;
        let found = match request.existing(SECRET) {
            Ok(found) => found,
            Err(failure) => {
                let message = failure.message().to_owned();
                return Err(failure.status(&object.status).condition(Condition::ready(
                    Status::False,
                    "WaitingForSecret",
                    message,
                )));
            }
        };
        if let Some(keys) = found.body["data"].as_object().filter(|keys| !keys.contains_key(&secret.key)) {
            let has = keys.keys().cloned().collect::<Vec<_>>().join(", ");
            let has = if has.is_empty() { "it is empty".to_owned() } else { format!("it has {has}") };
            let message = format!(
                "{} has no key {} ({has}); put the kubeconfig there or correct {SECRET}.key",
                found.reference, secret.key
            );
            return Err(Failure::invalid("spec.adopt.kubeconfigSecret.key", &*message)
                .status(&object.status)
                .condition(Condition::ready(Status::False, "InvalidKubeconfig", message)));
        }

        let own = object.reference();
        let connection = ObjectRef::secret(object.namespace.as_deref(), &secret.name);
        let plan = match look(&own) {
            Ok(seen) => reached(seen).watch(own, "v1", "Node", None, &["status.conditions"]),
            Err(problem) => not_reached(object.status.clone(), &problem),
        };
        let mut plan = plan.connection(connection, &secret.key);
        if let Some(tenants) = &object.spec.tenants {
            plan = plan.connection_option("tenants", tenants.clone());
        }
        if let Some(isolation) = &object.spec.isolation {
            plan = plan.connection_option("isolation", json!(isolation));
        }
        Ok(plan)
    }
}

fn look(own: &ObjectRef) -> Result<ClusterStatus, Problem> {
    let cluster = kubernetes::open(own)?;
    let version = cluster.version()?;
    let nodes = cluster.list("v1", "Node", None, None, &["status.conditions"])?;
    let ready = nodes.iter().filter(|node| is_ready(node)).count();
    let summary = format!("{ready}/{}", nodes.len());
    Ok(ClusterStatus { version: Some(version), nodes: Some(Nodes { ready, total: nodes.len(), summary }) })
}

fn is_ready(node: &serde_json::Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(|conditions| conditions.as_array());
    conditions
        .is_some_and(|all| all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}

fn reached(status: ClusterStatus) -> Plan<Cluster> {
    let version = status.version.clone().unwrap_or_default();
    let (ready, total) = status.nodes.as_ref().map_or((0, 0), |nodes| (nodes.ready, nodes.total));
    let condition = match (ready, total) {
        // Where nodes are made on demand there are none before a workload wants one.
        (_, 0) => {
            Condition::ready(Status::True, "Reachable", format!("Kubernetes {version} answers; it has no nodes yet"))
        }
        (0, _) => Condition::ready(
            Status::False,
            "NodesNotReady",
            format!(
                "Kubernetes {version} answers, but none of its {total} nodes is Ready; see `kubectl describe nodes` there"
            ),
        ),
        _ => Condition::ready(
            Status::True,
            "Reachable",
            format!("Kubernetes {version} answers; {ready} of {total} nodes are Ready"),
        ),
    };
    Plan::new(status)
        .condition(condition)
        .condition(Condition::new("Reachable", Status::True, "Answers", format!("Kubernetes {version} answers")))
        .output("version", version)
        .requeue_after(HEARTBEAT)
}

/// What is known stays in status: it is what was last seen, not what is.
fn not_reached(last: ClusterStatus, problem: &Problem) -> Plan<Cluster> {
    let message = problem.message.as_str();
    let plan = Plan::new(last);
    let both = |plan: Plan<Cluster>, status: Status, reason: &str, message: String| {
        plan.condition(Condition::ready(status, reason, &*message)).condition(Condition::new(
            "Reachable",
            status,
            reason,
            message,
        ))
    };
    match problem.code.as_str() {
        "NotConnected" => both(plan, Status::Unknown, "Connecting", "it has not been looked at yet".into())
            .requeue_after(Duration::from_millis(1)),
        "InvalidKubeconfig" => {
            let message = format!("the kubeconfig that {SECRET} names cannot be used: {message}");
            both(plan, Status::False, "InvalidKubeconfig", message.clone()).condition(Condition::new(
                "Stalled",
                Status::True,
                "InvalidKubeconfig",
                message,
            ))
        }
        "Denied" => both(plan, Status::False, "Denied", message.to_owned()).condition(Condition::new(
            "Stalled",
            Status::True,
            "Denied",
            message,
        )),
        "Unauthorized" | "Forbidden" => {
            let message = format!(
                "the cluster answers, but not to these credentials: {message}; correct the kubeconfig that {SECRET} names"
            );
            both(plan, Status::False, "AccessDenied", message).requeue_after(HEARTBEAT)
        }
        _ => {
            let message = format!(
                "the cluster cannot be reached: {message}; what runs there is left alone, and it is tried again"
            );
            both(plan, Status::Unknown, "ClusterUnreachable", message).requeue_after(RETRY)
        }
    }
}

/// What the plugin serves and asks for.
pub fn describe() -> Description {
    Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .kind(include_yaml!("crd.yaml"))
        .reference("Cluster", SECRET, "v1", &["Secret"], Role::Requires)
        .kubernetes(
            &json!([{"apiGroups": [""], "kinds": ["Node"], "verbs": ["get", "list", "watch"], "namespaces": ["*"]}]),
        )
        .documentation(include_str!("../README.md"))
}

threeport_sdk::export!(describe, [Clusters]);

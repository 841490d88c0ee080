//! Plans what its object says, word for word: for tests of what the host makes of a plan.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use threeport_sdk::{
    Condition, Description, Failure, Manifest, ObjectRef, Plan, Reconciler, Request, Resource, Role, Status, json,
    kubernetes, support,
};

/// The kind Puppet.
pub struct Puppet;

/// What the user wants.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PuppetSpec {
    /// Puppet that is the target; the object itself where it is left out.
    target: Option<String>,
    /// Puppet that must be ready first.
    requires: Option<String>,
    /// Secret and key of a kubeconfig: makes the object a target.
    connection: Option<(String, String)>,
    /// Option of the connection.
    tenants: Option<Value>,
    /// Option of the connection.
    isolation: Option<String>,
    /// Opens the target and tells its version in status.
    open: bool,
    manifests: Vec<PuppetManifest>,
    /// Fails with this kind, code and message.
    fail: Option<(String, String, String)>,
    /// Status, reason and message of Ready.
    ready: Option<(String, String, String)>,
    outputs: BTreeMap<String, String>,
    requeue_ms: Option<u64>,
    panic: bool,
}

/// Something on the target.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PuppetManifest {
    body: Value,
    options: Vec<String>,
    after: Vec<String>,
}

/// What is.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PuppetStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    target_version: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    heard: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    observed: Vec<String>,
}

impl Resource for Puppet {
    const API_VERSION: &'static str = "test.threeport.dev/v1";
    const KIND: &'static str = "Puppet";
    type Spec = PuppetSpec;
    type Status = PuppetStatus;
}

/// Serves it.
pub struct Puppeteer;

impl Reconciler for Puppeteer {
    type Resource = Puppet;

    fn reconcile(request: Request<Puppet>) -> Result<Plan<Puppet>, Failure> {
        let spec = &request.object.spec;
        assert!(!spec.panic, "as the object says");
        if let Some((kind, code, message)) = &spec.fail {
            return Err(match kind.as_str() {
                "waiting-for" => Failure::waiting_for(request.object.reference(), message),
                "transient" => Failure::transient(code, message),
                "invalid" => Failure::invalid(code, message),
                "denied" => Failure::denied(message),
                _ => Failure::terminal(code, message),
            });
        }
        let mut status = PuppetStatus::default();
        if spec.requires.is_some() {
            status.heard = request.ready("spec.requires")?.outputs.iter().cloned().collect();
        }
        let own = request.object.reference();
        let target = match &spec.target {
            Some(name) => ObjectRef { name: name.clone(), ..own.clone() },
            None => own.clone(),
        };
        if spec.open {
            match kubernetes::open(&target).and_then(|cluster| cluster.version()) {
                Ok(version) => status.target_version = Some(version),
                // Its connection comes with this plan.
                Err(problem) if problem.code == "NotConnected" && spec.connection.is_some() => {}
                Err(problem) => return Err(problem.into()),
            }
        }
        status.observed =
            request.observed.iter().map(|seen| format!("{} {}", seen.reference.kind, seen.health)).collect();
        let mut plan = Plan::new(status);
        for manifest in &spec.manifests {
            let mut wanted = Manifest::new(target.clone(), &manifest.body);
            for option in &manifest.options {
                wanted = wanted.option(option);
            }
            for after in &manifest.after {
                wanted = wanted.after(after);
            }
            plan = plan.manifest(wanted);
        }
        if let Some((secret, key)) = &spec.connection {
            plan = plan.connection(ObjectRef::secret(own.namespace.as_deref(), secret), key);
        }
        if let Some(tenants) = &spec.tenants {
            plan = plan.connection_option("tenants", tenants.clone());
        }
        if let Some(isolation) = &spec.isolation {
            plan = plan.connection_option("isolation", json!(isolation));
        }
        for (name, value) in &spec.outputs {
            plan = plan.output(name, value);
        }
        if let Some(ms) = spec.requeue_ms {
            plan = plan.requeue_after(Duration::from_millis(ms));
        }
        let (status, reason, message) = match &spec.ready {
            Some((status, reason, message)) => (status.as_str(), reason.as_str(), message.as_str()),
            None => ("True", "AsSaid", "it is as the object says"),
        };
        let status = match status {
            "True" => Status::True,
            "False" => Status::False,
            _ => Status::Unknown,
        };
        Ok(plan.condition(Condition::ready(status, reason, message)))
    }
}

/// See [`Description`].
pub fn describe() -> Description {
    let definition =
        support::definition::<Puppet>(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let verbs = ["get", "list", "watch", "apply", "delete"];
    Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .kind(&definition.to_string())
        .reference("Puppet", "spec.target", "test.threeport.dev/v1", &["Puppet"], Role::Target)
        .reference("Puppet", "spec.requires", "test.threeport.dev/v1", &["Puppet"], Role::Requires)
        .kubernetes(&json!([
            {"apiGroups": ["", "apps"], "kinds": ["ConfigMap", "Deployment"], "verbs": verbs},
            {"apiGroups": [""], "kinds": ["Namespace", "ServiceAccount"], "verbs": verbs, "namespaces": ["*"]},
            {"apiGroups": ["scheduling.k8s.io"], "kinds": ["PriorityClass"], "verbs": verbs, "namespaces": ["*"]},
        ]))
}

threeport_sdk::export!(describe, [Puppeteer]);

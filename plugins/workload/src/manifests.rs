//! What a Workload is on its cluster: a Deployment, and a Service where it listens.

use serde_json::{Value, json};
use threeport_sdk::Object;

use crate::spec::{Workload, WorkloadSpec};

/// Pods of a Workload carry it, with the Workload's name.
pub(crate) const LABEL: &str = "threeport.dev/workload";

pub(crate) fn deployment(object: &Object<Workload>) -> Value {
    let labels = json!({ LABEL: object.name });
    let spec = &object.spec;
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": object.name, "namespace": object.namespace, "labels": labels},
        "spec": {
            "replicas": spec.replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container(&object.name, spec)]},
            },
        },
    })
}

fn container(name: &str, spec: &WorkloadSpec) -> Value {
    let mut container = json!({
        "name": name,
        "image": spec.image,
        "imagePullPolicy": spec.image_pull_policy.as_deref().unwrap_or("IfNotPresent"),
    });
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|port| json!({"name": port.name, "containerPort": port.container_port, "protocol": port.protocol()}))
        .collect();
    let optional = [
        ("command", some(&spec.command)),
        ("args", some(&spec.args)),
        ("env", some(&spec.env)),
        ("ports", some(&ports)),
        ("readinessProbe", spec.readiness.clone()),
        ("livenessProbe", spec.liveness.clone()),
        ("resources", spec.resources.clone()),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            container[field] = value;
        }
    }
    container
}

/// What is empty is left to the target: a plan answers for what it sets.
fn some<T: serde::Serialize>(list: &[T]) -> Option<Value> {
    (!list.is_empty()).then(|| json!(list))
}

pub(crate) fn service(object: &Object<Workload>) -> Option<Value> {
    let ports = &object.spec.ports;
    (!ports.is_empty()).then(|| {
        let ports: Vec<Value> = ports
            .iter()
            .map(|port| {
                json!({"name": port.name, "port": port.on_service(), "targetPort": port.container_port, "protocol": port.protocol()})
            })
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": object.name, "namespace": object.namespace, "labels": {LABEL: object.name}},
            "spec": {"type": "ClusterIP", "selector": {LABEL: object.name}, "ports": ports},
        })
    })
}

//! The kind Workload.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use threeport_sdk::Resource;

/// The kind Workload.
pub struct Workload;

/// What the user wants. Defaults are the schema's: the host fills them in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSpec {
    pub(crate) image: String,
    #[serde(default)]
    pub(crate) image_pull_policy: Option<String>,
    #[serde(default = "one")]
    pub(crate) replicas: u32,
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) env: Vec<Variable>,
    #[serde(default)]
    pub(crate) ports: Vec<Port>,
    /// As a container has it: the schema is a part of Kubernetes' own.
    #[serde(default)]
    pub(crate) readiness: Option<Value>,
    #[serde(default)]
    pub(crate) liveness: Option<Value>,
    #[serde(default)]
    pub(crate) resources: Option<Value>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) container_port: u16,
    #[serde(default)]
    pub(crate) service_port: Option<u16>,
    #[serde(default)]
    pub(crate) protocol: Option<String>,
}

impl Port {
    pub(crate) fn on_service(&self) -> u16 {
        self.service_port.unwrap_or(self.container_port)
    }

    pub(crate) fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }
}

fn one() -> u32 {
    1
}

/// How it runs, as last seen.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    pub(crate) replicas: u64,
    pub(crate) ready_replicas: u64,
    pub(crate) summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
}

impl Resource for Workload {
    const API_VERSION: &'static str = "threeport.dev/v1";
    const KIND: &'static str = "Workload";
    type Spec = WorkloadSpec;
    type Status = WorkloadStatus;
}

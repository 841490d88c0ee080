//! Order of application, by kind. Removal goes the other way round.

use threeport_kube::group;

/// CustomResourceDefinitions: nothing of their kinds is accepted before.
pub(crate) const DEFINITIONS: i32 = 0;
/// Namespaces and the classes that others name.
pub(crate) const NAMESPACES: i32 = 1;
/// Identity, rights and configuration that workloads mount.
pub(crate) const CONFIG: i32 = 2;
/// Services and workloads.
pub(crate) const WORKLOADS: i32 = 3;
/// Custom resources: their controllers are workloads.
pub(crate) const CUSTOM: i32 = 4;
/// Admission and aggregation, last: without a ready backend they block everything.
pub(crate) const ADMISSION: i32 = 5;

/// Stage of an object of this kind.
pub(crate) fn stage(api_version: &str, kind: &str) -> i32 {
    match (group(api_version), kind) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => DEFINITIONS,
        ("", "Namespace")
        | ("scheduling.k8s.io", "PriorityClass")
        | ("storage.k8s.io", "StorageClass")
        | ("gateway.networking.k8s.io", "GatewayClass")
        | ("networking.k8s.io", "IngressClass") => NAMESPACES,
        ("rbac.authorization.k8s.io" | "policy", _) | ("networking.k8s.io", "NetworkPolicy") => CONFIG,
        (
            "",
            "ServiceAccount"
            | "Secret"
            | "ConfigMap"
            | "PersistentVolume"
            | "PersistentVolumeClaim"
            | "ResourceQuota"
            | "LimitRange",
        ) => CONFIG,
        ("admissionregistration.k8s.io" | "apiregistration.k8s.io", _) => ADMISSION,
        ("" | "apps" | "batch" | "autoscaling" | "networking.k8s.io", _) => WORKLOADS,
        _ => CUSTOM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_before_them() {
        let order = [
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("v1", "Namespace"),
            ("v1", "ConfigMap"),
            ("apps/v1", "Deployment"),
            ("cert-manager.io/v1", "Certificate"),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
        ];
        let stages: Vec<_> = order.iter().map(|(version, kind)| stage(version, kind)).collect();
        assert!(stages.is_sorted() && stages.windows(2).all(|pair| pair[0] < pair[1]), "{stages:?}");
    }

    #[test]
    fn a_kind_is_judged_with_its_group() {
        assert_eq!(stage("v1", "Service"), WORKLOADS);
        assert_eq!(stage("serving.knative.dev/v1", "Service"), CUSTOM);
        assert_eq!(stage("networking.k8s.io/v1", "Ingress"), WORKLOADS);
        assert_eq!(stage("networking.k8s.io/v1", "NetworkPolicy"), CONFIG);
    }
}

//! The fields of the built-in kinds, by their numbers: k8s.io/api's generated.proto files, cut to those kinds.

use super::Shape::{
    Boolean, BytesMap, Dropped, Integer, Json, Message, Messages, MicroTime, OptionalInteger, OptionalText, Text,
    TextMap, Texts, TextsMap, Time,
};
use super::{Fields, Shape, definition};

const OWNER: Fields = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Boolean),
    (7, "blockOwnerDeletion", Boolean),
];
pub(super) const METADATA: Fields = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Dropped),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Integer),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", OptionalInteger),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Messages(OWNER)),
    (14, "finalizers", Texts),
    (
        17,
        "managedFields",
        Messages(&[
            (1, "manager", Text),
            (2, "operation", Text),
            (3, "apiVersion", Text),
            (4, "time", Time),
            (6, "fieldsType", Text),
            (7, "fieldsV1", Json),
            (8, "subresource", Text),
        ]),
    ),
];
const SECRET: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "data", BytesMap),
    (3, "type", Text),
    (4, "stringData", TextMap),
    (5, "immutable", Boolean),
];
const CONFIG_MAP: Fields =
    &[(1, "metadata", Message(METADATA)), (2, "data", TextMap), (3, "binaryData", BytesMap), (4, "immutable", Boolean)];
const CONDITION: Fields = &[
    (1, "type", Text),
    (2, "status", Text),
    (4, "lastTransitionTime", Time),
    (5, "reason", Text),
    (6, "message", Text),
];
const NAMESPACE: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "spec", Message(&[(1, "finalizers", Texts)])),
    (3, "status", Message(&[(1, "phase", Text), (2, "conditions", Messages(CONDITION))])),
];
const REFERENCE: Fields = &[
    (1, "kind", Text),
    (2, "namespace", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "resourceVersion", Text),
    (7, "fieldPath", Text),
];
const EVENT: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "involvedObject", Message(REFERENCE)),
    (3, "reason", Text),
    (4, "message", Text),
    (5, "source", Message(&[(1, "component", Text), (2, "host", Text)])),
    (6, "firstTimestamp", Time),
    (7, "lastTimestamp", Time),
    (8, "count", Integer),
    (9, "type", Text),
    (10, "eventTime", MicroTime),
    (11, "series", Message(&[(1, "count", Integer), (2, "lastObservedTime", MicroTime)])),
    (12, "action", Text),
    (13, "related", Message(REFERENCE)),
    (14, "reportingComponent", Text),
    (15, "reportingInstance", Text),
];
/// Of `events.k8s.io`: the same under other names.
const EVENT_VIEW: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "eventTime", MicroTime),
    (3, "series", Message(&[(1, "count", Integer), (2, "lastObservedTime", MicroTime)])),
    (4, "reportingController", Text),
    (5, "reportingInstance", Text),
    (6, "action", Text),
    (7, "reason", Text),
    (8, "regarding", Message(REFERENCE)),
    (9, "related", Message(REFERENCE)),
    (10, "note", Text),
    (11, "type", Text),
    (12, "deprecatedSource", Message(&[(1, "component", Text), (2, "host", Text)])),
    (13, "deprecatedFirstTimestamp", Time),
    (14, "deprecatedLastTimestamp", Time),
    (15, "deprecatedCount", Integer),
];
const SERVICE_ACCOUNT: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "secrets", Messages(REFERENCE)),
    (3, "imagePullSecrets", Messages(&[(1, "name", Text)])),
    (4, "automountServiceAccountToken", Boolean),
];
const LEASE: Fields = &[
    (1, "metadata", Message(METADATA)),
    (
        2,
        "spec",
        Message(&[
            (1, "holderIdentity", OptionalText),
            (2, "leaseDurationSeconds", OptionalInteger),
            (3, "acquireTime", MicroTime),
            (4, "renewTime", MicroTime),
            (5, "leaseTransitions", OptionalInteger),
            (6, "strategy", Text),
            (7, "preferredHolder", OptionalText),
        ]),
    ),
];
const RULES: Shape = Messages(&[
    (1, "verbs", Texts),
    (2, "apiGroups", Texts),
    (3, "resources", Texts),
    (4, "resourceNames", Texts),
    (5, "nonResourceURLs", Texts),
]);
const LABEL_SELECTOR: Fields = &[
    (1, "matchLabels", TextMap),
    (2, "matchExpressions", Messages(&[(1, "key", Text), (2, "operator", Text), (3, "values", Texts)])),
];
const ROLE: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "rules", RULES),
    (3, "aggregationRule", Message(&[(1, "clusterRoleSelectors", Messages(LABEL_SELECTOR))])),
];
const BINDING: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "subjects", Messages(&[(1, "kind", Text), (2, "apiGroup", Text), (3, "name", Text), (4, "namespace", Text)])),
    (3, "roleRef", Message(&[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)])),
];
const TOKEN_REQUEST: Fields = &[
    (1, "metadata", Message(METADATA)),
    (
        2,
        "spec",
        Message(&[
            (1, "audiences", Texts),
            (
                3,
                "boundObjectRef",
                Message(&[(1, "kind", Text), (2, "apiVersion", Text), (3, "name", Text), (4, "uid", Text)]),
            ),
            (4, "expirationSeconds", OptionalInteger),
        ]),
    ),
    (3, "status", Dropped),
];
const TOKEN_REVIEW: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "spec", Message(&[(1, "token", Text), (2, "audiences", Texts)])),
    (3, "status", Dropped),
];
const SELF_REVIEW: Fields = &[(1, "metadata", Message(METADATA)), (2, "status", Dropped)];
const SELECTOR: Fields = &[
    (1, "rawSelector", Text),
    (2, "requirements", Messages(&[(1, "key", Text), (2, "operator", Text), (3, "values", Texts)])),
];
const ACCESS_REVIEW: Fields = &[
    (1, "metadata", Message(METADATA)),
    (
        2,
        "spec",
        Message(&[
            (
                1,
                "resourceAttributes",
                Message(&[
                    (1, "namespace", Text),
                    (2, "verb", Text),
                    (3, "group", Text),
                    (4, "version", Text),
                    (5, "resource", Text),
                    (6, "subresource", Text),
                    (7, "name", Text),
                    (8, "fieldSelector", Message(SELECTOR)),
                    (9, "labelSelector", Message(SELECTOR)),
                ]),
            ),
            (2, "nonResourceAttributes", Message(&[(1, "path", Text), (2, "verb", Text)])),
            (3, "user", Text),
            (4, "groups", Texts),
            (5, "extra", TextsMap),
            (6, "uid", Text),
        ]),
    ),
    (3, "status", Dropped),
];
const RULES_REVIEW: Fields =
    &[(1, "metadata", Message(METADATA)), (2, "spec", Message(&[(1, "namespace", Text)])), (3, "status", Dropped)];
const DELETE_OPTIONS: Fields = &[
    (1, "gracePeriodSeconds", OptionalInteger),
    (2, "preconditions", Message(&[(1, "uid", OptionalText), (2, "resourceVersion", OptionalText)])),
    (3, "orphanDependents", Boolean),
    (4, "propagationPolicy", OptionalText),
    (5, "dryRun", Texts),
];

/// The fields of a kind; None if it is not built in.
pub(super) fn of(api_version: &str, kind: &str) -> Option<Fields> {
    Some(match (api_version, kind) {
        ("v1", "Secret") => SECRET,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "Event") => EVENT,
        ("events.k8s.io/v1", "Event") => EVENT_VIEW,
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => definition::DEFINITION,
        ("v1", "ServiceAccount") => SERVICE_ACCOUNT,
        ("coordination.k8s.io/v1", "Lease") => LEASE,
        ("rbac.authorization.k8s.io/v1", "Role" | "ClusterRole") => ROLE,
        ("rbac.authorization.k8s.io/v1", "RoleBinding" | "ClusterRoleBinding") => BINDING,
        ("authentication.k8s.io/v1", "TokenRequest") => TOKEN_REQUEST,
        ("authentication.k8s.io/v1", "TokenReview") => TOKEN_REVIEW,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => SELF_REVIEW,
        ("authorization.k8s.io/v1", "SubjectAccessReview" | "LocalSubjectAccessReview" | "SelfSubjectAccessReview") => {
            ACCESS_REVIEW
        }
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => RULES_REVIEW,
        (_, "DeleteOptions") => DELETE_OPTIONS,
        _ => return None,
    })
}

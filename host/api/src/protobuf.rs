//! Bodies in Kubernetes' protobuf encoding.
//!
//! Typed clients (`kubectl create secret`, client-go's clientset) send the core kinds so and do not fall back to JSON. Answers are JSON, which the
//! same clients accept. The tables are k8s.io/api/core/v1/generated.proto and k8s.io/apimachinery's, cut to the kinds that are built in; an
//! unknown field is an error, because leaving it out would lose what the client said.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The four bytes before every protobuf body of a Kubernetes client.
const MAGIC: &[u8] = b"k8s\0";

/// How a field is to be read.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Bytes,
    Integer,
    Boolean,
    /// `metav1.Time`: seconds and nanoseconds.
    Time,
    /// `metav1.MicroTime`, the same with six digits.
    MicroTime,
    Message(Fields),
    Texts,
    Messages(Fields),
    TextMap,
    BytesMap,
    /// A map to lists of texts.
    TextsMap,
    /// Read and left out: the server writes it.
    Dropped,
}

type Fields = &'static [(u64, &'static str, Shape)];

use Shape::{
    Boolean, Bytes, BytesMap, Dropped, Integer, Message, Messages, MicroTime, Text, TextMap, Texts, TextsMap, Time,
};

const OWNER: Fields = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Boolean),
    (7, "blockOwnerDeletion", Boolean),
];
const METADATA: Fields = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Dropped),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Integer),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", Integer),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Messages(OWNER)),
    (14, "finalizers", Texts),
    (17, "managedFields", Dropped),
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
const NAMESPACE: Fields = &[
    (1, "metadata", Message(METADATA)),
    (2, "spec", Message(&[(1, "finalizers", Texts)])),
    (3, "status", Message(&[(1, "phase", Text), (2, "conditions", Dropped)])),
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
            (1, "holderIdentity", Text),
            (2, "leaseDurationSeconds", Integer),
            (3, "acquireTime", MicroTime),
            (4, "renewTime", MicroTime),
            (5, "leaseTransitions", Integer),
            (6, "strategy", Text),
            (7, "preferredHolder", Text),
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
            (4, "expirationSeconds", Integer),
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
    (1, "gracePeriodSeconds", Integer),
    (2, "preconditions", Message(&[(1, "uid", Text), (2, "resourceVersion", Text)])),
    (3, "orphanDependents", Boolean),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
];
/// `runtime.Unknown`: what kind the rest is.
const ENVELOPE: Fields = &[
    (1, "typeMeta", Message(&[(1, "apiVersion", Text), (2, "kind", Text)])),
    (2, "raw", Bytes),
    (3, "contentEncoding", Text),
    (4, "contentType", Text),
];

/// Decodes a body into the JSON that the same client would have sent.
///
/// # Errors
/// A sentence for the client: not this encoding, a kind that is not built in, a field that is not known.
pub(crate) fn decode(body: &[u8]) -> Result<Value, String> {
    let body =
        body.strip_prefix(MAGIC).ok_or("the body does not start with the prefix of Kubernetes' protobuf encoding")?;
    let envelope = message(body, ENVELOPE)?;
    let text = |field: &str| envelope["typeMeta"][field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let fields = match (api_version.as_str(), kind.as_str()) {
        ("v1", "Secret") => SECRET,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "Event") => EVENT,
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
        _ => return Err(format!("{api_version} {kind} is not accepted as protobuf here: send application/json")),
    };
    let raw = STANDARD.decode(envelope["raw"].as_str().unwrap_or_default()).map_err(|error| error.to_string())?;
    let mut object = message(&raw, fields)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

/// Reads one message. Proto's empty scalars are left out, as Go's JSON leaves them out.
fn message(mut rest: &[u8], fields: Fields) -> Result<Value, String> {
    let mut object = Map::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let (number, wire) = (tag >> 3, tag & 7);
        let Some((_, name, shape)) = fields.iter().find(|(known, ..)| *known == number) else {
            return Err(format!("unknown protobuf field {number}: send application/json"));
        };
        match (wire, shape) {
            (0, Integer) => insert(&mut object, name, varint(&mut rest)?.cast_signed().into(), |value| value == 0),
            (0, Boolean) => insert(&mut object, name, (varint(&mut rest)? != 0).into(), |_| false),
            (2, _) => {
                let bytes = length_delimited(&mut rest)?;
                field(&mut object, name, *shape, bytes)?;
            }
            _ => return Err(format!("protobuf field {name} has wire type {wire}")),
        }
    }
    Ok(Value::Object(object))
}

fn field(object: &mut Map<String, Value>, name: &str, shape: Shape, bytes: &[u8]) -> Result<(), String> {
    match shape {
        Text => insert(object, name, text(bytes)?.into(), |value| value == ""),
        Bytes => insert(object, name, STANDARD.encode(bytes).into(), |_| false),
        Time => insert(object, name, time(bytes, false)?, Value::is_null),
        MicroTime => insert(object, name, time(bytes, true)?, Value::is_null),
        Message(fields) => {
            insert(object, name, message(bytes, fields)?, |value| value.as_object().is_some_and(Map::is_empty))
        }
        Texts => push(object, name, text(bytes)?.into()),
        Messages(fields) => push(object, name, message(bytes, fields)?),
        TextMap => entry(object, name, bytes, Text)?,
        BytesMap => entry(object, name, bytes, Bytes)?,
        TextsMap => entry(object, name, bytes, Texts)?,
        Dropped => {}
        Integer | Boolean => return Err(format!("protobuf field {name} is not a number")),
    }
    Ok(())
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Value, empty: impl Fn(&Value) -> bool) {
    if !empty(&value) {
        object.insert(name.to_owned(), value);
    }
}

fn push(object: &mut Map<String, Value>, name: &str, value: Value) {
    if let Some(list) = object.entry(name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut() {
        list.push(value);
    }
}

/// One entry of a map: a message of key (1) and value (2).
fn entry(object: &mut Map<String, Value>, name: &str, mut bytes: &[u8], shape: Shape) -> Result<(), String> {
    let (mut key, mut value) = (String::new(), Value::String(String::new()));
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let content = length_delimited(&mut bytes)?;
        match (tag, shape) {
            (0x0a, _) => key = text(content)?,
            (0x12, Bytes) => value = STANDARD.encode(content).into(),
            (0x12, Texts) => value = message(content, &[(1, "items", Texts)])?["items"].take(),
            (0x12, _) => value = text(content)?.into(),
            _ => return Err(format!("protobuf field {name} is not a map")),
        }
    }
    if let Some(map) = object.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
        map.insert(key, value);
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_bad| "a text in the protobuf body is not UTF-8".to_owned())
}

/// RFC 3339, or null for Go's zero time.
fn time(mut bytes: &[u8], micros: bool) -> Result<Value, String> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    while !bytes.is_empty() {
        match varint(&mut bytes)? {
            0x08 => seconds = varint(&mut bytes)?.cast_signed(),
            0x10 => nanoseconds = varint(&mut bytes)?.cast_signed(),
            _ => return Err("a time in the protobuf body cannot be read".to_owned()),
        }
    }
    if seconds == 0 && nanoseconds == 0 {
        return Ok(Value::Null);
    }
    let out_of_range = |_error| "a time in the protobuf body is out of range".to_owned();
    let nanoseconds =
        i32::try_from(nanoseconds).map_err(|_error| "a time in the protobuf body is out of range".to_owned())?;
    let at = jiff::Timestamp::new(seconds, if micros { nanoseconds } else { 0 }).map_err(out_of_range)?;
    Ok(if micros { format!("{at:.6}") } else { at.to_string() }.into())
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, tail) = rest.split_first().ok_or("the protobuf body is cut off")?;
        *rest = tail;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number in the protobuf body is too long".to_owned())
}

fn length_delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = usize::try_from(varint(rest)?).map_err(|_big| "the protobuf body is cut off")?;
    let (content, tail) = rest.split_at_checked(length).ok_or("the protobuf body is cut off")?;
    *rest = tail;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A length-delimited field.
    fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("a short test value");
        [&[number << 3 | 2, length], content].concat()
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [delimited(1, api_version.as_bytes()), delimited(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), delimited(1, &type_meta), delimited(2, raw), delimited(3, b""), delimited(4, b"")].concat()
    }

    #[test]
    fn a_secret_reads_as_its_json() {
        let metadata = [delimited(1, b"a"), delimited(2, b""), delimited(3, b"default"), delimited(8, b"")].concat();
        let data = [delimited(1, b"key"), delimited(2, &[0xff, 0x00])].concat();
        let raw = [delimited(1, &metadata), delimited(2, &data), delimited(3, b"Opaque")].concat();
        assert_eq!(
            decode(&body("v1", "Secret", &raw)),
            Ok(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"key": "/wA="},
                "metadata": {"name": "a", "namespace": "default"}}))
        );
    }

    #[test]
    fn a_time_reads_as_rfc_3339() {
        let metadata = delimited(8, &[0x08, 0x80, 0xa0, 0xb2, 0xc8, 0x06]);
        let read = decode(&body("v1", "ConfigMap", &delimited(1, &metadata))).expect("a ConfigMap");
        assert_eq!(read["metadata"]["creationTimestamp"], "2025-11-06T12:09:36Z");
    }

    #[test]
    fn what_cannot_be_read_whole_is_refused() {
        let pod = body("v1", "Pod", b"");
        let unknown = body("v1", "ConfigMap", &delimited(15, b"x"));
        let cut = &body("v1", "ConfigMap", &delimited(1, b"abc"))[..20];
        for (bytes, why) in
            [(b"{}".as_slice(), "prefix"), (&pod, "application/json"), (&unknown, "field 15"), (cut, "cut off")]
        {
            let error = decode(bytes).expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
    }
}

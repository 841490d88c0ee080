//! Secrets as plugins may see them: which keys there are and whether a value changed, never the value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// `sha256:` and the digest in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let mut text = String::with_capacity(7 + 64);
    text.push_str("sha256:");
    for byte in hash.iter() {
        text.push(char::from_digit(u32::from(byte >> 4), 16).expect("four bits"));
        text.push(char::from_digit(u32::from(byte & 15), 16).expect("four bits"));
    }
    text
}

/// The object as it may be handed to a plugin: values of Secrets become digests, and the copies that tools keep of them go.
pub(crate) fn redact(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if object["apiVersion"] != "v1" || object["kind"] != "Secret" {
        return;
    }
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
        replace(data, |text| STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec()));
    }
    if let Some(data) = object.get_mut("stringData").and_then(Value::as_object_mut) {
        replace(data, |text| text.as_bytes().to_vec());
    }
}

fn replace(data: &mut Map<String, Value>, bytes: impl Fn(&str) -> Vec<u8>) {
    for value in data.values_mut() {
        *value = Value::String(digest(&bytes(value.as_str().unwrap_or_default())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_secrets_never_stay() {
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "a", "managedFields": [], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"key\":\"aHVudGVyMg==\"}}", "team": "a"}},
            "data": {"key": "aHVudGVyMg=="}, "stringData": {"other": "hunter2"}});
        redact(&mut secret);
        let text = secret.to_string();
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
        assert_eq!(secret["data"]["key"], secret["stringData"]["other"]);
        assert_eq!(secret["metadata"]["annotations"]["team"], "a");
    }

    #[test]
    fn other_objects_keep_their_data() {
        let mut map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"key": "value"}});
        let before = map.clone();
        redact(&mut map);
        assert_eq!(map, before);
    }

    #[test]
    fn a_digest_is_the_well_known_one() {
        assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}

//! Secrets as plugins may see them: which keys there are and whether a value changed, never the value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// `sha256:` and the digest in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|four| char::from_digit(u32::from(four), 16))
        .collect()
}

/// Replaces values of Secrets by digests with a key of this installation: who sees one can tell that a value changed, and not try out what it is.
#[derive(Clone)]
pub(crate) struct Redactor {
    key: Hmac<Sha256>,
}

impl Redactor {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
        // The key given may have other uses.
        Self { key: keyed(&keyed(key).chain_update("threeport digests of secret values").finalize().into_bytes()) }
    }

    /// Opaque: the same for the same bytes of the same namespace, as long as the installation keeps its key.
    pub(crate) fn digest(&self, namespace: &str, bytes: &[u8]) -> String {
        let hash = self.key.clone().chain_update(namespace).chain_update([0]).chain_update(bytes).finalize();
        format!("hmac-sha256:{}", hex(&hash.into_bytes()))
    }

    /// The object as it may be handed to a plugin: values of Secrets become digests, and the copies that tools keep of them go.
    pub(crate) fn redact(&self, object: &mut Value) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        if !is_secret(object) {
            return;
        }
        if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        self.values(object);
    }

    /// Replaces the values of a Secret and leaves all else.
    pub(crate) fn values(&self, secret: &mut Value) {
        let namespace = secret.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(data) = secret.get_mut("data").and_then(Value::as_object_mut) {
            self.replace(data, &namespace, |text| STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec()));
        }
        if let Some(data) = secret.get_mut("stringData").and_then(Value::as_object_mut) {
            self.replace(data, &namespace, |text| text.as_bytes().to_vec());
        }
    }

    fn replace(&self, data: &mut Map<String, Value>, namespace: &str, bytes: impl Fn(&str) -> Vec<u8>) {
        for value in data.values_mut() {
            *value = Value::String(self.digest(namespace, &bytes(value.as_str().unwrap_or_default())));
        }
    }

    /// A live object as far as `shape` goes, for a later comparison: of a Secret digests only, since it is kept.
    pub(crate) fn project(&self, live: &Value, shape: &Value) -> Value {
        if !is_secret(live) {
            return threeport_kube::project(live, shape);
        }
        let mut live = live.clone();
        self.values(&mut live);
        threeport_kube::project(&live, shape)
    }
}

/// Whether its values are secret.
pub(crate) fn is_secret(object: &Value) -> bool {
    object["apiVersion"] == "v1" && object["kind"] == "Secret"
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
        let redactor = Redactor::new(&[7; 32]);
        redactor.redact(&mut secret);
        let text = secret.to_string();
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
        assert_eq!(secret["data"]["key"], secret["stringData"]["other"]);
        assert_eq!(secret["metadata"]["annotations"]["team"], "a");
    }

    #[test]
    fn a_value_cannot_be_guessed_without_the_key_nor_compared_between_namespaces() {
        let (one, other) = (Redactor::new(&[7; 32]), Redactor::new(&[8; 32]));
        let value = one.digest("a", b"1234");
        assert_eq!(value, one.digest("a", b"1234"));
        assert!(value != other.digest("a", b"1234") && value != one.digest("b", b"1234"));
        assert!(!value.contains(digest(b"1234").trim_start_matches("sha256:")));
    }

    #[test]
    fn what_is_kept_of_a_live_secret_tells_a_change_and_no_value() {
        let redactor = Redactor::new(&[7; 32]);
        let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"key": value}, "type": "Opaque"});
        let kept = redactor.project(&secret("aHVudGVyMg=="), &secret("x"));
        assert!(!kept.to_string().contains("aHVudGVyMg") && kept["data"]["key"].is_string(), "{kept}");
        assert_eq!(redactor.project(&secret("aHVudGVyMg=="), &kept), kept);
        assert_ne!(redactor.project(&secret("aHVudGVyMw=="), &kept), kept);
    }

    #[test]
    fn other_objects_keep_their_data() {
        let mut map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"key": "value"}});
        let before = map.clone();
        Redactor::new(&[7; 32]).redact(&mut map);
        assert_eq!(map, before);
    }

    #[test]
    fn a_digest_is_the_well_known_one() {
        assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}

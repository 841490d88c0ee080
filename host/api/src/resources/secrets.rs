//! What must hold for the data of Secrets and ConfigMaps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::auth::{ACCOUNT_NAME, TOKEN_TYPE};
use crate::schema::names::config_key;
use crate::schema::{ErrorKind, FieldError};

/// What is wrong, in Kubernetes' words; without what a Secret holds.
pub(super) fn check(body: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["data", "binaryData"] {
        for key in body[field].as_object().into_iter().flatten().map(|(key, _)| key) {
            let mut wrong = |why: String| {
                errors.push(FieldError::invalid(format!("{field}[{key}]"), &key.as_str().into(), why));
            };
            config_key(key).into_iter().for_each(&mut wrong);
            if field == "data" && body["binaryData"].get(key).is_some() {
                wrong("duplicate of key present in binaryData".to_owned());
            }
        }
    }
    if old.is_some_and(|old| old["type"] != body["type"]) {
        errors.push(FieldError::invalid("type", &body["type"], "field is immutable"));
    }
    errors.extend(parts(body));
    errors
}

/// What a Secret of a known type must have.
fn parts(body: &Value) -> Vec<FieldError> {
    let empty = Map::new();
    let data = body["data"].as_object().unwrap_or(&empty);
    let required = |keys: &[&str]| keys.iter().map(|key| FieldError::required(format!("data[{key}]"), "")).collect();
    let missing =
        |keys: &[&'static str]| keys.iter().copied().filter(|key| !data.contains_key(*key)).collect::<Vec<_>>();
    match body["type"].as_str().unwrap_or_default() {
        TOKEN_TYPE if body["metadata"]["annotations"][ACCOUNT_NAME].as_str().is_none_or(str::is_empty) => {
            vec![FieldError::required(format!("metadata.annotations[{ACCOUNT_NAME}]"), "")]
        }
        "kubernetes.io/tls" => required(&missing(&["tls.crt", "tls.key"])),
        // One of the two will do.
        "kubernetes.io/basic-auth" if missing(&["username", "password"]).len() == 2 => {
            required(&["username", "password"])
        }
        "kubernetes.io/ssh-auth" => {
            let key = data.get("ssh-privatekey").and_then(Value::as_str).unwrap_or_default();
            if key.is_empty() { required(&["ssh-privatekey"]) } else { Vec::new() }
        }
        "kubernetes.io/dockercfg" => docker(data, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => docker(data, ".dockerconfigjson"),
        _ => Vec::new(),
    }
}

/// The credentials of a registry are an object in JSON.
fn docker(data: &Map<String, Value>, key: &str) -> Vec<FieldError> {
    let at = format!("data[{key}]");
    let Some(text) = data.get(key) else { return vec![FieldError::required(at, "")] };
    let bytes = STANDARD.decode(text.as_str().unwrap_or_default()).unwrap_or_default();
    if serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok() {
        return Vec::new();
    }
    let detail = "must be an object in JSON";
    vec![FieldError::new(ErrorKind::Invalid, at, Some("<secret contents redacted>".into()), detail)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_of_a_known_type_has_its_parts() {
        let json = |text: &str| STANDARD.encode(text);
        let cases = [
            ("Opaque", json!({}), &[][..]),
            ("kubernetes.io/tls", json!({"tls.crt": ""}), &["data[tls.key]"]),
            ("kubernetes.io/tls", json!({"tls.crt": "", "tls.key": ""}), &[]),
            ("kubernetes.io/basic-auth", json!(null), &["data[username]", "data[password]"]),
            ("kubernetes.io/basic-auth", json!({"password": ""}), &[]),
            ("kubernetes.io/ssh-auth", json!({"ssh-privatekey": ""}), &["data[ssh-privatekey]"]),
            ("kubernetes.io/ssh-auth", json!({"ssh-privatekey": "YQ=="}), &[]),
            ("kubernetes.io/dockercfg", json!({}), &["data[.dockercfg]"]),
            ("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": json("no")}), &["data[.dockerconfigjson]"]),
            ("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": json("{\"auths\": {}}")}), &[]),
            (TOKEN_TYPE, json!({}), &["metadata.annotations[kubernetes.io/service-account.name]"]),
        ];
        for (kind, data, expected) in cases {
            let errors = check(&json!({"type": kind, "data": data}), None);
            let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected, "{kind} {data}");
            assert!(errors.iter().all(|error| !error.to_string().contains("bm8")), "{errors:?}");
        }
        let other = check(&json!({"type": "b"}), Some(&json!({"type": "a"})));
        assert_eq!(other[0].to_string(), "type: Invalid value: \"b\": field is immutable");
    }

    #[test]
    fn a_key_stands_in_one_of_the_two_maps_of_a_config_map() {
        let errors = check(&json!({"data": {"a": "1", "b": "2"}, "binaryData": {"a": "", "c": ""}}), None);
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"]);
    }
}

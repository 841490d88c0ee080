//! A kubeconfig for the server's user.

use base64::Engine as _;
use serde_json::json;

/// A kubeconfig as YAML: the address (`https://host:port`), the authority's certificate and the token, in one context named `threeport`.
pub fn kubeconfig(server: &str, ca_pem: &str, token: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "threeport", "cluster": {
            "server": server,
            "certificate-authority-data": base64::engine::general_purpose::STANDARD.encode(ca_pem),
        }}],
        "users": [{"name": "threeport", "user": {"token": token}}],
        "contexts": [{"name": "threeport", "context": {"cluster": "threeport", "user": "threeport", "namespace": "default"}}],
        "current-context": "threeport",
    });
    serde_yaml_ng::to_string(&config).expect("JSON is YAML")
}

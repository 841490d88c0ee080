//! From a kubeconfig to a server that can be asked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use http::Request;
use serde_json::Value;
use threeport_kube::kube;
use threeport_kube::kube::config::{KubeConfigOptions, Kubeconfig};

use crate::Connection;

/// What a client accepts that wants a table.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// True when this program was started as kubectl's plugin `threeport`.
pub fn as_kubectl_plugin() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_stem).is_some_and(|name| name == "kubectl-threeport")
}

/// A server, and the namespace that is meant where none is said.
pub(crate) struct Server {
    pub(crate) client: kube::Client,
    /// Of the flag, or of the context.
    pub(crate) namespace: String,
    /// The flag was given.
    pub(crate) namespace_given: bool,
}

/// Connects.
pub(crate) async fn server(connection: &Connection) -> Result<Server> {
    let kubeconfig = kubeconfig(connection.kubeconfig.as_deref())?;
    let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.context("use the kubeconfig")?;
    let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = kube::Client::try_from(config).context("set up the connection")?;
    Ok(Server { client, namespace, namespace_given: connection.namespace.is_some() })
}

/// The settings: the flag's file; `$KUBECONFIG`, which may list several; what `threeport server` wrote; kubectl's own. As kubectl's plugin, kubectl's
/// own comes before the server's.
fn kubeconfig(given: Option<&Path>) -> Result<Kubeconfig> {
    let read = |path: &Path| {
        Kubeconfig::read_from(path)
            .with_context(|| format!("read {}; is this the file that `threeport server` wrote?", path.display()))
    };
    if let Some(path) = given {
        return read(path);
    }
    if let Some(listed) = std::env::var_os("KUBECONFIG").filter(|listed| !listed.is_empty()) {
        let paths: Vec<PathBuf> = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
        if let [path] = paths.as_slice() {
            return read(path);
        }
        let mut merged = Kubeconfig::default();
        // A listed file that is not there is passed over, as by kubectl.
        for path in paths.iter().filter(|path| path.exists()) {
            merged = merged.merge(read(path)?).with_context(|| format!("merge {}", path.display()))?;
        }
        return Ok(merged);
    }
    let mut places: Vec<PathBuf> = own().into_iter().chain(kubectls()).collect();
    if as_kubectl_plugin() {
        places.reverse();
    }
    let path = places.iter().find(|path| path.exists()).or(places.first());
    read(path.context("no kubeconfig: name one with --kubeconfig or $KUBECONFIG")?)
}

/// Where `threeport server` leaves its kubeconfig, and looks for its own settings.
fn own() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|base| !base.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(base.join("threeport/kubeconfig"))
}

fn kubectls() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".kube/config"))
}

impl Server {
    /// GET of a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        self.ask("GET", path, "application/json", None).await
    }

    /// GET of a path, as a table.
    pub(crate) async fn table(&self, path: &str) -> Result<Value, kube::Error> {
        let request = Request::get(path).header("accept", TABLE).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    /// Changes of a collection, as tables or as objects.
    pub(crate) async fn events(
        &self,
        path: &str,
        table: bool,
    ) -> Result<impl futures::TryStream<Item = kube::Result<kube::core::WatchEvent<Value>>> + use<>, kube::Error> {
        let accept = if table { TABLE } else { "application/json" };
        let request = Request::get(path).header("accept", accept).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request_events(request).await
    }

    /// Sends a body of a type.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        self.ask(method, path, content_type, Some(body)).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, kube::Error> {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", "application/json")
            .header("content-type", content_type)
            .body(body)
            .map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}

/// A query string; parameters without a value are left out.
pub(crate) fn query(parameters: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(&encode(value));
    }
    text
}

/// Percent-encodes all but what is unreserved in every part of a URL.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The answer, or None for what is not there.
pub(crate) fn optional(answer: Result<Value, kube::Error>) -> Result<Option<Value>, kube::Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded_and_says_nothing_where_nothing_is_to_be_said() {
        assert_eq!(
            query(&[("labelSelector", "a in (b,c)"), ("limit", ""), ("watch", "1")]),
            "?labelSelector=a%20in%20%28b%2Cc%29&watch=1"
        );
        assert_eq!(query(&[("x", "")]), "");
    }
}

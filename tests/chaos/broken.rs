//! The way to a target: a proxy that answers what it is told to, nothing at all, or not to one of the hosts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What every request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The target's own answer.
    Open,
    /// This status; 409 to writes only, because reads have no conflicts.
    Says(u16),
    /// No answer.
    Silent,
}

/// A proxy before a target. It takes plain HTTP, and speaks to the target as whoever the request says, or as the administrator.
pub(crate) struct Broken {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    mode: watch::Sender<Mode>,
    /// One bit for each host that is cut off.
    cut: watch::Sender<u32>,
    /// Process ids of the hosts.
    hosts: Vec<AtomicU32>,
    admin: kube::Client,
    bearer: kube::Client,
}

impl Broken {
    /// Starts one before the cluster of a kubeconfig.
    pub(crate) async fn start(kubeconfig: &Path, hosts: usize) -> Result<Self> {
        let given = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        let mut anonymous = given.clone();
        anonymous.auth_infos.iter_mut().for_each(|user| user.auth_info = None);
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(Mode::Open),
            cut: watch::Sender::new(0),
            hosts: (0..hosts).map(|_| AtomicU32::new(0)).collect(),
            admin: client(given).await?,
            bearer: client(anonymous).await?,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind the proxy")?;
        let address = listener.local_addr().context("read the proxy's address")?;
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(serve(serving.clone(), stream, peer));
            }
        });
        Ok(Self { address, shared })
    }

    /// A kubeconfig that leads here.
    pub(crate) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here"}}],
            "clusters": [{"name": "here", "cluster": {"server": format!("http://{}", self.address)}}],
        })
        .to_string()
    }

    /// The process of a host, to know its connections by.
    pub(crate) fn host_is(&self, number: usize, process: u32) {
        self.shared.hosts[number].store(process, Ordering::Relaxed);
    }

    pub(crate) fn mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Cuts a host off, or lets it through again.
    pub(crate) fn cut(&self, host: usize, cut: bool) {
        self.shared.cut.send_modify(|hosts| if cut { *hosts |= 1 << host } else { *hosts &= !(1 << host) });
    }
}

async fn client(kubeconfig: Kubeconfig) -> Result<kube::Client> {
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.context("use the kubeconfig")?;
    config.default_retry = false;
    kube::Client::try_from(config).context("make a client")
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let from = shared.hosts.iter().position(|host| owns(host.load(Ordering::Relaxed), peer.port()));
    let mut cut = shared.cut.subscribe();
    let own = shared.clone();
    let service = service_fn(move |request| answer(own.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ended = connection => {}
        _cut = cut.wait_for(|hosts| from.is_some_and(|from| hosts & (1 << from) != 0)) => {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>> {
    let mode = *shared.mode.borrow();
    let reads = request.method() == http::Method::GET;
    match mode {
        Mode::Says(code) if code != 409 || !reads => return refuse(code),
        Mode::Silent => {
            let mut modes = shared.mode.subscribe();
            drop(modes.wait_for(|mode| *mode != Mode::Silent).await);
            // Whoever asked has given up, or is to ask again.
            return refuse(503);
        }
        _ => {}
    }
    let client =
        if request.headers().contains_key(http::header::AUTHORIZATION) { &shared.bearer } else { &shared.admin };
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(http::header::HOST);
    let bytes = http_body_util::BodyExt::collect(body).await.context("read a request")?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    parts.uri = path.parse().context("a path")?;
    let mut sent = Request::new(Body::from(bytes.to_vec()));
    *sent.method_mut() = parts.method;
    *sent.uri_mut() = parts.uri;
    *sent.headers_mut() = parts.headers;
    client.send(sent).await.context("ask the target")
}

fn refuse(code: u16) -> Result<Response<Body>> {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "broken on purpose"
    });
    let status_code = StatusCode::from_u16(code).context("a status")?;
    let mut answer = Response::builder().status(status_code).header("content-type", "application/json");
    if code == 429 {
        answer = answer.header("retry-after", "1");
    }
    answer.body(Body::from(status.to_string().into_bytes())).context("make an answer")
}

/// Whether a process has the connection from this local port.
fn owns(process: u32, port: u16) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else { return false };
    let local = format!("0100007F:{port:04X}");
    let inode = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str())).then(|| fields.get(9).copied()).flatten()
    });
    let Some(socket) = inode.map(|inode| format!("socket:[{inode}]")) else { return false };
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    files.map(|file| file.path()).any(|file| std::fs::read_link(file).is_ok_and(|to| to.as_os_str() == socket.as_str()))
}

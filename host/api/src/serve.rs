//! Binds, speaks TLS, and serves until told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use threeport_scheduler::Bell;
use threeport_store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::auth::{self, Auth};
use crate::registry::{self, Registry};
use crate::router::{self, App};
use crate::{Config, Error, Tls};

/// A client has this long to finish the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A running server.
pub struct Served {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Served {
    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has stopped: after the shutdown was signalled and the last request is answered.
    pub async fn finished(self) {
        // It only fails by a panic, which was reported where it happened.
        let _joined = self.server.await;
    }
}

/// Binds first, so that the caller learns the port, loads what is served, and serves in the background until `shutdown` comes. Watches end then.
///
/// # Errors
/// [`Error::Listen`] if the address is taken, [`Error::Certificate`] if the certificate does not work, [`Error::Store`] if the store does not answer.
pub async fn serve(
    config: Config,
    store: Store,
    bell: Arc<dyn Bell>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Served, Error> {
    let listen = |source| Error::Listen { address: config.listen, source };
    let tcp = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = tcp.local_addr().map_err(listen)?;
    let acceptor = acceptor(&config.tls)?;

    let (stop, stopped) = watch::channel(false);
    let registry = Arc::new(Registry::new());
    let following = registry::follow(store.clone(), registry.clone(), stopped.clone()).await?;
    let auth = Arc::new(Auth::new(&config.token, config.token_keys, config.issuer, config.tls.ca_pem));
    let mut app = App::new(store.clone(), registry, bell, auth.clone(), stopped.clone(), address, config.blob_limit);
    app.metrics = config.metrics;
    if let Some(insight) = config.insight {
        app.insight = insight;
    }
    let app = Arc::new(app);
    crate::resources::prepare_store(&app).await?;
    let authorising = auth::start(&store, &auth, stopped.clone()).await?;

    let router = Router::new().fallback(router::dispatch).with_state(app);
    let (handshaken, connections) = mpsc::channel(64);
    tokio::spawn(accept(tcp, acceptor, handshaken, stopped.clone()));
    tokio::spawn(following);
    tokio::spawn(authorising);
    tokio::spawn(async move {
        shutdown.await;
        stop.send_replace(true);
    });
    let listener = Connections { address, connections };
    let mut wait = stopped;
    let server = tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
            // An error means that nobody can say "stop" any more.
            let _stopped = wait.wait_for(|stopped| *stopped).await;
        });
        if let Err(error) = serving.await {
            tracing::error!(%error, "the server broke");
        }
    });
    Ok(Served { address, server })
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let wrong = |what: &str, e: &dyn std::fmt::Display| Error::Certificate(format!("{what}: {e}"));
    let chain = CertificateDer::pem_slice_iter(tls.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| wrong("server certificate", &e))?;
    let key = PrivateKeyDer::from_pem_slice(tls.key_pem.as_bytes()).map_err(|e| wrong("server key", &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong("protocol versions", &e))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| wrong("server certificate", &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Takes connections and shakes hands, each in a task of its own: a slow client holds up nobody.
async fn accept(
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    handshaken: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the client went away: the next one may fare better.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (acceptor, handshaken) = (acceptor.clone(), handshaken.clone());
        tokio::spawn(async move {
            // Small answers must not wait for acknowledgements; where it cannot be set they do.
            let _set = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // The server has stopped when this cannot be handed over.
                Ok(Ok(tls)) => drop(handshaken.send((tls, peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
                Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
            }
        });
    }
}

/// Connections with TLS, for axum.
struct Connections {
    address: SocketAddr,
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl axum::serve::Listener for Connections {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The acceptor stops only with the server.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

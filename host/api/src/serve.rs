//! Binds, speaks TLS, and serves until told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use threeport_scheduler::Bell;
use threeport_store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::auth::{self, Auth};
use crate::connections::Acceptor;
use crate::registry::{self, Registry};
use crate::router::{self, App};
use crate::{Config, Error, Tls};

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
    app.limits = config.limits;
    if let Some(insight) = config.insight {
        app.insight = insight;
    }
    let app = Arc::new(app);
    crate::resources::prepare_store(&app).await?;
    let authorising = auth::start(&store, &auth, stopped.clone()).await?;

    let router = Router::new().fallback(router::dispatch).with_state(app);
    tokio::spawn(following);
    tokio::spawn(authorising);
    tokio::spawn(async move {
        shutdown.await;
        stop.send_replace(true);
    });
    let server = tokio::spawn(Acceptor { tls: acceptor, router, limits: config.limits, stopped }.run(tcp));
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

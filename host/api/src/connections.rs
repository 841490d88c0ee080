//! Connections: how many there may be at a time, how long a client may take to say what it wants, and how they end.
//!
//! A connection is closed when no request is under way on it for too long; one whose request is, a watch or a long answer, is never cut for its age.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Limits;
use crate::meters;
use crate::status::ApiError;

/// A client has this long to finish the handshake, or as long as for the head of a request if that is less.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection without a request is kept this long for the next one; as kube-apiserver has it.
const IDLE: Duration = Duration::from_secs(90);

/// Who was told that the connection ends has this long to let go of it.
const FAREWELL: Duration = Duration::from_secs(5);

/// So many are told at a time that there are too many; beyond that they are just closed.
const TOLD: usize = 64;

/// The log says this often that there are too many.
const REMINDER: Duration = Duration::from_secs(10);

/// Requests on one connection at a time; as kube-apiserver has it.
const STREAMS: u32 = 250;

/// Takes connections until `stopped`, each in a task of its own: a slow client holds up nobody.
pub(crate) struct Acceptor {
    pub(crate) tls: TlsAcceptor,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Acceptor {
    /// Ends when the last connection has.
    pub(crate) async fn run(self, tcp: TcpListener) {
        let (open, told) = (Arc::new(Semaphore::new(self.limits.connections)), Arc::new(Semaphore::new(TOLD)));
        // Whoever has a receiver is still at work.
        let (over, at_work) = watch::channel(());
        let (mut stopped, mut reminded) = (self.stopped.clone(), None::<Instant>);
        let this = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = tcp.accept() => accepted,
                _ = stopped.wait_for(|stopped| *stopped) => break,
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
            let (full, place) = match open.clone().try_acquire_owned() {
                Ok(place) => (false, Some(place)),
                Err(_taken) => (true, told.clone().try_acquire_owned().ok()),
            };
            if full {
                meters::connection_refused();
                if reminded.is_none_or(|last| last.elapsed() > REMINDER) {
                    reminded = Some(Instant::now());
                    let limit = this.limits.connections;
                    tracing::warn!(limit, %peer, "there are as many connections as there may be (--max-connections); more are refused");
                }
            }
            let Some(place) = place else { continue };
            let (this, at_work) = (this.clone(), at_work.clone());
            tokio::spawn(async move {
                this.serve(stream, peer, full, place).await;
                drop(at_work);
            });
        }
        drop(tcp);
        drop(at_work);
        over.closed().await;
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr, full: bool, _place: OwnedSemaphorePermit) {
        let _counted = meters::Connection::start();
        // Small answers must not wait for acknowledgements; where it cannot be set they do.
        let _set = stream.set_nodelay(true);
        // A peer that is gone without a word is found out, and its place is free again.
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
        let _set = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        match tokio::time::timeout(self.limits.headers.min(HANDSHAKE), self.tls.accept(stream)).await {
            Ok(Ok(tls)) => {
                if let Err(error) = self.speak(tls, full).await {
                    tracing::debug!(%peer, %error, "a connection broke");
                }
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
            Err(_elapsed) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }

    async fn speak(&self, tls: TlsStream<TcpStream>, full: bool) -> hyper::Result<()> {
        let activity = Arc::new(Activity::default());
        let router = (!full).then(|| TowerToHyperService::new(self.router.clone()));
        let (of, limit) = (activity.clone(), self.limits.connections);
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = Busy::start(&of);
            let answer = router.as_ref().map(|router| router.call(request));
            async move {
                let response = match answer {
                    Some(answer) => answer.await?,
                    None => too_many(limit),
                };
                Ok::<_, Infallible>(response.map(|body| Counted { body, _busy: busy }))
            }
        });
        let quiet = if full { Duration::from_millis(500) } else { IDLE };
        let (headers, io) = (self.limits.headers, TokioIo::new(tls));
        if io.inner().get_ref().1.alpn_protocol() == Some(b"h2") {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
            self.drive(builder.serve_connection(io, service), &activity, quiet).await
        } else {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(headers);
            self.drive(builder.serve_connection(io, service), &activity, quiet).await
        }
    }

    /// Serves until the client goes, is quiet for too long, or the server stops.
    async fn drive(&self, connection: impl Connection, activity: &Activity, quiet: Duration) -> hyper::Result<()> {
        let mut connection = pin!(connection);
        let mut stopped = self.stopped.clone();
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = activity.quiet(self.limits.headers, quiet) => {}
        }
        connection.as_mut().wind_down();
        loop {
            // A request that came at the last moment is answered all the same.
            match tokio::time::timeout(FAREWELL, connection.as_mut()).await {
                Ok(ended) => return ended,
                Err(_elapsed) if activity.is_idle() => return Ok(()),
                Err(_elapsed) => {}
            }
        }
    }
}

/// Of either version of HTTP.
trait Connection: Future<Output = hyper::Result<()>> {
    /// Takes no more requests, and ends when those under way are answered.
    fn wind_down(self: Pin<&mut Self>);
}

type Io = TokioIo<TlsStream<TcpStream>>;

impl<S> Connection for http1::Connection<Io, S>
where
    S: HttpService<Incoming, ResBody: HttpBody<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Connection for http2::Connection<Io, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody: HttpBody<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    TokioExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn too_many(limit: usize) -> Response {
    let message = format!(
        "this host has {limit} connections already, as many as --max-connections allows: try again, or another host"
    );
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).again_after(1);
    let mut response = error.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What happens on a connection.
struct Activity {
    since: Instant,
    /// Requests whose answers are not over.
    under_way: AtomicUsize,
    /// When the last one was over, in milliseconds; 0: none was.
    over: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self { since: Instant::now(), under_way: AtomicUsize::new(0), over: AtomicU64::new(0) }
    }
}

impl Activity {
    fn is_idle(&self) -> bool {
        self.under_way.load(Relaxed) == 0
    }

    fn age(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until there was no first request for so long, or no further one. Looks now and then: it costs requests nothing.
    async fn quiet(&self, first: Duration, further: Duration) {
        loop {
            let over = self.over.load(Relaxed);
            let patience = if over == 0 { first } else { further };
            let idle = Duration::from_millis(self.age().saturating_sub(over));
            let left = if self.is_idle() { patience.saturating_sub(idle) } else { further };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// A request, until its answer is over.
struct Busy(Arc<Activity>);

impl Busy {
    fn start(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Relaxed);
        Self(activity.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.over.store(self.0.age().max(1), Relaxed);
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// The body of an answer.
struct Counted {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

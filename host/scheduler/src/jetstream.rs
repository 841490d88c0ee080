//! The bell over NATS JetStream, for hosts in several processes.
//!
//! A work-queue stream with one subject for each object and one message for each subject: a ring for an object that has not been heard yet
//! replaces the ring before it. Messages are acknowledged as soon as they are handed over, never held during a run and never sent back: how
//! long something has to wait stands in SQL. No `Nats-Msg-Id` either, because its window would swallow the second ring for an object. Stream
//! and consumer may be deleted at any time; both sides make them again.

mod listen;
mod ring;

use std::time::Duration;

use async_nats::jetstream::{
    Context,
    context::ContextBuilder,
    stream::{Config as Stream, DiscardPolicy, RetentionPolicy, StorageType},
};
use async_nats::{ConnectOptions, Event};

pub use listen::JetStreamListener;
pub use ring::JetStreamBell;

/// Where NATS is and what the stream is called.
#[derive(Clone, Debug)]
pub struct Config {
    /// `nats://host:port` or `tls://host:port`; several with commas between. May carry `user:password@` or `token@`.
    pub url: String,
    /// The stream's name.
    pub stream: String,
    /// Subjects are this, a dot and the uid.
    pub subject: String,
    /// The durable consumer that all hosts share: each ring is heard by one of them.
    pub consumer: String,
    /// A file with the certificates of the authority that signed the server's; None: those of the system.
    pub ca_file: Option<std::path::PathBuf>,
    /// Copies of the stream in a NATS cluster. One is enough: what a lost stream costs is a moment.
    pub replicas: usize,
}

impl Config {
    /// The usual names at an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            stream: "THREEPORT_WAKE".to_string(),
            subject: "threeport.wake".to_string(),
            consumer: "threeport-hosts".to_string(),
            ca_file: None,
            replicas: 1,
        }
    }

    fn stream(&self) -> Stream {
        Stream {
            name: self.stream.clone(),
            subjects: vec![format!("{}.*", self.subject)],
            description: Some("Wake-ups of threeport hosts. Holds no state: may be deleted at any time.".to_string()),
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::Memory,
            discard: DiscardPolicy::Old,
            max_messages_per_subject: 1,
            max_messages: 1_000_000,
            num_replicas: self.replicas,
            ..Stream::default()
        }
    }
}

/// What keeps the bell from being set up at all. A server that is away is not among it: both sides go on trying.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address, its credentials or the certificates cannot be used.
    #[error("the NATS server at {url} cannot be used: {why}")]
    Unusable {
        /// What was configured.
        url: String,
        /// What NATS says.
        why: String,
    },
}

/// The longest wait before another attempt, of the connection and of everything that uses it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Both ends of the bell over one connection. Does not wait for the server: it is only a doorbell.
pub async fn connect(config: Config) -> Result<(JetStreamBell, JetStreamListener), Error> {
    let mut options = ConnectOptions::new()
        .name("threeport")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(wait)
        .event_callback(async |event| match event {
            Event::Connected => tracing::info!("connected to NATS"),
            Event::Disconnected => {
                tracing::warn!("the connection to NATS is lost; work is found by the sweep until it is back")
            }
            event => tracing::warn!(%event, "NATS"),
        });
    if let Some(file) = &config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    // The address may hold a password.
    let shown = config.url.rsplit_once('@').map_or(&*config.url, |(_, host)| host).to_string();
    let addresses: Vec<&str> = config.url.split(',').map(str::trim).collect();
    let client = options.connect(addresses).await;
    let client = client.map_err(|error| Error::Unusable { url: shown, why: error.to_string() })?;
    let context = ContextBuilder::new().timeout(Duration::from_secs(2)).build(client);
    Ok((JetStreamBell::new(context.clone(), config.clone()), JetStreamListener::new(context, config)))
}

/// Doubles from 50 ms.
fn wait(attempt: usize) -> Duration {
    let factor = 1 << attempt.saturating_sub(1).min(10);
    (Duration::from_millis(50) * factor).min(LONGEST_WAIT)
}

/// Makes the stream, or makes it what it should be.
async fn ensure_stream(context: &Context, config: &Config) -> Result<(), String> {
    context.create_or_update_stream(config.stream()).await.map(drop).map_err(|error| error.to_string())
}

//! The bell over NATS JetStream, for hosts in several processes.
//!
//! A work-queue stream with one message for each subject, and a subject that ends in the object's uid: a ring for an object that has not been heard yet
//! replaces the ring before it. Messages are acknowledged once the host that heard them has asked the store, never held during a run and never sent back:
//! how long something has to wait stands in SQL. No `Nats-Msg-Id` either, because its window would swallow the second ring for an object. Stream and
//! consumer may be deleted at any time: [`keep`] makes them again. While rings cannot go over NATS, they are heard in the process that rings.
//!
//! Subjects, for the prefix `threeport`:
//! - `threeport.wake.CLASS.SHARD.UID`: look at this object now
//! - `threeport.later.SHARD.UID`: a scheduled message that becomes the above when its time comes
//! - `threeport.changed`: so far has a host committed; no JetStream, nobody who is away wants to know

mod credentials;
mod fanout;
mod keep;
mod link;
mod listen;
mod publish;
mod stream;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{Context, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, ServerAddr};
use tokio::task::JoinHandle;

pub use fanout::{Announcer, Heeder};
use link::Link;
pub use listen::JetStreamListener;
pub use publish::JetStreamBell;
pub use trouble::{Reason, Trouble};

/// Where NATS is, who this host is there, and what things are called.
#[derive(Clone)]
pub struct Config {
    /// `nats://host:port` or `tls://host:port`; several with commas between. May carry `user:password@` or `token@`.
    pub url: String,
    /// First word of all subjects, and of the names of stream and consumer. Control planes that share an account need different ones.
    pub prefix: String,
    /// A file with the certificates of the authority that signed the server's; None: those of the system. Read at each attempt to connect.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key that the server knows this host by, when it asks for them. Read at each attempt to connect.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Who this host is, when the address does not say it.
    pub credentials: Option<Credentials>,
    /// Copies of the stream in a NATS cluster. One is enough: what a lost stream costs is a moment.
    pub replicas: usize,
}

/// A file that says who this host is. Read at each attempt to connect, so that what is mended or renewed is used without a restart.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A JWT and the seed of its key, as `nsc` writes them.
    Creds(PathBuf),
    /// The seed of an nkey.
    Nkey(PathBuf),
}

impl Config {
    /// The usual names at an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "threeport".to_string(),
            ca_file: None,
            certificate: None,
            credentials: None,
            replicas: 1,
        }
    }

    /// The stream's name.
    pub fn stream(&self) -> String {
        format!("{}_WAKE", self.prefix.to_uppercase())
    }

    /// The durable consumer that all hosts share: each ring is heard by one of them.
    pub fn consumer(&self) -> String {
        format!("{}-hosts", self.prefix)
    }

    fn wake_subjects(&self) -> String {
        format!("{}.wake.>", self.prefix)
    }

    fn later_subjects(&self) -> String {
        format!("{}.later.>", self.prefix)
    }

    fn changed_subject(&self) -> String {
        format!("{}.changed", self.prefix)
    }

    /// The address without what may be a password.
    pub fn shown(&self) -> String {
        let one = |address: &str| {
            let address = address.trim();
            match (address.split_once("://"), address.rsplit_once('@')) {
                (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
                (None, Some((_, host))) => host.to_owned(),
                _ => address.to_owned(),
            }
        };
        self.url.split(',').map(one).collect::<Vec<_>>().join(",")
    }
}

/// What keeps the bell from being set up at all. A server that is away, or that refuses, is not among it: it is tried again for ever.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{url} is no address of a NATS server ({why}): give nats://HOST:PORT or tls://HOST:PORT")]
    Address {
        /// What was configured, without the password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The prefix cannot stand in names and subjects.
    #[error("{0:?} cannot be the first word of NATS subjects: use letters, digits and -")]
    Prefix(String),
}

/// Everything over one connection.
pub struct Doorbell {
    /// Rings all hosts.
    pub bell: JetStreamBell,
    /// Hears what any host rang.
    pub listener: JetStreamListener,
    /// Tells the other hosts what this one has committed.
    pub announcer: Announcer,
    /// Hears what the others have committed.
    pub heeder: Heeder,
    /// Says how it is.
    pub status: Status,
}

/// How the connection is. Cheap to clone.
#[derive(Clone)]
pub struct Status(Arc<Link>);

impl Status {
    /// What keeps rings from going over NATS, and what to do about it; None when nothing does.
    pub fn trouble(&self) -> Option<Trouble> {
        self.0.trouble()
    }
}

/// The longest wait before another attempt, of the connection and of everything that uses it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A server that does not answer for so long is taken for one that is away: then rings are heard where they are rung.
const PATIENCE: Duration = Duration::from_secs(1);

/// What all tasks of one connection share. They end with the last part of the [`Doorbell`] that needs them.
#[derive(Clone)]
struct Session {
    link: Arc<Link>,
    client: Client,
    context: Context,
}

/// Ends its tasks when it goes.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Sets everything up. Does not wait for the server: it is only a doorbell.
///
/// # Errors
/// When the settings can never be used.
pub async fn connect(config: Config) -> Result<Doorbell, Error> {
    if config.prefix.is_empty() || !config.prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(Error::Prefix(config.prefix));
    }
    let unusable = |why: String| Error::Address { url: config.shown(), why };
    let addresses = config.url.split(',').map(|address| address.trim().parse::<ServerAddr>());
    let addresses = addresses.collect::<Result<Vec<_>, _>>().map_err(|error| unusable(error.to_string()))?;
    let link = Arc::new(Link::new(config.clone()));
    let client = options(&link, &addresses).connect(addresses).await.map_err(|error| unusable(error.to_string()))?;
    let context = ContextBuilder::new().timeout(PATIENCE * 2).build(client.clone());
    let session = Session { link: link.clone(), client, context };
    let keeper = Arc::new(Tasks(vec![tokio::spawn(keep::keep(session.clone()))]));
    Ok(Doorbell {
        bell: JetStreamBell::new(session.clone(), keeper.clone()),
        listener: JetStreamListener::new(session.clone(), keeper),
        announcer: Announcer::new(session.clone()),
        heeder: Heeder::new(session),
        status: Status(link),
    })
}

fn options(link: &Arc<Link>, addresses: &[ServerAddr]) -> ConnectOptions {
    let (events, servers) = (link.clone(), link.clone());
    let options = match link.config.credentials.clone() {
        None => credentials::of_address(ConnectOptions::new(), addresses),
        Some(credentials) => {
            let link = link.clone();
            ConnectOptions::with_auth_callback(move |nonce| credentials::sign(link.clone(), credentials.clone(), nonce))
        }
    };
    let mut options = options
        .name("threeport")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(PATIENCE * 2)
        // Two that are not answered end the connection.
        .ping_interval(PATIENCE)
        .reconnect_delay_callback(wait)
        .event_callback(move |event| {
            let link = events.clone();
            async move { link.event(event) }
        })
        // Called before each attempt, and told of the last one what no event says.
        .reconnect_to_server_callback(move |servers_, _info| {
            let link = servers.clone();
            async move {
                link.failed(&servers_);
                None
            }
        });
    if let Some(file) = &link.config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &link.config.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options
}

/// Doubles from 50 ms, and no two hosts wait for as long.
fn wait(attempt: usize) -> Duration {
    let factor = 1 << attempt.saturating_sub(1).min(10);
    (Duration::from_millis(50) * factor).min(LONGEST_WAIT).mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("nats://host:4222", "nats://host:4222"),
            ("tls://user:p@ss@host:4222", "tls://host:4222"),
            ("token@host, nats://u:p@other:1", "host,nats://other:1"),
        ] {
            assert_eq!(Config::new(url).shown(), shown);
        }
    }

    #[test]
    fn waits_grow_to_a_second_and_differ() {
        assert!((1..=40).map(wait).all(|wait| wait >= Duration::from_millis(25) && wait <= LONGEST_WAIT));
        assert!((0..100).map(|_| wait(20)).any(|wait| wait > Duration::from_millis(800)));
        assert!((0..100).map(|_| wait(20)).any(|wait| wait < Duration::from_millis(700)));
    }
}

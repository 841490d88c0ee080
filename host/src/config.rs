//! Settings of the server: one flag each, with the environment variable of the same name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use threeport_store::Database;

/// `threeport server`
#[derive(Args, Clone, Debug)]
pub(crate) struct Server {
    /// Where the state lives: database and blobs
    #[arg(long, env = "THREEPORT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the encryption key, the certificates, the token and the kubeconfig live; apart from the data, so that a copy of the data is no copy of the secrets
    #[arg(long, env = "THREEPORT_CONFIG_DIR")]
    pub config_dir: Option<PathBuf>,
    /// Where objects are kept: sqlite:PATH for one host, or postgres://USER@HOST/NAME for any number of them; say the password in a file (PGPASSFILE) or in
    /// the environment rather than here, where everybody sees it [default: threeport.db in the data directory]
    #[arg(long, env = "THREEPORT_DATABASE", value_name = "ADDRESS", hide_env_values = true)]
    pub database: Option<Database>,
    /// The file with the key that the database is encrypted with, the same for all hosts of one database [default: encryption.key in the configuration
    /// directory, made at the first start]
    #[arg(long, env = "THREEPORT_ENCRYPTION_KEY", value_name = "FILE")]
    pub encryption_key: Option<PathBuf>,
    /// Address of the API
    #[arg(long, env = "THREEPORT_LISTEN", default_value = "127.0.0.1:7443")]
    pub listen: SocketAddr,
    /// A further host name or address that the server's certificate is good for; may be given several times
    #[arg(long, env = "THREEPORT_TLS_SAN", value_name = "NAME", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Who the tokens of ServiceAccounts say that they are from (a URL); tokens of another issuer are not accepted
    #[arg(long, env = "THREEPORT_SERVICE_ACCOUNT_ISSUER", value_name = "URL", default_value = threeport_api::ISSUER)]
    pub service_account_issuer: String,
    /// Ring reconcilers on all hosts through this NATS server with JetStream (nats://HOST:PORT or tls://HOST:PORT, several with commas between), instead of in process. With user:password@ or token@ before HOST, better given in the environment
    #[arg(long, env = "THREEPORT_NATS", value_name = "URL", hide_env_values = true)]
    pub nats: Option<String>,
    /// Certificates of the authority that signed the NATS server's, when this system does not know it
    #[arg(long, env = "THREEPORT_NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// The certificate that the NATS server knows this host by, when it asks for one; with --nats-key. Read again at each attempt to connect
    #[arg(long, env = "THREEPORT_NATS_CERT", value_name = "FILE", requires = "nats_key")]
    pub nats_cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, env = "THREEPORT_NATS_KEY", value_name = "FILE", requires = "nats_cert")]
    pub nats_key: Option<PathBuf>,
    /// Credentials for NATS: a user's JWT and seed, as `nsc` writes them. Read again at each attempt to connect
    #[arg(long, env = "THREEPORT_NATS_CREDS", value_name = "FILE")]
    pub nats_creds: Option<PathBuf>,
    /// Credentials for NATS: the seed of a user's nkey. Read again at each attempt to connect
    #[arg(long, env = "THREEPORT_NATS_NKEY", value_name = "FILE")]
    pub nats_nkey: Option<PathBuf>,
    /// First word of all NATS subjects and of the names of stream and consumer: control planes that share a NATS account need different ones
    #[arg(long, env = "THREEPORT_NATS_PREFIX", value_name = "WORD", default_value = "threeport")]
    pub nats_prefix: String,
    /// Copies of the NATS stream, in a cluster of NATS servers; the same for all hosts
    #[arg(long, env = "THREEPORT_NATS_REPLICAS", value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nats_replicas: u8,
    /// Reconciles that may run at a time
    #[arg(long, env = "THREEPORT_SLOTS", default_value_t = threeport_controller::Config::SLOTS)]
    pub slots: usize,
    /// Reconciles that may run at a time for one target: what one slow cluster can take of the slots
    #[arg(long, env = "THREEPORT_TARGET_SLOTS", default_value_t = threeport_controller::Config::TARGET_SLOTS)]
    pub target_slots: usize,
    /// Seconds from SIGTERM to the end at the latest: runs under way finish in that time or are handed back; a second SIGTERM ends at once
    #[arg(long, env = "THREEPORT_GRACE", value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub grace: u64,
    /// Connections of clients at a time; whoever comes beyond that is told to try again
    #[arg(long, env = "THREEPORT_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    pub max_connections: u32,
    /// Seconds that a client may take for the head of a request
    #[arg(long, env = "THREEPORT_HEADER_TIMEOUT", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub header_timeout: u64,
    /// Seconds that a client may take for the body of a request, beyond one for each 16 KiB
    #[arg(long, env = "THREEPORT_BODY_TIMEOUT", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub body_timeout: u64,
    /// Seconds (a fraction is allowed) that others wait for a host that is silent before they take over what it works on; a pause of the database that is
    /// longer ends all runs under way [default: 1.6 on PostgreSQL, 20 on SQLite]
    #[arg(long, env = "THREEPORT_LEASE", value_name = "SECONDS", value_parser = lease)]
    pub lease: Option<Duration>,
    /// Count nothing, and serve no /metrics
    #[arg(long, env = "THREEPORT_NO_METRICS")]
    pub no_metrics: bool,
    /// Changes that are kept at least: how far back a watch resumes and a list's later pages read
    #[arg(long, env = "THREEPORT_KEEP_CHANGES", value_name = "CHANGES", default_value_t = threeport_store::Config::KEEP_CHANGES, value_parser = clap::value_parser!(u64).range(100..))]
    pub keep_changes: u64,
    /// Largest plugin component, or other blob, that may be uploaded, in MiB
    #[arg(long, env = "THREEPORT_BLOB_LIMIT", value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub blob_limit: u64,
    /// Seconds, of the clock and of the processor, that compiling a plugin component may take
    #[arg(long, env = "THREEPORT_COMPILE_SECONDS", value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub compile_seconds: u64,
    /// Memory that compiling a plugin component may take, in MiB
    #[arg(long, env = "THREEPORT_COMPILE_MEMORY", value_name = "MIB", default_value_t = 3072, value_parser = clap::value_parser!(u64).range(256..))]
    pub compile_memory: u64,
}

/// A lease in seconds.
fn lease(text: &str) -> Result<Duration, String> {
    let (least, most) = (threeport_controller::Config::LEAST_LEASE, Duration::from_secs(3600));
    let seconds: f64 = text.parse().map_err(|_wrong| "it must be a number of seconds, such as 1.6".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(lease) if lease < least => Err(format!(
            "{seconds} s are too short: acting on targets stops {} s before a lease ends, and a renewal, sent each quarter of it, needs time; give at \
             least {} s",
            least.as_secs_f64() / 2.0,
            least.as_secs_f64()
        )),
        Ok(lease) if lease <= most => Ok(lease),
        _ => Err(format!("it must be from {} to {} s", least.as_secs_f64(), most.as_secs())),
    }
}

/// `name` under the user's base directory for `kind`, as the XDG specification has it.
fn base(variable: &str, fallback: &str) -> Result<PathBuf> {
    if let Some(base) = std::env::var_os(variable).filter(|base| !base.is_empty()) {
        return Ok(PathBuf::from(base).join("threeport"));
    }
    let home = std::env::var_os("HOME").context("HOME is not set: give --data-dir and --config-dir")?;
    Ok(PathBuf::from(home).join(fallback).join("threeport"))
}

impl Server {
    /// The data directory.
    ///
    /// # Errors
    /// When none is given and the environment names no home.
    pub(crate) fn data_dir(&self) -> Result<PathBuf> {
        self.data_dir.clone().map_or_else(|| base("XDG_STATE_HOME", ".local/state"), Ok)
    }

    /// Where objects are kept.
    ///
    /// # Errors
    /// When neither that nor a data directory is given and the environment names no home.
    pub(crate) fn database(&self) -> Result<Database> {
        match &self.database {
            Some(database) => Ok(database.clone()),
            None => Ok(Database::Sqlite(self.data_dir()?.join("threeport.db"))),
        }
    }

    /// The directory of the key, the token and the kubeconfig.
    ///
    /// # Errors
    /// When none is given and the environment names no home.
    pub(crate) fn config_dir(&self) -> Result<PathBuf> {
        self.config_dir.clone().map_or_else(|| base("XDG_CONFIG_HOME", ".config"), Ok)
    }
}

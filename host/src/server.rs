//! `threeport server`: composes store, bell, controller and API, and stops them in order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use threeport_collector::{BuiltIn, Collector};
use threeport_controller::Controller;
use threeport_store::{Database, Key32, Store};
use threeport_wasm::{CompileLimits, Compiling, Limits, Runtime, Worker};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::shared::{self, EncryptionKey, Shared};
use crate::{bell, config, files, insight, metrics, schemas, state, telemetry};

/// Where there are other hosts, they take over what a dead one held after this time: long enough for a renewal to come late, short enough for nobody to notice.
const SHARED_LEASE: Duration = Duration::from_millis(1600);

/// Runs the server until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; the message names the file, the address or the setting.
pub(crate) async fn run(config: config::Server) -> Result<()> {
    // The only provider that is linked; an error means that it is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let telemetry = telemetry::init()?;
    let (data, settings) = (config.data_dir()?, config.config_dir()?);
    state::private_dir(&data, "--data-dir")?;
    state::private_dir(&settings, "--config-dir")?;

    let meters = if config.no_metrics { None } else { Some(metrics::install()?) };
    let (store, key) = open_store(&config, &settings).await?;
    let (bell, listener) = bell::of(&config, &store).await?;
    let runtime = Runtime::with_compiler(Limits::default(), compiling(&config, &data, &settings)?)
        .context("set up the plugin sandbox")?;
    let mut controller_config = threeport_controller::Config::new(owner()?);
    controller_config.slots = config.slots;
    controller_config.target_slots = config.target_slots;
    controller_config.definition_errors = threeport_api::definition_errors;
    controller_config.schemas = Arc::new(schemas::OfApi::default());
    controller_config.digest_key = *key.bytes();
    let grace = Duration::from_secs(config.grace);
    // The rest is for requests under way and for handing back.
    controller_config.grace = grace * 3 / 4;
    let shared = matches!(config.database()?, Database::Postgres(_)).then_some(SHARED_LEASE);
    controller_config.lease = config.lease.or(shared).unwrap_or(controller_config.lease);
    controller_config.version = env!("CARGO_PKG_VERSION").to_owned();
    let controller = Controller::new(controller_config, store.clone(), bell.clone(), listener, runtime);

    let monitor = controller.monitor();

    // An empty environment variable is no name.
    let mut names: Vec<String> = config.tls_san.iter().filter(|name| !name.is_empty()).cloned().collect();
    names.push(reachable(config.listen).ip().to_string());
    let Shared { token, pki, token_keys } = shared::load(&store, &config.database()?, &settings, &names).await?;
    let (stop, stopped) = watch::channel(false);
    let mut api_config = threeport_api::Config::new(config.listen, token.clone(), pki.tls(), token_keys);
    api_config.issuer = config.service_account_issuer.clone();
    api_config.blob_limit = config.blob_limit << 20;
    api_config.limits.connections = files::connections(config.max_connections);
    api_config.limits.headers = Duration::from_secs(config.header_timeout);
    api_config.limits.body = Duration::from_secs(config.body_timeout);
    api_config.metrics = meters.map(|meters| metrics::exposition(meters, store.clone(), monitor.clone()));
    api_config.insight = Some(Arc::new(insight::Told(monitor.clone())));
    let collector = Collector::new(store.clone(), bell.clone(), built_in(), owner()?);
    let served = threeport_api::serve(api_config, store.clone(), bell, wait_for(stopped.clone())).await;
    let served = served.map_err(|error| match error {
        threeport_api::Error::Listen { .. } => {
            anyhow!("{error}; give another address with --listen, or stop what listens there")
        }
        other => other.into(),
    })?;
    let address = served.address();
    let kubeconfig = threeport_api::kubeconfig(&format!("https://{}", reachable(address)), pki.ca_pem(), &token);
    state::write_private(&settings.join("kubeconfig"), kubeconfig.as_bytes())?;
    tracing::info!(%address, kubeconfig = %settings.join("kubeconfig").display(), "serving");

    let collecting = tokio::spawn(collector.run(stopped.clone()));
    let reconciling = tokio::spawn(controller.run(stopped));
    let mut signals = Signals::new()?;
    signals.next().await;
    let began = Instant::now();
    tracing::info!(grace_s = config.grace, "stopping: no new claims, runs under way finish");
    stop.send_replace(true);
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!(
            "told to stop again: ending at once; other hosts take over what is under way when its leases are over"
        );
        std::process::exit(1);
    });
    reconciling.await.context("the controller broke")?;
    collecting.await.context("the collector broke")?;
    // Watches have ended by now; a client that does not take its answer holds nothing up.
    let _timed_out = tokio::time::timeout((grace * 9 / 10).saturating_sub(began.elapsed()), served.finished()).await;
    if let Err(error) = store.close().await {
        tracing::warn!(%error, "the database was not closed; it recovers at the next start");
    }
    let stats = monitor.stats();
    tracing::info!(
        runs = stats.runs,
        failures = stats.failures,
        applies = stats.applies,
        removals = stats.removals,
        claim_age_p50_us = stats.claim_age_p50_micros,
        claim_age_p99_us = stats.claim_age_p99_micros,
        claim_age_max_us = stats.claim_age_max_micros,
        "stopped"
    );
    telemetry.finish().await;
    Ok(())
}

/// What the collector need not look up.
fn built_in() -> Vec<BuiltIn> {
    let kinds = threeport_api::builtin_kinds().into_iter();
    kinds.map(|(group, kind, namespaced)| BuiltIn { group, kind, namespaced }).collect()
}

/// Where a client on this machine reaches a listener: nobody can connect to "every address".
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

async fn open_store(config: &config::Server, settings: &Path) -> Result<(Store, Key32)> {
    let (database, key) = (config.database()?, EncryptionKey::read(config, settings)?);
    let mut store_config = threeport_store::Config::new(database.clone(), key.key.clone());
    store_config.keep_changes = config.keep_changes;
    match Store::open(store_config).await {
        Ok(store) => Ok((store, key.key)),
        Err(error) => Err(key.refused(error, &database)),
    }
}

/// Components are compiled by this program again, and kept beside the data; the key that vouches for them is kept elsewhere.
fn compiling(config: &config::Server, data: &Path, settings: &Path) -> Result<Compiling> {
    // What this process was started from, even if the file was replaced meanwhile.
    let own = Path::new("/proc/self/exe");
    let program = if own.exists() { own.to_owned() } else { std::env::current_exe().context("find this program")? };
    let key = state::secret(&settings.join("cache.key"), 32)?;
    Ok(Compiling {
        worker: Worker { program, args: vec!["compile-component".into()] },
        cache: data.join("compiled"),
        key: key.try_into().map_err(|_wrong| anyhow!("the key of compiled components is not 32 bytes long"))?,
        limits: CompileLimits {
            component: usize::try_from(config.blob_limit << 20).unwrap_or(usize::MAX),
            wall: Duration::from_secs(config.compile_seconds),
            cpu: Duration::from_secs(config.compile_seconds),
            memory: config.compile_memory << 20,
            ..CompileLimits::default()
        },
    })
}

/// A name that no other process has or will have: claims are made with it.
fn owner() -> Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let start =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(format!("{}-{}-{}", host.trim(), std::process::id(), start.as_nanos()))
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _stop = stopped.wait_for(|stop| *stop).await;
}

/// What tells the server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        tokio::select! {
            _terminate = self.terminate.recv() => {}
            _interrupt = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_a_server_on_every_address_come_by_loopback() {
        for (listens, reached) in [
            ("0.0.0.0:7443", "127.0.0.1:7443"),
            ("[::]:7443", "[::1]:7443"),
            ("192.0.2.1:7443", "192.0.2.1:7443"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), reached);
        }
    }
}

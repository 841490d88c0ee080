//! Which bell rings: the one in this process, or the one of all hosts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result, bail};
use threeport_scheduler::jetstream::{self, Credentials};
use threeport_scheduler::{Announce, Bell, Heed, Listener, Wake, local};
use threeport_store::{Class, Database, Store};

use crate::config;

/// The bell that the settings ask for.
///
/// # Errors
/// When the settings contradict each other, or can never be used. A server that is away or refuses is none.
pub(crate) async fn of(config: &config::Server, store: &Store) -> Result<(Arc<dyn Bell>, Box<dyn Listener>)> {
    let Some(settings) = settings(config)? else {
        let (bell, listener) = local::bell();
        let bell = Arc::new(bell);
        tokio::spawn(ring_for_others(store.clone(), bell.clone(), || true));
        return Ok((bell, Box::new(listener)));
    };
    let doorbell = jetstream::connect(settings).await.context("--nats")?;
    // Who has the database for itself has nobody to tell.
    if matches!(config.database()?, Database::Postgres(_)) {
        let heard = Arc::new(AtomicU64::new(0));
        tokio::spawn(announce(store.clone(), doorbell.announcer, heard.clone()));
        tokio::spawn(heed(store.clone(), doorbell.heeder, heard));
    }
    let (bell, status) = (Arc::new(doorbell.bell), doorbell.status);
    tokio::spawn(ring_for_others(store.clone(), bell.clone(), move || status.trouble().is_some()));
    Ok((bell, Box::new(doorbell.listener)))
}

/// None without NATS.
fn settings(config: &config::Server) -> Result<Option<jetstream::Config>> {
    // An empty environment variable is no setting.
    let file = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
    let (ca, creds, nkey) = (file(&config.nats_ca), file(&config.nats_creds), file(&config.nats_nkey));
    let certificate = file(&config.nats_cert).zip(file(&config.nats_key));
    let Some(url) = config.nats.clone().filter(|url| !url.is_empty()) else {
        for (flag, given) in
            [("--nats-ca", &ca), ("--nats-cert", &config.nats_cert), ("--nats-creds", &creds), ("--nats-nkey", &nkey)]
        {
            if given.is_some() {
                bail!("{flag} is given without --nats: say which NATS server it is for");
            }
        }
        return Ok(None);
    };
    let credentials = match (creds, nkey) {
        (Some(_), Some(_)) => bail!("--nats-creds and --nats-nkey are given: keep one of them"),
        (Some(file), None) => Some(Credentials::Creds(file)),
        (None, Some(file)) => Some(Credentials::Nkey(file)),
        (None, None) => None,
    };
    if credentials.is_some() && url.contains('@') {
        bail!("--nats names a user and --nats-creds or --nats-nkey another: keep one of them");
    }
    Ok(Some(jetstream::Config {
        prefix: config.nats_prefix.clone(),
        ca_file: ca,
        certificate,
        credentials,
        replicas: usize::from(config.nats_replicas),
        ..jetstream::Config::new(url)
    }))
}

/// Without NATS, or while it does not work, what other hosts make due is heard of through the database.
async fn ring_for_others(store: Store, bell: Arc<dyn Bell>, needed: impl Fn() -> bool) {
    let mut due = store.due_elsewhere();
    while due.changed().await.is_ok() {
        if needed() {
            // Whatever it is: a ring says no more than to look.
            bell.ring(Wake::new(String::new(), Class::User.name()));
        }
    }
}

/// Tells the other hosts what is committed, until the store closes; but for what was `heard` from them.
async fn announce(store: Store, announcer: impl Announce, heard: Arc<AtomicU64>) {
    let mut versions = store.versions();
    while !store.is_closed() && versions.changed().await.is_ok() {
        let version = *versions.borrow_and_update();
        if version != heard.load(Relaxed) {
            announcer.committed(version);
        }
    }
}

/// Has the store look when another host has committed.
async fn heed(store: Store, mut heeder: impl Heed, heard: Arc<AtomicU64>) {
    while let Some(upto) = heeder.committed().await {
        heard.store(upto, Relaxed);
        store.committed_elsewhere(upto);
    }
}

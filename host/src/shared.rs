//! What all hosts of one control plane must have in common: who they are to clients, and whose tokens they take.
//!
//! A host of its own keeps it in files. Hosts that share a database keep it there, encrypted with the one key that the operator gives to each of them;
//! the first of them brings what its files say.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use threeport_api::TokenKeys;
use threeport_api::pki::{self, Authority, Pki};
use threeport_store::{Database, Key32, Store};

use crate::{config, state};

/// Token, certificates and keys of tokens.
pub(crate) struct Shared {
    pub(crate) token: String,
    pub(crate) pki: Pki,
    pub(crate) token_keys: TokenKeys,
}

/// The key that the database is encrypted with, and where it is.
pub(crate) struct EncryptionKey {
    pub(crate) key: Key32,
    file: PathBuf,
    /// It was made just now: nothing can be encrypted with it yet.
    new: bool,
}

impl EncryptionKey {
    /// The one that is named, or else the one in the directory of settings, made if need be.
    pub(crate) fn read(config: &config::Server, settings: &Path) -> Result<Self> {
        let file = match &config.encryption_key {
            Some(named) => {
                ensure!(
                    named.exists(),
                    "{} is not there: --encryption-key names a copy of the key that the database was made with; leave it out to have one made",
                    named.display()
                );
                named.clone()
            }
            None => settings.join("encryption.key"),
        };
        let new = !file.exists();
        let key = state::secret(&file, 32)?;
        let key = Key32::new(key.try_into().map_err(|_wrong| anyhow!("the encryption key is not 32 bytes long"))?);
        Ok(Self { key, file, new })
    }

    /// Says of an error what is to be done; a key that was made for nothing goes.
    pub(crate) fn refused(self, error: threeport_store::Error, database: &Database) -> anyhow::Error {
        let file = self.file.display();
        if !matches!(error, threeport_store::Error::WrongKey { .. }) {
            return anyhow::Error::new(error).context(format!("{database} cannot be used"));
        }
        let other = matches!(database, Database::Postgres(_));
        let context = match (self.new, other) {
            (true, true) => {
                // Left behind, it would be taken for somebody's key at the next start.
                let _gone = std::fs::remove_file(&self.file);
                format!(
                    "this host has no encryption key, and {database} has one already: copy encryption.key of a host that uses this database to {file}, \
                     or name a copy with --encryption-key"
                )
            }
            (false, true) => format!(
                "{file} is not the key of {database}: all hosts of a database need the same one; copy encryption.key of a host that uses it there, or name \
                 a copy with --encryption-key"
            ),
            (_, false) => format!("{file} cannot be used"),
        };
        anyhow::Error::new(error).context(context)
    }
}

/// What this host is to clients; `names` are what its certificate is good for.
pub(crate) async fn load(store: &Store, database: &Database, settings: &Path, names: &[String]) -> Result<Shared> {
    match database {
        Database::Sqlite(_) => of_files(settings, names),
        Database::Postgres(_) => of_database(store, settings, names).await,
    }
}

fn of_files(settings: &Path, names: &[String]) -> Result<Shared> {
    let token = state::encode_hex(&state::secret(&settings.join("token"), 32)?);
    // Not with the data: the authority's key is a secret.
    let pki = pki::load_or_create(&settings.join("pki"), names).context("prepare the certificates")?;
    let token_keys = TokenKeys::load_or_create(&settings.join("service-accounts"))
        .context("prepare the keys of ServiceAccount tokens")?;
    Ok(Shared { token, pki, token_keys })
}

async fn of_database(store: &Store, settings: &Path, names: &[String]) -> Result<Shared> {
    // What was copied from a file was served by somebody whom clients know; a new authority and a new token would lock them all out.
    let copied =
        store.version() > 1 && store.kept("authority").await?.is_none() && store.kept("token").await?.is_none();
    ensure!(
        !copied || (settings.join("token").exists() && settings.join("pki").exists()),
        "the database was copied from a file, and no host was started on it yet: the first one needs the configuration directory of the server whose file it \
         was (token, pki/, service-accounts/), or clients would not know it; give it with --config-dir"
    );
    let token = kept(store, "token", || {
        let file = settings.join("token");
        Ok(json!(state::encode_hex(&if file.exists() { state::secret(&file, 32)? } else { state::random(32)? })))
    });
    let token = token.await?.as_str().context("the token in the database is damaged")?.to_owned();
    // For those that read it there, as for metrics.
    state::write_private(&settings.join("token"), token.as_bytes())?;

    let authority = kept(store, "authority", || {
        let found = Authority::load(&settings.join("pki"))?;
        let Authority { certificate, key } = found.map_or_else(Authority::generate, Ok)?;
        Ok(json!({"certificate": certificate, "key": key}))
    });
    let authority = authority.await?;
    let text = |field: &str| authority[field].as_str().unwrap_or_default().to_owned();
    let authority = Authority { certificate: text("certificate"), key: text("key") };
    let pki = authority.sign(names, "the database's authority").context("prepare the certificates")?;

    let keys = kept(store, "service-accounts", || {
        let mut keys = TokenKeys::files(&settings.join("service-accounts"))?;
        if keys.is_empty() {
            keys.push(("current.key".to_owned(), TokenKeys::generate()?));
        }
        Ok(json!(keys))
    });
    let keys: Vec<(String, String)> =
        serde_json::from_value(keys.await?).context("the keys of ServiceAccount tokens in the database are damaged")?;
    let token_keys = TokenKeys::of(&keys).context("prepare the keys of ServiceAccount tokens")?;
    Ok(Shared { token, pki, token_keys })
}

/// What the database has under a name; what is offered, where it has nothing and no other host is faster.
async fn kept(store: &Store, name: &str, offer: impl FnOnce() -> Result<Value>) -> Result<Value> {
    let reading = || format!("read {name} that the hosts of this database share");
    match store.kept(name).await.with_context(reading)? {
        Some(kept) => Ok(kept),
        None => store.keep(name, offer()?).await.with_context(reading),
    }
}

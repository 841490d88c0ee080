//! How a store is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chacha20poly1305::aead::Generate;

use crate::kept;
use crate::types::Resource;

/// What [`Store::open`](crate::Store::open) needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the state is.
    pub database: Database,
    /// Encrypts what must not be readable on disk. The caller reads it from a file outside the data directory.
    pub key: Key32,
    /// How many changes the log keeps: how far back a watch resumes and a list's later pages read.
    pub keep_changes: u64,
    /// Kinds whose whole bodies are encrypted at rest.
    pub encrypted: Vec<Resource>,
}

impl Config {
    /// The default length of the change log.
    pub const KEEP_CHANGES: u64 = 100_000;

    /// A store with the default length of the log, in which core Secrets are encrypted.
    pub fn new(database: impl Into<Database>, key: Key32) -> Self {
        let encrypted = vec![Resource::new("", "secrets"), kept::resource()];
        Self { database: database.into(), key, keep_changes: Self::KEEP_CHANGES, encrypted }
    }
}

/// Where state is kept, and so by which engine.
#[derive(Clone)]
pub enum Database {
    /// A file of SQLite. Its directory is made if need be and belongs to one server at a time.
    Sqlite(PathBuf),
    /// The address of a database of PostgreSQL, for any number of hosts: `postgres://user:password@host:port/name`. TLS with a checked certificate is the
    /// default for other machines; `sslmode` and `sslrootcert` say otherwise, as in libpq.
    Postgres(String),
}

impl From<PathBuf> for Database {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

impl From<&Path> for Database {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Database {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

impl FromStr for Database {
    type Err = String;

    /// `sqlite:PATH` or `postgres://…`
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        match text.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path)) {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err("it must be sqlite:PATH or postgres://USER@HOST/DATABASE".to_owned()),
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            // Without what may be a password.
            Self::Postgres(url) => match (url.split_once("://"), url.rsplit_once('@')) {
                (Some((scheme, _)), Some((_, place))) => {
                    write!(f, "{scheme}://{}", place.split('?').next().unwrap_or(place))
                }
                _ => f.write_str(url.split('?').next().unwrap_or(url)),
            },
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A 256-bit encryption key. Does not show itself in logs.
#[derive(Clone)]
pub struct Key32([u8; 32]);

impl Key32 {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new random key, for the caller to keep in a file.
    pub fn generate() -> Self {
        Self(chacha20poly1305::Key::generate().into())
    }

    /// The bytes, to keep them.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key32(…)")
    }
}

//! How a store is opened.

use std::fmt;
use std::path::PathBuf;

use chacha20poly1305::aead::Generate;

use crate::types::Resource;

/// What [`Store::open`](crate::Store::open) needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database file. Its directory is made if need be and belongs to one server at a time.
    pub path: PathBuf,
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

    /// A store at `path` with the default length of the log, in which core Secrets are encrypted.
    pub fn new(path: impl Into<PathBuf>, key: Key32) -> Self {
        Self { path: path.into(), key, keep_changes: Self::KEEP_CHANGES, encrypted: vec![Resource::new("", "secrets")] }
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

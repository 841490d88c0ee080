//! Encryption at rest: XChaCha20-Poly1305, because its 192-bit nonces may be drawn at random for ever.
//!
//! Sealed bytes are the nonce followed by the ciphertext. The associated data names the place they belong to, so that a row that is copied to
//! another place does not open there.

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::config::Key32;
use crate::error::Error;
use crate::types::Key;
use crate::work::InventoryEntry;

const NONCE: usize = 24;

/// The key in use, and its name as it stands in the rows.
pub(crate) struct Crypt {
    cipher: XChaCha20Poly1305,
    id: String,
}

impl Crypt {
    pub(crate) fn new(key: &Key32) -> Self {
        let digest = Sha256::new().chain_update(b"threeport key id").chain_update(key.bytes()).finalize();
        Self { cipher: XChaCha20Poly1305::new(key.bytes().into()), id: hex(&digest[..8]) }
    }

    /// Tells keys apart without telling anything about them.
    pub(crate) fn key_id(&self) -> &str {
        &self.id
    }

    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = XNonce::generate();
        let mut sealed = nonce.to_vec();
        let text = self.cipher.encrypt(&nonce, Payload { msg: plain, aad: place.as_bytes() });
        sealed.extend(text.expect("a body is far below the cipher's limit of 256 GiB"));
        sealed
    }

    pub(crate) fn open(&self, place: &str, key_id: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let corrupt = |why: String| Error::Corrupt(place.to_string(), why);
        if key_id != self.id {
            return Err(corrupt(format!(
                "it is encrypted with key {key_id}, the server was started with key {}: start it with the key this database was made with",
                self.id
            )));
        }
        let Some((nonce, text)) = sealed.split_at_checked(NONCE) else {
            return Err(corrupt("the encrypted body is cut off".to_string()));
        };
        let nonce = XNonce::try_from(nonce).expect("split at its length");
        let opened = self.cipher.decrypt(&nonce, Payload { msg: text, aad: place.as_bytes() });
        opened.map_err(|_| corrupt("the encrypted body was altered or belongs elsewhere".to_string()))
    }
}

/// Tells whether a body is what was stored in its place; not who wrote it.
pub(crate) fn sum(place: &str, stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(place.as_bytes());
    hasher.update(stored);
    hasher.finalize()
}

/// Where an object's body belongs.
pub(crate) fn place(key: &Key, uid: &str) -> String {
    format!("{}|{}|{}|{}", key.resource, key.namespace.as_deref().unwrap_or(""), key.name, uid)
}

/// Where an object's carried state belongs.
pub(crate) fn carried_place(id: i64) -> String {
    format!("carried|{id}")
}

/// Where an inventory entry's state belongs.
pub(crate) fn inventory_place(id: i64, entry: &InventoryEntry) -> String {
    let namespace = entry.namespace.as_deref().unwrap_or("");
    format!("inventory|{id}|{}|{}|{}|{namespace}|{}", entry.target, entry.api_version, entry.kind, entry.name)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a String takes everything");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_only_in_its_place_and_with_its_key() {
        let crypt = Crypt::new(&Key32::new([7; 32]));
        let sealed = crypt.seal("here", b"secret");
        assert_eq!(crypt.open("here", crypt.key_id(), &sealed).unwrap(), b"secret");
        assert!(matches!(crypt.open("there", crypt.key_id(), &sealed), Err(Error::Corrupt(..))));
        let other = Crypt::new(&Key32::new([8; 32]));
        let refused = other.open("here", crypt.key_id(), &sealed).unwrap_err().to_string();
        assert!(refused.contains("start it with the key"), "{refused}");
        assert!(matches!(crypt.open("here", crypt.key_id(), b"short"), Err(Error::Corrupt(..))));
    }

    #[test]
    fn the_same_body_never_looks_the_same() {
        let crypt = Crypt::new(&Key32::generate());
        assert_ne!(crypt.seal("here", b"secret"), crypt.seal("here", b"secret"));
    }
}

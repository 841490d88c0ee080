//! The keys that ServiceAccount tokens are signed with: files of a directory. `current.key` signs; every other `*.key` in it only verifies, so that
//! tokens stay good when the current one was moved aside and a new one made.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// The algorithm, the only one that is signed with and accepted.
pub(super) const ALGORITHM: &str = "ES256";
const CURRENT: &str = "current.key";

/// Keys of ServiceAccount tokens.
pub struct TokenKeys {
    random: SystemRandom,
    signing: EcdsaKeyPair,
    /// The signing key first.
    public: Vec<PublicKey>,
}

/// The public half of a key.
struct PublicKey {
    /// Digest of the key: which one a token was signed with.
    id: String,
    /// `0x04`, x, y.
    point: Vec<u8>,
}

impl TokenKeys {
    /// Loads the keys of `directory`; makes the current one if there is none.
    ///
    /// # Errors
    /// [`Error::Keys`] names the file that cannot be read, written or understood.
    pub fn load_or_create(directory: &Path) -> Result<Self, Error> {
        let current = directory.join(CURRENT);
        if !current.exists() {
            fs::create_dir_all(directory).map_err(|e| at(directory, &e))?;
            let temporary = directory.join("current.new");
            crate::pki::write_private(&temporary, &Self::generate()?).map_err(|e| at(&temporary, &e))?;
            fs::rename(&temporary, &current).map_err(|e| at(&current, &e))?;
        }
        Self::of(&Self::files(directory)?)
    }

    /// A new key, in PEM.
    ///
    /// # Errors
    /// When none can be made.
    pub fn generate() -> Result<String, Error> {
        let made = KeyPair::generate().map_err(|e| Error::Keys(format!("a new key of ServiceAccount tokens: {e}")))?;
        Ok(made.serialize_pem())
    }

    /// The keys of `directory`, each with its name and in PEM, the one that signs first; empty when there is none that signs.
    ///
    /// # Errors
    /// [`Error::Keys`] names the file that cannot be read.
    pub fn files(directory: &Path) -> Result<Vec<(String, String)>, Error> {
        let current = directory.join(CURRENT);
        if !current.exists() {
            return Ok(Vec::new());
        }
        let mut others = Vec::new();
        for entry in fs::read_dir(directory).map_err(|e| at(directory, &e))? {
            let file = entry.map_err(|e| at(directory, &e))?.path();
            if file != current && file.extension().is_some_and(|extension| extension == "key") {
                others.push(file);
            }
        }
        others.sort();
        let read = |file: std::path::PathBuf| {
            let text = fs::read_to_string(&file).map_err(|e| at(&file, &e))?;
            Ok((file.display().to_string(), text))
        };
        std::iter::once(current).chain(others).map(read).collect()
    }

    /// These keys, each with the name that it has in errors; the first one signs, the others only verify.
    ///
    /// # Errors
    /// [`Error::Keys`] names the one that cannot be understood.
    pub fn of(keys: &[(String, String)]) -> Result<Self, Error> {
        let wrong = |name: &str, error: &dyn std::fmt::Display| Error::Keys(format!("{name}: {error}"));
        let read = |(name, text): &(String, String)| -> Result<KeyPair, Error> {
            let pair = KeyPair::from_pem(text).map_err(|e| wrong(name, &e))?;
            if pair.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 {
                Ok(pair)
            } else {
                Err(wrong(name, &"must be an ECDSA key on the curve P-256 (PKCS#8, PEM)"))
            }
        };
        let first = keys.first().ok_or_else(|| wrong(CURRENT, &"there is no key that signs"))?;
        let pair = read(first)?;
        let random = SystemRandom::new();
        let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der(), &random)
            .map_err(|e| wrong(&first.0, &e))?;
        let mut public = vec![PublicKey::of(&pair)];
        for other in &keys[1..] {
            public.push(PublicKey::of(&read(other)?));
        }
        Ok(Self { random, signing, public })
    }

    /// Which key signs.
    pub(super) fn current(&self) -> &str {
        &self.public[0].id
    }

    /// Signs with the current key.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.signing.sign(&self.random, message).ok().map(|signature| signature.as_ref().to_vec())
    }

    /// Whether the key called `id` signed this.
    pub(super) fn verifies(&self, id: &str, message: &[u8], signature: &[u8]) -> bool {
        let known = self.public.iter().find(|key| key.id == id);
        known.is_some_and(|key| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.point).verify(message, signature).is_ok()
        })
    }

    /// The public keys, as a JSON Web Key Set.
    pub(super) fn set(&self) -> Value {
        let keys: Vec<Value> = self
            .public
            .iter()
            .map(|key| {
                let part = |from: usize| URL_SAFE_NO_PAD.encode(&key.point[from..from + 32]);
                json!({"use": "sig", "kty": "EC", "kid": key.id, "crv": "P-256", "alg": ALGORITHM, "x": part(1), "y": part(33)})
            })
            .collect();
        json!({ "keys": keys })
    }
}

fn at(file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Keys(format!("{}: {error}", file.display()))
}

impl PublicKey {
    fn of(pair: &KeyPair) -> Self {
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.subject_public_key_info()));
        Self { id, point: pair.der_bytes().to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_moved_aside_still_verifies() {
        let directory = tempfile::tempdir().expect("a directory");
        let before = TokenKeys::load_or_create(directory.path()).expect("keys");
        let (id, signature) = (before.current().to_owned(), before.sign(b"hello").expect("signed"));
        let again = TokenKeys::load_or_create(directory.path()).expect("keys");
        assert_eq!(again.current(), id, "the key is kept");

        fs::rename(directory.path().join(CURRENT), directory.path().join("2026.key")).expect("moved");
        let after = TokenKeys::load_or_create(directory.path()).expect("keys");
        assert_ne!(after.current(), id);
        assert!(after.verifies(&id, b"hello", &signature));
        assert!(!after.verifies(after.current(), b"hello", &signature), "not as the other key");
        assert!(!after.verifies(&id, b"hullo", &signature));
        assert_eq!(after.set()["keys"].as_array().map(Vec::len), Some(2));

        fs::remove_file(directory.path().join("2026.key")).expect("removed");
        let later = TokenKeys::load_or_create(directory.path()).expect("keys");
        assert!(!later.verifies(&id, b"hello", &signature));
    }

    #[test]
    fn a_damaged_key_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(CURRENT), "not a key").expect("written");
        let error = TokenKeys::load_or_create(directory.path()).err().expect("refused").to_string();
        assert!(error.contains("current.key"), "{error}");
    }
}

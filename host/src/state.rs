//! What the server keeps in files beside the database: the encryption key, the token, the certificates.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Makes a directory that only its owner can enter; `flag` chooses another one.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn private_dir(path: &Path, flag: &str) -> Result<()> {
    if path.exists() && !path.is_dir() {
        bail!("{} is not a directory: give one with {flag}", path.display());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
        format!("cannot make the directory {}: give one with {flag} that this user may make", path.display())
    })
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Reads a secret of `size` random bytes, hex in the file; makes it on first use.
///
/// # Errors
/// When the file cannot be read or written, or holds something else.
pub(crate) fn secret(path: &Path, size: usize) -> Result<Vec<u8>> {
    ensure!(!path.is_dir(), "{} is a directory: put the file back that was there", path.display());
    match fs::read_to_string(path) {
        Ok(text) => {
            confidential(path)?;
            let bytes = decode_hex(text.trim()).with_context(|| {
                format!("{} does not hold hexadecimal digits: put the file back as it was", path.display())
            })?;
            let held = bytes.len();
            ensure!(held == size, "{} holds {held} bytes, not {size}: put the file back as it was", path.display());
            Ok(bytes)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let bytes = random(size)?;
            write_private(path, encode_hex(&bytes).as_bytes())?;
            Ok(bytes)
        }
        Err(error) => Err(error).with_context(|| {
            format!("cannot read {}: the user that runs the server has to be able to", path.display())
        }),
    }
}

/// Random bytes that nobody can guess.
///
/// # Errors
/// When the system has none.
pub(crate) fn random(size: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut source = fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    source.read_exact(&mut bytes).context("read /dev/urandom")?;
    Ok(bytes)
}

/// A secret that everybody on the machine can read, or that others can write, is none.
fn confidential(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.permissions().mode();
    ensure!(
        mode & 0o026 == 0,
        "{} may be read by everybody or written by others (mode {:03o}): chmod 600 it, and make a new one if somebody may have read it",
        path.display(),
        mode & 0o777
    );
    Ok(())
}

/// Lower-case hexadecimal.
pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_read_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let first = secret(&path, 32).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(secret(&path, 32).unwrap(), first);
    }

    #[test]
    fn a_damaged_secret_is_refused_with_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_private(&path, b"not hex").unwrap();
        assert!(secret(&path, 32).unwrap_err().to_string().contains(path.to_str().unwrap()));
        write_private(&path, b"abcd").unwrap();
        assert!(secret(&path, 32).unwrap_err().to_string().contains("2 bytes"));
    }
}

//! Compiled components in files, by what they were compiled from.
//!
//! A file is machine code that this process will run, so it is believed only if its MAC says that this host wrote it, under this name: the key is
//! outside the directory. What is not believed is deleted and compiled again. The directory is a capability: no name leads out of it.

use std::collections::HashSet;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What compiled code is called.
const SUFFIX: &str = ".cwasm";
/// What is being written is called; nobody reads it under this name.
const UNFINISHED: &str = ".new-";
/// Size of the component and MAC, behind the code.
const TRAILER: usize = 8 + 32;

/// A directory of compiled code.
pub(crate) struct Cache {
    dir: Dir,
    path: PathBuf,
    key: [u8; 32],
    /// Bytes of all files together.
    limit: u64,
    started: AtomicU64,
}

/// Machine code that this host's own worker made.
pub(crate) struct Verified {
    file: Vec<u8>,
}

impl Verified {
    /// The code.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.file[..self.file.len() - TRAILER]
    }

    /// Bytes of the component it was compiled from.
    pub(crate) fn component_size(&self) -> usize {
        let at = self.file.len() - TRAILER;
        let size: [u8; 8] = self.file[at..at + 8].try_into().unwrap_or_default();
        usize::try_from(u64::from_le_bytes(size)).unwrap_or(usize::MAX)
    }
}

/// A file that is being written. Dropped without [`Cache::seal`], it is removed.
pub(crate) struct Unfinished {
    cache: Arc<Cache>,
    name: String,
    file: std::fs::File,
}

impl Unfinished {
    /// For whoever writes the code.
    pub(crate) fn file(&self) -> io::Result<std::fs::File> {
        self.file.try_clone()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `seal` it has another name.
        let _gone = self.cache.dir.remove_file(&self.name);
    }
}

impl Cache {
    /// Opens or makes the directory, for its owner alone, and clears away what an earlier process left unfinished.
    pub(crate) fn open(path: &Path, key: [u8; 32], limit: u64) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        }
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        let cache = Self { dir, path: path.to_owned(), key, limit, started: AtomicU64::new(0) };
        for entry in cache.dir.entries()? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
                cache.dir.remove_file(&name)?;
            }
        }
        Ok(cache)
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn mac(&self, name: &str, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_any_length_will_do| unreachable!());
        // The name too: code of one component must not pass for that of another.
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(signed);
        mac
    }

    /// The code under a name (without suffix), if it is there and ours.
    pub(crate) fn get(&self, name: &str) -> Option<Verified> {
        let path = format!("{name}{SUFFIX}");
        let mut opened = match self.dir.open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.refused(&path, &error.to_string()),
        };
        let mut file = Vec::new();
        if let Err(error) = opened.read_to_end(&mut file) {
            return self.refused(&path, &error.to_string());
        }
        if file.len() < TRAILER {
            return self.refused(&path, "it is cut off");
        }
        let (signed, mac) = file.split_at(file.len() - 32);
        if self.mac(name, signed).verify_slice(mac).is_err() {
            return self.refused(&path, "this host did not write it as it is");
        }
        // The least recently used go first. A clock that cannot be set makes this one go earlier.
        let _touched = opened.into_std().set_modified(SystemTime::now());
        Some(Verified { file })
    }

    fn refused(&self, path: &str, why: &str) -> Option<Verified> {
        tracing::warn!(file = %self.path.join(path).display(), "compiled code is not used and made again: {why}");
        // Where it cannot be removed either, the new one replaces it.
        let _gone = self.dir.remove_file(path);
        None
    }

    /// A new file for the code of a component.
    pub(crate) fn begin(self: &Arc<Self>) -> io::Result<Unfinished> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = format!("{UNFINISHED}{}-{number}", std::process::id());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = self.dir.open_with(&name, &options)?.into_std();
        Ok(Unfinished { cache: self.clone(), name, file })
    }

    /// Reads what the worker wrote, signs it and gives it its name, all at once for whoever looks.
    pub(crate) fn seal(&self, written: &Unfinished, name: &str, component_size: usize) -> io::Result<Verified> {
        // Through the name: the worker's writes moved the position that we share with it.
        let mut file = Vec::new();
        self.dir.open(&written.name)?.read_to_end(&mut file)?;
        file.extend_from_slice(&(component_size as u64).to_le_bytes());
        let mac = self.mac(name, &file).finalize().into_bytes();
        file.extend_from_slice(&mac);
        let mut end = self.dir.open_with(&written.name, OpenOptions::new().append(true))?;
        end.write_all(&file[file.len() - TRAILER..])?;
        let path = format!("{name}{SUFFIX}");
        self.dir.rename(&written.name, &self.dir, &path)?;
        self.make_room(&path)?;
        Ok(Verified { file })
    }

    /// Removes the least recently used until the rest fits; never the one that was just written.
    fn make_room(&self, newest: &str) -> io::Result<()> {
        let mut files = self.files()?;
        files.sort_by_key(|(name, _, used)| (name == newest, *used));
        let mut all: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (name, size, _) in files {
            if all <= self.limit || name == newest {
                break;
            }
            self.dir.remove_file(&name)?;
            all -= size;
        }
        Ok(())
    }

    /// Removes everything but these. Gives how many.
    pub(crate) fn retain(&self, keep: &HashSet<String>) -> io::Result<usize> {
        let mut removed = 0;
        for (name, _, _) in self.files()? {
            if !name.strip_suffix(SUFFIX).is_some_and(|name| keep.contains(name)) {
                self.dir.remove_file(&name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Finished files: name, size and last use.
    fn files(&self) -> io::Result<Vec<(String, u64, SystemTime)>> {
        let mut files = Vec::new();
        for entry in self.dir.entries()? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if name.ends_with(SUFFIX) {
                let metadata = entry.metadata()?;
                files.push((name, metadata.len(), metadata.modified()?.into_std()));
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn put(cache: &Arc<Cache>, name: &str, code: &[u8]) {
        let new = cache.begin().unwrap();
        new.file().unwrap().write_all(code).unwrap();
        assert_eq!(cache.seal(&new, name, 7).unwrap().bytes(), code);
    }

    fn open(dir: &Path, key: u8, limit: u64) -> Arc<Cache> {
        Arc::new(Cache::open(dir, [key; 32], limit).unwrap())
    }

    #[test]
    fn what_was_put_is_found_by_this_host_and_its_successor() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), 1, 1000);
        put(&cache, "a", b"code");
        let again = open(dir.path(), 1, 1000).get("a").unwrap();
        assert_eq!((again.bytes(), again.component_size()), (&b"code"[..], 7));
        assert!(cache.get("b").is_none());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(dir.path()), mode(&dir.path().join("a.cwasm"))), (0o700, 0o600));
    }

    #[test]
    fn what_was_changed_cut_renamed_or_written_by_others_is_refused_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), 1, 1000);
        let file = dir.path().join("a.cwasm");
        let spoil: [&dyn Fn(); 5] = [
            &|| {
                let mut bytes = std::fs::read(&file).unwrap();
                bytes[0] ^= 1;
                std::fs::write(&file, bytes).unwrap();
            },
            &|| std::fs::write(&file, b"").unwrap(),
            &|| std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(20).unwrap(),
            &|| {
                put(&cache, "b", b"other code");
                std::fs::rename(dir.path().join("b.cwasm"), &file).unwrap();
            },
            &|| put(&open(dir.path(), 2, 1000), "a", b"code"),
        ];
        for spoil in spoil {
            put(&cache, "a", b"code");
            assert!(cache.get("a").is_some());
            spoil();
            assert!(cache.get("a").is_none());
            assert!(!file.exists());
        }
    }

    #[test]
    fn the_least_recently_used_make_room_and_what_is_not_kept_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), 1, 3 * (100 + TRAILER as u64));
        let age = |name: &str, seconds: u64| {
            let file = std::fs::File::options().write(true).open(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        for (name, used) in [("a", 30), ("b", 20), ("c", 10)] {
            put(&cache, name, &[0; 100]);
            age(&format!("{name}.cwasm"), used);
        }
        assert!(cache.get("c").is_some(), "a look is a use");
        put(&cache, "d", &[0; 100]);
        assert!(cache.get("b").is_none() && cache.get("a").is_some() && cache.get("d").is_some());
        assert_eq!(cache.retain(&HashSet::from(["d".to_owned()])).unwrap(), 2);
        assert!(cache.get("a").is_none() && cache.get("d").is_some());
        let unfinished = cache.begin().unwrap();
        std::mem::forget(unfinished);
        open(dir.path(), 1, 1000);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "what was left unfinished is cleared away");
    }
}

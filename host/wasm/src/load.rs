//! Loading components: from bytes to something that can be run.

use std::hash::{Hash as _, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::compile::CompileLimits;
use crate::contract::{PACKAGE, ReconcilerPre, VERSION};
use crate::imports::NoCapabilities;
use crate::runtime::{Moment, Plugin, Runtime};
use crate::worker::flat;
use crate::{LoadError, descriptor, inspect, native};

impl Runtime {
    /// Makes a component a plugin: checks what it is and what it wants, compiles it where that was not done before, and has it describe itself in
    /// an instance that may read nothing.
    ///
    /// # Errors
    /// [`LoadError`]; whatever serves is not touched by it.
    pub async fn load(&self, component: impl Into<Bytes>) -> Result<Plugin, LoadError> {
        let component: Bytes = component.into();
        let (found, limit) = (component.len(), self.component_limit());
        if found > limit {
            return Err(LoadError::TooLarge { found, limit });
        }
        let hashing = component.clone();
        let digest = blocking(move || format!("sha256:{}", hex(&Sha256::digest(&hashing)))).await?;
        if let Some(plugin) = self.load_compiled(&digest).await? {
            return Ok(plugin);
        }
        let shared = self.shared.clone();
        let compiled = match &self.shared.compiler {
            Some(compiler) => {
                let name = shared.name(&digest);
                let code = compiler.compile(component, name, shared.limits.memory).await?;
                blocking(move || native::load(&shared.engine, &code)).await?.map_err(oversized)?
            }
            None => {
                let compile = move || {
                    inspect::contract(&component)?;
                    Component::new(&shared.engine, &component).map_err(|error| LoadError::Compile(flat(&error)))
                };
                blocking(compile).await??
            }
        };
        self.describe(digest, found, compiled).await
    }

    /// A component by digest (`sha256:...`), if it was compiled before: without its bytes and in no time.
    ///
    /// # Errors
    /// [`LoadError`] as of [`Runtime::load`].
    pub async fn load_compiled(&self, digest: &str) -> Result<Option<Plugin>, LoadError> {
        let Some(compiler) = &self.shared.compiler else { return Ok(None) };
        let (shared, cache, name) = (self.shared.clone(), compiler.cache().clone(), self.shared.name(digest));
        let load = move || {
            let code = cache.get(&name)?;
            Some((code.component_size(), native::load(&shared.engine, &code)))
        };
        let Some((size, compiled)) = blocking(load).await? else { return Ok(None) };
        Ok(Some(self.describe(digest.to_owned(), size, compiled.map_err(oversized)?).await?))
    }

    /// Forgets the compiled code of all components but these, by digest. Plugins that are loaded stay loaded. Gives how many it forgot.
    ///
    /// # Errors
    /// When the directory of compiled code cannot be read or written.
    pub async fn keep_compiled<'a>(&self, digests: impl IntoIterator<Item = &'a str>) -> std::io::Result<usize> {
        let Some(compiler) = &self.shared.compiler else { return Ok(0) };
        let keep = digests.into_iter().map(|digest| self.shared.name(digest)).collect();
        let cache = compiler.cache().clone();
        tokio::task::spawn_blocking(move || cache.retain(&keep)).await?
    }

    /// Bytes of a component that are accepted.
    fn component_limit(&self) -> usize {
        self.shared.compiler.as_ref().map_or(CompileLimits::default().component, |compiler| compiler.limits().component)
    }

    async fn describe(&self, digest: String, size: usize, compiled: Component) -> Result<Plugin, LoadError> {
        let shared = self.shared.clone();
        let pre = shared.linker.instantiate_pre(&compiled).and_then(ReconcilerPre::new).map_err(|error| {
            LoadError::WrongContract {
                wanted: format!("{PACKAGE}@{VERSION}"),
                found: format!("a variant of it ({})", flat(&error)),
            }
        })?;
        let moment = Moment { now: Duration::ZERO, seed: 0 };
        let (described, _) = shared
            .run(&pre, Arc::new(NoCapabilities), moment, async |guest, store| guest.call_describe(store).await)
            .await;
        let descriptor = described.map_err(|error| LoadError::Describe(error.to_string()))?;
        let (kinds, requested) = descriptor::check(&descriptor)?;
        Ok(Plugin { digest, size, descriptor, kinds, requested, pre, shared })
    }
}

/// Off the async threads. An error is a panic of what was done there.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| LoadError::Compile(format!("the compiler gave up: {error}")))
}

/// The engine takes code as it is, or it has no place for what that wants.
fn oversized(error: wasmtime::Error) -> LoadError {
    LoadError::Oversized(flat(&error))
}

/// What compiled code depends on besides its component, as one word: the engine and this machine, the contract, and this version of the host, which
/// is what looked at the component.
pub(crate) fn settings(engine: &Engine) -> String {
    struct Digesting(Sha256);
    impl Hasher for Digesting {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut digesting = Digesting(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digesting);
    (PACKAGE, VERSION, env!("CARGO_PKG_VERSION")).hash(&mut digesting);
    hex(&digesting.0.finalize()[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Which plugins serve, and what they replaced.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::Plugin;

/// Generations that stay loaded besides the serving one, so that a rollback is a pointer swap.
const KEEP: usize = 2;

/// Plugins by name. Readers take no lock; a run keeps the generation that it began with.
#[derive(Default)]
pub struct Registry {
    plugins: ArcSwap<HashMap<String, Arc<Generations>>>,
    writing: std::sync::Mutex<()>,
}

#[derive(Clone)]
struct Generations {
    serving: Arc<Plugin>,
    previous: Vec<Arc<Plugin>>,
}

impl Registry {
    /// Serves nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `plugin` serve the next runs. The last two that served before stay loaded; running ones finish on what they began with.
    pub fn install(&self, name: &str, plugin: Arc<Plugin>) {
        let _writing = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut plugins = HashMap::clone(&self.plugins.load());
        let previous = match plugins.get(name) {
            // The same component again, perhaps compiled again: nothing was replaced.
            Some(old) if old.serving.digest == plugin.digest => old.previous.clone(),
            Some(old) => std::iter::once(old.serving.clone())
                .chain(old.previous.iter().filter(|other| other.digest != plugin.digest).cloned())
                .take(KEEP)
                .collect(),
            None => Vec::new(),
        };
        plugins.insert(name.to_owned(), Arc::new(Generations { serving: plugin, previous }));
        self.plugins.store(Arc::new(plugins));
    }

    /// Keeps versions loaded that served before this process did, newest first. What was installed since comes before them.
    pub fn remember(&self, name: &str, previous: Vec<Arc<Plugin>>) {
        let _writing = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut plugins = HashMap::clone(&self.plugins.load());
        let Some(known) = plugins.get(name) else { return };
        let mut generations = Generations::clone(known);
        for plugin in previous {
            let loaded = std::iter::once(&generations.serving).chain(&generations.previous);
            if loaded.into_iter().all(|other| other.digest != plugin.digest) {
                generations.previous.push(plugin);
            }
        }
        generations.previous.truncate(KEEP);
        plugins.insert(name.to_owned(), Arc::new(generations));
        self.plugins.store(Arc::new(plugins));
    }

    /// What serves under this name.
    pub fn serving(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugins.load().get(name).map(|generations| generations.serving.clone())
    }

    /// A loaded generation, serving or not, by the digest of its component (`sha256:…`).
    pub fn find_loaded(&self, name: &str, digest: &str) -> Option<Arc<Plugin>> {
        let plugins = self.plugins.load();
        let generations = plugins.get(name)?;
        std::iter::once(&generations.serving)
            .chain(&generations.previous)
            .find(|plugin| plugin.digest == digest)
            .cloned()
    }

    /// What served before, newest first.
    pub fn previous(&self, name: &str) -> Vec<Arc<Plugin>> {
        self.plugins.load().get(name).map(|generations| generations.previous.clone()).unwrap_or_default()
    }

    /// Names of all plugins that serve, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.plugins.load().keys().cloned().collect();
        names.sort();
        names
    }

    /// Stops serving. Gives back what served.
    pub fn remove(&self, name: &str) -> Option<Arc<Plugin>> {
        let _writing = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut plugins = HashMap::clone(&self.plugins.load());
        let removed = plugins.remove(name)?;
        self.plugins.store(Arc::new(plugins));
        Some(removed.serving.clone())
    }
}

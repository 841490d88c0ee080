//! What an open store holds in memory: the objects of now, the work items, and whom to tell of changes. Readers look, the writer alone changes it,
//! after COMMIT.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{Notify, watch};

use crate::hosts::HostInfo;
use crate::layer::Layer;
use crate::queue::{self, Queue, Work};
use crate::shares;
use crate::state::State;

pub(crate) struct Memory {
    state: RwLock<State>,
    queue: Mutex<Queue>,
    /// The newest committed version; whoever waits for changes waits on this.
    version: watch::Sender<u64>,
    /// Told when there is something new for the collector to look at.
    suspected: watch::Sender<()>,
    /// Told when another host has made work due.
    due: watch::Sender<()>,
    commits: AtomicU64,
    closed: AtomicBool,
    /// Another host has committed something: whoever follows the others looks at once.
    pub(crate) news: Arc<Notify>,
    /// How far the database's clock is ahead of ours, in microseconds.
    ahead: AtomicI64,
    /// Why nothing can be written now.
    trouble: Mutex<Option<String>>,
    /// Who has the database for itself, as it said last.
    host: Mutex<Option<HostInfo>>,
}

impl Memory {
    pub(crate) fn new(state: State, queue: Queue) -> Self {
        Self {
            version: watch::Sender::new(state.version),
            suspected: watch::Sender::new(()),
            due: watch::Sender::new(()),
            state: RwLock::new(state),
            queue: Mutex::new(queue),
            commits: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            news: Arc::default(),
            ahead: AtomicI64::new(0),
            trouble: Mutex::default(),
            host: Mutex::default(),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn suspected(&self) -> watch::Receiver<()> {
        self.suspected.subscribe()
    }

    pub(crate) fn due(&self) -> watch::Receiver<()> {
        self.due.subscribe()
    }

    /// Microseconds since 1970, on the clock that leases are measured with.
    pub(crate) fn now(&self) -> i64 {
        queue::now().saturating_add(self.ahead.load(Relaxed))
    }

    /// What the database's clock says now.
    pub(crate) fn set_clock(&self, now: i64) {
        self.ahead.store(now.saturating_sub(queue::now()), Relaxed);
    }

    /// Why nothing can be written now.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// How far our clock is ahead of the database's, in microseconds.
    pub(crate) fn clock_ahead(&self) -> i64 {
        self.ahead.load(Relaxed).saturating_neg()
    }

    /// Keeps what the one host says of itself, from when it said it first; gives it.
    pub(crate) fn beat(&self, said: HostInfo) -> Vec<HostInfo> {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        let started = host.as_ref().filter(|known| known.name == said.name).map_or(said.started, |known| known.started);
        vec![host.insert(HostInfo { started, ..said }).clone()]
    }

    pub(crate) fn host(&self) -> Option<HostInfo> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the writer has ended.
    pub(crate) fn closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// The writer has ended: watches look up and see that it is over.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
        self.version.send_modify(|_| ());
        self.suspected.send_replace(());
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }

    pub(crate) fn count_commit(&self) {
        self.commits.fetch_add(1, Relaxed);
    }

    /// The work items that changed since the last call.
    pub(crate) fn changed_work(&self) -> Vec<(i64, Work)> {
        let mut queue = self.queue();
        let ids = queue.take_dirty();
        ids.into_iter().filter_map(|id| Some((id, queue.get(id)?.clone()))).collect()
    }

    /// Shows readers what is committed now.
    pub(crate) fn publish(&self, layer: Layer) {
        if layer.is_empty() {
            return;
        }
        let mut suspected = false;
        let version = {
            let mut state = self.write();
            for (key, entry) in layer.objects {
                match entry {
                    Some(entry) => {
                        // The same name with another uid: the old one was removed within the group.
                        if state.get(&key).is_some_and(|old| old.id != entry.id) {
                            state.remove(&key);
                        }
                        state.put(entry);
                    }
                    None => state.remove(&key),
                }
            }
            for (id, edges) in layer.edges {
                if !layer.removed.contains(&id) {
                    state.set_edges(id, edges);
                }
            }
            for (id, owners) in layer.owners {
                if !layer.removed.contains(&id) {
                    state.set_owners(id, owners);
                }
            }
            for (id, seq) in layer.suspects {
                if !layer.removed.contains(&id) {
                    suspected |= seq.is_some();
                    state.set_suspect(id, seq);
                }
            }
            for (_, logged) in layer.log {
                state.log(logged);
            }
            state.compacted = layer.compact.unwrap_or(state.compacted);
            state.version
        };
        self.tell(version, suspected);
    }

    /// Takes over what other hosts did.
    pub(crate) fn follow(&self, mut layer: Layer, work: Vec<(i64, Work)>, compacted: u64, reasons: u64) {
        let now = self.now();
        let due = work.iter().any(|(_, work)| work.owner.is_none() && work.due_at.is_some_and(|due_at| due_at <= now));
        let aims: Vec<i64> = layer.edges.keys().copied().chain(work.iter().map(|(id, _)| *id)).collect();
        {
            let mut queue = self.queue();
            layer.removed.iter().for_each(|id| queue.remove(*id));
            work.into_iter().for_each(|(id, work)| queue.follow(id, work));
        }
        let known = self.read().compacted;
        layer.compact = layer.compact.max(Some(compacted)).filter(|upto| *upto > known);
        self.publish(layer);
        {
            let (state, mut queue) = (self.read(), self.queue());
            aims.into_iter().for_each(|id| queue.aim(id, shares::targets(state.edges_of(id))));
        }
        let mut state = self.write();
        state.reasons = state.reasons.max(reasons);
        drop(state);
        if due {
            self.due.send_replace(());
        }
    }

    /// Puts all that was read anew in the place of what was known.
    pub(crate) fn replace(&self, state: State, queue: Queue) {
        let version = state.version;
        *self.write() = state;
        self.replace_queue(queue);
        self.tell(version, true);
        self.due.send_replace(());
    }

    /// Puts work items as their rows say them in the place of those that were known.
    pub(crate) fn replace_queue(&self, mut queue: Queue) {
        let mut known = self.queue();
        queue.remember(&known);
        *known = queue;
    }

    fn tell(&self, version: u64, suspected: bool) {
        self.version.send_replace(version);
        if suspected {
            self.suspected.send_replace(());
        }
    }
}

//! Shared watches: who is rung when something on a target changes.
//!
//! One watch for each (target, kind, namespace, labels) whatever the number of those who want it, and whatever values of these labels each of them wants
//! (see [`Selector`]): a thousand objects that each look for their own are one watch on the target. It never ends by itself: a target that is away costs one
//! sleeping task for each watch. A bell, no more: it names who should look again, and what changed is read by whoever looks.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::Target;
use crate::selector::Selector;
use crate::watcher::{Shared, run};

/// Called with the uid of an owner or a subscriber. Must not block.
pub type Ring = Arc<dyn Fn(&str) + Send + Sync>;

/// What to watch on a target, and which changes matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchScope {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// None: all namespaces, or a cluster-scoped kind.
    pub namespace: Option<String>,
    /// Label selector.
    pub selector: Option<String>,
    /// JSON pointers or dotted paths ([`crate::get_path`]): the subscriber is rung when one of them changes on some object. Empty: at any change.
    pub fields: Vec<String>,
}

impl WatchScope {
    /// Drift: everything of that kind that we applied. An event rings the owners that the object names, and not the subscriber, who only keeps the watch up.
    pub fn owned(api_version: &str, kind: &str) -> WatchScope {
        WatchScope {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: None,
            selector: Some(owned_selector()),
            fields: Vec::new(),
        }
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.fields.is_empty() && self.selector.as_deref() == Some(&owned_selector())
    }
}

fn owned_selector() -> String {
    format!("{}=threeport", crate::MANAGED_BY)
}

/// All watches of this host. Cheap to clone; when the last clone goes, the watches end.
#[derive(Clone)]
pub struct Watches {
    inner: Arc<Inner>,
}

struct Inner {
    ring: Ring,
    state: Mutex<State>,
}

/// A target and what to watch there.
type Want = (String, WatchScope);

#[derive(Default)]
struct State {
    targets: HashMap<String, Target>,
    /// What each subscriber wants.
    wanted: HashMap<String, BTreeSet<Want>>,
    running: HashMap<Key, Running>,
}

/// What one watch on the target covers. Only where someone looks at fields are whole objects read, else metadata, which moves with any change.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) target_id: String,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    /// What the target is asked for.
    pub(crate) selector: Option<String>,
    /// Labels whose values are told apart here.
    pub(crate) labels: Vec<String>,
    pub(crate) whole: bool,
}

impl Key {
    /// The watch that covers a scope, and the values of its labels that the scope is about.
    fn of(target_id: &str, scope: &WatchScope) -> (Key, Vec<String>) {
        let selector = scope.selector.as_deref();
        let Selector { asked, labels, values } =
            if scope.is_owned() { Selector::exact(selector) } else { Selector::shared(selector) };
        let key = Key {
            target_id: target_id.to_owned(),
            api_version: scope.api_version.clone(),
            kind: scope.kind.clone(),
            namespace: scope.namespace.clone(),
            selector: asked,
            labels,
            whole: !scope.fields.is_empty(),
        };
        (key, values)
    }
}

struct Running {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watches {
    /// `ring` is called from the watches' tasks and must not block. A uid may be rung more than once for one change, and once when a watch starts: what its
    /// owner saw before may be older than what the watch saw first.
    pub fn new(ring: Ring) -> Watches {
        Watches { inner: Arc::new(Inner { ring, state: Mutex::default() }) }
    }

    /// Tells the connection of a target. Another one than before (a new kubeconfig) restarts its watches. Must be called within a tokio runtime.
    pub fn set_target(&self, target_id: &str, target: &Target) {
        let mut state = self.lock();
        if state.targets.get(target_id).is_some_and(|known| known.same_connection(target)) {
            return;
        }
        state.targets.insert(target_id.to_owned(), target.clone());
        state.running.retain(|key, _| key.target_id != target_id);
        let all =
            state.wanted.iter().flat_map(|(uid, wants)| wants.iter().map(move |want| (uid.clone(), want.clone())));
        let here: Vec<_> = all.filter(|(_, (target, _))| target == target_id).collect();
        for (uid, want) in here {
            // What starts now rings when it has its first list.
            self.join(&mut state, &uid, &want);
        }
    }

    /// One more scope for a subscriber, on top of what it has.
    pub fn ensure(&self, subscriber_uid: &str, target_id: &str, target: &Target, scope: WatchScope) {
        self.set_target(target_id, target);
        let mut scopes: Vec<Want> = self.lock().wanted.get(subscriber_uid).into_iter().flatten().cloned().collect();
        scopes.push((target_id.to_owned(), scope));
        self.replace(subscriber_uid, scopes);
    }

    /// Everything a subscriber needs from now on; nothing ends its subscriptions. A watch that nobody needs any more ends. Watches of a target whose
    /// connection was not told yet ([`Watches::set_target`]) start when it is.
    pub fn replace(&self, subscriber_uid: &str, scopes: Vec<(String, WatchScope)>) {
        let new: BTreeSet<Want> = scopes.into_iter().collect();
        let mut late = false;
        {
            let mut state = self.lock();
            let old = state.wanted.remove(subscriber_uid).unwrap_or_default();
            for want in new.difference(&old) {
                late |= self.join(&mut state, subscriber_uid, want);
            }
            for want in old.difference(&new) {
                leave(&mut state, subscriber_uid, want);
            }
            if !new.is_empty() {
                state.wanted.insert(subscriber_uid.to_owned(), new);
            }
        }
        if late {
            (self.inner.ring)(subscriber_uid);
        }
    }

    /// The target is gone: its watches and all subscriptions to it end.
    pub fn forget_target(&self, target_id: &str) {
        let mut state = self.lock();
        state.targets.remove(target_id);
        state.running.retain(|key, _| key.target_id != target_id);
        for wants in state.wanted.values_mut() {
            wants.retain(|(target, _)| target != target_id);
        }
        state.wanted.retain(|_, wants| !wants.is_empty());
    }

    /// Whether a subscriber wants anything watched.
    pub fn has(&self, subscriber_uid: &str) -> bool {
        self.lock().wanted.contains_key(subscriber_uid)
    }

    /// Who wants something watched.
    pub fn subscribers(&self) -> Vec<String> {
        self.lock().wanted.keys().cloned().collect()
    }

    /// How many watches run: for metrics and tests.
    pub fn len(&self) -> usize {
        self.lock().running.len()
    }

    /// Does none run?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here panics halfway through a change.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the watch, or joins the one that runs. True: that one has its picture already, which may be newer than what the subscriber saw.
    fn join(&self, state: &mut State, uid: &str, (target_id, scope): &Want) -> bool {
        let Some(target) = state.targets.get(target_id).cloned() else { return false };
        let (key, values) = Key::of(target_id, scope);
        let running = state.running.entry(key).or_insert_with_key(|key| {
            let shared = Arc::new(Shared::new(self.inner.ring.clone(), key.labels.clone()));
            let task = tokio::spawn(run(key.clone(), target, shared.clone()));
            Running { shared, task }
        });
        running.shared.join(uid, scope, values)
    }
}

/// The last one out ends the watch.
fn leave(state: &mut State, uid: &str, (target_id, scope): &Want) {
    let (key, values) = Key::of(target_id, scope);
    if state.running.get(&key).is_some_and(|running| running.shared.leave(uid, scope, &values)) {
        state.running.remove(&key);
    }
}

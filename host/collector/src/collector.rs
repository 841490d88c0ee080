//! The loop: what there is to look at, and what came of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use threeport_scheduler::Bell;
use threeport_store::lifecycle::{self, CONTENT, DEPENDANTS, FOREGROUND, INSTANCES, ORPHAN};
use threeport_store::{Error, Object, Store, Suspect};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::meters;
use crate::scopes::Scopes;

/// Suspects that are looked at at a time: their writes share transactions.
const AT_A_TIME: usize = 32;

/// While the database fails.
const AFTER_ERROR: Duration = Duration::from_millis(500);

/// What happens by the same hand is gathered for so long: a namespace that empties is many removals and one reason to look.
const GATHER: Duration = Duration::from_millis(10);

/// A kind that is there without a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// API group, empty for core.
    pub group: String,
    /// Its name.
    pub kind: String,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
}

/// Looks at suspects. Several at a time do no harm.
pub struct Collector {
    pub(crate) store: Store,
    pub(crate) bell: Arc<dyn Bell>,
    pub(crate) built_in: Vec<BuiltIn>,
    /// Who says so, in Events.
    pub(crate) instance: String,
    /// What is defined, as it was last asked for.
    pub(crate) scopes: Mutex<Scopes>,
}

/// What looking at a suspect came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is nothing more to do.
    Settled,
    /// It waits for something to happen around it.
    Waits,
    /// Somebody else wrote meanwhile: look again.
    Again,
}

impl Collector {
    /// A collector. It does nothing until it is [run](Self::run).
    pub fn new(store: Store, bell: Arc<dyn Bell>, built_in: Vec<BuiltIn>, instance: impl Into<String>) -> Self {
        Self { store, bell, built_in, instance: instance.into(), scopes: Mutex::default() }
    }

    /// Works until `shutdown` says true (or its sender is gone), or the store is closed.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut news = self.store.suspected();
        let mut waiting: HashMap<Arc<str>, u64> = HashMap::new();
        while !self.store.is_closed() && !*shutdown.borrow() {
            news.borrow_and_update();
            let began = Instant::now();
            let round = self.round(&mut waiting).await;
            if let Err(error) = &round {
                tracing::warn!("what may have to go cannot be looked at: {error}; trying again");
            }
            let pause = pause(round.is_err(), began.elapsed());
            let wait = async {
                if let Ok(false) = round {
                    // An error: the store is gone.
                    let _news = news.changed().await;
                }
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                () = wait => {}
                stop = shutdown.changed() => {
                    if stop.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Looks at everything that something happened to; true if there is more to look at.
    async fn round(&self, waiting: &mut HashMap<Arc<str>, u64>) -> Result<bool, Error> {
        let suspects = self.store.suspects().await?;
        meters::suspects(suspects.len());
        let there: HashSet<Arc<str>> = suspects.iter().map(|suspect| suspect.object.uid.clone()).collect();
        waiting.retain(|uid, _| there.contains(uid));
        let fresh: Vec<Suspect> =
            suspects.into_iter().filter(|suspect| waiting.get(&suspect.object.uid) != Some(&suspect.seq)).collect();
        if fresh.is_empty() {
            return Ok(false);
        }
        let looked = futures::stream::iter(fresh)
            .map(|suspect| async move {
                let outcome = self.look(&suspect.object).await;
                (suspect, outcome)
            })
            .buffer_unordered(AT_A_TIME);
        let looked: Vec<_> = looked.collect().await;
        let (mut settled, mut failed) = (Vec::new(), None);
        for (suspect, outcome) in looked {
            let Suspect { object, seq } = suspect;
            match outcome {
                Ok(Outcome::Settled) => settled.push((object.uid, seq)),
                Ok(Outcome::Waits) => drop(waiting.insert(object.uid, seq)),
                Ok(Outcome::Again) => {}
                // Somebody else was faster: what there is now is another matter.
                Err(Error::Conflict { .. } | Error::NotFound(_) | Error::AlreadyExists(_)) => {}
                // It cannot be done for this one, and must not keep the others waiting.
                Err(error @ (Error::TooDeep(_) | Error::Corrupt(..))) => {
                    tracing::error!(object = %object.key, "cannot be collected: {error}");
                    waiting.insert(object.uid, seq);
                }
                Err(error) => failed = Some(error),
            }
        }
        if !settled.is_empty() {
            self.store.settle(settled).await?;
        }
        failed.map_or(Ok(true), Err)
    }

    async fn look(&self, object: &Object) -> Result<Outcome, Error> {
        let body = object.value();
        if !lifecycle::deleted(&body) {
            return self.judge(object, &body).await;
        }
        let has = |finalizer| lifecycle::has_finalizer(&body, finalizer);
        if has(DEPENDANTS) {
            return self.dependants(object, &body).await;
        }
        if lifecycle::is_namespace(&object.key) && holds_content(&body) {
            return self.namespace(object, &body).await;
        }
        if has(INSTANCES) {
            return self.instances(object, &body).await;
        }
        if has(ORPHAN) {
            return self.orphan(object, &body).await;
        }
        if has(FOREGROUND) {
            return self.foreground(object, &body).await;
        }
        Ok(Outcome::Settled)
    }
}

/// How long nothing is looked at after a round that took so long: others have work to do as well, and more gathers meanwhile.
fn pause(failed: bool, took: Duration) -> Duration {
    if failed { AFTER_ERROR } else { took.clamp(GATHER, AFTER_ERROR) }
}

/// Whether a namespace waits for what is in it. Its other finalizers are somebody else's.
fn holds_content(body: &Value) -> bool {
    body["spec"]["finalizers"].as_array().is_some_and(|finalizers| finalizers.iter().any(|name| name == CONTENT))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport_store::{Edge, Key, Op, Precondition, Resource};

    use super::*;

    fn object(plural: &str, namespace: Option<&str>, name: &str, uid: &str, rest: Value) -> (Key, Value) {
        let group = if plural == "customresourcedefinitions" { "apiextensions.k8s.io" } else { "" };
        let key =
            Key { resource: Resource::new(group, plural), namespace: namespace.map(Into::into), name: name.into() };
        let mut body = json!({"kind": "Thing", "apiVersion": "v1", "metadata": {"name": name, "uid": uid}});
        for (field, value) in rest.as_object().into_iter().flatten() {
            match field.as_str() {
                "metadata" => {
                    value.as_object().into_iter().flatten().for_each(|(k, v)| body["metadata"][k] = v.clone())
                }
                _ => body[field] = value.clone(),
            }
        }
        (key, body)
    }

    async fn make(store: &Store, edges: Option<Vec<Edge>>, (key, body): (Key, Value)) -> Object {
        let op = Op::Put { key, body, precondition: Precondition::Absent, edges, wake: None };
        store.write(vec![op]).await.expect("written").remove(0)
    }

    async fn remove(store: &Store, object: &Object) {
        let precondition = Precondition::Present { uid: Some(object.uid.clone()), resource_version: None };
        store.write(vec![Op::Remove { key: object.key.clone(), precondition }]).await.expect("removed");
    }

    const GOES: &str = "2026-01-01T00:00:00Z";

    /// The collector of a host that is held up between seeing a suspect and looking at it, as after SIGSTOP; what it saw is gone by then.
    #[tokio::test]
    async fn a_collector_that_was_held_up_takes_nothing_of_another_object_of_the_same_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = threeport_store::Config::new(dir.path().join("db"), threeport_store::Key32::generate());
        let store = Store::open(config).await.expect("a store");
        let bell = Arc::new(threeport_scheduler::local::bell().0);
        let late = Collector::new(store.clone(), bell, Vec::new(), "late");
        let names = json!({"group": "example.org", "names": {"plural": "kites"}});
        let seen = [
            ("namespaces", None, json!({"spec": {"finalizers": [CONTENT]}})),
            (
                "customresourcedefinitions",
                None,
                json!({"spec": names,
                "status": {"conditions": [{"type": "Established", "status": "True"}]}, "metadata": {"finalizers": [INSTANCES]}}),
            ),
            ("things", Some("other"), json!({"metadata": {"finalizers": [DEPENDANTS]}})),
        ];
        for (plural, namespace, rest) in seen {
            let mut going = rest.clone();
            going["metadata"]["deletionTimestamp"] = GOES.into();
            let gone = make(&store, None, object(plural, namespace, "a", "first", going)).await;
            remove(&store, &gone).await;
            let again = make(&store, None, object(plural, namespace, "a", "second", rest)).await;
            let needs = Edge { to: again.key.clone(), role: "requires".to_owned(), field: "spec.needs".to_owned() };
            let inside = match plural {
                "namespaces" => make(&store, None, object("things", Some("a"), "b", "b", json!({}))).await,
                "things" => make(&store, Some(vec![needs]), object("things", Some("c"), "c", "c", json!({}))).await,
                _ => {
                    let (key, body) = object("kites", Some("d"), "d", "d", json!({}));
                    make(&store, None, (Key { resource: Resource::new("example.org", "kites"), ..key }, body)).await
                }
            };
            let version = store.version();
            let looked = late.look(&gone).await;
            assert!(!matches!(looked, Ok(Outcome::Settled | Outcome::Waits)), "{plural}: {looked:?}");
            assert_eq!(store.version(), version, "{plural}: it wrote something");
            if plural == "namespaces" {
                // Nor are its Events taken, when it has nothing else.
                remove(&store, &inside).await;
                make(&store, None, object("events", Some("a"), "e", "e", json!({}))).await;
                let version = store.version();
                assert!(!matches!(late.look(&gone).await, Ok(Outcome::Settled)));
                assert_eq!(store.version(), version, "Events of another namespace are gone");
            }
        }
    }

    /// An owner that is gone never comes back, so only what the owned object itself says can have changed.
    #[tokio::test]
    async fn a_collector_that_was_held_up_leaves_what_was_freed_meanwhile() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = threeport_store::Config::new(dir.path().join("db"), threeport_store::Key32::generate());
        let store = Store::open(config).await.expect("a store");
        let built_in = vec![BuiltIn { group: String::new(), kind: "Thing".to_owned(), namespaced: true }];
        let late = Collector::new(store.clone(), Arc::new(threeport_scheduler::local::bell().0), built_in, "late");
        let owned = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Thing", "name": "gone", "uid": "gone"}]}});
        let seen = make(&store, None, object("things", Some("a"), "b", "b", owned)).await;
        let (key, body) = object("things", Some("a"), "b", "b", json!({}));
        let precondition = crate::deletion::as_read(&seen);
        store.write(vec![Op::Put { key, body, precondition, edges: None, wake: None }]).await.expect("freed");
        let version = store.version();
        assert!(matches!(late.look(&seen).await, Err(Error::Conflict { .. })));
        assert_eq!(store.version(), version);
    }

    #[test]
    fn a_round_is_followed_by_a_pause_as_long_as_it_took() {
        let after = |took| pause(false, Duration::from_millis(took)).as_millis();
        assert_eq!((after(0), after(40), after(9000)), (10, 40, 500));
        assert_eq!(pause(true, Duration::ZERO), AFTER_ERROR);
    }
}

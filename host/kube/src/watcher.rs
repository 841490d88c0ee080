//! One running watch: what it saw last, who is rung for what is different now.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use serde_json::Value;

use crate::mark::owners;
use crate::watch::{Key, Ring, WatchScope};
use crate::{Error, Reference, Target, get_path};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What the watch's task and its manager both see.
pub(crate) struct Shared {
    ring: Ring,
    view: Mutex<View>,
}

/// Uids, by the fields that matter to them; none: any change.
type ByFields = BTreeMap<Vec<String>, BTreeSet<String>>;

#[derive(Default)]
struct View {
    /// Labels by whose values subscribers are told apart.
    labels: Vec<String>,
    /// Who keeps the watch up for the owners that the objects name.
    keepers: BTreeSet<String>,
    /// Who is rung itself, by the values of these labels.
    subscribers: HashMap<Vec<String>, ByFields>,
    /// The objects as last seen; None until there was a whole list.
    seen: Option<HashMap<String, Seen>>,
    /// The list that is coming in.
    listing: HashMap<String, Seen>,
}

struct Seen {
    resource_version: String,
    owners: Vec<String>,
    /// The values of the labels by which subscribers are told apart.
    values: Vec<String>,
    /// None where only metadata is watched, and where nobody is to be rung for it.
    body: Option<Value>,
}

impl Shared {
    pub(crate) fn new(ring: Ring, labels: Vec<String>) -> Shared {
        Shared { ring, view: Mutex::new(View { labels, ..View::default() }) }
    }

    /// One more. True: there is a picture already, so whoever comes is to be rung.
    pub(crate) fn join(&self, uid: &str, scope: &WatchScope, values: Vec<String>) -> bool {
        let mut view = self.lock();
        if scope.is_owned() {
            view.keepers.insert(uid.to_owned());
            return false;
        }
        let of_values = view.subscribers.entry(values).or_default();
        of_values.entry(scope.fields.clone()).or_default().insert(uid.to_owned());
        view.seen.is_some()
    }

    /// One less. True: it was the last.
    pub(crate) fn leave(&self, uid: &str, scope: &WatchScope, values: &[String]) -> bool {
        let mut view = self.lock();
        if scope.is_owned() {
            view.keepers.remove(uid);
        } else if let Some(of_values) = view.subscribers.get_mut(values) {
            if let Some(uids) = of_values.get_mut(&scope.fields) {
                uids.remove(uid);
            }
            of_values.retain(|_, uids| !uids.is_empty());
            if of_values.is_empty() {
                view.subscribers.remove(values);
            }
        }
        view.keepers.is_empty() && view.subscribers.is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: Event<Value>) {
        // Rung after the lock is given back.
        let rung = self.lock().take(event);
        rung.iter().for_each(|uid| (self.ring)(uid));
    }
}

impl View {
    /// Takes an event in and tells who is to be rung.
    fn take(&mut self, event: Event<Value>) -> BTreeSet<String> {
        match event {
            Event::Init => {
                self.listing.clear();
                BTreeSet::new()
            }
            Event::InitApply(object) => {
                let (key, seen) = self.see(object);
                self.listing.insert(key, seen);
                BTreeSet::new()
            }
            Event::InitDone => self.listed(),
            Event::Apply(object) => {
                let (key, new) = self.see(object);
                let old = self.seen.get_or_insert_default().remove(&key);
                let rung = self.rung(old.as_ref(), Some(&new));
                self.seen.get_or_insert_default().insert(key, new);
                rung
            }
            Event::Delete(object) => {
                let (key, last) = self.see(object);
                let old = self.seen.get_or_insert_default().remove(&key);
                self.rung(Some(&old.unwrap_or(last)), None)
            }
        }
    }

    /// A whole list is in: what is different from before happened while we were away.
    fn listed(&mut self) -> BTreeSet<String> {
        let new = std::mem::take(&mut self.listing);
        let Some(old) = self.seen.take() else {
            let owned = !self.keepers.is_empty();
            let owners = new.values().filter(|_| owned).flat_map(|seen| &seen.owners);
            let uids = self.subscribers.values().flat_map(ByFields::values).flatten();
            let rung = uids.chain(owners).cloned().collect();
            self.seen = Some(new);
            return rung;
        };
        let mut rung = BTreeSet::new();
        for (key, seen) in &new {
            rung.extend(self.rung(old.get(key), Some(seen)));
        }
        for (_, seen) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
            rung.extend(self.rung(Some(seen), None));
        }
        self.seen = Some(new);
        rung
    }

    fn rung(&self, old: Option<&Seen>, new: Option<&Seen>) -> BTreeSet<String> {
        let mut rung = BTreeSet::new();
        if let (Some(old), Some(new)) = (old, new)
            && old.resource_version == new.resource_version
        {
            return rung;
        }
        if !self.keepers.is_empty() {
            rung.extend([old, new].into_iter().flatten().flat_map(|seen| &seen.owners).cloned());
        }
        // An object whose labels changed went away for the ones and came for the others.
        let mut all: Vec<&Vec<String>> = [old, new].into_iter().flatten().map(|seen| &seen.values).collect();
        all.dedup();
        for values in all {
            let here = |seen: Option<&Seen>, fields: &[String]| {
                seen.filter(|seen| seen.values == *values).map(|seen| seen.digest(fields))
            };
            for (fields, uids) in self.subscribers.get(values).into_iter().flatten() {
                if fields.is_empty() || here(old, fields) != here(new, fields) {
                    rung.extend(uids.iter().cloned());
                }
            }
        }
        rung
    }

    /// What is kept of an object.
    fn see(&self, object: Value) -> (String, Seen) {
        let (uid, mut seen) = Seen::of(object, &self.labels);
        if !self.subscribers.contains_key(&seen.values) {
            seen.body = None;
        }
        (uid, seen)
    }
}

impl Seen {
    fn of(mut object: Value, labels: &[String]) -> (String, Seen) {
        let text = |object: &Value, pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let uid = text(&object, "/metadata/uid");
        let all = object.pointer("/metadata/labels").and_then(Value::as_object);
        let pairs = all.into_iter().flatten();
        let owners = owners(pairs.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())))
            .map(str::to_owned)
            .collect();
        let value = |label: &String| all.and_then(|all| all.get(label)).and_then(Value::as_str).unwrap_or_default();
        let values = labels.iter().map(|label| value(label).to_owned()).collect();
        let resource_version = text(&object, "/metadata/resourceVersion");
        let whole = object
            .as_object()
            .is_some_and(|o| o.keys().any(|key| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata")));
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        (uid, Seen { resource_version, owners, values, body: whole.then_some(object) })
    }

    /// A digest of what is at these paths.
    fn digest(&self, fields: &[String]) -> u64 {
        let mut hasher = DefaultHasher::new();
        for field in fields {
            let value = self.body.as_ref().and_then(|body| get_path(body, field));
            value.map(Value::to_string).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Watches for ever. Errors only make it wait.
pub(crate) async fn run(key: Key, target: Target, shared: Arc<Shared>) {
    let mut wait = FIRST_WAIT;
    loop {
        match open(&key, &target).await {
            Ok(mut events) => {
                while let Some(event) = events.next().await {
                    match event {
                        Ok(event) => {
                            // A list that only began proves nothing.
                            if !matches!(event, Event::Init) {
                                wait = FIRST_WAIT;
                            }
                            shared.take(event);
                        }
                        Err(error) => {
                            tracing::debug!(target_id = key.target_id, kind = key.kind, %error, "watch interrupted");
                            // The kind may have been removed, or come back with another plural: look again.
                            if let watcher::Error::InitialListFailed(error) = error {
                                target.told("watch", &reference(&key), error);
                                break;
                            }
                            wait = pause(wait).await;
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(target_id = key.target_id, kind = key.kind, %error, "watch not started"),
        }
        wait = pause(wait).await;
    }
}

fn reference(key: &Key) -> Reference {
    Reference {
        api_version: key.api_version.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: String::new(),
    }
}

/// Sleeps, a little differently each time, and gives the next wait.
async fn pause(wait: Duration) -> Duration {
    tokio::time::sleep(wait.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
    (wait * 2).min(LONGEST_WAIT)
}

type Events = futures::stream::BoxStream<'static, watcher::Result<Event<Value>>>;

async fn open(key: &Key, target: &Target) -> Result<Events, Error> {
    let served = target.served("watch", &reference(key)).await?;
    let namespace = key.namespace.as_deref().filter(|_| served.namespaced);
    let config = watcher::Config { label_selector: key.selector.clone(), ..watcher::Config::default() };
    fn api<K: kube::Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>>(
        target: &Target,
        namespace: Option<&str>,
        resource: &ApiResource,
    ) -> Api<K> {
        match namespace {
            Some(namespace) => Api::namespaced_with(target.client(), namespace, resource),
            None => Api::all_with(target.client(), resource),
        }
    }
    Ok(if key.whole {
        values(watcher::watcher(api::<DynamicObject>(target, namespace, &served.resource), config)).boxed()
    } else {
        values(watcher::watcher(api::<PartialObjectMeta<DynamicObject>>(target, namespace, &served.resource), config))
            .boxed()
    })
}

fn values<K: serde::Serialize + Send + 'static>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
) -> impl Stream<Item = watcher::Result<Event<Value>>> + Send + 'static {
    let value = |object: K| serde_json::to_value(&object).unwrap_or_default();
    events.map(move |event| {
        event.map(|event| match event {
            Event::Init => Event::Init,
            Event::InitApply(object) => Event::InitApply(value(object)),
            Event::InitDone => Event::InitDone,
            Event::Apply(object) => Event::Apply(value(object)),
            Event::Delete(object) => Event::Delete(value(object)),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(uid: &str, version: u64, owner: &str, phase: &str) -> Value {
        json!({"metadata": {"uid": uid, "resourceVersion": version.to_string(), "labels": {"threeport.dev/owner-uid": owner}}, "status": {"phase": phase}})
    }

    fn view(keepers: &[&str], subscribers: &[(&str, &[&str])]) -> View {
        let mut view = View { keepers: keepers.iter().map(|k| (*k).to_owned()).collect(), ..View::default() };
        for (uid, fields) in subscribers {
            let fields = fields.iter().map(|f| (*f).to_owned()).collect();
            view.subscribers.entry(Vec::new()).or_default().entry(fields).or_default().insert((*uid).to_owned());
        }
        view
    }

    fn list(view: &mut View, objects: &[Value]) -> Vec<String> {
        view.take(Event::Init);
        for object in objects {
            assert!(view.take(Event::InitApply(object.clone())).is_empty());
        }
        view.take(Event::InitDone).into_iter().collect()
    }

    fn apply(view: &mut View, object: Value) -> Vec<String> {
        view.take(Event::Apply(object)).into_iter().collect()
    }

    #[test]
    fn drift_rings_the_owner_on_change_and_delete_and_not_the_subscriber() {
        let mut view = view(&["keeper"], &[]);
        assert_eq!(
            list(&mut view, &[object("a", 1, "owner-a", "x"), object("b", 1, "owner-b", "x")]),
            ["owner-a", "owner-b"]
        );
        assert_eq!(apply(&mut view, object("a", 2, "owner-a", "y")), ["owner-a"]);
        assert_eq!(apply(&mut view, object("a", 2, "owner-a", "y")), [""; 0]);
        assert_eq!(apply(&mut view, object("a", 3, "thief", "y")), ["owner-a", "thief"]);
        let rung: Vec<String> = view.take(Event::Delete(object("b", 4, "owner-b", "x"))).into_iter().collect();
        assert_eq!(rung, ["owner-b"]);
    }

    #[test]
    fn a_relist_rings_only_for_what_changed_while_away() {
        let mut view = view(&["keeper"], &[]);
        list(
            &mut view,
            &[object("a", 1, "owner-a", "x"), object("b", 1, "owner-b", "x"), object("c", 1, "owner-c", "x")],
        );
        assert_eq!(
            list(&mut view, &[object("a", 1, "owner-a", "x"), object("b", 2, "owner-b", "x")]),
            ["owner-b", "owner-c"]
        );
        assert_eq!(list(&mut view, &[object("a", 1, "owner-a", "x"), object("b", 2, "owner-b", "x")]), [""; 0]);
    }

    #[test]
    fn a_declared_watch_rings_its_subscriber_only_for_its_fields() {
        let mut view = view(&[], &[("phase", &["/status/phase"]), ("other", &["status.other"]), ("any", &[])]);
        assert_eq!(list(&mut view, &[object("a", 1, "o", "x")]), ["any", "other", "phase"]);
        assert_eq!(apply(&mut view, object("a", 2, "o", "x")), ["any"]);
        assert_eq!(apply(&mut view, object("a", 3, "o", "y")), ["any", "phase"]);
        assert_eq!(apply(&mut view, object("new", 4, "o", "x")), ["any", "other", "phase"]);
        assert_eq!(view.take(Event::Delete(object("a", 5, "o", "y"))).len(), 3);
    }

    #[test]
    fn who_comes_later_is_to_be_rung_and_the_last_to_leave_ends_the_watch() {
        let shared = Shared::new(Arc::new(|_: &str| {}), Vec::new());
        let fields = WatchScope { selector: None, fields: vec!["status".into()], ..WatchScope::owned("v1", "Pod") };
        let owned = WatchScope::owned("v1", "Pod");
        assert!(!shared.join("first", &fields, Vec::new()));
        shared.take(Event::Init);
        shared.take(Event::InitDone);
        assert!(shared.join("second", &fields, Vec::new()));
        assert!(!shared.join("keeper", &owned, Vec::new()));
        assert!(!shared.leave("first", &fields, &[]));
        assert!(!shared.leave("keeper", &owned, &[]));
        assert!(shared.leave("second", &fields, &[]));
    }

    #[test]
    fn who_wants_one_value_of_a_label_is_rung_for_that_and_for_what_has_it_no_longer() {
        let mut view = View { labels: vec!["app".into()], ..View::default() };
        for (app, uid) in [("one", "wants-one"), ("two", "wants-two")] {
            let of_app = view.subscribers.entry(vec![app.into()]).or_default();
            of_app.entry(vec!["status.phase".into()]).or_default().insert(uid.into());
        }
        let labelled = |uid: &str, version: u64, app: &str, phase: &str| {
            let mut object = object(uid, version, "o", phase);
            object["metadata"]["labels"]["app"] = app.into();
            object
        };
        assert_eq!(
            list(&mut view, &[labelled("a", 1, "one", "x"), labelled("c", 1, "three", "x")]),
            ["wants-one", "wants-two"]
        );
        assert_eq!(apply(&mut view, labelled("a", 2, "one", "y")), ["wants-one"]);
        assert_eq!(apply(&mut view, labelled("a", 3, "one", "y")), [""; 0], "another field");
        assert_eq!(apply(&mut view, labelled("b", 4, "two", "x")), ["wants-two"]);
        assert_eq!(apply(&mut view, labelled("a", 5, "two", "y")), ["wants-one", "wants-two"], "it moved");
        assert_eq!(apply(&mut view, labelled("c", 6, "three", "y")), [""; 0]);
        assert!(view.seen.as_ref().unwrap()["c"].body.is_none(), "what nobody asks for is not held in memory");
        assert_eq!(view.take(Event::Delete(labelled("a", 7, "two", "y"))).len(), 1);
    }
}

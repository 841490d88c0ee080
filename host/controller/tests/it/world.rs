//! A host of its own for each test, and writes as the API makes them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use threeport_collector::Collector;
use threeport_controller::{Config, Controller, Monitor};
use threeport_scheduler::{Bell, Wake, local};
use threeport_store::lifecycle::{self, Deletion, FINALIZER, Part};
use threeport_store::{Class, Edge, Key, Key32, ListQuery, Op, Precondition, Resource, Scope, Store};
use threeport_wasm::{Limits, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::SOON;

pub(crate) const GROUP: &str = "test.threeport.dev";

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) monitor: Monitor,
    bell: Arc<dyn Bell>,
    host: Host,
    dir: tempfile::TempDir,
}

struct Host {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Changes of the defaults that a test needs.
pub(crate) type Tune = fn(&mut Config, &mut Limits);

fn start(store: &Store, tune: Tune) -> (Arc<dyn Bell>, Monitor, Host) {
    let (bell, listener) = local::bell();
    let bell: Arc<dyn Bell> = Arc::new(bell);
    let mut config = Config::new(uuid::Uuid::new_v4().to_string());
    let mut limits = Limits::default();
    tune(&mut config, &mut limits);
    let runtime = Runtime::new(limits).unwrap();
    let controller = Controller::new(config, store.clone(), bell.clone(), Box::new(listener), runtime);
    let monitor = controller.monitor();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(controller.run(stopped));
    (bell, monitor, Host { stop, task })
}

/// A component that `plugins/build` made.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let built = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/plugins"));
    let path = std::env::var_os("THREEPORT_GUESTS").map_or_else(built, PathBuf::from).join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run plugins/build", path.display()))
}

pub(crate) fn key(plural: &str, namespace: Option<&str>, name: &str) -> Key {
    let group = match plural {
        "plugins" => "threeport.dev",
        "secrets" | "events" | "namespaces" => "",
        "customresourcedefinitions" => "apiextensions.k8s.io",
        _ => GROUP,
    };
    Key { resource: Resource::new(group, plural), namespace: namespace.map(Into::into), name: name.into() }
}

fn kind(plural: &str) -> (&'static str, &'static str) {
    match plural {
        "plugins" => ("threeport.dev/v1", "Plugin"),
        "secrets" => ("v1", "Secret"),
        "notes" => ("test.threeport.dev/v1", "Note"),
        "hostiles" => ("test.threeport.dev/v1", "Hostile"),
        _ => ("test.threeport.dev/v1", "Puppet"),
    }
}

/// Status, reason and message of a condition that speaks of the object's present generation.
pub(crate) fn condition(object: &Value, kind: &str) -> Option<(String, String, String)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    if found["observedGeneration"] != object["metadata"]["generation"] {
        return None;
    }
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::tuned(|_, _| {}).await
    }

    pub(crate) async fn tuned(tune: Tune) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = threeport_store::Config::new(dir.path().join("db"), Key32::generate());
        let store = Store::open(config).await.unwrap();
        let (bell, monitor, host) = start(&store, tune);
        Self { store, monitor, bell, host, dir }
    }

    /// Another host on the same store, after the first has stopped.
    pub(crate) async fn restarted(self) -> Self {
        let Self { store, host, dir, .. } = self;
        host.stop.send_replace(true);
        host.task.await.unwrap();
        let (bell, monitor, host) = start(&store, |_, _| {});
        Self { store, monitor, bell, host, dir }
    }

    /// [`restarted`](Self::restarted), with something happening while no host runs.
    pub(crate) async fn restarted_after(self, meanwhile: impl AsyncFnOnce(&Store)) -> Self {
        let Self { store, host, dir, .. } = self;
        host.stop.send_replace(true);
        host.task.await.unwrap();
        meanwhile(&store).await;
        let (bell, monitor, host) = start(&store, |_, _| {});
        Self { store, monitor, bell, host, dir }
    }

    /// Stops the host and looks that it left nothing behind.
    pub(crate) async fn stop(self) {
        self.host.stop.send_replace(true);
        self.host.task.await.unwrap();
        assert_eq!(self.store.queue().leased, 0, "a stopped host holds no lease");
        assert_eq!(self.monitor.stats().panics, 0);
    }

    pub(crate) async fn find(&self, plural: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        self.store.get(&key(plural, namespace, name)).await.unwrap().map(|object| object.value())
    }

    /// Creates or changes an object of a plugin's kind.
    pub(crate) async fn put(&self, plural: &str, namespace: &str, name: &str, spec: Value) {
        self.write(plural, Some(namespace), name, "spec", spec).await;
    }

    pub(crate) async fn secret(&self, namespace: &str, name: &str, data: Value) {
        self.write("secrets", Some(namespace), name, "data", data).await;
    }

    /// Sets an annotation, or takes it off.
    pub(crate) async fn annotate(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        annotation: &str,
        value: Option<&str>,
    ) {
        let change = |body: &mut Value| match value {
            Some(value) => body["metadata"]["annotations"][annotation] = json!(value),
            None => drop(body["metadata"]["annotations"].as_object_mut().unwrap().remove(annotation)),
        };
        self.change(plural, namespace, name, change).await;
    }

    /// Another spec of the same generation, which no API gives: for plans that change although no spec did.
    pub(crate) async fn replan(&self, plural: &str, namespace: &str, name: &str, spec: Value) {
        self.change(plural, namespace, name, |body| body["spec"] = spec.clone()).await;
    }

    async fn change(&self, plural: &str, namespace: &str, name: &str, change: impl Fn(&mut Value)) {
        let key = key(plural, Some(namespace), name);
        loop {
            let old = self.store.get(&key).await.unwrap().unwrap();
            let mut body = old.value();
            change(&mut body);
            let precondition = Precondition::Present { uid: None, resource_version: Some(old.resource_version) };
            let op = Op::Put { key: key.clone(), body, precondition, edges: None, wake: Some(Class::User) };
            match self.store.write(vec![op]).await {
                Ok(_) => return self.bell.ring(Wake::new(&*old.uid, "user")),
                Err(threeport_store::Error::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Writes as the API does: generation, finalizer, references, work item, and a ring after the commit. Repeats when another write comes between.
    async fn write(&self, plural: &str, namespace: Option<&str>, name: &str, part: &str, value: Value) {
        let key = key(plural, namespace, name);
        let (api_version, kind) = kind(plural);
        let edges = ["target", "requires"].into_iter().filter_map(|role| {
            let to = value.get(role)?.as_str()?;
            let to = Key { name: to.into(), ..key.clone() };
            Some(Edge { to, role: role.to_owned(), field: format!("spec.{role}") })
        });
        let edges: Vec<Edge> = edges.collect();
        loop {
            let stored = self.store.get(&key).await.unwrap();
            let mut body = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, part: value});
            if let Some(namespace) = namespace {
                body["metadata"]["namespace"] = json!(namespace);
            }
            if plural != "secrets" {
                body["metadata"]["finalizers"] = json!([FINALIZER]);
            }
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let (body, precondition) = match &stored {
                Some(old) => {
                    let present = Precondition::Present { uid: None, resource_version: Some(old.resource_version) };
                    (lifecycle::update(&old.value(), body, Part::Main), present)
                }
                None => {
                    let uid = uuid::Uuid::new_v4().to_string();
                    (lifecycle::create(body, now, &uid, true), Precondition::Absent)
                }
            };
            let uid = body["metadata"]["uid"].as_str().unwrap().to_owned();
            let wake = (plural != "secrets").then_some(Class::User);
            let op = Op::Put { key: key.clone(), body, precondition, edges: Some(edges.clone()), wake };
            match self.store.write(vec![op]).await {
                Ok(_) => return self.bell.ring(Wake::new(uid, "user")),
                Err(threeport_store::Error::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Starts a collector on the same store.
    pub(crate) fn collect(&self) -> (watch::Sender<bool>, JoinHandle<()>) {
        let (stop, stopped) = watch::channel(false);
        let collector = Collector::new(self.store.clone(), self.bell.clone(), Vec::new(), "test");
        (stop, tokio::spawn(collector.run(stopped)))
    }

    /// A namespace that is being deleted.
    pub(crate) async fn go(&self, name: &str) {
        let body = json!({
            "apiVersion": "v1", "kind": "Namespace", "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"},
            "metadata": {"name": name, "uid": format!("namespace-{name}"), "deletionTimestamp": "2026-01-01T00:00:00Z"},
        });
        let key = lifecycle::namespace_key(name);
        let op = Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: None };
        self.store.write(vec![op]).await.unwrap();
    }

    pub(crate) async fn delete(&self, plural: &str, namespace: Option<&str>, name: &str) {
        let key = key(plural, namespace, name);
        loop {
            let old = self.store.get(&key).await.unwrap().unwrap();
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let precondition = Precondition::Present { uid: None, resource_version: Some(old.resource_version) };
            let op = match lifecycle::delete(&old.value(), now, None) {
                Deletion::Mark(body) => {
                    Op::Put { key: key.clone(), body, precondition, edges: None, wake: Some(Class::User) }
                }
                Deletion::Remove => Op::Remove { key: key.clone(), precondition },
                Deletion::Already => return,
            };
            match self.store.write(vec![op]).await {
                Ok(_) => return self.bell.ring(Wake::new(&*old.uid, "user")),
                Err(threeport_store::Error::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Uploads a component and names it, with more in its Plugin's spec.
    pub(crate) async fn push_with(&self, plugin: &str, component: Vec<u8>, mut spec: Value) -> String {
        let digest = self.store.put_blob(component).await.unwrap();
        spec["component"] = json!(digest);
        self.write("plugins", None, plugin, "spec", spec).await;
        digest
    }

    /// Uploads a component and names it, with what it asks for approved or not.
    pub(crate) async fn push(&self, plugin: &str, component: Vec<u8>, approve: bool) -> String {
        let digest = self.store.put_blob(component).await.unwrap();
        let mut spec = json!({"component": digest});
        if approve {
            self.write("plugins", None, plugin, "spec", spec.clone()).await;
            let judged =
                self.until("plugins", None, plugin, |object| object["status"].get("requestedGrants").is_some()).await;
            spec["grants"] = judged["status"]["requestedGrants"].clone();
        }
        self.write("plugins", None, plugin, "spec", spec).await;
        digest
    }

    /// Pushes a component from `plugins/build` and waits until it serves.
    pub(crate) async fn serve(&self, plugin: &str, name: &str) -> String {
        let digest = self.push(plugin, component(name), true).await;
        self.until("plugins", None, plugin, |object| {
            condition(object, "Ready").is_some_and(|ready| ready.0 == "True") && object["status"]["digest"] == digest
        })
        .await;
        digest
    }

    /// The object once it is as asked.
    pub(crate) async fn until(
        &self,
        plural: &str,
        namespace: Option<&str>,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let start = Instant::now();
        loop {
            let found = self.find(plural, namespace, name).await.unwrap_or_default();
            if wanted(&found) {
                return found;
            }
            assert!(start.elapsed() < SOON, "{plural} {name} did not come to be as wanted; it is {found:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The object once Ready has this status and reason for its present generation.
    pub(crate) async fn ready(&self, plural: &str, namespace: &str, name: &str, status: &str, reason: &str) -> Value {
        self.until(plural, Some(namespace), name, |object| {
            condition(object, "Ready").is_some_and(|ready| ready.0 == status && ready.1 == reason)
        })
        .await
    }

    pub(crate) async fn gone(&self, plural: &str, namespace: Option<&str>, name: &str) {
        self.until(plural, namespace, name, Value::is_null).await;
    }

    /// Makes an object due and waits until it was looked at; true if nothing was written meanwhile.
    pub(crate) async fn look_again(&self, plural: &str, namespace: &str, name: &str) -> bool {
        let uid = self.store.get(&key(plural, Some(namespace), name)).await.unwrap().unwrap().uid;
        let (runs, version) = (self.monitor.stats().runs, self.store.version());
        self.store.wake(std::slice::from_ref(&uid), Class::Drift).await.unwrap();
        self.bell.ring(Wake::new(uid.to_string(), "user"));
        let start = Instant::now();
        while self.monitor.stats().runs == runs {
            assert!(start.elapsed() < SOON, "nobody looked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.store.version() == version
    }

    /// Reasons of the Events about an object.
    pub(crate) async fn events(&self, namespace: &str, name: &str) -> Vec<String> {
        self.told(namespace, name).await.into_iter().map(|(reason, _)| reason).collect()
    }

    /// Reasons and messages of the Events about an object.
    pub(crate) async fn told(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        let scope = Scope { resource: Resource::new("", "events"), namespace: Some(namespace.into()) };
        let list = self.store.list(ListQuery { scope, limit: None, after: None, at: None }).await.unwrap();
        let events = list.items.iter().map(threeport_store::Object::value);
        events
            .filter(|event| event["involvedObject"]["name"] == name)
            .map(|event| ["reason", "message"].map(|field| event[field].as_str().unwrap_or_default().to_owned()).into())
            .collect()
    }
}

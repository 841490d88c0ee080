//! What a run wants: the whole desired set.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::bindings::threeport::reconciler::types as wit;
use crate::resource::reference;
use crate::{ObjectRef, Resource};

pub use wit::Watch;

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It cannot be seen.
    Unknown,
}

/// One aspect of how an object is.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    kind: String,
    status: Status,
    reason: String,
    message: String,
}

impl Condition {
    /// `kind` is the type, `Ready` say; `reason` one word in UpperCamelCase; `message` says what is and what to do about it.
    pub fn new(kind: &str, status: Status, reason: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), status, reason: reason.into(), message: message.into() }
    }

    /// The condition `Ready`. It is a claim: the host says it only when what the plan wants is there and healthy.
    pub fn ready(status: Status, reason: &str, message: impl Into<String>) -> Self {
        Self::new("Ready", status, reason, message)
    }

    pub(crate) fn into_wit(self) -> wit::Condition {
        let status = match self.status {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        };
        wit::Condition { kind: self.kind, status: status.into(), reason: self.reason, message: self.message }
    }
}

/// One object on a target.
#[derive(Clone, Debug)]
pub struct Manifest(wit::Manifest);

impl Manifest {
    /// `body` is all of the object that the plugin answers for; what it leaves out is the target's or others'.
    ///
    /// # Panics
    /// When the body has no kind or name: that is a fault of the plugin.
    pub fn new(target: ObjectRef, body: &Value) -> Self {
        assert!(
            body["apiVersion"].is_string() && body["kind"].is_string() && body["metadata"]["name"].is_string(),
            "a manifest needs apiVersion, kind and metadata.name: {body}"
        );
        Self(wit::Manifest {
            target,
            body: body.to_string(),
            options: vec![],
            after: vec![],
            ignore: vec![],
            ready: None,
        })
    }

    /// `adopt`: take over what is there under that name. `keep`: leave it when it is no longer wanted.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.0.options.push(option.into());
        self
    }

    /// Not before `Kind/namespace/name` of the same plan is ready.
    #[must_use]
    pub fn after(mut self, manifest: impl Into<String>) -> Self {
        self.0.after.push(manifest.into());
        self
    }
}

/// The whole desired set of one object.
pub struct Plan<R: Resource> {
    status: R::Status,
    conditions: Vec<Condition>,
    manifests: Vec<wit::Manifest>,
    outputs: Vec<(String, String)>,
    connection: Option<wit::Connection>,
    options: Map<String, Value>,
    watches: Vec<Watch>,
    events: Vec<wit::Event>,
    memory: Option<Value>,
    next: wit::Next,
}

impl<R: Resource> Plan<R> {
    /// Wants nothing yet, and to be run again when something changes.
    pub fn new(status: R::Status) -> Self {
        Self {
            status,
            conditions: vec![],
            manifests: vec![],
            outputs: vec![],
            connection: None,
            options: Map::new(),
            watches: vec![],
            events: vec![],
            memory: None,
            next: wit::Next::AwaitChange,
        }
    }

    /// Says how the object is, in one respect.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Wants something on a target.
    #[must_use]
    pub fn manifest(mut self, manifest: Manifest) -> Self {
        self.manifests.push(manifest.0);
        self
    }

    /// Publishes a value to those that refer to the object.
    #[must_use]
    pub fn output(mut self, name: &str, value: impl Into<String>) -> Self {
        self.outputs.push((name.into(), value.into()));
        self
    }

    /// Makes the object a target: the way in is in this key of a Secret of the object's namespace.
    #[must_use]
    pub fn connection(mut self, secret: ObjectRef, key: &str) -> Self {
        self.connection = Some(wit::Connection { secret, key: key.into(), target: None, options: "{}".into() });
        self
    }

    /// An option of the connection: `tenants` and `isolation` (see the documentation of [`wit::Connection`] in the contract).
    #[must_use]
    pub fn connection_option(mut self, name: &str, value: Value) -> Self {
        self.options.insert(name.into(), value);
        self
    }

    /// Wants to be run when one of these fields (dotted paths) of something on a target changes.
    #[must_use]
    pub fn watch(
        mut self,
        target: ObjectRef,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        fields: &[&str],
    ) -> Self {
        self.watches.push(Watch {
            target,
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            selector: None,
            fields: fields.iter().map(|field| (*field).into()).collect(),
        });
        self
    }

    /// [`Plan::watch`] of what carries these labels only.
    #[must_use]
    pub fn watch_labelled(
        self,
        target: ObjectRef,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        fields: &[&str],
        selector: &str,
    ) -> Self {
        let mut plan = self.watch(target, api_version, kind, namespace, fields);
        if let Some(watch) = plan.watches.last_mut() {
            watch.selector = Some(selector.into());
        }
        plan
    }

    /// Writes a Normal event.
    #[must_use]
    pub fn event(mut self, reason: &str, message: impl Into<String>) -> Self {
        self.events.push(wit::Event { kind: "Normal".into(), reason: reason.into(), message: message.into() });
        self
    }

    /// Writes a Warning event.
    #[must_use]
    pub fn warning(mut self, reason: &str, message: impl Into<String>) -> Self {
        self.events.push(wit::Event { kind: "Warning".into(), reason: reason.into(), message: message.into() });
        self
    }

    /// Leaves something for the next run, at most 64 KiB of JSON.
    #[must_use]
    pub fn memory(mut self, memory: Value) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Wants to be run again after a while, whatever happens.
    #[must_use]
    pub fn requeue_after(mut self, after: Duration) -> Self {
        self.next = wit::Next::RequeueAfterMs(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    pub(crate) fn into_wit(self) -> Result<wit::Plan, serde_json::Error> {
        Ok(wit::Plan {
            status: serde_json::to_string(&self.status)?,
            conditions: self.conditions.into_iter().map(Condition::into_wit).collect(),
            children: vec![],
            manifests: self.manifests,
            renderings: vec![],
            secrets: vec![],
            removals: vec![],
            outputs: self.outputs,
            output_secrets: vec![],
            connection: self
                .connection
                .map(|connection| wit::Connection { options: Value::Object(self.options).to_string(), ..connection }),
            watches: self.watches,
            probes: vec![],
            events: self.events,
            memory: self.memory.map(|memory| memory.to_string()),
            next: self.next,
            extensions: vec![],
        })
    }
}

/// A Secret of the control plane.
pub(crate) fn secret(namespace: Option<&str>, name: &str) -> ObjectRef {
    reference("v1", "Secret", namespace, name)
}

impl ObjectRef {
    /// A Secret of the control plane.
    pub fn secret(namespace: Option<&str>, name: &str) -> Self {
        secret(namespace, name)
    }
}

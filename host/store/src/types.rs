//! Keys, objects, changes and writes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A collection: API group and plural name (`apps`/`deployments`). The core group is the empty string. Versions of a kind share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// API group, empty for core.
    pub group: Arc<str>,
    /// Plural name in lower case.
    pub plural: Arc<str>,
}

impl Resource {
    /// A collection by group and plural.
    pub fn new(group: impl Into<Arc<str>>, plural: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), plural: plural.into() }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { write!(f, "{}", self.plural) } else { write!(f, "{}.{}", self.plural, self.group) }
    }
}

/// Where an object lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Its collection.
    pub resource: Resource,
    /// None for cluster-scoped kinds.
    pub namespace: Option<Arc<str>>,
    /// metadata.name
    pub name: Arc<str>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} \"{}/{}\"", self.resource, namespace, self.name),
            None => write!(f, "{} \"{}\"", self.resource, self.name),
        }
    }
}

/// Objects and lists within each other, at most, in a body. JSON readers give up a little later (at 128), and an object may be wrapped on its way.
pub const MAX_DEPTH: usize = 100;

/// Whether a value holds objects and lists nested deeper than that.
pub fn deeper_than(value: &Value, levels: usize) -> bool {
    let inner = |inner: &Value| levels == 0 || deeper_than(inner, levels - 1);
    match value {
        Value::Object(fields) => levels == 0 || fields.values().any(inner),
        Value::Array(items) => levels == 0 || items.iter().any(inner),
        _ => false,
    }
}

/// A stored object at one version. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it lives.
    pub key: Key,
    /// metadata.uid
    pub uid: Arc<str>,
    /// Position of its last change in the change log; also in the body as `metadata.resourceVersion`.
    pub resource_version: u64,
    /// The whole object as JSON, in the clear.
    pub body: Bytes,
}

impl Object {
    /// The body, parsed. A stored body always parses.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Created.
    Added,
    /// Updated.
    Modified,
    /// Removed; the object is as it was last, at the resourceVersion of its removal.
    Deleted,
}

/// One entry of the change log.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object after it (before it, for a removal), carrying the change's resourceVersion.
    pub object: Object,
    /// The body before a modification: selectors need it to tell "left the selection".
    pub previous: Option<Bytes>,
}

/// Which objects. Selectors are the API's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The collection.
    pub resource: Resource,
    /// None: all namespaces.
    pub namespace: Option<Arc<str>>,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Which objects.
    pub scope: Scope,
    /// At most this many; None: all.
    pub limit: Option<usize>,
    /// Go on after this object, ...
    pub after: Option<(Option<Arc<str>>, Arc<str>)>,
    /// ... as of this resourceVersion. [`Error::Gone`](crate::Error::Gone) when the log no longer reaches it.
    pub at: Option<u64>,
}

/// A page, ordered by namespace and name.
#[derive(Clone, Debug)]
pub struct List {
    /// The objects.
    pub items: Vec<Object>,
    /// The snapshot this page is of.
    pub resource_version: u64,
    /// How many follow after this page.
    pub remaining: usize,
}

/// What must hold for a write to happen; checked in its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no such object ([`AlreadyExists`](crate::Error::AlreadyExists)).
    Absent,
    /// It is there ([`NotFound`](crate::Error::NotFound)), and matches what is given ([`Conflict`](crate::Error::Conflict)).
    Present {
        /// Its uid.
        uid: Option<Arc<str>>,
        /// Its resourceVersion.
        resource_version: Option<u64>,
    },
}

/// What must hold besides, about other objects; checked in the write's transaction, so that nothing can come between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nobody needs the object: no edge with the role `target` or `requires` points at it, but from itself and from these ([`InUse`](crate::Error::InUse)).
    Unused {
        /// The object.
        key: Key,
        /// Whose edges do not count.
        but: Vec<Key>,
    },
    /// Nobody outside needs an object of the namespace ([`InUse`](crate::Error::InUse)).
    NamespaceUnused(Arc<str>),
    /// The object is there ([`NotFound`](crate::Error::NotFound)) and its deletion was not asked for ([`Going`](crate::Error::Going)).
    Stays(Key),
    /// The object is there ([`NotFound`](crate::Error::NotFound)) and is this one, not another of the same name ([`Conflict`](crate::Error::Conflict)).
    Same {
        /// Where it is.
        key: Key,
        /// Its uid.
        uid: Arc<str>,
    },
    /// Nothing that is needed by these references, and was not before, is being deleted, nor another namespace that it lies in
    /// ([`Leaving`](crate::Error::Leaving)). It need not be there.
    Lasting {
        /// Whose references they will be.
        from: Key,
        /// All of them.
        edges: Vec<Edge>,
    },
    /// There is nothing in scope ([`NotEmpty`](crate::Error::NotEmpty)).
    None(Scope),
    /// There is nothing in the namespace, of whatever kind ([`NotEmpty`](crate::Error::NotEmpty)).
    NoneIn(Arc<str>),
}

/// An object that the collector has to look at: something happened by which it, or others because of it, may have to go.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// As it is now.
    pub object: Object,
    /// Rises with everything that happened; settles exactly what was seen.
    pub seq: u64,
}

/// A reference from the written object to another, which need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// What it points at.
    pub to: Key,
    /// `target`, `requires` or `uses`; see the contract in `wit/`.
    pub role: String,
    /// JSON path of the field that says so.
    pub field: String,
}

impl Edge {
    /// Whether the object that says so cannot do without the other.
    pub fn is_needed(&self) -> bool {
        self.is_target() || self.role == "requires"
    }

    /// Whether runs for the object that says so go to the other.
    pub fn is_target(&self) -> bool {
        self.role == "target"
    }
}

/// Urgency of work: claims go class by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A user changed or deleted it.
    User = 0,
    /// Something it depends on changed.
    Dependency = 1,
    /// What it put on a target drifted or moved on.
    Drift = 2,
    /// Periodic.
    Resync = 3,
}

impl Class {
    /// All, the most urgent first; each stands at its number.
    pub const ALL: [Self; 4] = [Self::User, Self::Dependency, Self::Drift, Self::Resync];

    /// As it stands in meters and subjects.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Dependency => "dependency",
            Self::Drift => "drift",
            Self::Resync => "resync",
        }
    }
}

/// One step of a transaction.
#[derive(Clone, Debug)]
pub enum Op {
    /// Writes an object. The store sets `metadata.resourceVersion` and nothing else; a body equal to the stored one changes nothing.
    Put {
        /// Where.
        key: Key,
        /// The complete object with metadata.uid.
        body: Value,
        /// What must hold.
        precondition: Precondition,
        /// Replaces its references; None leaves them.
        edges: Option<Vec<Edge>>,
        /// Makes its work item due now, in this class (creates the item if need be); None: no reconciler has to look.
        wake: Option<Class>,
    },
    /// Removes an object with its work item, references, inventory and carried state. Objects that refer to it are woken, and those that it owns
    /// become [`Suspect`]s.
    Remove {
        /// Where.
        key: Key,
        /// What must hold.
        precondition: Precondition,
    },
    /// Writes nothing; the transaction happens only if this holds.
    Check(Demand),
}

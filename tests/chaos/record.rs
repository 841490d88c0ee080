//! The suite's own record: what was asked for, what was acknowledged, what may have won without that.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// What objects are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A built-in kind: nobody reconciles it.
    ConfigMap,
    /// A plugin's kind that needs no target.
    Note,
    /// A plugin's kind whose objects have manifests on a target.
    Puppet,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::ConfigMap, Self::Note, Self::Puppet];

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Note => "notes",
            Self::Puppet => "puppets",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Note => "Note",
            Self::Puppet => "Puppet",
        }
    }

    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::ConfigMap => "v1",
            Self::Note | Self::Puppet => "test.threeport.dev/v1",
        }
    }

    /// A path of the API.
    pub(crate) fn path(self, namespace: &str) -> String {
        let root = if self == Self::ConfigMap { "/api/v1" } else { "/apis/test.threeport.dev/v1" };
        format!("{root}/namespaces/{namespace}/{}", self.plural())
    }

    pub(crate) fn is_reconciled(self) -> bool {
        self != Self::ConfigMap
    }

    /// Where the token stands.
    pub(crate) fn token_path(self) -> &'static str {
        match self {
            Self::ConfigMap => "/data/token",
            Self::Note => "/spec/text",
            Self::Puppet => "/spec/outputs/token",
        }
    }
}

/// What one write asked for. The token is like no other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) token: String,
    /// How many manifests are to be on the target.
    pub(crate) pieces: usize,
    /// The object whose connection leads there.
    pub(crate) target: Option<String>,
}

impl Content {
    /// The part of the object that users write.
    pub(crate) fn body(&self, kind: Kind, namespace: &str, name: &str) -> Value {
        match kind {
            Kind::ConfigMap => json!({"data": {"token": self.token}}),
            Kind::Note => json!({"spec": {"text": self.token}}),
            Kind::Puppet => json!({"spec": {
                "target": self.target, "outputs": {"token": self.token}, "manifests": self.manifests(namespace, name)
            }}),
        }
    }

    pub(crate) fn manifests(&self, namespace: &str, name: &str) -> Value {
        let body = |(name, token): (String, String)| {
            json!({"body": {
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"token": token}
            }})
        };
        Value::Array(self.on_target(name).map(body).collect())
    }

    /// What the target is to hold because of an object: names of ConfigMaps, and their tokens.
    pub(crate) fn on_target(&self, name: &str) -> impl Iterator<Item = (String, String)> {
        (0..self.pieces).map(move |piece| (format!("{name}-{piece}"), self.token.clone()))
    }
}

/// How an object is, or may be. None: it is not there, or is going.
pub(crate) type State = Option<Content>;

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// The resourceVersion that it was answered with; None for a deletion.
    pub(crate) version: Option<u64>,
    pub(crate) verb: &'static str,
}

/// One object from its first write to its last. A name is used for one object, and is created by one request: what lingers somewhere and arrives late can
/// then be told from what was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    /// As the last acknowledged write (or a look after it) left it.
    pub(crate) certain: State,
    /// What writes that nobody acknowledged since then may have made of it.
    pub(crate) maybe: Vec<State>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Tokens of all writes that were sent.
    pub(crate) tokens: BTreeSet<String>,
    /// Nothing more is written.
    pub(crate) over: bool,
    pub(crate) looks: u32,
}

impl Story {
    pub(crate) fn new(kind: Kind, name: String) -> Self {
        Self {
            kind,
            name,
            uid: None,
            certain: None,
            maybe: Vec::new(),
            acknowledged: Vec::new(),
            tokens: BTreeSet::new(),
            over: false,
            looks: 0,
        }
    }

    /// A write was acknowledged: all that was sent before it is overwritten, or can do nothing any more.
    pub(crate) fn acknowledge(&mut self, state: State, version: Option<u64>, verb: &'static str) {
        self.over |= state.is_none();
        self.certain = state;
        self.maybe.clear();
        self.looks = 0;
        self.acknowledged.push(Acknowledged { version, verb });
    }

    /// A look told that a write which nobody acknowledged has won. A look may also be of the past, which tells nothing.
    pub(crate) fn seen(&mut self, token: &str) {
        let won = self.maybe.iter().flatten().find(|content| content.token == token).cloned();
        if let Some(content) = won {
            self.certain = Some(content);
            self.maybe.clear();
            self.looks = 0;
        }
    }

    /// Whether it may be so.
    pub(crate) fn allows(&self, token: Option<&str>) -> bool {
        std::iter::once(&self.certain)
            .chain(&self.maybe)
            .any(|state| state.as_ref().map(|content| content.token.as_str()) == token)
    }

    /// The content with that token.
    pub(crate) fn content(&self, token: &str) -> Option<&Content> {
        std::iter::once(&self.certain).chain(&self.maybe).flatten().find(|content| content.token == token)
    }
}

/// What the writers know in the end.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) stories: Vec<Story>,
    pub(crate) undecided: u64,
    /// Answered with an error that says that nothing was written.
    pub(crate) refused: u64,
    /// Answers that no write explains.
    pub(crate) strange: Vec<String>,
}

impl Written {
    pub(crate) fn add(&mut self, other: Self) {
        self.stories.extend(other.stories);
        self.undecided += other.undecided;
        self.refused += other.refused;
        self.strange.extend(other.strange);
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.stories.iter().map(|story| story.acknowledged.len()).sum()
    }
}

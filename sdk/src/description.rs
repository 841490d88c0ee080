//! What a plugin says of itself.

use serde_json::Value;

use crate::bindings::exports::threeport::reconciler::guest as wit;

/// What a reference means to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The plan acts on it: it is where manifests go.
    Target,
    /// The object cannot be without it; it cannot be deleted while the object is there.
    Requires,
    /// The object makes use of it.
    Uses,
}

/// What a plugin serves, refers to and asks for.
#[derive(Clone, Debug)]
pub struct Description(wit::Descriptor);

impl Description {
    /// `name` is a DNS label; usually `env!("CARGO_PKG_NAME")` and `env!("CARGO_PKG_VERSION")`.
    pub fn new(name: &str, version: &str) -> Self {
        Self(wit::Descriptor {
            name: name.into(),
            version: version.into(),
            kinds: vec![],
            references: vec![],
            grants: vec![],
            documentation: String::new(),
            extensions: vec![],
        })
    }

    /// Serves a kind: a CustomResourceDefinition as JSON, from [`crate::include_yaml!`] or `include_str!`.
    #[must_use]
    pub fn kind(mut self, definition: &str) -> Self {
        self.0.kinds.push(definition.into());
        self
    }

    /// A field of a kind's spec names other objects, of these kinds. It holds a name, or an object with a `name`.
    #[must_use]
    pub fn reference(mut self, kind: &str, field: &str, to_api_version: &str, to_kinds: &[&str], role: Role) -> Self {
        let role = match role {
            Role::Target => "target",
            Role::Requires => "requires",
            Role::Uses => "uses",
        };
        self.0.references.push(wit::Reference {
            kind: kind.into(),
            field: field.into(),
            to_api_version: to_api_version.into(),
            to_kinds: to_kinds.iter().map(|kind| (*kind).into()).collect(),
            cross_namespace: false,
            role: role.into(),
        });
        self
    }

    /// Asks to act on and read from targets: rules of `apiGroups`, `kinds`, `verbs` (get, list, watch, apply, delete), and where wanted
    /// `namespaces` (default: the tenant's own; `*` for all and for what has none), `names` and `targets`.
    #[must_use]
    pub fn kubernetes(self, rules: &Value) -> Self {
        self.grant("kubernetes", rules)
    }

    /// Asks to read other objects of the control plane: rules of `apiGroups`, `kinds`, `verbs` (get, list) and `namespaces`.
    #[must_use]
    pub fn state(self, rules: &Value) -> Self {
        self.grant("state", rules)
    }

    fn grant(mut self, capability: &str, rules: &Value) -> Self {
        self.0.grants.push(wit::Grant { capability: capability.into(), rules: rules.to_string() });
        self
    }

    /// What people read about the plugin, in Markdown.
    #[must_use]
    pub fn documentation(mut self, text: &str) -> Self {
        self.0.documentation = text.into();
        self
    }

    #[doc(hidden)]
    pub fn into_wit(self) -> wit::Descriptor {
        self.0
    }
}

//! One kind in one version.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use threeport_store::{ReferenceRule, Resource};

use super::scale::Scale;
use super::view::View;
use crate::jsonpath::JsonPath;
use crate::schema::Schema;

/// A kind as it is served in one version.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Its collection.
    pub resource: Resource,
    /// The collection its objects are stored in: another one for a [`View`].
    pub stored: Resource,
    /// Shows the objects of another kind.
    pub view: Option<View>,
    /// This version.
    pub version: Arc<str>,
    /// `group/version`, or `version` for core.
    pub api_version: Arc<str>,
    /// The version objects are stored in, as an apiVersion.
    pub storage_api_version: Arc<str>,
    /// `Widget`
    pub kind: Arc<str>,
    /// `WidgetList`
    pub list_kind: Arc<str>,
    /// `widget`
    pub singular: Arc<str>,
    /// `wd`
    pub short_names: Vec<String>,
    /// `all`
    pub categories: Vec<String>,
    /// False: cluster-scoped.
    pub namespaced: bool,
    /// The same, as its definition says it.
    pub scope: Arc<str>,
    /// Has a `status` subresource.
    pub has_status: bool,
    /// Has a `scale` subresource.
    pub scale: Option<Scale>,
    /// Fields beyond name and namespace that objects can be selected by.
    pub selectable: Vec<Selectable>,
    /// What whoever uses this version is warned of.
    pub deprecation: Option<String>,
    /// Objects written before this resourceVersion may lack defaults of the schema, or have fields that it does not know.
    pub since: u64,
    /// Served by the host itself.
    pub builtin: bool,
    /// Asked by POST and answered, never stored.
    pub answered: bool,
    /// Subresources besides `status`.
    pub subresources: Vec<Subresource>,
    /// Compiled schema with `apiVersion`, `kind` and `metadata`.
    pub schema: Schema,
    /// The same for an object whose Definition says the rest; None for kinds whose objects take no Definition.
    pub partial: Option<Schema>,
    /// Its source, for OpenAPI.
    pub source: Value,
    /// Table columns after the name.
    pub columns: Vec<Column>,
    /// A reconciler looks after its objects: they carry the cleanup finalizer and have work items.
    pub reconciled: bool,
    /// Fields that name other objects.
    pub references: Vec<ReferenceRule>,
}

impl Kind {
    /// Where an OpenAPI document says which kinds something is about.
    pub(crate) const NAMED: &str = "x-kubernetes-group-version-kind";

    /// The collection's path: `/apis/example.com/v1`.
    pub(crate) fn group_path(&self) -> String {
        if self.resource.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.resource.group, self.version)
        }
    }

    /// What can be done with its objects, in the order in which Kubernetes says it.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        if self.answered {
            &["create"]
        } else if self.builtin {
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        } else {
            &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
        }
    }

    /// Whether Kubernetes itself has this kind, and its clients a type for it; what is wrong with its types is then found while decoding.
    pub(crate) fn is_typed(&self) -> bool {
        self.builtin && &*self.resource.group != super::OWN_GROUP
    }

    /// Whether its objects count the generations of what is desired.
    pub(crate) fn has_generation(&self) -> bool {
        !self.is_typed() || &*self.resource.group == super::CRD_GROUP
    }

    /// Whether a write of its status writes labels and the like as well, as Kubernetes has it for some of its own kinds.
    pub(crate) fn status_has_metadata(&self) -> bool {
        self.is_builtin("", "namespaces")
    }

    /// Whether this is the built-in kind of that name.
    pub(crate) fn is_builtin(&self, group: &str, plural: &str) -> bool {
        self.builtin && &*self.resource.group == group && &*self.resource.plural == plural
    }
}

/// A subresource of a built-in kind, with a kind of its own.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Subresource {
    /// Its name in paths.
    pub name: String,
    /// Group of its kind.
    pub group: String,
    /// Version of its kind.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

/// A field that objects can be selected by.
#[derive(Debug)]
pub(crate) struct Selectable {
    /// As selectors name it: `spec.mode`.
    pub field: String,
    /// Where the value is in a stored object; the first that is there counts.
    pub paths: Vec<JsonPath>,
}

/// A column of a Table.
#[derive(Debug)]
pub(crate) struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean`, `date`
    pub kind: String,
    /// OpenAPI format.
    pub format: String,
    /// For people.
    pub description: String,
    /// 0: always shown; higher: with `-o wide`.
    pub priority: i64,
    /// Where the value is.
    pub path: ColumnPath,
}

/// Where a column's value is.
#[derive(Debug)]
pub(crate) enum ColumnPath {
    /// At a JSONPath.
    Json(JsonPath),
    /// Number of entries at a path (ConfigMap and Secret data, which kubectl shows as a number).
    Count(Vec<JsonPath>),
    /// The first path that has a value.
    First(Vec<JsonPath>),
    /// How long ago the time at the first path that has one was.
    Age(Vec<JsonPath>),
    /// When it was created, as a time.
    Created,
    /// `kind/name` of an object reference, in lower case.
    Reference(JsonPath),
    /// `Kind/name`, as it is written.
    Slash(JsonPath),
    /// Names of the subjects of one kind.
    Subjects(String),
}

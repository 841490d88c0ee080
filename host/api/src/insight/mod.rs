//! What belongs to an object, and why it is as it is: the subresources `tree` and `why` of every object. And the queue as a whole.
//!
//! They are read-only views, made when they are asked for: from what is stored, and from what only the controller can tell ([`Insight`]).

mod node;
mod queue;
mod tree;
mod why;
mod work;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use futures::future::BoxFuture;
use serde::Serialize;
use threeport_store::{Key, Object, lifecycle};

use self::node::Node;
pub(crate) use self::queue::{QUEUE, queue};
use crate::auth::{Attributes, Resource, User};
use crate::router::App;
use crate::status::{ApiError, ApiResult, json_response};

/// What the controller knows of an object and the store does not tell. Declared here, because the API reaches neither plugins nor targets; whoever composes
/// the program has the controller answer.
pub trait Insight: Send + Sync {
    /// What is on targets because of an object, and how it fares there now; in the order of application.
    ///
    /// It may not take longer than some seconds: of a target that does not answer, what is there is of unknown health.
    fn placed<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Vec<Placed>, String>>;

    /// The name that this host claims work with.
    fn host(&self) -> String;
}

/// Something on a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    /// The object that is the target.
    pub target: Reference,
    /// What is there.
    #[serde(flatten)]
    pub reference: Reference,
    /// False while it was never applied.
    pub applied: bool,
    /// `current`, `in-progress`, `failed`, `terminating`, `not-found` or `unknown`.
    pub health: String,
    /// Why, for people; empty where there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// JSON pointers of our fields that are not as they were applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drifted: Vec<String>,
    /// Why the target refused it the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// Names an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// None for what has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// metadata.name
    pub name: String,
}

/// What is in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// CamelCase.
    pub reason: String,
    /// For people: what is, and what to do.
    pub message: String,
}

/// Nobody carries anything out: nothing is on targets.
pub(crate) struct Nothing;

impl Insight for Nothing {
    fn placed<'a>(&'a self, _key: &'a Key) -> BoxFuture<'a, Result<Vec<Placed>, String>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn host(&self) -> String {
        String::new()
    }
}

/// The views that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Tree,
    Why,
}

impl View {
    pub(crate) const ALL: [Self; 2] = [Self::Tree, Self::Why];

    /// The view that a subresource is.
    pub(crate) fn of(subresource: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|view| view.subresource() == subresource)
    }

    /// Its name in paths.
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Why => "why",
        }
    }

    /// The kind of its answer, in `threeport.dev/v1`.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Tree => "Tree",
            Self::Why => "Why",
        }
    }
}

/// Longest wait for what the controller says.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers a view of an object, to somebody who may have it.
pub(crate) async fn show(app: &Arc<App>, user: &User, view: View, key: &Key) -> ApiResult<Response> {
    let object = app.store.get(key).await?.ok_or_else(|| ApiError::not_found(&key.resource, &key.name))?;
    let viewer = Viewer { app, user, root: key };
    let body = match view {
        View::Tree => serde_json::to_vec(&tree::tree(viewer, &object).await?),
        View::Why => serde_json::to_vec(&why::why(viewer, &object).await?),
    };
    let body = body.map_err(|error| ApiError::internal(format!("the answer cannot be written: {error}")))?;
    Ok(json_response(StatusCode::OK, body))
}

/// What is on targets because of an object.
async fn placed(app: &App, object: &Object) -> ApiResult<Vec<Placed>> {
    let asked = app.insight.placed(&object.key);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(placed)) => Ok(placed),
        Ok(Err(why)) => Err(ApiError::internal(why)),
        Err(_) => Err(ApiError::internal("what is on targets could not be found out in time; try again")),
    }
}

/// Whether somebody may get an object.
fn may_get(app: &App, user: &User, key: &Key) -> bool {
    // A namespace lies in itself, for the rules.
    let own = lifecycle::is_namespace(key).then_some(&key.name);
    let resource = Resource {
        group: &key.resource.group,
        resource: &key.resource.plural,
        namespace: key.namespace.as_ref().or(own).map_or("", |namespace| namespace),
        name: &key.name,
        ..Resource::default()
    };
    app.auth.rbac().decide(user, &Attributes::on("get", resource)).allowed()
}

/// For whom a view is made.
#[derive(Clone, Copy)]
struct Viewer<'a> {
    app: &'a Arc<App>,
    user: &'a User,
    /// What was asked for, and granted.
    root: &'a Key,
}

impl Viewer<'_> {
    /// Whether they may see how an object is. Of all others they see no more than what they are called, as in the fields that name them.
    fn sees(&self, key: &Key) -> bool {
        key == self.root || may_get(self.app, self.user, key)
    }

    /// The node of a key as they may see it.
    async fn node(&self, key: &Key) -> ApiResult<Node> {
        if self.sees(key) { node::node(self.app, key).await } else { Ok(node::unseen(self.app, key)) }
    }

    /// What names an object as its owner. An owner in a namespace has none elsewhere, whatever others say.
    async fn owned(&self, owner: &Object) -> ApiResult<Vec<Object>> {
        let mut owned = self.app.store.owned(&owner.uid).await?;
        owned.retain(|child| owner.key.namespace.is_none() || child.key.namespace == owner.key.namespace);
        Ok(owned)
    }
}

/// Who a document is about.
#[derive(Clone, Debug, Serialize)]
struct Metadata {
    name: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<Arc<str>>,
}

impl Metadata {
    fn of(object: &Object) -> Self {
        Self { name: object.key.name.clone(), namespace: object.key.namespace.clone() }
    }
}

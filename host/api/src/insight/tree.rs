//! `GET …/{name}/tree`: the object, what it refers to, who refers to it, its children, and what is on targets because of it.

use std::collections::HashSet;
use std::time::Instant;

use futures::future::BoxFuture;
use serde::Serialize;
use threeport_store::{Key, Object};

use super::node::{Link, Node, of_object};
use super::work::{Work, planner, work};
use super::{Metadata, PATIENCE, Placed, Viewer, placed};
use crate::status::ApiResult;

/// Objects of this control plane in a tree, at most.
const NODES: usize = 500;
/// Levels of references and of children.
const DEPTH: usize = 8;

/// The document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tree {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    /// The object.
    root: Branch,
    /// Who works on the object, and how far that is; None: nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    work: Option<Work>,
    /// Who refers to it, and waits for it or would be broken without it.
    referrers: Vec<Linked>,
    /// Some of it was left out, because there is too much.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// An object with what hangs on it.
#[derive(Debug, Serialize)]
pub(super) struct Branch {
    #[serde(flatten)]
    node: Node,
    /// What it refers to, in the order of its fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    references: Vec<Linked>,
    /// What names it as an owner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Branch>,
    /// What is on targets because of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inventory: Vec<Placed>,
}

/// An object, and by which field it is linked.
#[derive(Debug, Serialize)]
pub(super) struct Linked {
    #[serde(flatten)]
    link: Link,
    object: Branch,
}

impl Branch {
    fn bare(node: Node) -> Self {
        Self { node, references: Vec::new(), children: Vec::new(), inventory: Vec::new() }
    }
}

/// The tree of an object.
pub(super) async fn tree(viewer: Viewer<'_>, object: &Object) -> ApiResult<Tree> {
    let mut growing = Growing { viewer, seen: HashSet::new(), truncated: false, until: Instant::now() + PATIENCE };
    let root = growing.grow(object, 0).await?;
    let mut referrers = Vec::new();
    for (key, edge) in viewer.app.store.dependants(&object.key).await? {
        if growing.full() {
            break;
        }
        growing.seen.insert(key.clone());
        referrers.push(Linked { link: (&edge).into(), object: Branch::bare(viewer.node(&key).await?) });
    }
    Ok(Tree {
        api_version: "threeport.dev/v1",
        kind: super::View::Tree.kind(),
        metadata: Metadata::of(object),
        root,
        work: work(viewer.app, &object.key, planner(viewer.app, &object.key).await?),
        referrers,
        truncated: growing.truncated,
    })
}

struct Growing<'a> {
    viewer: Viewer<'a>,
    /// Shown already: not followed again, or circles had no end.
    seen: HashSet<Key>,
    truncated: bool,
    /// From then on no target is asked: each that does not answer takes seconds, and objects are many.
    until: Instant,
}

impl Growing<'_> {
    fn full(&mut self) -> bool {
        let full = self.seen.len() >= NODES;
        self.truncated |= full;
        full
    }

    /// An object with its references, children and inventory.
    fn grow<'b>(&'b mut self, object: &'b Object, depth: usize) -> BoxFuture<'b, ApiResult<Branch>> {
        Box::pin(async move {
            self.seen.insert(object.key.clone());
            if !self.viewer.sees(&object.key) {
                return Ok(Branch::bare(self.viewer.node(&object.key).await?));
            }
            let mut branch = Branch::bare(of_object(self.viewer.app, object).await?);
            branch.references = self.references(object, depth).await?;
            if Instant::now() < self.until {
                branch.inventory = placed(self.viewer.app, object).await?;
            } else {
                self.truncated = true;
            }
            if depth >= DEPTH {
                return Ok(branch);
            }
            for child in self.viewer.owned(object).await? {
                if self.full() {
                    break;
                }
                if !self.seen.contains(&child.key) {
                    branch.children.push(self.grow(&child, depth + 1).await?);
                }
            }
            Ok(branch)
        })
    }

    /// What an object refers to, and what that refers to in turn.
    fn references<'b>(&'b mut self, object: &'b Object, depth: usize) -> BoxFuture<'b, ApiResult<Vec<Linked>>> {
        Box::pin(async move {
            let mut linked = Vec::new();
            for edge in self.viewer.app.store.references(&object.key).await? {
                if self.full() {
                    break;
                }
                let mut branch = Branch::bare(self.viewer.node(&edge.to).await?);
                if self.seen.insert(edge.to.clone())
                    && depth < DEPTH
                    && self.viewer.sees(&edge.to)
                    && let Some(next) = self.viewer.app.store.get(&edge.to).await?
                {
                    branch.references = self.references(&next, depth + 1).await?;
                }
                linked.push(Linked { link: (&edge).into(), object: branch });
            }
            Ok(linked)
        })
    }
}

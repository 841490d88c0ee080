//! watch: a stream of changes that a client can take up again where it broke off.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use threeport_store::{Change, ChangeKind, Error, Object, Scope, Watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::read::page;
use super::watcher::Watcher;
use super::{parse, shown};
use crate::accept::{self, Output};
use crate::meters::Stream;
use crate::registry::Kind;
use crate::router::{App, Call};
use crate::schema::{ErrorKind, FieldError};
use crate::selector::Filter;
use crate::status::{ApiError, ApiResult, json_response};
use crate::table::{self, Include};

/// Time between bookmarks, and between looks whether the client still is who it said.
const BOOKMARK: Duration = Duration::from_secs(60);
/// How long a watch runs if the client does not say.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// How long a watch runs at most, whatever the client says: times beyond it cannot be told apart, nor added to a clock.
const AT_MOST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// GET of a collection with `watch=true`.
pub(crate) async fn watch(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    let query = &call.query;
    let mut filter = Filter::parse(&call.kind, query.get("labelSelector"), query.get("fieldSelector"))?;
    let form = Form {
        kind: call.kind.clone(),
        output: accept::output(&call.headers)?,
        include: Include::parse(query.get("includeObject"))?,
        headings: true,
    };
    let bookmarks = query.flag("allowWatchBookmarks");
    let streaming = query.flag("sendInitialEvents");
    check_options(&call)?;
    let asked = query.version("resourceVersion")?;
    // Without a version, and with 0, everything that is there comes first, as additions.
    let (initial, since) = match asked {
        Some(version) if version > 0 && !streaming => (Vec::new(), version),
        _ if query.get("sendInitialEvents") == Some("false") => (Vec::new(), app.store.version()),
        _ => {
            let page = page(app, &call, &filter, None, None, None).await?;
            (page.items, page.version)
        }
    };
    let namespace = call.namespace.clone().or_else(|| filter.namespace.take().filter(|_| call.kind.namespaced));
    let scope = Scope { resource: call.kind.stored.clone(), namespace: namespace.map(Into::into) };
    let changes = match app.store.watch(scope, Some(since)).await {
        Ok(changes) => changes,
        // In the stream, as Kubernetes does: clients list again on this event, and only retry a refused request.
        Err(Error::Gone { asked, oldest, newest }) => {
            let message = if asked > newest {
                format!("too large resource version: {asked} (current: {newest})")
            } else {
                format!("too old resource version: {asked} (the change log starts at {oldest})")
            };
            let event = line(&json!({"type": "ERROR", "object": ApiError::gone(message).status()}));
            return Ok(json_response(StatusCode::OK, event));
        }
        Err(error) => return Err(error.into()),
    };
    let watcher = Watcher::of(app, &call);
    let timeout = lasts(query.number("timeoutSeconds")?);
    let mut form = form;
    let mut first: Vec<u8> = Vec::new();
    for object in &initial {
        first.extend(form.event("ADDED", object)?);
    }
    // Without bookmarks the client does not hear where the initial events end, as with Kubernetes.
    if streaming && bookmarks {
        first.extend(form.bookmark(since, true));
    }
    let mut tick = tokio::time::interval_at(Instant::now() + BOOKMARK, BOOKMARK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follower = Follower {
        changes,
        filter,
        form,
        bookmarks,
        tick,
        deadline: Instant::now() + timeout,
        stopped: app.stopped.clone(),
        watcher,
        over: false,
        counted: Stream::start(&call.kind, call.namespace.is_some()),
    };
    // The first piece is sent at once, empty or not: the client sees the response begin.
    let first = stream::once(async move { Ok::<_, std::convert::Infallible>(Bytes::from(first)) });
    let rest = stream::unfold(follower, |mut follower| async move {
        let piece = follower.next().await?;
        Some((Ok(piece), follower))
    });
    Ok(json_response(StatusCode::OK, Body::from_stream(first.chain(rest))))
}

/// How long a watch runs; 0 says nothing, as in Kubernetes.
fn lasts(seconds: Option<u64>) -> Duration {
    seconds.filter(|seconds| *seconds > 0).map_or(LONGEST, Duration::from_secs).min(AT_MOST)
}

/// 422 for parameters that cannot go together.
fn check_options(call: &Call) -> ApiResult<()> {
    let query = &call.query;
    let (matching, initial) = (query.get("resourceVersionMatch"), query.get("sendInitialEvents").is_some());
    let mut errors = Vec::new();
    let mut forbidden = |why: &str| errors.push(FieldError::forbidden("resourceVersionMatch", why));
    if initial && matching != Some("NotOlderThan") {
        forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if matching.is_some() && !initial {
        forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if matching.is_some() && query.get("continue").is_some() {
        forbidden("resourceVersionMatch is forbidden when continue is provided");
    }
    if let Some(other) = matching.filter(|matching| *matching != "NotOlderThan") {
        let detail = "supported values: \"NotOlderThan\"";
        errors.push(FieldError::new(ErrorKind::NotSupported, "resourceVersionMatch", Some(other.into()), detail));
    }
    if errors.is_empty() { Ok(()) } else { Err(query.invalid(&errors)) }
}

struct Follower {
    changes: Watch,
    filter: Filter,
    form: Form,
    bookmarks: bool,
    tick: Interval,
    deadline: Instant,
    stopped: tokio::sync::watch::Receiver<bool>,
    watcher: Watcher,
    over: bool,
    /// Ends with the stream.
    counted: Stream,
}

impl Follower {
    /// The next piece of the stream: never empty.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            // Changes last: where there is always one more, the rest would never be heard.
            let piece = tokio::select! {
                biased;
                () = async { drop(self.stopped.wait_for(|stopped| *stopped).await) } => self.end(),
                () = self.watcher.refused() => self.end(),
                () = tokio::time::sleep_until(self.deadline) => self.end(),
                _ = self.tick.tick() => if self.watcher.is_known().await { self.marked() } else { self.end() },
                change = self.changes.next() => match change {
                    Some(Ok(change)) => self.changed(&change),
                    Some(Err(error)) => self.failed(&error.into()),
                    None => self.end(),
                },
            };
            if !piece.is_empty() {
                return Some(Bytes::from(piece));
            }
        }
        None
    }

    fn changed(&mut self, change: &Change) -> Vec<u8> {
        let kind = if self.filter.is_trivial() {
            Some(change.kind)
        } else {
            let now = change.kind != ChangeKind::Deleted && self.filter.matches(&change.object);
            let before = match (change.kind, &change.previous) {
                (ChangeKind::Added, _) => false,
                (ChangeKind::Deleted, _) => self.filter.matches(&change.object),
                (ChangeKind::Modified, Some(previous)) => self.filter.matches_body(&change.object, previous),
                (ChangeKind::Modified, None) => true,
            };
            match (before, now) {
                (false, true) => Some(ChangeKind::Added),
                (true, true) => Some(ChangeKind::Modified),
                (true, false) => Some(ChangeKind::Deleted),
                (false, false) => None,
            }
        };
        let name = match kind {
            Some(ChangeKind::Added) => "ADDED",
            Some(ChangeKind::Modified) => "MODIFIED",
            Some(ChangeKind::Deleted) => "DELETED",
            None => return Vec::new(),
        };
        match self.form.event(name, &change.object) {
            Ok(event) => {
                self.counted.sent();
                event
            }
            Err(error) => self.failed(&error),
        }
    }

    fn marked(&mut self) -> Vec<u8> {
        if self.bookmarks { self.form.bookmark(self.changes.position(), false) } else { Vec::new() }
    }

    /// The last piece: a bookmark, so that the client can go on from here.
    fn end(&mut self) -> Vec<u8> {
        self.over = true;
        self.marked()
    }

    fn failed(&mut self, error: &ApiError) -> Vec<u8> {
        self.over = true;
        line(&json!({"type": "ERROR", "object": error.status()}))
    }
}

/// How events are written.
struct Form {
    kind: Arc<Kind>,
    output: Output,
    include: Include,
    /// The next table carries the headings.
    headings: bool,
}

impl Form {
    fn event(&mut self, name: &str, object: &Object) -> ApiResult<Vec<u8>> {
        let body = shown(&self.kind, object);
        let object = match self.output {
            Output::Json => {
                let mut out = Vec::with_capacity(body.len() + 40);
                out.extend_from_slice(b"{\"type\":\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\",\"object\":");
                out.extend_from_slice(&body);
                out.extend_from_slice(b"}\n");
                return Ok(out);
            }
            Output::Metadata => table::metadata_only(&parse(&body)?),
            Output::Table => {
                let object = parse(&body)?;
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let row = table::row(&self.kind, object, self.include, Timestamp::now());
                let columns = if self.headings { table::columns(&self.kind) } else { Value::Null };
                self.headings = false;
                table::table(columns, vec![row], &metadata)
            }
        };
        Ok(line(&json!({"type": name, "object": object})))
    }

    fn bookmark(&self, version: u64, initial_end: bool) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.output {
            Output::Json => {
                json!({"kind": &*self.kind.kind, "apiVersion": &*self.kind.api_version, "metadata": metadata})
            }
            Output::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Output::Table => {
                let object =
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
                let cells: Vec<Value> = std::iter::repeat_n("".into(), self.kind.columns.len() + 1).collect();
                let row = json!({"cells": cells, "object": object});
                table::table(Value::Null, vec![row], &json!({"resourceVersion": version.to_string()}))
            }
        };
        line(&json!({"type": "BOOKMARK", "object": object}))
    }
}

fn line(event: &Value) -> Vec<u8> {
    let mut out = event.to_string().into_bytes();
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_of_any_length_has_an_end() {
        assert_eq!(lasts(Some(5)), Duration::from_secs(5));
        assert_eq!((lasts(None), lasts(Some(0))), (LONGEST, LONGEST));
        for seconds in [u64::MAX, u64::MAX / 2, 1 << 40] {
            assert!(Instant::now().checked_add(lasts(Some(seconds))).is_some(), "{seconds}");
        }
    }
}

//! What this crate counts, under Kubernetes' own names where the meaning is the same. Labels are bounded: kinds that are served, never names.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{Method, StatusCode};
use metrics::{
    Counter, Gauge, Histogram, Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::registry::Kind;

const REQUESTS: &str = "apiserver_request_total";
const DURATION: &str = "apiserver_request_duration_seconds";
const INFLIGHT: &str = "apiserver_current_inflight_requests";
const STREAMS: &str = "apiserver_longrunning_requests";
const EVENTS: &str = "apiserver_watch_events_total";
const CONNECTIONS: &str = "threeport_connections";
const REFUSED: &str = "threeport_connections_refused_total";

/// Says what the meters mean; once, after the recorder is set.
pub fn describe_meters() {
    describe_counter!(REQUESTS, "Requests, by verb, kind and HTTP status");
    describe_histogram!(DURATION, Unit::Seconds, "Time to answer a request; watches are left out");
    describe_gauge!(INFLIGHT, "Requests being answered; watches are left out once they stream");
    describe_gauge!(STREAMS, "Watches that stream");
    describe_counter!(EVENTS, "Events sent to watches");
    describe_gauge!(CONNECTIONS, "Connections of clients");
    describe_counter!(REFUSED, "Connections that were refused because there were as many as there may be");
}

/// There were too many.
pub(crate) fn connection_refused() {
    counter!(REFUSED).increment(1);
}

/// Counts a connection as long as it is there.
pub(crate) struct Connection(Gauge);

impl Connection {
    pub(crate) fn start() -> Self {
        let gauge = gauge!(CONNECTIONS);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What a request turned out to be, collected on its way.
pub(crate) struct Meter {
    began: Instant,
    inflight: Gauge,
    verb: &'static str,
    /// `cluster`, `namespace`, `resource`; empty for what is no object.
    scope: &'static str,
    subresource: &'static str,
    kind: Option<Arc<Kind>>,
}

impl Meter {
    pub(crate) fn start(method: &Method) -> Self {
        let reads = *method == Method::GET || *method == Method::HEAD;
        let inflight = gauge!(INFLIGHT, "request_kind" => if reads { "readOnly" } else { "mutating" });
        inflight.increment(1.0);
        Self { began: Instant::now(), inflight, verb: verb(method), scope: "", subresource: "", kind: None }
    }

    /// The request is about objects of this kind. `subresource` is one that the kind has.
    pub(crate) fn objects(
        &mut self,
        kind: &Arc<Kind>,
        namespaced: bool,
        named: bool,
        watch: bool,
        subresource: Option<&'static str>,
    ) {
        self.kind = Some(kind.clone());
        self.subresource = subresource.unwrap_or_default();
        self.scope = match (named, namespaced) {
            (true, _) => "resource",
            (false, true) => "namespace",
            (false, false) => "cluster",
        };
        self.verb = match self.verb {
            "GET" if !named && watch => "WATCH",
            "GET" if !named => "LIST",
            "DELETE" if !named => "DELETECOLLECTION",
            verb => verb,
        };
    }

    /// The verb, and the kind that it is about.
    pub(crate) fn about(&self) -> (&'static str, Option<&Kind>) {
        (self.verb, self.kind.as_deref())
    }

    /// It is a server-side apply.
    pub(crate) fn applies(&mut self) {
        self.verb = "APPLY";
    }

    /// The answer is on its way.
    pub(crate) fn finish(self, code: StatusCode) {
        let took = self.began.elapsed();
        let of = Of {
            kind: self.kind.as_ref().map_or(0, |kind| Arc::as_ptr(kind) as usize),
            code: code.as_u16(),
            verb: self.verb,
            scope: self.scope,
            subresource: self.subresource,
        };
        HELD.with_borrow_mut(|held| {
            if held.len() >= MOST_HELD && !held.contains_key(&of) {
                held.clear();
            }
            let held = held.entry(of).or_insert_with(|| Held::find(&self, code));
            if self.verb != "WATCH" {
                held.duration.record(took);
            }
            held.count.increment(1);
        });
    }
}

/// What a request was, as far as meters tell requests apart. The kind by its address: [`Held`] keeps it where it is.
#[derive(PartialEq, Eq, Hash)]
struct Of {
    kind: usize,
    code: u16,
    verb: &'static str,
    scope: &'static str,
    subresource: &'static str,
}

/// Meters that were found before: finding them by their labels takes longer than all the rest.
struct Held {
    _kind: Option<Arc<Kind>>,
    duration: Histogram,
    count: Counter,
}

/// A thread holds so many; then it begins anew, so that kinds that are gone are let go of.
const MOST_HELD: usize = 512;

thread_local! {
    static HELD: RefCell<HashMap<Of, Held>> = RefCell::default();
}

impl Held {
    fn find(meter: &Meter, code: StatusCode) -> Self {
        let mut labels = labels(meter.kind.as_deref(), meter.verb, meter.scope, meter.subresource);
        let duration = histogram!(DURATION, labels.clone());
        labels.push(Label::new("code", code.as_str().to_owned()));
        Self { _kind: meter.kind.clone(), duration, count: counter!(REQUESTS, labels) }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.inflight.decrement(1.0);
    }
}

/// Counts a watch as long as it streams.
pub(crate) struct Stream {
    streams: Gauge,
    events: metrics::Counter,
}

impl Stream {
    pub(crate) fn start(kind: &Kind, namespaced: bool) -> Self {
        let scope = if namespaced { "namespace" } else { "cluster" };
        let streams = gauge!(STREAMS, labels(Some(kind), "WATCH", scope, ""));
        streams.increment(1.0);
        Self { streams, events: counter!(EVENTS, of_kind(Some(kind))) }
    }

    pub(crate) fn sent(&self) {
        self.events.increment(1);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.decrement(1.0);
    }
}

fn labels(kind: Option<&Kind>, verb: &'static str, scope: &'static str, subresource: &'static str) -> Vec<Label> {
    let mut labels = Vec::with_capacity(8);
    labels.extend([
        Label::from_static_parts("verb", verb),
        Label::from_static_parts("scope", scope),
        Label::from_static_parts("subresource", subresource),
        Label::from_static_parts("component", "apiserver"),
    ]);
    labels.extend(of_kind(kind));
    labels
}

fn of_kind(kind: Option<&Kind>) -> Vec<Label> {
    let text = |text: &Arc<str>| metrics::SharedString::from(text.clone());
    match kind {
        Some(kind) => vec![
            Label::new("group", text(&kind.resource.group)),
            Label::new("version", text(&kind.version)),
            Label::new("resource", text(&kind.resource.plural)),
        ],
        None => ["group", "version", "resource"].map(|name| Label::from_static_parts(name, "")).into(),
    }
}

/// Of a method that nobody heard of there is one kind.
fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

//! Requests to whichever host, and what their answers are worth.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::Stream;
use futures::stream::{BoxStream, StreamExt as _};
use kube::core::WatchEvent;
use serde_json::Value;

/// Longer than a host lets a write wait for its database. What takes longer is not known.
const PATIENCE: Duration = Duration::from_secs(16);

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Done(Value),
    /// Nothing was written.
    Refused(u16, String),
    /// It may have been done.
    Unknown,
}

/// One client for each host, none of which tries anything twice.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) all: Vec<kube::Client>,
    pub(crate) random: fastrand::Rng,
}

impl Clients {
    /// Asks any host.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, media: &str, body: Option<&Value>) -> Result<Answer> {
        let at = self.random.usize(0..self.all.len());
        ask(&self.all[at], method, path, media, body).await
    }
}

/// Asks one host.
pub(crate) async fn ask(
    client: &kube::Client,
    method: &str,
    path: &str,
    media: &str,
    body: Option<&Value>,
) -> Result<Answer> {
    let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
    let request = http::Request::builder().method(method).uri(path).header("content-type", media);
    let request = request.body(bytes).context("make a request")?;
    Ok(match tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await {
        Ok(Ok(value)) => Answer::Done(value),
        Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) => {
            Answer::Refused(status.code, status.message.clone())
        }
        Ok(Err(_)) | Err(_) => Answer::Unknown,
    })
}

/// Events, until the connection breaks.
pub(crate) type Events = BoxStream<'static, kube::Result<WatchEvent<Value>>>;

/// Watches a collection from a resourceVersion on.
pub(crate) async fn watch(client: &kube::Client, path: &str, from: u64) -> Result<Events> {
    let path = format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion={from}");
    let request = http::Request::get(path).body(Vec::new()).context("make a request")?;
    Ok(boxed(client.request_events::<Value>(request).await.context("watch")?))
}

fn boxed(events: impl Stream<Item = kube::Result<WatchEvent<Value>>> + Send + 'static) -> Events {
    events.boxed()
}

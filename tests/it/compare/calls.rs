//! One call after another to one server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};

use super::normal::Ignored;

/// For one answer.
const ANSWER: Duration = Duration::from_secs(20);
/// For what follows from a write: Kubernetes' garbage collector looks for new kinds every half a minute.
const SOON: Duration = Duration::from_secs(45);

/// A call, as `calls.yaml` has it; its head says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub name: String,
    #[serde(rename = "do")]
    pub what: String,
    #[serde(rename = "type")]
    content_type: Option<String>,
    accept: Option<String>,
    #[serde(rename = "as")]
    user: Option<String>,
    body: Option<Value>,
    raw: Option<String>,
    #[serde(default)]
    save: BTreeMap<String, String>,
    until: Option<u16>,
    #[serde(default)]
    pub ignore: Vec<Ignored>,
}

/// What a server said. `events` are the lines of a watch, `body` everything else.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Value,
    pub warnings: Vec<String>,
    pub events: Vec<Value>,
}

/// One of the two servers, and what its answers gave for later calls.
pub(super) struct Caller {
    client: kube::Client,
    saved: BTreeMap<String, String>,
}

/// All of them, in order.
///
/// # Errors
/// When the file is no list of calls.
pub(super) fn calls() -> Result<Vec<Call>> {
    serde_yaml_ng::from_str(include_str!("calls.yaml")).context("read calls.yaml")
}

impl Caller {
    pub(super) fn new(client: kube::Client, namespace: &str) -> Self {
        Self { client, saved: BTreeMap::from([("ns".to_owned(), namespace.to_owned())]) }
    }

    pub(super) async fn make_namespace(&mut self) -> Result<()> {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.saved["ns"]}});
        let call = Call::create("/api/v1/namespaces", body);
        let answer = self.make(&call).await?;
        ensure!(answer.status == 201, "no namespace: {} {}", answer.status, answer.body);
        Ok(())
    }

    /// A cluster gives every namespace these by itself, a moment later; only then do lists and collections hold still.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let settled = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.saved["ns"]);
        self.make(&Call::until(&settled, 200)).await?;
        Ok(())
    }

    pub(super) async fn make(&mut self, call: &Call) -> Result<Answer> {
        let start = Instant::now();
        loop {
            let answer = tokio::time::timeout(ANSWER, self.once(call)).await.context("no whole answer in time")??;
            match call.until {
                // What never comes is told as the difference it is.
                Some(status) if status != answer.status && start.elapsed() < SOON => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => {
                    for (name, pointer) in &call.save {
                        let found = answer.body.pointer(pointer).and_then(Value::as_str);
                        self.saved.insert(name.clone(), found.unwrap_or_default().to_owned());
                    }
                    return Ok(answer);
                }
            }
        }
    }

    async fn once(&self, call: &Call) -> Result<Answer> {
        let what = self.fill(&call.what);
        let (verb, path) = what.split_once(' ').context("a verb and a path")?;
        let body = match (&call.raw, &call.body) {
            (Some(raw), _) => raw.clone(),
            (None, Some(body)) => self.fill(&body.to_string()),
            (None, None) => String::new(),
        };
        let mut request = http::Request::builder().method(verb).uri(path).header("user-agent", "compare/1.0");
        request = request.header("accept", call.accept.as_deref().unwrap_or("application/json"));
        if let Some(user) = &call.user {
            request = request.header("impersonate-user", self.fill(user));
        }
        if call.raw.is_some() || call.body.is_some() {
            request = request.header("content-type", call.content_type.as_deref().unwrap_or("application/json"));
        }
        let request = request.body(Body::from(body.into_bytes())).context("a request")?;
        let response = self.client.send(request).await.context("an answer")?;
        let status = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.filter_map(|text| text.to_str().ok()).map(str::to_owned).collect();
        let bytes = response.into_body().collect().await.context("the answer's body")?.to_bytes();
        // Each run has its own namespace, and it is in many messages.
        let text = String::from_utf8_lossy(&bytes).replace(&self.saved["ns"], "NAMESPACE");
        let (body, events) = if path.contains("watch=true") && status == 200 {
            let lines = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
            (Value::Null, lines.context("a line of JSON for each event")?)
        } else {
            (serde_json::from_str(&text).unwrap_or(Value::String(text)), Vec::new())
        };
        Ok(Answer { status, body, warnings, events })
    }

    fn fill(&self, text: &str) -> String {
        self.saved.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }
}

impl Call {
    fn plain(what: String) -> Self {
        Self {
            name: what.clone(),
            what,
            content_type: None,
            accept: None,
            user: None,
            body: None,
            raw: None,
            save: BTreeMap::new(),
            until: None,
            ignore: Vec::new(),
        }
    }

    fn create(path: &str, body: Value) -> Self {
        Self { body: Some(body), ..Self::plain(format!("POST {path}")) }
    }

    fn until(path: &str, status: u16) -> Self {
        Self { until: Some(status), ..Self::plain(format!("GET {path}")) }
    }
}

//! Run a reconciler natively: what it is given and what it answers as YAML.
//!
//! [`cases`] runs every file of a directory; each says what is `given` and what `then` comes of it:
//!
//! ```yaml
//! given:
//!   object: {apiVersion: example.org/v1, kind: Page, metadata: {name: home, namespace: shop}, spec: {cluster: prod}}
//!   references:
//!     spec.cluster: {objects: [{ready: true, object: {apiVersion: threeport.dev/v1, kind: Cluster, metadata: {name: prod, namespace: shop}}}]}
//!   observed: [{health: current, object: {...}}]      # what earlier plans put on targets
//!   targets:                                          # what kubernetes::open finds
//!     prod: {version: v1.36.0, objects: [...]}        # or {problem: {code: Unreachable, message: ...}}
//!   state: [...]                                      # what state::get and list find
//!   memory: {...}
//!   reason: changed
//!   entry: reconcile                                  # or cleanup
//! then:
//!   status: {...}
//!   conditions: {Ready: "False Progressing: 0 of 2 replicas are ready"}
//! ```
//!
//! Each case is run twice, because the same request has to give the same plan. With `UPDATE_CASES=1` in the environment `then` is written instead
//! of compared: read the diff before you commit it.

mod shown;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bindings::exports::threeport::reconciler::guest as export;
use crate::bindings::threeport::reconciler::types as wit;
use crate::{ObjectRef, Problem, Reconciler, guest};

/// What a reconciler is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    object: Value,
    #[serde(default)]
    references: BTreeMap<String, GivenReference>,
    #[serde(default)]
    children: Vec<GivenRelated>,
    #[serde(default)]
    observed: Vec<GivenObserved>,
    #[serde(default)]
    targets: BTreeMap<String, GivenTarget>,
    #[serde(default)]
    state: Vec<Value>,
    memory: Option<Value>,
    #[serde(default)]
    attempt: u32,
    reason: Option<String>,
    #[serde(default)]
    entry: Entry,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    #[default]
    Reconcile,
    Cleanup,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenReference {
    #[serde(default)]
    objects: Vec<GivenRelated>,
    /// Objects of which apiVersion, kind and metadata say what is missing.
    #[serde(default)]
    missing: Vec<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenRelated {
    object: Value,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    outputs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenObserved {
    object: Value,
    health: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    drifted: Vec<String>,
    error: Option<GivenProblem>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenTarget {
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) objects: Vec<Value>,
    /// What `open` says instead.
    pub(crate) problem: Option<GivenProblem>,
    /// What every read of an open target says instead.
    pub(crate) refuses: Option<GivenProblem>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenProblem {
    code: String,
    message: String,
}

impl GivenProblem {
    pub(crate) fn problem(&self) -> Problem {
        Problem {
            code: self.code.clone(),
            message: self.message.clone(),
            field: None,
            objects: vec![],
            retry_after_ms: None,
        }
    }
}

impl Scenario {
    /// What stands under `given` in a case.
    ///
    /// # Panics
    /// When it does not read, with the place.
    pub fn from_yaml(text: &str) -> Self {
        serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("the scenario does not read: {error}"))
    }

    /// The answer, as `then` shows it.
    pub fn run<R: Reconciler>(&self) -> Value {
        world::enter(self.targets.clone(), self.state.clone());
        let request = self.request();
        let answer: Result<export::Plan, export::Failure> = match self.entry {
            Entry::Reconcile => guest::run::<R>(request, R::reconcile),
            Entry::Cleanup => guest::run::<R>(request, R::cleanup),
        };
        shown::answer(&answer)
    }

    fn request(&self) -> wit::Request {
        wit::Request {
            object: object(&self.object),
            references: self
                .references
                .iter()
                .map(|(field, given)| wit::Resolved {
                    field: field.clone(),
                    objects: given.objects.iter().map(related).collect(),
                    missing: given.missing.iter().map(named).collect(),
                })
                .collect(),
            children: self.children.iter().map(related).collect(),
            observed: self
                .observed
                .iter()
                .map(|seen| wit::Observed {
                    target: crate::reference("threeport.dev/v1", "Cluster", None, "target"),
                    object: object(&seen.object),
                    health: seen.health.clone(),
                    message: seen.message.clone(),
                    drifted: seen.drifted.clone(),
                    error: seen.error.as_ref().map(GivenProblem::problem),
                    extensions: vec![],
                })
                .collect(),
            probed: vec![],
            memory: self.memory.as_ref().map(ToString::to_string),
            attempt: self.attempt,
            reason: self.reason.clone().unwrap_or_else(|| "changed".into()),
            extensions: vec![],
        }
    }
}

pub(crate) fn named(body: &Value) -> ObjectRef {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    ObjectRef {
        api_version: text("/apiVersion").unwrap_or_default(),
        kind: text("/kind").unwrap_or_default(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name").unwrap_or_default(),
    }
}

pub(crate) fn object(body: &Value) -> wit::Object {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    wit::Object {
        ref_: named(body),
        uid: text("/metadata/uid"),
        resource_version: text("/metadata/resourceVersion"),
        generation: body.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(1),
        deleting: body.pointer("/metadata/deletionTimestamp").is_some(),
        body: body.to_string(),
    }
}

fn related(given: &GivenRelated) -> wit::ResolvedObject {
    wit::ResolvedObject {
        object: object(&given.object),
        ready: given.ready,
        outputs: given.outputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// Runs every case of a directory, usually `concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases")`.
///
/// # Panics
/// When a case does not come out as it says, or comes out differently the second time; all of them are named.
pub fn cases<R: Reconciler>(directory: &str) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{directory}: {error}"))
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} has no cases");
    let wrong: Vec<String> = files.iter().filter_map(|file| case::<R>(file).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn case<R: Reconciler>(file: &Path) -> Result<(), String> {
    let at = |what: String| format!("{}: {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| at(error.to_string()))?;
    let case: Value = serde_yaml_ng::from_str(&text).map_err(|error| at(error.to_string()))?;
    let scenario: Scenario =
        serde_json::from_value(case["given"].clone()).map_err(|error| at(format!("given: {error}")))?;
    let (first, second) = (scenario.run::<R>(), scenario.run::<R>());
    let yaml = |value: &Value| serde_yaml_ng::to_string(value).unwrap_or_default();
    if first != second {
        return Err(at(format!("the same request gave two answers:\n{}\n{}", yaml(&first), yaml(&second))));
    }
    if first == case["then"] {
        return Ok(());
    }
    if std::env::var_os("UPDATE_CASES").is_some() {
        let given = text.split_once("\nthen:").map_or(text.as_str(), |(given, _)| given).trim_end();
        let then = yaml(&json!({ "then": first }));
        return std::fs::write(file, format!("{given}\n{then}")).map_err(|error| at(error.to_string()));
    }
    Err(at(format!("is\n{}\nand should be\n{}", yaml(&first), yaml(&case["then"]))))
}

//! A plan, checked before anything of it is sent: is it true, does this host know all of it, may the object have it.

use std::collections::HashMap;

use serde_json::{Map, Value};
use threeport_kube::{Reference, group};
use threeport_store::{MAX_DEPTH, deeper_than};
use threeport_wasm::{Condition, Manifest, Next, Plan, Verb, Watch};

use crate::carried::{Link, WatchRecord};
use crate::names;
use crate::redact::{Redactor, digest, is_secret};
use crate::scope::Scope;
use crate::stages::stage;
use crate::tenants::Options;

const MANIFESTS: usize = 1000;
const MANIFEST_BYTES: usize = 1 << 20;
const MEMORY: usize = 64 << 10;
const STATUS: usize = 256 << 10;
const OUTPUTS: usize = 64;
const OUTPUT_BYTES: usize = 32 << 10;
const WATCHES: usize = 64;
const EVENTS: usize = 20;
const CONDITIONS: usize = 32;

/// Why a plan is not carried out.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum Refused {
    /// It breaks the contract.
    #[error("the plugin's plan is not valid: {0}; roll the plugin back or report it to its author")]
    Invalid(String),
    /// It asks for what this version of the host does not do.
    #[error("the plugin's plan uses {0}, which this version of Threeport does not carry out; nothing was changed")]
    Unsupported(String),
    /// It goes beyond the grants or the tenant.
    #[error("{0}; nothing was changed")]
    Denied(String),
}

impl Refused {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "PlanInvalid",
            Self::Unsupported(_) => "PlanNotSupported",
            Self::Denied(_) => "Denied",
        }
    }
}

/// One manifest, ready to be applied.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) target: String,
    pub(crate) reference: Reference,
    pub(crate) body: Value,
    pub(crate) stage: i32,
    pub(crate) hash: String,
    pub(crate) adopt: bool,
    pub(crate) keep: bool,
    pub(crate) shared: bool,
    /// Positions of the items that must be healthy first.
    pub(crate) after: Vec<usize>,
}

impl Item {
    pub(crate) fn identity(&self) -> Identity {
        identity(&self.target, &self.reference)
    }
}

/// Identity on a target. Versions of a kind are one object.
pub(crate) type Identity = (String, String, String, Option<String>, String);

pub(crate) fn identity(target: &str, reference: &Reference) -> Identity {
    (
        target.to_owned(),
        group(&reference.api_version).to_owned(),
        reference.kind.clone(),
        reference.namespace.clone(),
        reference.name.clone(),
    )
}

/// What is wanted on targets, in the order of application.
pub(crate) fn items(plan: &Plan, scope: &Scope, redactor: &Redactor) -> Result<Vec<Item>, Refused> {
    supported(plan)?;
    if plan.manifests.len() > MANIFESTS {
        return Err(Refused::Invalid(format!(
            "it has {} manifests, at most {MANIFESTS} are taken",
            plan.manifests.len()
        )));
    }
    let mut items: Vec<(Item, &[String])> = Vec::with_capacity(plan.manifests.len());
    let mut known = HashMap::new();
    for (index, manifest) in plan.manifests.iter().enumerate() {
        let item = item(manifest, scope, redactor).map_err(|refused| at(index, refused))?;
        if let Some(other) = known.insert(identity(&item.target, &item.reference), index) {
            return Err(at(
                index,
                Refused::Invalid(format!("{} is there twice, see manifests[{other}]", item.reference)),
            ));
        }
        items.push((item, &manifest.after));
    }
    // Stable: within a stage the plugin's own order.
    items.sort_by_key(|(item, _)| item.stage);
    let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, (item, _)) in items.iter().enumerate() {
        by_name.entry(after_name(&item.reference)).or_default().push(index);
    }
    let mut wanted = Vec::with_capacity(items.len());
    for (mut item, after) in items {
        for name in after {
            let before = by_name.get(name).ok_or_else(|| {
                Refused::Invalid(format!("{} waits for {name:?}, which no manifest is", item.reference))
            })?;
            item.after.extend(before);
        }
        wanted.push(item);
    }
    order(wanted)
}

fn at(index: usize, refused: Refused) -> Refused {
    match refused {
        Refused::Invalid(what) => Refused::Invalid(format!("manifests[{index}]: {what}")),
        Refused::Unsupported(what) => Refused::Unsupported(format!("{what} (manifests[{index}])")),
        denied @ Refused::Denied(_) => denied,
    }
}

/// `Kind/namespace/name`
fn after_name(reference: &Reference) -> String {
    format!("{}/{}/{}", reference.kind, reference.namespace.as_deref().unwrap_or_default(), reference.name)
}

/// Sorts so that what is waited for comes first; a circle is refused.
fn order(items: Vec<Item>) -> Result<Vec<Item>, Refused> {
    let mut place: Vec<Option<usize>> = vec![None; items.len()];
    let mut sequence: Vec<usize> = Vec::with_capacity(items.len());
    while sequence.len() < items.len() {
        let next = (0..items.len())
            .find(|&index| place[index].is_none() && items[index].after.iter().all(|&before| place[before].is_some()));
        let Some(index) = next else {
            let stuck = place.iter().position(Option::is_none).expect("not all are placed");
            return Err(Refused::Invalid(format!("{} waits for itself, through `after`", items[stuck].reference)));
        };
        place[index] = Some(sequence.len());
        sequence.push(index);
    }
    let mut sorted: Vec<Option<Item>> = items.into_iter().map(Some).collect();
    Ok(sequence
        .into_iter()
        .map(|index| {
            let mut item = sorted[index].take().expect("each index comes once");
            item.after = item.after.iter().filter_map(|&before| place[before]).collect();
            item
        })
        .collect())
}

fn supported(plan: &Plan) -> Result<(), Refused> {
    let features = [
        ("children", plan.children.is_empty()),
        ("renderings", plan.renderings.is_empty()),
        ("secret intents", plan.secrets.is_empty()),
        ("removals", plan.removals.is_empty()),
        ("output secrets", plan.output_secrets.is_empty()),
        ("probes", plan.probes.is_empty()),
    ];
    match features.iter().find(|(_, absent)| !absent) {
        Some((feature, _)) => Err(Refused::Unsupported((*feature).to_owned())),
        None => Ok(()),
    }
}

fn item(manifest: &Manifest, scope: &Scope, redactor: &Redactor) -> Result<Item, Refused> {
    let invalid = |what: String| Refused::Invalid(what);
    let unsupported = |what: &str| Err(Refused::Unsupported(what.to_owned()));
    for option in &manifest.options {
        match option.as_str() {
            "adopt" | "keep" | "shared" => {}
            "once" | "replace" => return unsupported(&format!("the manifest option {option:?}")),
            other => return Err(invalid(format!("the option {other:?} is unknown"))),
        }
    }
    if !manifest.ignore.is_empty() {
        return unsupported("ignored fields");
    }
    if manifest.ready.is_some() {
        return unsupported("a readiness expression");
    }
    if manifest.body.len() > MANIFEST_BYTES {
        return Err(invalid(format!("it has {} bytes, at most {MANIFEST_BYTES} are taken", manifest.body.len())));
    }
    let body: Value =
        serde_json::from_str(&manifest.body).map_err(|error| invalid(format!("its body is no JSON: {error}")))?;
    // What is kept of it must be readable again, and is wrapped once.
    if deeper_than(&body, MAX_DEPTH - 1) {
        return Err(invalid(format!("its body is nested deeper than {} levels", MAX_DEPTH - 1)));
    }
    let reference = Reference::of(&body);
    for (field, value) in
        [("apiVersion", &reference.api_version), ("kind", &reference.kind), ("metadata.name", &reference.name)]
    {
        if value.is_empty() {
            return Err(invalid(format!("its body has no {field}")));
        }
    }
    names::check(&reference).map_err(invalid)?;
    if body.get("status").is_some() {
        return Err(invalid(format!("{reference} sets status, which belongs to the target")));
    }
    for field in ["managedFields", "resourceVersion", "uid", "generateName", "ownerReferences", "finalizers"] {
        if body["metadata"].get(field).is_some() {
            return Err(invalid(format!("{reference} sets metadata.{field}, which a plan may not")));
        }
    }
    let target = scope.target(&manifest.target).map_err(Refused::Denied)?;
    let (namespace, name) = (reference.namespace.as_deref(), Some(reference.name.as_str()));
    scope
        .allows(Verb::Apply, &target, &reference.api_version, &reference.kind, namespace, name)
        .map_err(|why| Refused::Denied(format!("apply {reference}: {why}")))?;
    let has = |option: &str| manifest.options.iter().any(|given| given == option);
    Ok(Item {
        stage: stage(&reference.api_version, &reference.kind),
        // Equal plans give equal text: serde_json keeps the order of a map's keys the same every time.
        hash: if is_secret(&body) {
            redactor.digest("", body.to_string().as_bytes())
        } else {
            digest(body.to_string().as_bytes())
        },
        adopt: has("adopt"),
        keep: has("keep"),
        shared: has("shared"),
        after: Vec::new(),
        target,
        reference,
        body,
    })
}

/// The connection that a plan publishes.
pub(crate) fn link(plan: &Plan, namespace: Option<&str>) -> Result<Option<Link>, Refused> {
    let Some(connection) = &plan.connection else { return Ok(None) };
    if connection.target.is_some() {
        return Err(Refused::Unsupported("a connection that is followed on another target".into()));
    }
    let options = Options::parse(&connection.options)
        .map_err(|why| Refused::Invalid(format!("the options of its connection: {why}")))?;
    if connection.secret.kind != "Secret" || connection.secret.api_version != "v1" {
        return Err(Refused::Invalid("its connection is not in a Secret".into()));
    }
    let chosen = connection.secret.namespace.as_deref().filter(|chosen| !chosen.is_empty()).or(namespace);
    let Some(chosen) = chosen else { return Err(Refused::Invalid("its connection names no namespace".into())) };
    if namespace.is_some_and(|own| own != chosen) {
        return Err(Refused::Denied(format!(
            "the connection is in a Secret of namespace {chosen:?}, and an object may only use Secrets of its own"
        )));
    }
    if connection.secret.name.is_empty() || connection.key.is_empty() {
        return Err(Refused::Invalid("its connection names no Secret or no key".into()));
    }
    Ok(Some(Link {
        namespace: chosen.to_owned(),
        secret: connection.secret.name.clone(),
        key: connection.key.clone(),
        options,
    }))
}

/// The watches of a plan or a failure.
pub(crate) fn watches(watches: &[Watch], scope: &Scope) -> Result<Vec<WatchRecord>, Refused> {
    if watches.len() > WATCHES {
        return Err(Refused::Invalid(format!("it has {} watches, at most {WATCHES} are taken", watches.len())));
    }
    watches
        .iter()
        .map(|watch| {
            let target = scope.target(&watch.target).map_err(Refused::Denied)?;
            let namespace = watch.namespace.as_deref().filter(|namespace| !namespace.is_empty());
            scope
                .allows(Verb::Watch, &target, &watch.api_version, &watch.kind, namespace, None)
                .map_err(|why| Refused::Denied(format!("watch {}: {why}", watch.kind)))?;
            Ok(WatchRecord {
                target,
                api_version: watch.api_version.clone(),
                kind: watch.kind.clone(),
                namespace: namespace.map(str::to_owned),
                selector: watch.selector.clone(),
                fields: watch.fields.clone(),
            })
        })
        .collect()
}

/// The kind's own part of a status.
pub(crate) fn status(json: &str) -> Result<Map<String, Value>, Refused> {
    if json.len() > STATUS {
        return Err(Refused::Invalid(format!("its status has {} bytes, at most {STATUS} are taken", json.len())));
    }
    let value = if json.trim().is_empty() {
        Value::Null
    } else {
        serde_json::from_str(json).map_err(|error| Refused::Invalid(format!("its status is no JSON: {error}")))?
    };
    if deeper_than(&value, MAX_DEPTH - 1) {
        return Err(Refused::Invalid(format!("its status is nested deeper than {} levels", MAX_DEPTH - 1)));
    }
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(mut fields) => {
            fields.remove("conditions");
            fields.remove("observedGeneration");
            Ok(fields)
        }
        _ => Err(Refused::Invalid("its status is no JSON object".into())),
    }
}

/// Checks the rest of an answer: what is not acted on, but stored.
pub(crate) fn answer(
    conditions: &[Condition],
    memory: Option<&String>,
    outputs: &[(String, String)],
    events: usize,
) -> Result<(), Refused> {
    let invalid = |what: String| Err(Refused::Invalid(what));
    if conditions.len() > CONDITIONS {
        return invalid(format!("it has {} conditions, at most {CONDITIONS} are taken", conditions.len()));
    }
    for condition in conditions {
        if condition.kind.is_empty() || condition.reason.is_empty() {
            return invalid(format!("condition {:?} has no type or no reason", condition.kind));
        }
        if !matches!(condition.status.as_str(), "True" | "False" | "Unknown") {
            return invalid(format!("condition {} has the status {:?}", condition.kind, condition.status));
        }
    }
    if let Some(memory) = memory.filter(|memory| memory.len() > MEMORY) {
        return invalid(format!("its memory has {} bytes, at most {MEMORY} are kept", memory.len()));
    }
    let bytes: usize = outputs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if outputs.len() > OUTPUTS || bytes > OUTPUT_BYTES {
        return invalid(format!(
            "its {} outputs have {bytes} bytes, at most {OUTPUTS} with {OUTPUT_BYTES} are kept",
            outputs.len()
        ));
    }
    if events > EVENTS {
        return invalid(format!("it has {events} events, at most {EVENTS} are taken"));
    }
    Ok(())
}

/// The plan that wants nothing: everything that there is goes.
pub(crate) fn nothing() -> Plan {
    Plan {
        status: String::new(),
        conditions: Vec::new(),
        children: Vec::new(),
        manifests: Vec::new(),
        renderings: Vec::new(),
        secrets: Vec::new(),
        removals: Vec::new(),
        outputs: Vec::new(),
        output_secrets: Vec::new(),
        connection: None,
        watches: Vec::new(),
        probes: Vec::new(),
        events: Vec::new(),
        memory: None,
        next: Next::AwaitChange,
        extensions: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::tests::{place, scope};
    use serde_json::json;
    use threeport_wasm::{Connection, ObjectRef};

    fn redactor() -> Redactor {
        Redactor::new(&[7; 32])
    }

    fn manifest(kind: &str, name: &str) -> Manifest {
        let version = if kind == "Deployment" { "apps/v1" } else { "v1" };
        let body = json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": "home", "name": name}});
        Manifest {
            target: place("there"),
            body: body.to_string(),
            options: Vec::new(),
            after: Vec::new(),
            ignore: Vec::new(),
            ready: None,
        }
    }

    fn plan(manifests: Vec<Manifest>) -> Plan {
        Plan { manifests, ..nothing() }
    }

    fn names(plan: &Plan) -> Vec<String> {
        items(plan, &scope(), &redactor()).unwrap().into_iter().map(|item| item.reference.name).collect()
    }

    fn refused(manifests: Vec<Manifest>) -> Refused {
        items(&plan(manifests), &scope(), &redactor()).unwrap_err()
    }

    #[test]
    fn manifests_come_in_stages_and_after_what_they_wait_for() {
        let (web, config) = (manifest("Deployment", "web"), manifest("ConfigMap", "config"));
        let late = Manifest { after: vec!["Deployment/home/web".into()], ..manifest("ConfigMap", "late") };
        assert_eq!(names(&plan(vec![late.clone(), web.clone(), config.clone()])), ["config", "web", "late"]);
        let checked = items(&plan(vec![late, web, config]), &scope(), &redactor()).unwrap();
        assert_eq!(checked[2].after, [1]);
    }

    #[test]
    fn what_waits_for_itself_or_for_nothing_is_invalid() {
        let first = Manifest { after: vec!["ConfigMap/home/b".into()], ..manifest("ConfigMap", "a") };
        let second = Manifest { after: vec!["ConfigMap/home/a".into()], ..manifest("ConfigMap", "b") };
        assert_eq!(refused(vec![first.clone(), second]).reason(), "PlanInvalid");
        assert!(refused(vec![first]).to_string().contains("ConfigMap/home/b"));
    }

    #[test]
    fn lies_are_invalid() {
        let body = |body: Value| Manifest { body: body.to_string(), ..manifest("ConfigMap", "a") };
        let lies = [
            Manifest { body: "{".into(), ..manifest("ConfigMap", "a") },
            body(json!([])),
            body((0..MAX_DEPTH).fold(json!({}), |inner, _| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "home", "name": "a"}, "x": inner}))),
            body(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "home"}})),
            body(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "status": {}})),
            body(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "1"}})),
            body(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "home", "name": "A/b"}})),
            body(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a.b", "name": "a"}})),
            Manifest { options: vec!["magic".into()], ..manifest("ConfigMap", "a") },
            Manifest { body: " ".repeat(MANIFEST_BYTES + 1), ..manifest("ConfigMap", "a") },
        ];
        for lie in lies {
            assert_eq!(refused(vec![lie.clone()]).reason(), "PlanInvalid", "{lie:?}");
        }
        assert!(refused(vec![manifest("ConfigMap", "a"), manifest("ConfigMap", "a")]).to_string().contains("twice"));
        assert_eq!(refused(vec![manifest("ConfigMap", "a"); MANIFESTS + 1]).reason(), "PlanInvalid");
    }

    #[test]
    fn what_this_host_does_not_do_is_named() {
        let manifests = [
            Manifest { options: vec!["replace".into()], ..manifest("ConfigMap", "a") },
            Manifest { ready: Some("true".into()), ..manifest("ConfigMap", "a") },
            Manifest { ignore: vec!["/spec".into()], ..manifest("ConfigMap", "a") },
        ];
        for manifest in manifests {
            assert_eq!(refused(vec![manifest]).reason(), "PlanNotSupported");
        }
        let child = threeport_wasm::Child { body: "{}".into(), shared: false };
        let refused = items(&Plan { children: vec![child], ..plan(Vec::new()) }, &scope(), &redactor()).unwrap_err();
        assert!(refused.to_string().contains("children"), "{refused}");
    }

    #[test]
    fn a_target_that_is_not_referred_to_is_denied() {
        let elsewhere = Manifest { target: place("elsewhere"), ..manifest("ConfigMap", "a") };
        assert_eq!(refused(vec![elsewhere]).reason(), "Denied");
    }

    #[test]
    fn a_connection_is_in_a_secret_of_the_objects_namespace() {
        let secret = |namespace: Option<&str>, kind: &str| ObjectRef {
            api_version: "v1".into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: "s".into(),
        };
        let of = |secret: ObjectRef| {
            let connection = Connection { secret, key: "k".into(), target: None, options: "{}".into() };
            link(&Plan { connection: Some(connection), ..plan(Vec::new()) }, Some("home"))
        };
        assert_eq!(of(secret(None, "Secret")).unwrap().unwrap().namespace, "home");
        assert_eq!(of(secret(Some("away"), "Secret")).unwrap_err().reason(), "Denied");
        assert_eq!(of(secret(None, "ConfigMap")).unwrap_err().reason(), "PlanInvalid");
    }

    #[test]
    fn a_status_is_an_object_without_the_hosts_fields() {
        assert_eq!(status(r#"{"a": 1, "conditions": [], "observedGeneration": 9}"#).unwrap().len(), 1);
        assert!(status("null").unwrap().is_empty() && status("").unwrap().is_empty());
        assert!(status("[]").is_err() && status("{").is_err());
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(status(&nested(MAX_DEPTH - 2)).is_ok());
        assert_eq!(status(&nested(MAX_DEPTH - 1)).unwrap_err().reason(), "PlanInvalid");
    }
}

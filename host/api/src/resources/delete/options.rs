//! `metav1.DeleteOptions`: from the body or, if there is none, from the query.

use serde::Deserialize;
use serde_json::Value;
use threeport_store::lifecycle::Propagation;
use threeport_store::{Object, Resource};

use crate::accept;
use crate::registry::{CRD_GROUP, CRD_PLURAL, Kind};
use crate::router::Call;
use crate::schema::{ErrorKind, FieldError};
use crate::status::{ApiError, ApiResult};

/// How something is to be deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// What becomes of what it owns; None: its own finalizers say it.
    pub propagation: Option<Propagation>,
    /// Asked for with the field that was there before propagation policies, to go after the object: answered with 202 while it stays.
    pub old_cascade: bool,
    pub dry_run: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    /// Nothing here has a grace period: any is over at once.
    #[serde(rename = "gracePeriodSeconds")]
    _grace_period: Option<i64>,
    preconditions: Option<Preconditions>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    dry_run: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Options {
    pub(super) fn of(call: &Call) -> ApiResult<Self> {
        let sent = if call.body.is_empty() { from_query(call)? } else { from_body(call)? };
        let errors = wrong(&sent);
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let propagation = match (sent.propagation_policy.as_deref(), sent.orphan_dependents) {
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some(_), _) => Some(Propagation::Foreground),
            (None, None) => None,
        };
        let Preconditions { uid, resource_version } = sent.preconditions.unwrap_or_default();
        Ok(Self {
            uid,
            resource_version,
            propagation,
            old_cascade: sent.orphan_dependents == Some(false),
            dry_run: sent.dry_run.is_some_and(|dry_run| !dry_run.is_empty()),
        })
    }

    /// Whether the object is the one that is meant. Kubernetes says it in other words for what goes with its content.
    pub(super) fn expect(&self, kind: &Kind, object: &Object) -> ApiResult<()> {
        let version = object.resource_version.to_string();
        let uid = self.uid.as_deref().filter(|uid| *uid != &*object.uid);
        let wanted = self.resource_version.as_deref().filter(|wanted| *wanted != version);
        if uid.is_none() && wanted.is_none() {
            return Ok(());
        }
        let name = &object.key.name;
        if kind.is_builtin("", "namespaces") || kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
            let why = match (uid, wanted) {
                (Some(uid), _) => format!("UID in precondition: {uid}, UID in object meta: {}", object.uid),
                (None, wanted) => format!(
                    "ResourceVersion in precondition: {}, ResourceVersion in object meta: {version}",
                    wanted.unwrap_or_default()
                ),
            };
            return Err(ApiError::conflict(&kind.resource, name, &format!("Precondition failed: {why}")));
        }
        let why = match (uid, wanted) {
            (Some(uid), _) => format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                object.uid
            ),
            (None, wanted) => format!(
                "the ResourceVersion in the precondition ({}) does not match the ResourceVersion in record ({version}). The object might have been modified",
                wanted.unwrap_or_default()
            ),
        };
        let named = Resource::new(kind.resource.group.clone(), kind.kind.clone());
        Err(ApiError::conflict(&named, name, &why))
    }

    /// Whether somebody else's write in between is no reason to give up.
    pub(super) fn may_try_again(&self) -> bool {
        self.resource_version.is_none()
    }
}

fn from_body(call: &Call) -> ApiResult<Sent> {
    let value = accept::decode(&accept::content_type(&call.headers), &call.body)?;
    if let Some(kind) = value["kind"].as_str().filter(|kind| *kind != "DeleteOptions") {
        return Err(ApiError::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: it is a {kind}"
        )));
    }
    serde_json::from_value(value)
        .map_err(|error| ApiError::bad_request(format!("DeleteOptions cannot be read: {error}")))
}

fn from_query(call: &Call) -> ApiResult<Sent> {
    let query = &call.query;
    let orphan_dependents = match query.get("orphanDependents") {
        None => None,
        Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "orphanDependents: {other:?} is neither \"true\" nor \"false\""
            )));
        }
    };
    let grace_period = query.get("gracePeriodSeconds").map(str::parse).transpose();
    Ok(Sent {
        _grace_period: grace_period
            .map_err(|_| ApiError::bad_request("gracePeriodSeconds: must be a number of seconds"))?,
        preconditions: None,
        orphan_dependents,
        propagation_policy: query.get("propagationPolicy").map(str::to_owned),
        dry_run: query.get("dryRun").map(|way| vec![way.to_owned()]),
    })
}

fn wrong(sent: &Sent) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let policy = sent.propagation_policy.as_deref();
    if let Some(policy) = policy.filter(|_| sent.orphan_dependents.is_some()) {
        let detail = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(FieldError::invalid("propagationPolicy", &policy.into(), detail));
    }
    if let Some(policy) = policy.filter(|policy| !matches!(*policy, "Foreground" | "Background" | "Orphan")) {
        let detail = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
        errors.push(FieldError::new(ErrorKind::NotSupported, "propagationPolicy", Some(policy.into()), detail));
    }
    if let Some(ways) = sent.dry_run.as_ref().filter(|ways| ways.iter().any(|way| way != "All")) {
        let value = Value::from(ways.clone());
        errors.push(FieldError::new(ErrorKind::NotSupported, "dryRun", Some(value), "supported values: \"All\""));
    }
    errors
}

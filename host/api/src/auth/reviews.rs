//! The kinds that are asked and answered: who is this, and may they?

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use threeport_store::lifecycle;

use super::attributes::{Attributes, Resource, Target};
use super::rbac::Verdict;
use super::user::User;
use crate::accept;
use crate::registry::Kind;
use crate::router::{App, Call};
use crate::schema::FieldError;
use crate::status::{ApiError, ApiResult, json_response};

/// Answers a review.
pub(crate) async fn review(app: &Arc<App>, call: &Call) -> ApiResult<Response> {
    let kind = &call.kind;
    accept::plain(&call.headers)?;
    let mut body = accept::decode(&accept::content_type(&call.headers), &call.body)?;
    crate::resources::fit(call, &mut body)?;
    let namespace = call.namespace.as_deref().unwrap_or_default();
    let user = &*call.user;
    match &*kind.resource.plural {
        "selfsubjectreviews" => {
            body = json!({"metadata": {"creationTimestamp": lifecycle::timestamp(Timestamp::now())}, "status": {"userInfo": user.info()}});
        }
        "tokenreviews" => body["status"] = token(app, &body["spec"]).await?,
        "selfsubjectrulesreviews" => {
            let namespace = body["spec"]["namespace"].as_str().unwrap_or_default();
            if namespace.is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            let status = rules(app, user, namespace);
            body = json!({"metadata": {}, "spec": {}, "status": status});
        }
        plural => access(app, kind, plural, namespace, user, &mut body)?,
    }
    body["apiVersion"] = (&*kind.api_version).into();
    body["kind"] = (&*kind.kind).into();
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    Ok(json_response(StatusCode::CREATED, body.to_string()))
}

/// Whether somebody may do something.
fn access(app: &App, kind: &Kind, plural: &str, namespace: &str, user: &User, body: &mut Value) -> ApiResult<()> {
    let local = plural == "localsubjectaccessreviews";
    let own = plural == "selfsubjectaccessreviews";
    let errors = wrong(body, own, local, namespace);
    if !errors.is_empty() {
        // Kubernetes says it without the kind.
        return Err(ApiError::invalid(&kind.resource.group, "", "", &errors));
    }
    let spec = &body["spec"];
    let asked = if own { None } else { Some(subject(spec)) };
    let text = |value: &'_ Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let attributes = &spec["resourceAttributes"];
    let fields =
        ["group", "version", "resource", "subresource", "namespace", "name", "verb"].map(|f| text(attributes, f));
    let [group, version, resource, subresource, namespace, name, verb] = &fields;
    let path = text(&spec["nonResourceAttributes"], "path");
    let path_verb = text(&spec["nonResourceAttributes"], "verb");
    let attributes = if attributes.is_object() {
        Attributes::on(verb, Resource { group, version, resource, subresource, namespace, name, beyond: false })
    } else {
        Attributes { verb: path_verb.as_str().into(), target: Target::Path(path.as_str().into()) }
    };
    let verdict = app.auth.rbac().decide(asked.as_ref().unwrap_or(user), &attributes);
    body["status"] = status(&verdict);
    Ok(())
}

fn status(verdict: &Verdict) -> Value {
    let mut status = json!({"allowed": verdict.allowed()});
    let reason = verdict.reason();
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    status
}

/// Whom a SubjectAccessReview asks about.
fn subject(spec: &Value) -> User {
    let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra: BTreeMap<String, Vec<String>> =
        spec["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.clone(), texts(values))).collect();
    User { name: text("user"), uid: text("uid"), groups: texts(&spec["groups"]), extra }
}

fn wrong(body: &Value, own: bool, local: bool, namespace: &str) -> Vec<FieldError> {
    let spec = &body["spec"];
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = Vec::new();
    // The fields as Kubernetes' program names them.
    let told = json!({"Path": other["path"], "Verb": other["verb"]});
    if resource.is_object() && other.is_object() {
        let detail = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid("spec.nonResourceAttributes", &told, detail));
    }
    if !resource.is_object() && !other.is_object() {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid("spec.resourceAttributes", &Value::Null, detail));
    }
    let user = spec["user"].as_str().unwrap_or_default();
    if !own && user.is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::invalid("spec.user", &"".into(), "at least one of user or group must be specified"));
    }
    let metadata = body["metadata"].as_object();
    let allowed = |key: &str| key == "managedFields" || key == "creationTimestamp" || local && key == "namespace";
    if metadata.into_iter().flatten().any(|(key, value)| !allowed(key) && !value.is_null()) {
        let detail = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.push(FieldError::invalid("metadata", &body["metadata"], detail));
    }
    if local {
        let asked = resource["namespace"].as_str().unwrap_or_default();
        if resource.is_object() && asked != namespace {
            let detail = "must match metadata.namespace";
            errors.push(FieldError::invalid("spec.resourceAttributes.namespace", &asked.into(), detail));
        }
        if other.is_object() {
            let detail = "disallowed on this kind of request";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", &told, detail));
        }
    }
    errors
}

/// What a user may do in a namespace.
fn rules(app: &App, user: &User, namespace: &str) -> Value {
    let (rules, wrong) = app.auth.rbac().rules_of(user, namespace);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    let set = |rule: &mut Map<String, Value>, key: &str, list: &Option<Vec<String>>| {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            rule.insert(key.to_owned(), list.clone().into());
        }
    };
    for rule in rules {
        let verbs: Map<String, Value> = [("verbs".to_owned(), rule.verbs.clone().into())].into_iter().collect();
        if rule.resources.as_ref().is_some_and(|list| !list.is_empty()) {
            let mut row = verbs.clone();
            set(&mut row, "apiGroups", &rule.api_groups);
            set(&mut row, "resources", &rule.resources);
            set(&mut row, "resourceNames", &rule.resource_names);
            resources.push(Value::Object(row));
        }
        if rule.non_resource_urls.as_ref().is_some_and(|list| !list.is_empty()) {
            let mut row = verbs;
            set(&mut row, "nonResourceURLs", &rule.non_resource_urls);
            paths.push(Value::Object(row));
        }
    }
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
    match wrong.as_slice() {
        [] => {}
        [one] => status["evaluationError"] = one.as_str().into(),
        many => status["evaluationError"] = format!("[{}]", many.join(", ")).into(),
    }
    status
}

/// Whose a token is.
async fn token(app: &App, spec: &Value) -> ApiResult<Value> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut audiences: Vec<String> = asked.map(str::to_owned).collect();
    let own = app.auth.tokens().issuer();
    if audiences.is_empty() {
        audiences.push(own.to_owned());
    }
    if app.auth.is_administrator(token) {
        // It is for this server alone.
        audiences.retain(|audience| audience == own);
        return Ok(if audiences.is_empty() {
            json!({"error": "the token is not for these audiences", "user": {}})
        } else {
            json!({"authenticated": true, "user": app.auth.administrator.info(), "audiences": audiences})
        });
    }
    let found = app.auth.tokens().user(&app.store, token, &audiences, app.store.now().as_second()).await;
    Ok(match found {
        Some(Ok((user, good))) => json!({"authenticated": true, "user": user.info(), "audiences": good}),
        Some(Err(why)) => json!({"error": format!("[invalid bearer token, {why}]"), "user": {}}),
        None => json!({"error": "invalid bearer token", "user": {}}),
    })
}

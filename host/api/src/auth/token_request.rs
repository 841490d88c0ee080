//! POST to `serviceaccounts/NAME/token`: a token of the ServiceAccount, for a time (`kubectl create token`).

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use threeport_store::{Key, Resource, lifecycle};

use super::token::Named;
use crate::accept;
use crate::router::App;
use crate::schema::FieldError;
use crate::status::{ApiError, ApiResult, json_response};

const GROUP: &str = "authentication.k8s.io";
/// Seconds, if none are asked for.
const HOUR: i64 = 3600;
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;

/// `spec` of a TokenRequest.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    audiences: Option<Vec<String>>,
    expiration_seconds: Option<i64>,
    bound_object_ref: Option<Reference>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
}

/// Makes a token for an account.
pub(crate) async fn request_token(
    app: &Arc<App>,
    namespace: &str,
    name: &str,
    headers: &HeaderMap,
    body: &[u8],
    dry_run: bool,
) -> ApiResult<Response> {
    let mut body = accept::decode(&accept::content_type(headers), body)?;
    for (field, expected) in [("apiVersion", "authentication.k8s.io/v1"), ("kind", "TokenRequest")] {
        match body.get(field).and_then(Value::as_str) {
            None => body[field] = expected.into(),
            Some(given) if given == expected => {}
            Some(given) => {
                let message =
                    format!("the {field} in the data ({given}) does not match the expected {field} ({expected})");
                return Err(ApiError::bad_request(message));
            }
        }
    }
    for (field, expected) in [("name", name), ("namespace", namespace)] {
        let given = body["metadata"][field].as_str().filter(|given| !given.is_empty());
        if given.is_some_and(|given| given != expected) {
            let detail = format!("must match the service account {field} if specified");
            let error = FieldError::invalid(format!("metadata.{field}"), &body["metadata"][field], detail);
            return Err(ApiError::invalid(GROUP, "TokenRequest", name, &[error]));
        }
    }
    let spec = match body.get("spec") {
        None | Some(Value::Null) => Spec::default(),
        Some(spec) => serde_json::from_value(spec.clone())
            .map_err(|error| ApiError::bad_request(format!("the spec of the TokenRequest cannot be read: {error}")))?,
    };
    let accounts = Resource::new("", "serviceaccounts");
    let key = |resource: &Resource, name: &str| Key {
        resource: resource.clone(),
        namespace: Some(namespace.into()),
        name: name.into(),
    };
    let account = app.store.get(&key(&accounts, name)).await?;
    let account = account.ok_or_else(|| ApiError::not_found(&accounts, name))?;
    let seconds = spec.expiration_seconds.unwrap_or(HOUR);
    let out_of_range = match seconds {
        ..SHORTEST => Some("may not specify a duration less than 10 minutes"),
        SHORTEST..=LONGEST => None,
        _ => Some("may not specify a duration larger than 2^32 seconds"),
    };
    if let Some(why) = out_of_range {
        let error = FieldError::invalid("spec.expirationSeconds", &seconds.into(), why);
        return Err(ApiError::invalid(GROUP, "TokenRequest", "", &[error]));
    }
    let secret = match &spec.bound_object_ref {
        None => None,
        Some(reference) => Some(bound(app, reference, key(&Resource::new("", "secrets"), &reference.name)).await?),
    };
    let tokens = app.auth.tokens();
    let audiences =
        spec.audiences.filter(|asked| !asked.is_empty()).unwrap_or_else(|| vec![tokens.issuer().to_owned()]);
    let now = app.store.now();
    let expires = now.as_second().saturating_add(seconds);
    let expiration = Timestamp::from_second(expires).map_err(|error| ApiError::internal(error.to_string()))?;
    let token = if dry_run {
        Some(String::new())
    } else {
        tokens.make(&account, secret, &audiences, now.as_second(), Some(expires))
    };
    let token = token.ok_or_else(|| ApiError::internal("the token could not be signed"))?;

    let metadata = &mut body["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    metadata["uid"] = (&*account.uid).into();
    metadata["creationTimestamp"] = lifecycle::timestamp(now).into();
    if !body["spec"].is_object() {
        body["spec"] = json!({});
    }
    body["spec"]["audiences"] = audiences.into();
    body["spec"]["expirationSeconds"] = seconds.into();
    if body["spec"].get("boundObjectRef").is_none() {
        body["spec"]["boundObjectRef"] = Value::Null;
    }
    body["status"] = json!({"token": token, "expirationTimestamp": lifecycle::timestamp(expiration)});
    Ok(json_response(StatusCode::CREATED, body.to_string()))
}

/// The object that a token is to be bound to.
async fn bound(app: &App, reference: &Reference, key: Key) -> ApiResult<Named> {
    let (version, kind) = (&reference.api_version, &reference.kind);
    if !(version == "v1" && kind == "Secret") {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
        return Err(ApiError::bad_request(message));
    }
    let found = app.store.get(&key).await?.ok_or_else(|| ApiError::not_found(&key.resource, &key.name))?;
    if !reference.uid.is_empty() && *found.uid != *reference.uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            reference.uid
        );
        return Err(ApiError::conflict(&Resource::new("", kind.as_str()), &key.name, &why));
    }
    Ok(Named { name: reference.name.clone(), uid: found.uid.to_string() })
}

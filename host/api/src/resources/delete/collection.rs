//! DELETE of a collection: what a list would show, one by one.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use futures::StreamExt as _;
use serde_json::{Value, json};
use threeport_store::Key;

use super::one::delete_one;
use super::options::Options;
use crate::resources::read;
use crate::router::{App, Call};
use crate::status::{ApiError, ApiResult, json_response};

/// Deletions at a time: they share transactions.
const AT_A_TIME: usize = 32;
/// Objects that an error names.
const NAMED: usize = 10;

/// DELETE of a collection. What others need does not keep the rest from being deleted: it is tried again as long as something else goes, and told in the
/// end.
pub(crate) async fn delete_collection(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    let kind = &call.kind;
    if kind.namespaced && call.namespace.is_none() && !kind.builtin {
        return Err(ApiError::no_such_path());
    }
    if kind.is_builtin("", "namespaces") || kind.namespaced && call.namespace.is_none() {
        return Err(ApiError::method_not_allowed("DELETE"));
    }
    let options = Options::of(&call)?;
    let selected = read::select(app, &call).await?;
    let mut left: Vec<Key> = selected.items().iter().map(|object| object.key.clone()).collect();
    let mut refused = Vec::new();
    while !left.is_empty() {
        let tried = left.len();
        let results: Vec<(Key, ApiResult<_>)> = futures::stream::iter(std::mem::take(&mut left))
            .map(|key| {
                let (options, call) = (&options, &call);
                async move { (key.clone(), delete_one(app, &call.user, kind, key, options).await) }
            })
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        refused.clear();
        for (key, result) in results {
            match result {
                Ok(_) => {}
                Err(error) if error.code == StatusCode::NOT_FOUND => {}
                Err(error) if error.code == StatusCode::CONFLICT => {
                    left.push(key.clone());
                    refused.push((key, error));
                }
                Err(error) => return Err(error),
            }
        }
        if left.len() == tried {
            break;
        }
    }
    if refused.is_empty() {
        return Ok(json_response(StatusCode::OK, selected.render(&call)?));
    }
    Err(stays(&call, selected.items().len(), refused))
}

/// 409 with what stays, and why.
fn stays(call: &Call, asked: usize, mut refused: Vec<(Key, ApiError)>) -> ApiError {
    refused.sort_by(|(a, _), (b, _)| a.cmp(b));
    let reasons: Vec<&str> = refused.iter().take(NAMED).map(|(_, error)| error.message.as_str()).collect();
    let more = refused.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" ({more} more)") } else { String::new() };
    let message = format!("{} of {asked} {} stay: {}{more}", refused.len(), call.kind.resource, reasons.join("; "));
    let causes = refused.iter().flat_map(|(key, error)| {
        let causes =
            error.details.as_ref().and_then(|details| details["causes"].as_array()).cloned().unwrap_or_default();
        let known =
            if causes.is_empty() { vec![json!({"reason": error.reason, "message": error.message})] } else { causes };
        known.into_iter().map(move |mut cause| {
            cause["message"] = format!("{key}: {}", cause["message"].as_str().unwrap_or_default()).into();
            cause
        })
    });
    let causes: Vec<Value> = causes.collect();
    ApiError::new(StatusCode::CONFLICT, "Conflict", message).about(&call.kind.resource, "").with_causes(causes)
}

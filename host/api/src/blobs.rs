//! `POST /blobs`: bytes on their way into the store, piece by piece.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use crate::body::Incoming;
use crate::router::App;
use crate::status::{ApiError, ApiResult, json_response};

/// Takes a blob and answers with its digest. No more of it than a piece is in memory at a time; what is not taken whole leaves nothing.
pub(crate) async fn upload(app: &Arc<App>, headers: &HeaderMap, body: Body) -> ApiResult<Response> {
    let limit = app.blob_limit;
    let too_large = || {
        let flag = "--blob-limit";
        ApiError::too_large(format!(
            "the blob is too large: the limit is {limit} bytes, and the server's {flag} sets it"
        ))
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut body = Incoming::new(body, app.limits.body);
    if announced.is_some_and(|announced| announced > limit) {
        body.discard().await;
        return Err(too_large());
    }
    let mut writer = app.store.blob_writer();
    while let Some(piece) = body.next().await? {
        if writer.size() + piece.len() as u64 > limit {
            drop(writer);
            body.discard().await;
            return Err(too_large());
        }
        writer.write(&piece).await?;
    }
    let size = writer.size();
    let digest = writer.finish().await?;
    Ok(json_response(StatusCode::CREATED, json!({"digest": digest, "size": size}).to_string()))
}

//! `POST /blobs`: bytes on their way into the store, piece by piece.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures::StreamExt as _;
use serde_json::json;

use crate::router::App;
use crate::status::{ApiError, ApiResult, json_response};

/// Bytes of a refused blob that are read and thrown away.
const DISCARDED: usize = 256 << 20;

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
    let mut pieces = body.into_data_stream();
    if announced.is_some_and(|announced| announced > limit) {
        discard(&mut pieces).await;
        return Err(too_large());
    }
    let mut writer = app.store.blob_writer();
    while let Some(piece) = pieces.next().await {
        let piece = piece
            .map_err(|error| ApiError::bad_request(format!("the body of the request could not be read: {error}")))?;
        if writer.size() + piece.len() as u64 > limit {
            drop(writer);
            discard(&mut pieces).await;
            return Err(too_large());
        }
        writer.write(&piece).await?;
    }
    let size = writer.size();
    let digest = writer.finish().await?;
    Ok(json_response(StatusCode::CREATED, json!({"digest": digest, "size": size}).to_string()))
}

/// Reads on for a while: many clients look for the answer only when they have sent everything.
pub(crate) async fn discard(pieces: &mut BodyDataStream) {
    let mut left = DISCARDED;
    let read = async {
        while let Some(Ok(piece)) = pieces.next().await {
            match left.checked_sub(piece.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whoever is slower than that does without.
    let _done = tokio::time::timeout(Duration::from_secs(10), read).await;
}

//! Bodies of requests as they come in: piece by piece, no larger than they may be, and no slower.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::StatusCode;
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::status::{ApiError, ApiResult};

/// Bytes of a refused body that are read and thrown away.
const DISCARDED: usize = 256 << 20;

/// Who sends at least so many bytes a second is waited for, however much it is.
const SLOWEST: u64 = 16 << 10;

/// A body on its way.
pub(crate) struct Incoming {
    pieces: BodyDataStream,
    began: Instant,
    patience: Duration,
    bytes: u64,
}

impl Incoming {
    /// `patience` is how long it may take, beyond what its size accounts for.
    pub(crate) fn new(body: Body, patience: Duration) -> Self {
        Self { pieces: body.into_data_stream(), began: Instant::now(), patience, bytes: 0 }
    }

    /// The next piece.
    ///
    /// # Errors
    /// 408 for a client that is too slow, 400 for one that goes away.
    pub(crate) async fn next(&mut self) -> ApiResult<Option<Bytes>> {
        let deadline = self.began + self.patience + Duration::from_secs(self.bytes / SLOWEST);
        match tokio::time::timeout_at(deadline, self.pieces.next()).await {
            Ok(Some(Ok(piece))) => {
                self.bytes += piece.len() as u64;
                Ok(Some(piece))
            }
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => {
                Err(ApiError::bad_request(format!("the body of the request could not be read: {error}")))
            }
            Err(_elapsed) => Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "Timeout",
                format!(
                    "the body of the request took longer than {} s and 1 s for each {} KiB: nothing was done; the server's --body-timeout sets it",
                    self.patience.as_secs_f64(),
                    SLOWEST >> 10
                ),
            )),
        }
    }

    /// The whole of it, if it is not too large. Of one that is, the rest is read as well: many clients look for the answer only when they have sent
    /// everything.
    pub(crate) async fn whole(mut self, limit: usize) -> ApiResult<Bytes> {
        let mut whole = Vec::new();
        let mut only: Option<Bytes> = None;
        while let Some(piece) = self.next().await? {
            if only.as_ref().map_or(whole.len(), Bytes::len) + piece.len() > limit {
                self.discard().await;
                let message = format!("the body of the request is too large: limit is {limit} bytes");
                return Err(ApiError::too_large(message));
            }
            // Nearly all come in one piece, which need not be copied.
            if whole.is_empty() && only.is_none() {
                only = Some(piece);
                continue;
            }
            whole.extend_from_slice(&only.take().unwrap_or_default());
            whole.extend_from_slice(&piece);
        }
        Ok(only.unwrap_or_else(|| whole.into()))
    }

    /// Reads on for a while: many clients look for the answer only when they have sent everything.
    pub(crate) async fn discard(mut self) {
        let mut left = DISCARDED;
        let read = async {
            while let Some(Ok(piece)) = self.pieces.next().await {
                match left.checked_sub(piece.len()) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        // Whoever is slower than that does without.
        let _done = tokio::time::timeout(Duration::from_secs(10), read).await;
    }
}

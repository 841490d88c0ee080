//! Who may come in: the holder of the bearer token.

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::status::{ApiError, ApiResult};

/// The token, as a digest: comparing digests takes the same time whatever was sent.
pub(crate) struct Token([u8; 32]);

impl Token {
    pub(crate) fn new(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// 401 unless the request carries the token.
    pub(crate) fn check(&self, headers: &HeaderMap) -> ApiResult<()> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let digest: [u8; 32] = Sha256::digest(given.unwrap_or_default().as_bytes()).into();
        // No early exit: every byte is looked at.
        let difference = digest.iter().zip(&self.0).fold(0_u8, |acc, (a, b)| acc | (a ^ b));
        if given.is_some() && difference == 0 {
            Ok(())
        } else {
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"))
        }
    }
}

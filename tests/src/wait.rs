//! Waiting for a condition with a deadline, instead of sleeping.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

/// Calls `look` until it gives something, at most for `limit`. `what` is said when it never does, with the last refusal.
///
/// # Errors
/// When the time is over.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(last) if start.elapsed() > limit => bail!("{what}: not within {limit:?}; last: {last:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// status, reason and message of an object's condition; empty where there is none.
pub fn condition(object: &Value, kind: &str) -> (String, String, String) {
    let found = object["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    let text = |field: &str| found.and_then(|condition| condition[field].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

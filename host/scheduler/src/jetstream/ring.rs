//! The ringing side: a task that publishes what was rung, together.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use futures::future::join_all;

use super::{Config, ensure_stream, wait};
use crate::pending::{Pending, Ringer};
use crate::{Bell, Wake};

/// After each batch: rings in between go together in the next.
const TOGETHER: Duration = Duration::from_millis(5);

/// So many await their acknowledgements at once.
const BATCH: usize = 256;

/// Rings every host of the control plane.
#[derive(Clone)]
pub struct JetStreamBell(Ringer);

impl Bell for JetStreamBell {
    fn ring(&self, wake: Wake) {
        self.0.ring(wake);
    }
}

impl JetStreamBell {
    pub(super) fn new(context: Context, config: Config) -> Self {
        let pending = Arc::new(Pending::default());
        tokio::spawn(publish(context, config, pending.clone()));
        Self(Ringer::new(pending))
    }
}

/// Publishes until the last bell is gone. What the server did not take is rung again with what came since.
async fn publish(context: Context, config: Config, pending: Arc<Pending>) {
    let mut failures = 0;
    while let Some(wakes) = pending.take().await {
        let mut refused = None;
        for batch in wakes.chunks(BATCH) {
            if let Some(why) = &refused {
                tracing::debug!(%why, count = batch.len(), "not rung yet");
                batch.iter().for_each(|wake| pending.add(wake.clone()));
                continue;
            }
            let results = join_all(batch.iter().map(|wake| publish_one(&context, &config, wake))).await;
            for (wake, result) in batch.iter().zip(results) {
                if let Err(why) = result {
                    refused = Some(why);
                    pending.add(wake.clone());
                }
            }
        }
        match refused {
            None => {
                failures = 0;
                tokio::time::sleep(TOGETHER).await;
            }
            Some(why) => {
                failures += 1;
                if let Err(also) = ensure_stream(&context, &config).await {
                    tracing::warn!(%why, %also, "cannot ring; the sweep finds what is due until then");
                    tokio::time::sleep(wait(failures)).await;
                }
            }
        }
    }
}

async fn publish_one(context: &Context, config: &Config, wake: &Wake) -> Result<(), String> {
    // A uid that is no subject token comes from a client that made its own; it is found by the sweep.
    if wake.uid.is_empty() || wake.uid.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>".contains(c)) {
        tracing::debug!(uid = %wake.uid, "cannot ring for this uid");
        return Ok(());
    }
    let payload = serde_json::to_vec(wake).map_err(|error| error.to_string())?;
    let sent = context.publish(format!("{}.{}", config.subject, wake.uid), payload.into()).await;
    sent.map_err(|error| error.to_string())?.await.map(drop).map_err(|error| error.to_string())
}

//! The hearing side: a task that pulls, acknowledges and hands over.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_trait::async_trait;
use futures::StreamExt;
use tokio::task::JoinHandle;

use super::{Config, ensure_stream, wait};
use crate::pending::Pending;
use crate::{Listener, Wake};

/// Hears what any host rang. After an outage [`heard`](Listener::heard) returns once with nothing, because rings may have been missed.
pub struct JetStreamListener {
    pending: Arc<Pending>,
    task: JoinHandle<()>,
}

impl JetStreamListener {
    pub(super) fn new(context: Context, config: Config) -> Self {
        let pending = Arc::new(Pending::default());
        let task = tokio::spawn(listen(context, config, pending.clone()));
        Self { pending, task }
    }
}

impl Drop for JetStreamListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Listener for JetStreamListener {
    async fn heard(&mut self) -> Option<Vec<Wake>> {
        self.pending.take().await
    }
}

/// The server gives a sign of life this often; two missing ones end the pull and start another.
const HEARTBEAT: Duration = Duration::from_millis(500);

async fn listen(context: Context, config: Config, pending: Arc<Pending>) {
    let mut failures = 0;
    let mut again = false;
    loop {
        match pull(&context, &config, &pending, &mut failures, again).await {
            Ok(()) => tracing::debug!("the pull ended"),
            Err(why) => tracing::warn!(%why, "cannot hear the bell; the sweep finds what is due until then"),
        }
        again = true;
        failures += 1;
        tokio::time::sleep(wait(failures)).await;
    }
}

/// Pulls until something is wrong: the connection, the consumer or the stream is gone.
async fn pull(
    context: &Context,
    config: &Config,
    pending: &Pending,
    failures: &mut usize,
    again: bool,
) -> Result<(), String> {
    ensure_stream(context, config).await?;
    let durable = pull::Config {
        durable_name: Some(config.consumer.clone()),
        ack_policy: AckPolicy::Explicit,
        // Between delivery and hand-over lie microseconds; what a host died with comes again to another.
        ack_wait: Duration::from_secs(5),
        max_ack_pending: 10_000,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer =
        context.create_consumer_on_stream(durable, config.stream.as_str()).await.map_err(|error| error.to_string())?;
    let messages =
        consumer.stream().max_messages_per_batch(256).expires(HEARTBEAT * 10).heartbeat(HEARTBEAT).messages();
    let mut messages = messages.await.map_err(|error| error.to_string())?;
    *failures = 0;
    if again {
        pending.alarm();
    }
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| error.to_string())?;
        match serde_json::from_slice(&message.payload) {
            Ok(wake) => pending.add(wake),
            Err(error) => tracing::warn!(%error, subject = %message.subject, "not a wake-up"),
        }
        message.ack().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

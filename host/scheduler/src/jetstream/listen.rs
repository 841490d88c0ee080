//! The hearing side: a task that pulls, and one that acknowledges what was handed over.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::message::Acker;
use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::{mpsc, watch};

use super::{PATIENCE, Session, Tasks};
use crate::pending::Pending;
use crate::ring::Receipt;
use crate::{Listener, Ring, Wake};

/// Hears what any host rang. After an outage [`heard`](Listener::heard) returns once with nothing, because rings may have been missed.
pub struct JetStreamListener {
    heard: Arc<Pending>,
    rests: watch::Sender<bool>,
    _tasks: Tasks,
    _keeper: Arc<Tasks>,
}

impl JetStreamListener {
    pub(super) fn new(session: Session, keeper: Arc<Tasks>) -> Self {
        let heard = session.link.heard.clone();
        // Until somebody asks for what was heard: a host that is still getting ready would hold rings that others could act on.
        let rests = watch::Sender::new(true);
        let (receipts, given) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listen(session, rests.subscribe(), receipts));
        // Not among the tasks that end with the listener: what was handed over is acknowledged still.
        tokio::spawn(acknowledge(given));
        Self { heard, rests, _tasks: Tasks(vec![listening]), _keeper: keeper }
    }
}

#[async_trait]
impl Listener for JetStreamListener {
    async fn heard(&mut self) -> Option<Vec<Ring>> {
        self.rests.send_if_modified(std::mem::take);
        self.heard.take().await
    }

    fn rest(&mut self, rests: bool) {
        self.rests.send_replace(rests);
    }
}

/// So many rings are under way to one host: the fewer, the more evenly they are spread.
const AHEAD: usize = 64;

/// The server gives a sign of life this often; two missing ones end the pull and start another.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A rest that is shorter is none: what is under way to a host that stops pulling is heard by others only after a while.
const SHORT: Duration = Duration::from_millis(50);

async fn listen(session: Session, mut rests: watch::Receiver<bool>, receipts: mpsc::UnboundedSender<Acker>) {
    let mut since = None;
    loop {
        // An error: the listener is gone, and this task with it.
        let _awake = rests.wait_for(|rests| !rests).await.map(drop);
        let time = session.link.well().await;
        let fresh = since.replace(time) != Some(time);
        if let Err(why) = pull(&session, time, fresh, rests.clone(), &receipts).await {
            tracing::debug!(why, "the pull ended");
            session.link.doubt(&why);
        }
    }
}

/// Pulls until something is wrong, or until the host rests.
async fn pull(
    session: &Session,
    time: u64,
    fresh: bool,
    rests: watch::Receiver<bool>,
    receipts: &mpsc::UnboundedSender<Acker>,
) -> Result<(), String> {
    let (link, config) = (&session.link, &session.link.config);
    let consumer = session.context.get_consumer_from_stream::<pull::Config, _, _>(config.consumer(), config.stream());
    let consumer = consumer.await.map_err(|error| error.to_string())?;
    let pulling = consumer.stream().max_messages_per_batch(AHEAD).expires(HEARTBEAT * 30).heartbeat(HEARTBEAT);
    let mut messages = pulling.messages().await.map_err(|error| error.to_string())?;
    if fresh {
        link.heard.alarm();
    }
    let mut over = pin!(async {
        tokio::select! {
            () = link.over(time) => {}
            () = rested(rests) => {}
        }
    });
    loop {
        let message = tokio::select! {
            () = &mut over => return Ok(()),
            message = messages.next() => message,
        };
        let message = message.ok_or("the pull ended")?.map_err(|error| error.to_string())?;
        let (message, acker) = message.split();
        let receipts = receipts.clone();
        // An error: nobody acknowledges any more, so that others hear it.
        let receipt: Receipt = Box::new(move || drop(receipts.send(acker)));
        match serde_json::from_slice::<Wake>(&message.payload) {
            Ok(wake) => {
                if !link.heard.add(Ring::with_receipt(wake, receipt)) {
                    link.heard.alarm();
                }
            }
            Err(error) => {
                tracing::warn!(%error, subject = %message.subject, "not a wake-up");
                receipt();
            }
        }
    }
}

/// Waits for a rest that is worth stopping for.
async fn rested(mut rests: watch::Receiver<bool>) {
    loop {
        if rests.wait_for(|rests| *rests).await.is_err() {
            return std::future::pending().await;
        }
        if tokio::time::timeout(SHORT, rests.wait_for(|rests| !rests)).await.is_err() {
            return;
        }
    }
}

/// Says to the server what was handed over. What it does not hear of comes again.
async fn acknowledge(mut given: mpsc::UnboundedReceiver<Acker>) {
    while let Some(acker) = given.recv().await {
        if !matches!(tokio::time::timeout(PATIENCE, acker.ack()).await, Ok(Ok(()))) {
            tracing::debug!("a ring is not acknowledged: it is heard again");
        }
    }
}

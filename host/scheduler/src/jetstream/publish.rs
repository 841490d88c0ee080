//! The ringing side: tasks that publish what was rung, together. Whoever rings waits for nothing.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_SCHEDULE, NATS_SCHEDULE_TARGET};
use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Config, PATIENCE, Session, Tasks};
use crate::meters::{self, Outcome};
use crate::pending::{Pending, Ringer};
use crate::{Bell, Ring, Wake};

/// So many await their acknowledgements at once.
const BATCH: usize = 256;

/// More than this many objects do not wait to be rung for: a ring that finds no place is dropped, and the sweep finds what it was for.
const MOST: usize = 10_000;

/// Rings every host of the control plane.
#[derive(Clone)]
pub struct JetStreamBell {
    session: Session,
    now: Ringer,
    later: mpsc::Sender<(Wake, Timestamp)>,
    _keeper: Arc<Tasks>,
}

impl JetStreamBell {
    pub(super) fn new(session: Session, keeper: Arc<Tasks>) -> Self {
        let pending = Arc::new(Pending::new(MOST));
        tokio::spawn(publish(session.clone(), pending.clone()));
        let (later, delayed) = mpsc::channel(MOST);
        tokio::spawn(schedule(session.clone(), delayed));
        Self { session, now: Ringer::new(pending), later, _keeper: keeper }
    }
}

impl Bell for JetStreamBell {
    fn ring(&self, wake: Wake) {
        if !self.session.link.is_well() {
            self.session.home(wake, Outcome::Home);
        } else if !self.now.ring(Ring::local(wake)) {
            meters::rang(Outcome::Dropped, 1);
        }
    }

    fn ring_after(&self, wake: Wake, delay: Duration) {
        // A time that no clock shows is left to SQL, and so is all of it while nobody takes it.
        let Ok(at) = Timestamp::now().checked_add(delay) else { return };
        if self.session.link.is_well()
            && self.session.link.takes_schedules()
            && self.later.try_send((wake.after(delay), at)).is_err()
        {
            meters::rang(Outcome::Dropped, 1);
        }
    }
}

impl Session {
    /// What cannot leave the house is heard in it.
    fn home(&self, wake: Wake, outcome: Outcome) {
        meters::rang(outcome, 1);
        if !self.link.heard.add(Ring::local(wake)) {
            self.link.heard.alarm();
        }
    }
}

/// Publishes until the last bell is gone. What comes while a batch awaits its acknowledgements goes with the next, each object once.
async fn publish(session: Session, pending: Arc<Pending>) {
    while let Some(rings) = pending.take().await {
        let wakes: Vec<Wake> = rings.into_iter().map(|ring| ring.wake).collect();
        for batch in wakes.chunks(BATCH) {
            let results = if session.link.is_well() {
                join_all(batch.iter().map(|wake| publish_one(&session, wake))).await
            } else {
                vec![Err("NATS is away".to_owned()); batch.len()]
            };
            // First, so that what is rung from now on stays here as well.
            if let Some(why) = results.iter().find_map(|result| result.as_ref().err()) {
                session.link.doubt(why);
            }
            for (wake, result) in batch.iter().zip(results) {
                match result {
                    Ok(sent) => meters::rang(Outcome::Published, usize::from(sent)),
                    Err(_told) => session.home(wake.clone(), Outcome::Failed),
                }
            }
        }
    }
}

/// False if there is no subject for it.
async fn publish_one(session: &Session, wake: &Wake) -> Result<bool, String> {
    let Some(subject) = wake_subject(&session.link.config, wake) else {
        session.home(wake.clone(), Outcome::Home);
        return Ok(false);
    };
    let payload = serde_json::to_vec(wake).map_err(|error| error.to_string())?;
    let acknowledged = async {
        let sent = session.context.publish(subject, payload.into()).await.map_err(|error| error.to_string())?;
        sent.await.map(drop).map_err(|error| error.to_string())
    };
    let done = tokio::time::timeout(PATIENCE, acknowledged).await;
    done.unwrap_or_else(|_elapsed| Err("a ring is not acknowledged".to_owned())).map(|()| true)
}

/// Leaves what is for later with the server. What does not get there is found by the timers of the hosts.
async fn schedule(session: Session, mut delayed: mpsc::Receiver<(Wake, Timestamp)>) {
    let mut batch = Vec::new();
    while delayed.recv_many(&mut batch, BATCH).await > 0 {
        let all = batch.drain(..).map(|(wake, at)| schedule_one(&session, wake, at));
        for result in join_all(all).await {
            match result {
                Ok(sent) => meters::rang(Outcome::Scheduled, usize::from(sent)),
                Err(why) => {
                    meters::rang(Outcome::Failed, 1);
                    session.link.doubt(&why);
                }
            }
        }
    }
}

async fn schedule_one(session: &Session, wake: Wake, at: Timestamp) -> Result<bool, String> {
    let config = &session.link.config;
    if !session.link.is_well() {
        return Ok(false);
    }
    let Some(target) = wake_subject(config, &wake) else { return Ok(false) };
    let subject = format!("{}.later.{}.{}", config.prefix, shard(&wake.uid), wake.uid);
    let payload = serde_json::to_vec(&wake).map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_SCHEDULE, format!("@at {at}"));
    headers.insert(NATS_SCHEDULE_TARGET, target);
    let acknowledged = async {
        let sent = session.context.publish_with_headers(subject, headers, payload.into()).await;
        sent.map_err(|error| error.to_string())?.await.map(drop).map_err(|error| error.to_string())
    };
    let done = tokio::time::timeout(PATIENCE, acknowledged).await;
    done.unwrap_or_else(|_elapsed| Err("a scheduled ring is not acknowledged".to_owned())).map(|()| true)
}

/// None for a uid that is no word of a subject: it comes from a client that made its own.
fn wake_subject(config: &Config, wake: &Wake) -> Option<String> {
    if is_word(&wake.uid) && is_word(&wake.class) {
        return Some(format!("{}.wake.{}.{}.{}", config.prefix, wake.class, shard(&wake.uid), wake.uid));
    }
    None
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>".contains(c))
}

/// One of sixteen, the same in all versions (FNV-1a): rings can be told apart, looked at and spread by it.
fn shard(uid: &str) -> String {
    let hash = uid
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{:x}", hash & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_carry_class_and_shard_and_end_in_the_uid() {
        let config = Config::new("nats://host");
        let subject = |uid: &str, class: &'static str| wake_subject(&config, &Wake::new(uid, class));
        assert_eq!(subject("a", "user").unwrap(), "threeport.wake.user.c.a");
        assert_eq!(subject("foobar", "drift").unwrap(), "threeport.wake.drift.8.foobar");
        for uid in ["", "a.b", "*", "a>", "a b", "a\n"] {
            assert_eq!(subject(uid, "user"), None, "{uid:?}");
        }
        let shards: std::collections::HashSet<String> = (0..1000).map(|number| shard(&number.to_string())).collect();
        assert_eq!(shards.len(), 16);
    }
}

//! The JetStream bell against a real nats-server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod nats;

use std::collections::HashMap;
use std::time::Duration;

use nats::Nats;
use threeport_scheduler::jetstream::{Config, JetStreamBell, JetStreamListener, connect};
use threeport_scheduler::{Bell, Listener, Wake};
use tokio::time::{Instant, timeout_at};

fn wake(uid: impl ToString) -> Wake {
    Wake { uid: uid.to_string() }
}

async fn bell(nats: &Nats) -> (JetStreamBell, JetStreamListener) {
    connect(Config::new(&nats.url)).await.unwrap()
}

/// Listens until all of these have been heard; counts how often each was.
async fn hears(
    listener: &mut JetStreamListener,
    uids: impl IntoIterator<Item = impl ToString>,
) -> HashMap<String, usize> {
    let mut missing: Vec<String> = uids.into_iter().map(|uid| uid.to_string()).collect();
    let mut heard = HashMap::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !missing.is_empty() {
        let Ok(wakes) = timeout_at(deadline, listener.heard()).await else { panic!("never heard: {missing:?}") };
        for wake in wakes.expect("the bell is not gone") {
            missing.retain(|uid| *uid != wake.uid);
            *heard.entry(wake.uid).or_default() += 1;
        }
    }
    heard
}

#[tokio::test]
async fn a_ring_is_heard() {
    let nats = Nats::start().await;
    let (bell, mut listener) = bell(&nats).await;
    bell.ring(wake("one"));
    hears(&mut listener, ["one"]).await;
    let rung = Instant::now();
    bell.ring(wake("two"));
    hears(&mut listener, ["two"]).await;
    println!("ring to heard: {:?}", rung.elapsed());
}

#[tokio::test]
async fn rings_for_one_object_coalesce_and_a_later_one_is_heard_again() {
    let nats = Nats::start().await;
    let (bell, mut listener) = bell(&nats).await;
    for _ in 0..5000 {
        bell.ring(wake("busy"));
    }
    bell.ring(wake("last"));
    let heard = hears(&mut listener, ["busy", "last"]).await;
    assert!(heard["busy"] < 500, "5000 rings were heard {} times", heard["busy"]);
    bell.ring(wake("busy"));
    hears(&mut listener, ["busy"]).await;
}

#[tokio::test]
async fn rings_that_nobody_has_heard_wait_once_for_each_object() {
    let nats = Nats::start().await;
    let (bell, listener) = bell(&nats).await;
    drop(listener);
    let stream = nats.context().await;
    for round in 0..3 {
        for uid in 0..10 {
            bell.ring(wake(uid));
        }
        nats::until("the rings to arrive", async || {
            let info = stream.get_stream("THREEPORT_WAKE").await.ok()?.cached_info().state.clone();
            (info.last_sequence >= 10 * (round + 1) && info.messages == 10).then_some(())
        })
        .await;
    }
    let (_bell, mut listener) = connect(Config::new(&nats.url)).await.unwrap();
    assert!(hears(&mut listener, 0..10).await.values().all(|times| *times == 1));
    nats::until("everything heard to be acknowledged", async || {
        let info = stream.get_stream("THREEPORT_WAKE").await.ok()?.cached_info().state.clone();
        (info.messages == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hosts_share_the_rings() {
    let nats = Nats::start().await;
    let (bell, mut first) = bell(&nats).await;
    let (_, mut second) = connect(Config::new(&nats.url)).await.unwrap();
    (0..500).for_each(|uid| bell.ring(wake(uid)));
    let mut missing: Vec<String> = (0..500).map(|uid| uid.to_string()).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !missing.is_empty() {
        let heard = async {
            tokio::select! { heard = first.heard() => heard, heard = second.heard() => heard }
        };
        let wakes = timeout_at(deadline, heard).await.expect("some ring was never heard").unwrap();
        missing.retain(|uid| !wakes.iter().any(|wake| wake.uid == *uid));
    }
}

#[tokio::test]
async fn deleting_the_stream_costs_only_a_moment() {
    let nats = Nats::start().await;
    let (bell, mut listener) = bell(&nats).await;
    bell.ring(wake("before"));
    hears(&mut listener, ["before"]).await;
    nats.context().await.delete_stream("THREEPORT_WAKE").await.unwrap();
    bell.ring(wake("after"));
    let deleted = Instant::now();
    hears(&mut listener, ["after"]).await;
    println!("heard again after {:?}", deleted.elapsed());
}

#[tokio::test]
async fn deleting_the_consumer_costs_only_a_moment() {
    let nats = Nats::start().await;
    let (bell, mut listener) = bell(&nats).await;
    bell.ring(wake("before"));
    hears(&mut listener, ["before"]).await;
    let context = nats.context().await;
    context.delete_consumer_from_stream("threeport-hosts", "THREEPORT_WAKE").await.unwrap();
    bell.ring(wake("after"));
    hears(&mut listener, ["after"]).await;
}

#[tokio::test]
async fn a_killed_server_that_comes_back_is_rung_and_heard_again() {
    let mut nats = Nats::start().await;
    let (bell, mut listener) = bell(&nats).await;
    bell.ring(wake("before"));
    hears(&mut listener, ["before"]).await;
    nats.kill();
    bell.ring(wake("while it was away"));
    bell.ring(wake("away"));
    nats.restart().await;
    let back = Instant::now();
    hears(&mut listener, ["away"]).await;
    bell.ring(wake("after"));
    hears(&mut listener, ["after"]).await;
    println!("heard again after {:?}", back.elapsed());
}

#[tokio::test]
async fn a_server_that_starts_later_is_found() {
    let mut nats = Nats::start().await;
    nats.kill();
    let (bell, mut listener) = bell(&nats).await;
    bell.ring(wake("early"));
    nats.restart().await;
    hears(&mut listener, ["early"]).await;
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    let refused = connect(Config::new("nats://user:hunter2@host:not-a-port")).await.err().unwrap().to_string();
    assert!(refused.contains("host:not-a-port") && !refused.contains("hunter2"), "{refused}");
}

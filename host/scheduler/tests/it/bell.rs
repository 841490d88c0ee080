//! Ringing and hearing while all is well.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use threeport_scheduler::{Bell, Listener};
use tokio::time::{Instant, timeout_at};

use super::{hears, held, host, is_empty, next, wake};
use crate::nats::{Nats, PATIENCE, until};

#[tokio::test]
async fn a_ring_is_heard() {
    let nats = Nats::start().await;
    let mut host = host(&nats).await;
    host.bell.ring(wake("one"));
    hears(&mut host.listener, ["one"]).await;
    let rung = Instant::now();
    host.bell.ring(wake("two"));
    hears(&mut host.listener, ["two"]).await;
    println!("ring to heard: {:?}", rung.elapsed());
    is_empty(&nats).await;
}

#[tokio::test]
async fn rings_for_one_object_coalesce_and_a_later_one_is_heard_again() {
    let nats = Nats::start().await;
    let mut host = host(&nats).await;
    for _ in 0..5000 {
        host.bell.ring(wake("busy"));
    }
    host.bell.ring(wake("last"));
    let heard = hears(&mut host.listener, ["busy", "last"]).await;
    assert!(heard["busy"] < 500, "5000 rings were heard {} times", heard["busy"]);
    host.bell.ring(wake("busy"));
    hears(&mut host.listener, ["busy"]).await;
}

#[tokio::test]
async fn a_thousand_rings_from_as_many_hosts_become_one_message() {
    let nats = Nats::start().await;
    let mut host = host(&nats).await;
    // Nobody hears: they meet in the stream.
    host.listener.rest(true);
    let stream = nats.context().await;
    let payload = serde_json::to_vec(&wake("a")).unwrap();
    let rest = until("the host to rest", async || {
        let mut consumer = stream
            .get_consumer_from_stream::<async_nats::jetstream::consumer::pull::Config, _, _>(
                "threeport-hosts",
                "THREEPORT_WAKE",
            )
            .await
            .ok()?;
        (consumer.info().await.ok()?.num_waiting == 0).then_some(())
    });
    rest.await;
    for _ in 0..1000 {
        stream.publish("threeport.wake.user.c.a", payload.clone().into()).await.unwrap().await.unwrap();
    }
    assert_eq!(held(&nats).await, Some(1));
    host.listener.rest(false);
    assert_eq!(hears(&mut host.listener, ["a"]).await["a"], 1);
    is_empty(&nats).await;
}

#[tokio::test]
async fn rings_that_nobody_has_heard_wait_once_for_each_object() {
    let nats = Nats::start().await;
    let first = host(&nats).await;
    drop(first.listener);
    let stream = nats.context().await;
    for round in 0..3 {
        for uid in 0..10 {
            first.bell.ring(wake(uid));
        }
        until("the rings to arrive", async || {
            let info = stream.get_stream("THREEPORT_WAKE").await.ok()?.cached_info().state.clone();
            (info.last_sequence >= 10 * (round + 1) && info.messages == 10).then_some(())
        })
        .await;
    }
    let mut second = host(&nats).await;
    assert!(hears(&mut second.listener, 0..10).await.values().all(|times| *times == 1));
    is_empty(&nats).await;
}

#[tokio::test]
async fn two_hosts_get_each_ring_once_between_them() {
    let nats = Nats::start().await;
    let (mut first, mut second) = (host(&nats).await, host(&nats).await);
    (0..500).for_each(|uid| first.bell.ring(wake(uid)));
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + PATIENCE;
    while here.len() + there.len() < 500 {
        let (heard, by) = timeout_at(deadline, async {
            tokio::select! {
                heard = first.listener.heard() => (heard, &mut here),
                heard = second.listener.heard() => (heard, &mut there),
            }
        })
        .await
        .expect("some ring was never heard");
        for ring in heard.unwrap() {
            by.push(ring.wake.uid.clone());
            ring.handed_over();
        }
    }
    is_empty(&nats).await;
    assert!(!here.is_empty() && !there.is_empty(), "{} here, {} there", here.len(), there.len());
    let mut all: Vec<String> = here.into_iter().chain(there).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 500, "some ring was heard twice");
}

#[tokio::test]
async fn what_a_host_that_is_full_cannot_take_is_heard_by_another() {
    let nats = Nats::start().await;
    let (mut full, mut free) = (host(&nats).await, host(&nats).await);
    full.listener.rest(true);
    let started = Instant::now();
    for uid in 0..200 {
        full.bell.ring(wake(uid));
    }
    hears(&mut free.listener, 0..200).await;
    println!("all heard by the other after {:?}", started.elapsed());
}

/// Loading plugins takes a host a while: what it would hear meanwhile would wait for that, or until it is heard again.
#[tokio::test]
async fn a_host_that_does_not_listen_yet_takes_no_rings_from_the_others() {
    let nats = Nats::start().await;
    let (mut starts, mut works) = (host(&nats).await, host(&nats).await);
    let given = async || {
        let stream = nats.context().await.get_stream("THREEPORT_WAKE").await.unwrap();
        let consumer = stream.get_consumer::<pull::Config>("threeport-hosts").await.unwrap();
        consumer.cached_info().clone()
    };
    (0..200).for_each(|uid| works.bell.ring(wake(uid)));
    hears(&mut works.listener, 0..200).await;
    is_empty(&nats).await;
    assert_eq!(
        given().await.delivered.consumer_sequence,
        200,
        "some ring was given to who did not ask, and then again"
    );
    drop(works);
    starts.bell.ring(wake("a"));
    hears(&mut starts.listener, ["a"]).await;
}

#[tokio::test]
async fn what_a_host_died_with_is_heard_by_another() {
    let nats = Nats::start().await;
    let mut dies = host(&nats).await;
    dies.bell.ring(wake("a"));
    // The first thing it hears may be that there may be something.
    let heard = loop {
        let heard = next(&mut dies.listener, "a").await;
        if !heard.is_empty() {
            break heard;
        }
    };
    assert_eq!(held(&nats).await, Some(1), "it is acknowledged before it is handed over");
    drop((heard, dies));
    let mut lives = host(&nats).await;
    hears(&mut lives.listener, ["a"]).await;
    is_empty(&nats).await;
}

#[tokio::test]
async fn a_ring_for_later_is_heard_when_its_time_comes_and_replaces_the_one_before() {
    let nats = Nats::start().await;
    let mut host = host(&nats).await;
    let started = Instant::now();
    host.bell.ring_after(wake("a"), Duration::from_secs(3600));
    host.bell.ring_after(wake("a"), Duration::from_secs(2));
    host.bell.ring(wake("b"));
    hears(&mut host.listener, ["b"]).await;
    hears(&mut host.listener, ["a"]).await;
    assert!(started.elapsed() >= Duration::from_secs(2), "after {:?}", started.elapsed());
    // The schedule itself is gone with it.
    is_empty(&nats).await;
}

#[tokio::test]
async fn whoever_rings_faster_than_nats_takes_waits_for_nothing() {
    let nats = Nats::start().await;
    let host = host(&nats).await;
    nats.freeze().await;
    let started = Instant::now();
    (0..100_000).for_each(|uid| host.bell.ring(wake(uid)));
    let took = started.elapsed();
    nats.thaw();
    assert!(took < Duration::from_secs(5), "100000 rings took {took:?}");
}

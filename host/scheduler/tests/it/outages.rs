//! NATS is killed, frozen, wiped, never there; its stream and its consumer vanish.

use threeport_scheduler::jetstream::{Config, Reason, connect};
use threeport_scheduler::{Bell, Listener};
use tokio::time::Instant;

use super::{hears, host, ill, is_empty, next, wake, well};
use crate::nats::Nats;

#[tokio::test]
async fn deleting_the_stream_costs_only_a_moment() {
    let nats = Nats::start().await;
    let mut host = host(&nats).await;
    host.bell.ring(wake("before"));
    hears(&mut host.listener, ["before"]).await;
    nats.context().await.delete_stream("THREEPORT_WAKE").await.unwrap();
    host.bell.ring(wake("after"));
    let deleted = Instant::now();
    hears(&mut host.listener, ["after"]).await;
    println!("heard again after {:?}", deleted.elapsed());
    is_empty(&nats).await;
}

#[tokio::test]
async fn a_stream_that_vanishes_while_nobody_rings_is_made_again() {
    let nats = Nats::start().await;
    let (rings, mut hears_it) = (host(&nats).await, host(&nats).await);
    // One that works: who does not pull yet has nothing to miss.
    hears_it.listener.rest(false);
    nats.context().await.delete_stream("THREEPORT_WAKE").await.unwrap();
    ill(&hears_it.status, Reason::NotAnswering).await;
    well(&hears_it.status).await;
    well(&rings.status).await;
    // What was in it is lost: look at everything.
    loop {
        if next(&mut hears_it.listener, "an alarm").await.is_empty() {
            break;
        }
    }
    rings.bell.ring(wake("after"));
    hears(&mut hears_it.listener, ["after"]).await;
}

#[tokio::test]
async fn deleting_the_consumer_costs_only_a_moment() {
    let nats = Nats::start().await;
    let mut host = host(&nats).await;
    host.bell.ring(wake("before"));
    hears(&mut host.listener, ["before"]).await;
    let context = nats.context().await;
    context.delete_consumer_from_stream("threeport-hosts", "THREEPORT_WAKE").await.unwrap();
    host.bell.ring(wake("after"));
    hears(&mut host.listener, ["after"]).await;
    is_empty(&nats).await;
}

#[tokio::test]
async fn a_killed_server_costs_nothing_here_and_is_rung_again_when_it_is_back() {
    let mut nats = Nats::start().await;
    let mut host = host(&nats).await;
    host.bell.ring(wake("before"));
    hears(&mut host.listener, ["before"]).await;
    nats.kill();
    host.bell.ring(wake("while-away"));
    hears(&mut host.listener, ["while-away"]).await;
    ill(&host.status, Reason::Unreachable).await;
    host.bell.ring(wake("away-still"));
    hears(&mut host.listener, ["away-still"]).await;
    nats.restart().await;
    let back = Instant::now();
    well(&host.status).await;
    println!("well again after {:?}", back.elapsed());
    let mut other = super::host(&nats).await;
    host.listener.rest(true);
    host.bell.ring(wake("after"));
    hears(&mut other.listener, ["after"]).await;
}

#[tokio::test]
async fn a_server_that_comes_back_wiped_is_set_up_again() {
    let mut nats = Nats::start().await;
    let mut host = host(&nats).await;
    nats.kill();
    nats.wipe();
    nats.restart().await;
    host.bell.ring(wake("a"));
    hears(&mut host.listener, ["a"]).await;
    well(&host.status).await;
    host.bell.ring(wake("b"));
    hears(&mut host.listener, ["b"]).await;
    is_empty(&nats).await;
}

#[tokio::test]
async fn a_frozen_server_costs_a_moment_until_it_is_noticed() {
    let nats = Nats::start().await;
    let mut host = host(&nats).await;
    nats.freeze().await;
    host.bell.ring(wake("a"));
    let rung = Instant::now();
    hears(&mut host.listener, ["a"]).await;
    println!("heard without an acknowledgement after {:?}", rung.elapsed());
    assert!(host.status.trouble().is_some());
    host.bell.ring(wake("b"));
    hears(&mut host.listener, ["b"]).await;
    nats.thaw();
    well(&host.status).await;
    host.bell.ring(wake("c"));
    hears(&mut host.listener, ["c"]).await;
    is_empty(&nats).await;
}

#[tokio::test]
async fn after_an_outage_everybody_looks_at_everything() {
    let mut nats = Nats::start().await;
    let mut host = host(&nats).await;
    // The one for the first connection.
    assert!(next(&mut host.listener, "an alarm").await.is_empty());
    nats.kill();
    ill(&host.status, Reason::Unreachable).await;
    nats.restart().await;
    assert!(next(&mut host.listener, "an alarm").await.is_empty());
}

#[tokio::test]
async fn a_server_that_starts_later_is_found() {
    let mut nats = Nats::start().await;
    nats.kill();
    let mut host = connect(Config::new(&nats.url)).await.unwrap();
    host.bell.ring(wake("early"));
    hears(&mut host.listener, ["early"]).await;
    let trouble = ill(&host.status, Reason::Unreachable).await;
    assert!(trouble.message.contains("--nats"), "{trouble}");
    nats.restart().await;
    well(&host.status).await;
    host.bell.ring(wake("later"));
    hears(&mut host.listener, ["later"]).await;
}

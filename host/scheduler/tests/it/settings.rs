//! Streams and consumers of others, settings that somebody changed, and settings that can never work.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config as Settings, DiscardPolicy, RetentionPolicy, StorageType};
use threeport_scheduler::Bell;
use threeport_scheduler::jetstream::{Config, Reason, connect};

use super::{hears, host, host_with, ill, wake, well};
use crate::nats::Nats;

/// As a host would make it, but for what is not checked.
fn fitting() -> Settings {
    Settings {
        name: "THREEPORT_WAKE".to_owned(),
        subjects: vec!["threeport.wake.>".to_owned(), "threeport.later.>".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::Old,
        max_messages_per_subject: 1,
        allow_message_schedules: true,
        storage: StorageType::File,
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_stream_that_somebody_made_with_other_settings_is_told_and_left_alone() {
    let nats = Nats::start().await;
    let context = nats.context().await;
    let foreign = Settings { retention: RetentionPolicy::Limits, max_messages_per_subject: 10, ..fitting() };
    context.create_stream(&foreign).await.unwrap();
    let mut host = connect(Config::new(&nats.url)).await.unwrap();
    let trouble = ill(&host.status, Reason::Foreign).await.message;
    for part in [
        "THREEPORT_WAKE",
        "retention is limits, not workqueue",
        "max_msgs_per_subject is 10, not 1",
        "nats stream rm THREEPORT_WAKE",
        "--nats-prefix",
    ] {
        assert!(trouble.contains(part), "{part}: {trouble}");
    }
    // This host works on.
    host.bell.ring(wake("a"));
    hears(&mut host.listener, ["a"]).await;
    let left = context.get_stream("THREEPORT_WAKE").await.unwrap();
    assert_eq!(left.cached_info().config.retention, RetentionPolicy::Limits);
    // And goes over NATS by itself once it is mended.
    context.delete_stream("THREEPORT_WAKE").await.unwrap();
    well(&host.status).await;
}

#[tokio::test]
async fn a_stream_that_somebody_made_as_it_must_be_is_used() {
    let nats = Nats::start().await;
    let context = nats.context().await;
    context.create_stream(fitting()).await.unwrap();
    let mut host = host(&nats).await;
    host.bell.ring(wake("a"));
    hears(&mut host.listener, ["a"]).await;
    let left = context.get_stream("THREEPORT_WAKE").await.unwrap();
    assert_eq!(left.cached_info().config.storage, StorageType::File);
}

#[tokio::test]
async fn a_stream_that_has_our_subjects_is_named() {
    let nats = Nats::start().await;
    let greedy = Settings { name: "ALL".to_owned(), subjects: vec!["threeport.>".to_owned()], ..Settings::default() };
    nats.context().await.create_stream(greedy).await.unwrap();
    let host = connect(Config::new(&nats.url)).await.unwrap();
    let trouble = ill(&host.status, Reason::Foreign).await.message;
    assert!(trouble.contains("the stream ALL") && trouble.contains("--nats-prefix"), "{trouble}");
}

#[tokio::test]
async fn somebody_elses_consumer_is_told() {
    let nats = Nats::start().await;
    let context = nats.context().await;
    let stream = context.create_stream(fitting()).await.unwrap();
    let spy =
        pull::Config { durable_name: Some("spy".to_owned()), ack_policy: AckPolicy::Explicit, ..Default::default() };
    stream.create_consumer(spy).await.unwrap();
    let host = connect(Config::new(&nats.url)).await.unwrap();
    let trouble = ill(&host.status, Reason::Foreign).await.message;
    assert!(trouble.contains("consumer") && trouble.contains("nats consumer rm THREEPORT_WAKE"), "{trouble}");
    stream.delete_consumer("spy").await.unwrap();
    well(&host.status).await;
}

#[tokio::test]
async fn settings_of_our_own_that_somebody_changed_are_mended() {
    let nats = Nats::start().await;
    let context = nats.context().await;
    let made = {
        let _host = host(&nats).await;
        context.get_stream("THREEPORT_WAKE").await.unwrap().cached_info().config.clone()
    };
    let changed =
        Settings { max_messages_per_subject: 5, max_age: std::time::Duration::from_secs(3600), ..made.clone() };
    context.update_stream(changed).await.unwrap();
    let lazy = pull::Config {
        durable_name: Some("threeport-hosts".to_owned()),
        filter_subject: "threeport.wake.>".to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: std::time::Duration::from_secs(3600),
        memory_storage: true,
        ..Default::default()
    };
    context.create_consumer_on_stream(lazy, "THREEPORT_WAKE").await.unwrap();
    let mut host = host(&nats).await;
    let mended = context.get_stream("THREEPORT_WAKE").await.unwrap();
    assert_eq!(mended.cached_info().config.max_messages_per_subject, made.max_messages_per_subject);
    assert_eq!(mended.cached_info().config.max_age, made.max_age);
    let consumer = mended.consumer_info("threeport-hosts").await.unwrap();
    assert_eq!(consumer.config.ack_wait, std::time::Duration::from_secs(2));
    host.bell.ring(wake("a"));
    hears(&mut host.listener, ["a"]).await;
}

#[tokio::test]
async fn what_cannot_be_changed_of_our_own_is_made_again() {
    let nats = Nats::start().await;
    let context = nats.context().await;
    // As a version might have made it that kept rings on disk.
    let description = {
        let _host = host(&nats).await;
        context.get_stream("THREEPORT_WAKE").await.unwrap().cached_info().config.description.clone()
    };
    context.delete_stream("THREEPORT_WAKE").await.unwrap();
    let older = Settings { description, retention: RetentionPolicy::Interest, ..fitting() };
    context.create_stream(older).await.unwrap();
    let mut host = host(&nats).await;
    let made = context.get_stream("THREEPORT_WAKE").await.unwrap();
    assert_eq!(made.cached_info().config.retention, RetentionPolicy::WorkQueue);
    host.bell.ring(wake("a"));
    hears(&mut host.listener, ["a"]).await;
}

#[tokio::test]
async fn a_server_without_jetstream_is_told_how_to_get_it() {
    let mut nats = Nats::start_with("").await;
    let host = connect(Config::new(&nats.url)).await.unwrap();
    let trouble = ill(&host.status, Reason::NoJetStream).await.message;
    assert!(trouble.contains("-js"), "{trouble}");
    nats.kill();
    nats.configure("jetstream {}");
    nats.restart().await;
    well(&host.status).await;
}

#[tokio::test]
async fn a_server_without_room_is_told_to_make_some_and_used_when_it_has() {
    // The one stream that the account may have is somebody else's.
    let config = |streams: u32| {
        format!(
            "jetstream {{}}\naccounts {{ HERE: {{ jetstream: {{ max_streams: {streams} }}, users: [{{user: u, password: p}}] }} }}\nno_auth_user: u"
        )
    };
    let nats = Nats::start_with(&config(1)).await;
    nats.context().await.create_stream(Settings { name: "OTHER".to_owned(), ..Settings::default() }).await.unwrap();
    let mut host = connect(Config::new(&nats.url)).await.unwrap();
    let trouble = ill(&host.status, Reason::NoRoom).await.message;
    assert!(trouble.contains("max_streams"), "{trouble}");
    host.bell.ring(wake("a"));
    hears(&mut host.listener, ["a"]).await;
    nats.configure(&config(2));
    nats.reload();
    well(&host.status).await;
    host.bell.ring(wake("b"));
    hears(&mut host.listener, ["b"]).await;
}

#[tokio::test]
async fn control_planes_with_different_first_words_do_not_hear_each_other() {
    let nats = Nats::start().await;
    let mut one = host(&nats).await;
    let mut other = host_with(Config { prefix: "other".to_owned(), ..Config::new(&nats.url) }).await;
    one.bell.ring(wake("of-one"));
    other.bell.ring(wake("of-other"));
    assert!(!hears(&mut one.listener, ["of-one"]).await.contains_key("of-other"));
    assert!(!hears(&mut other.listener, ["of-other"]).await.contains_key("of-one"));
}

#[tokio::test]
async fn settings_that_can_never_work_are_refused() {
    let refused = connect(Config::new("nats://user:hunter2@host:not-a-port")).await.err().unwrap().to_string();
    assert!(refused.contains("host:not-a-port") && !refused.contains("hunter2"), "{refused}");
    for prefix in ["", "a.b", "a >", "*"] {
        let config = Config { prefix: prefix.to_owned(), ..Config::new("nats://host") };
        let refused = connect(config).await.err().unwrap().to_string();
        assert!(refused.contains(&format!("{prefix:?}")), "{refused}");
    }
}

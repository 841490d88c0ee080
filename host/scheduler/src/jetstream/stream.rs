//! What stream and consumer must be like. What is missing is made, what this program made otherwise is mended, and what somebody else made is left alone and
//! told.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config as AnyConsumer, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config as Settings, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};

use super::keep::silent;
use super::trouble::{Reason, Trouble};
use super::{Config, Session};

/// What this program writes on its stream, and knows it by.
const MARK: &str = "Wake-ups of threeport hosts. Holds no state: may be deleted at any time.";

/// Between delivery and hand-over lie milliseconds; what a host died with comes again to another.
const ACK_WAIT: Duration = Duration::from_secs(2);

/// Rings that hosts have heard and not handed over yet.
const UNACKNOWLEDGED: i64 = 10_000;

/// Rings and schedules that wait, at most: the oldest go first, and the sweep finds what they were for.
const MOST: i64 = 1_000_000;

fn wanted(config: &Config, schedules: bool) -> Settings {
    let mut subjects = vec![config.wake_subjects()];
    if schedules {
        subjects.push(config.later_subjects());
    }
    Settings {
        name: config.stream(),
        subjects,
        description: Some(MARK.to_string()),
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::Memory,
        discard: DiscardPolicy::Old,
        max_messages_per_subject: 1,
        max_messages: MOST,
        num_replicas: config.replicas,
        allow_message_schedules: schedules,
        ..Settings::default()
    }
}

fn wanted_consumer(config: &Config) -> pull::Config {
    pull::Config {
        durable_name: Some(config.consumer()),
        description: Some("Shared by all threeport hosts: each ring is heard by one of them.".to_string()),
        // Not what is for later: who acknowledges a schedule cancels it.
        filter_subject: config.wake_subjects(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: UNACKNOWLEDGED,
        memory_storage: true,
        ..pull::Config::default()
    }
}

/// Makes, mends, or says what is in the way.
pub(super) async fn ensure(session: &Session) -> Result<(), Trouble> {
    let (context, config) = (&session.context, &session.link.config);
    let schedules = session.client.is_server_compatible(2, 12, 0);
    let stream = ensure_stream(session, &wanted(config, schedules)).await?;
    ensure_consumer(session, &stream, context, config).await?;
    session.link.schedules.store(stream.cached_info().config.allow_message_schedules, Relaxed);
    Ok(())
}

async fn ensure_stream(session: &Session, wanted: &Settings) -> Result<Stream, Trouble> {
    let (context, name) = (&session.context, &wanted.name);
    let found = match context.get_stream(name).await {
        Ok(found) => found,
        Err(error) => {
            return match error.kind() {
                GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    tracing::info!(stream = name, "making the NATS stream");
                    create(session, wanted).await
                }
                GetStreamErrorKind::JetStream(why) => Err(refused(session, &why.error_code(), &error.to_string())),
                _ => Err(unanswered(session, &error.to_string())),
            };
        }
    };
    let settings = &found.cached_info().config;
    let ours = settings.description.as_deref() == Some(MARK);
    let wrong = differences(wanted, settings, ours);
    if wrong.is_empty() {
        return Ok(found);
    }
    let wrong = wrong.join(", ");
    if !ours {
        return Err(Trouble::new(
            Reason::Foreign,
            format!(
                "the stream {name} in {} was made by somebody else with other settings ({wrong}): delete it \
                 (`nats stream rm {name}`), or give another first word of all names with --nats-prefix",
                session.link.config.shown()
            ),
        ));
    }
    tracing::info!(stream = name, wrong, "mending the NATS stream");
    if context.update_stream(wanted).await.is_err() {
        // Some settings cannot be changed; it holds nothing that matters.
        context.delete_stream(name).await.map_err(|error| unanswered(session, &error.to_string()))?;
        return create(session, wanted).await;
    }
    context.get_stream(name).await.map_err(|error| unanswered(session, &error.to_string()))
}

async fn create(session: &Session, wanted: &Settings) -> Result<Stream, Trouble> {
    match session.context.create_stream(wanted).await {
        Ok(stream) => Ok(stream),
        Err(error) => Err(match error.kind() {
            CreateStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP => {
                let config = &session.link.config;
                let subjects = config.wake_subjects();
                let whose = session.context.stream_by_subject(&subjects).await.unwrap_or_else(|_| "another".to_owned());
                Trouble::new(
                    Reason::Foreign,
                    format!(
                        "the stream {whose} in {} has subjects of ours ({}.*): take them out of it, or give another first \
                         word of all names with --nats-prefix",
                        config.shown(),
                        config.prefix
                    ),
                )
            }
            CreateStreamErrorKind::JetStream(why) => refused(session, &why.error_code(), &error.to_string()),
            _ => unanswered(session, &error.to_string()),
        }),
    }
}

/// What differs so that rings would be lost, doubled or kept. Of our own, also what is only not as it was asked for.
fn differences(wanted: &Settings, found: &Settings, ours: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut same = |what: &str, is: String, should: String| {
        if is != should {
            wrong.push(format!("{what} is {is}, not {should}"));
        }
    };
    let subjects = |settings: &Settings| {
        let sorted: BTreeSet<&str> = settings.subjects.iter().map(String::as_str).collect();
        sorted.into_iter().collect::<Vec<_>>().join(" ")
    };
    same("subjects", subjects(found), subjects(wanted));
    same("retention", word(&found.retention), word(&wanted.retention));
    same("discard", word(&found.discard), word(&wanted.discard));
    same(
        "max_msgs_per_subject",
        found.max_messages_per_subject.to_string(),
        wanted.max_messages_per_subject.to_string(),
    );
    same("max_age", format!("{:?}", found.max_age), "0ns".to_owned());
    same("no_ack", found.no_ack.to_string(), "false".to_owned());
    same("sealed", found.sealed.to_string(), "false".to_owned());
    if wanted.allow_message_schedules {
        same("allow_msg_schedules", found.allow_message_schedules.to_string(), "true".to_owned());
    }
    same("mirror", found.mirror.is_some().to_string(), "false".to_owned());
    same("subject_transform", found.subject_transform.is_some().to_string(), "false".to_owned());
    if ours {
        same("storage", word(&found.storage), word(&wanted.storage));
        same("max_msgs", found.max_messages.to_string(), wanted.max_messages.to_string());
        same("num_replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string());
    }
    wrong
}

/// As it is called where somebody would change it.
fn word(setting: &impl std::fmt::Debug) -> String {
    format!("{setting:?}").to_lowercase()
}

async fn ensure_consumer(
    session: &Session,
    stream: &Stream,
    context: &Context,
    config: &Config,
) -> Result<(), Trouble> {
    let (name, wanted) = (config.consumer(), wanted_consumer(config));
    match context.get_consumer_from_stream::<AnyConsumer, _, _>(&name, config.stream()).await {
        Ok(found) if fits(&wanted, &found.cached_info().config) => return Ok(()),
        Ok(_other) => {
            tracing::info!(consumer = name, "making the NATS consumer again, with the right settings");
            stream.delete_consumer(&name).await.map_err(|error| unanswered(session, &error.to_string()))?;
        }
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(why) if why.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {}
            ConsumerErrorKind::JetStream(why) => return Err(refused(session, &why.error_code(), &error.to_string())),
            _ => return Err(unanswered(session, &error.to_string())),
        },
    }
    match stream.create_consumer(wanted).await {
        Ok(_made) => Ok(()),
        Err(error) => Err(match error.kind() {
            ConsumerErrorKind::JetStream(why)
                if [
                    ErrorCode::CONSUMER_WQ_MULTIPLE_UNFILTERED,
                    ErrorCode::CONSUMER_WQ_CONSUMER_NOT_UNIQUE,
                    ErrorCode::MAXIMUM_CONSUMERS_LIMIT,
                ]
                .contains(&why.error_code()) =>
            {
                let stream = config.stream();
                Trouble::new(
                    Reason::Foreign,
                    format!(
                        "somebody else's consumer takes rings from the stream {stream} in {} ({error}): delete it \
                         (`nats consumer ls {stream}`, `nats consumer rm {stream} NAME`)",
                        config.shown()
                    ),
                )
            }
            ConsumerErrorKind::JetStream(why) => refused(session, &why.error_code(), &error.to_string()),
            _ => unanswered(session, &error.to_string()),
        }),
    }
}

fn fits(wanted: &pull::Config, found: &AnyConsumer) -> bool {
    found.deliver_subject.is_none()
        && found.filter_subject == wanted.filter_subject
        && found.filter_subjects.is_empty()
        && found.ack_policy == wanted.ack_policy
        && found.ack_wait == wanted.ack_wait
        && found.max_ack_pending == wanted.max_ack_pending
        && found.max_deliver <= 0
        && !found.headers_only
        && found.backoff.is_empty()
}

/// JetStream answered, and would not.
fn refused(session: &Session, code: &ErrorCode, said: &str) -> Trouble {
    let at = session.link.config.shown();
    if [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT].contains(code) {
        return no_jetstream(&at);
    }
    let room = [
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::MEMORY_RESOURCES_EXCEEDED,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::MAXIMUM_STREAMS_LIMIT,
    ];
    if room.contains(code) {
        let message = format!(
            "JetStream of {at} has no room for what a host needs ({said}): give the server or the account more (max_memory_store, max_mem, \
             max_streams), or delete streams that nobody needs"
        );
        return Trouble::new(Reason::NoRoom, message);
    }
    Trouble::new(Reason::NotAnswering, format!("JetStream of {at} refuses what a host needs: {said}"))
}

/// Nobody answered for JetStream.
fn unanswered(session: &Session, said: &str) -> Trouble {
    let lower = said.to_ascii_lowercase();
    let absent = ["no responders", "jetstream unavailable", "jetstream resource does not exist"];
    if absent.iter().any(|words| lower.contains(words)) {
        return no_jetstream(&session.link.config.shown());
    }
    silent(session, said)
}

fn no_jetstream(at: &str) -> Trouble {
    Trouble::new(
        Reason::NoJetStream,
        format!("{at} (--nats) has no JetStream: start nats-server with -js, or enable JetStream for the account"),
    )
}

//! The bell over NATS JetStream.

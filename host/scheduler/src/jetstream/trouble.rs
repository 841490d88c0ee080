//! What keeps rings from going over NATS, said so that somebody can mend it.

use std::fmt;

use super::{Config, Credentials};

/// Kinds of trouble: a word for meters and conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The server cannot be reached.
    Unreachable,
    /// The connection stands and nothing comes back.
    NotAnswering,
    /// The server does not take who we say we are.
    CredentialsRefused,
    /// The file that says who we are cannot be used.
    CredentialsUnusable,
    /// The server's certificate, or what we check it with, is not right.
    TlsFailed,
    /// We may not do there what a host has to do.
    NotPermitted,
    /// The server, or the account, has no JetStream.
    NoJetStream,
    /// JetStream has no room for what a host needs.
    NoRoom,
    /// Somebody else's stream or consumer is in the way.
    Foreign,
}

impl Reason {
    /// All there are.
    pub(super) const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::NotAnswering,
        Self::CredentialsRefused,
        Self::CredentialsUnusable,
        Self::TlsFailed,
        Self::NotPermitted,
        Self::NoJetStream,
        Self::NoRoom,
        Self::Foreign,
    ];

    /// As it stands in meters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::NotAnswering => "NotAnswering",
            Self::CredentialsRefused => "CredentialsRefused",
            Self::CredentialsUnusable => "CredentialsUnusable",
            Self::TlsFailed => "TlsFailed",
            Self::NotPermitted => "NotPermitted",
            Self::NoJetStream => "NoJetStream",
            Self::NoRoom => "NoRoom",
            Self::Foreign => "ForeignStream",
        }
    }
}

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The kind.
    pub reason: Reason,
    /// Says what to do.
    pub message: String,
}

impl Trouble {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Of an attempt to connect, from what the client said of it.
    pub(super) fn of_connecting(config: &Config, said: &str) -> Self {
        let (at, lower) = (config.shown(), said.to_ascii_lowercase());
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if has(&["authorization violation", "authentication"]) {
            let how = match &config.credentials {
                Some(Credentials::Creds(file)) => format!("the credentials in {} (--nats-creds)", file.display()),
                Some(Credentials::Nkey(file)) => format!("the nkey in {} (--nats-nkey)", file.display()),
                None if config.url.contains('@') => "the user and password, or the token, in --nats".to_owned(),
                None => "a host without credentials: give --nats-creds, --nats-nkey, or a user and password or a token in --nats".to_owned(),
            };
            return Self::new(Reason::CredentialsRefused, format!("{at} refuses {how}"));
        }
        if has(&["tls", "certificate", "corrupt message", "unknownissuer", "fatal alert", "handshake"]) {
            // The server's word, in the spellings of rustls and OpenSSL.
            let asked = has(&["certificaterequired", "certificate required", "badcertificate", "bad certificate"]);
            let told = match &config.certificate {
                None if asked => {
                    Some("it asks for a certificate of this host: give one with --nats-cert and --nats-key".to_owned())
                }
                Some((certificate, _)) if asked || has(&["unknownca", "unknown ca"]) => {
                    Some(format!("it does not take the certificate in {} (--nats-cert)", certificate.display()))
                }
                _ => None,
            };
            if let Some(told) = told {
                return Self::new(Reason::TlsFailed, format!("no TLS connection to {at}: {told}: {said}"));
            }
            let by = match &config.ca_file {
                Some(file) => format!("checked with {} (--nats-ca)", file.display()),
                None => {
                    "checked with the authorities of this system: give the one that signed it with --nats-ca".to_owned()
                }
            };
            return Self::new(Reason::TlsFailed, format!("no TLS connection to {at}, {by}: {said}"));
        }
        Self::new(Reason::Unreachable, format!("{at} (--nats) cannot be reached: {said}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

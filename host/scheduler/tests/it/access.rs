//! Who a host is, what it may do, and whom it trusts.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};
use serde_json::{Value, json};
use threeport_scheduler::jetstream::{Config, Credentials, Doorbell, Reason, connect};
use threeport_scheduler::{Announce, Bell, Heed};
use tokio::time::timeout;

use super::{hears, ill, wake, well};
use crate::nats::{Nats, until};

/// What docs/operating.md says that a host may do.
const RIGHTS: &str = r#"permissions {
  publish = ["threeport.>", "$JS.API.STREAM.*.THREEPORT_WAKE", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.>", "$JS.ACK.THREEPORT_WAKE.>"]
  subscribe = ["threeport.changed", "_INBOX.>"]
}"#;

async fn rings_and_hears(host: &mut Doorbell) {
    well(&host.status).await;
    host.bell.ring(wake("a"));
    host.bell.ring_after(wake("b"), Duration::from_secs(1));
    hears(&mut host.listener, ["a", "b"]).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_without_saying_it_and_mended_at_the_server() {
    // As it stands in an address: percent-encoded where it must be.
    let config = |password: &str| {
        format!("jetstream {{}}\nauthorization {{ users = [{{user: host, password: {password:?}}}] }}")
    };
    let nats = Nats::start_with(&config("another")).await;
    let url = nats.url.replace("nats://", "nats://host:hunter%402@");
    let mut host = connect(Config::new(url)).await.unwrap();
    let trouble = ill(&host.status, Reason::CredentialsRefused).await.message;
    assert!(trouble.contains("--nats") && !trouble.contains("hunter"), "{trouble}");
    host.bell.ring(wake("while-wrong"));
    hears(&mut host.listener, ["while-wrong"]).await;
    nats.configure(&config("hunter@2"));
    nats.reload();
    rings_and_hears(&mut host).await;
}

#[tokio::test]
async fn a_token_in_the_address_is_used_and_none_is_told() {
    let nats = Nats::start_with("jetstream {}\nauthorization { token: s3cret }").await;
    let without = connect(Config::new(&nats.url)).await.unwrap();
    let trouble = ill(&without.status, Reason::CredentialsRefused).await.message;
    assert!(trouble.contains("without credentials") && trouble.contains("--nats-creds"), "{trouble}");
    let mut with = connect(Config::new(nats.url.replace("nats://", "nats://s3cret@"))).await.unwrap();
    rings_and_hears(&mut with).await;
}

#[tokio::test]
async fn an_nkey_with_the_documented_rights_does_all_that_a_host_does() {
    let key = KeyPair::new_user();
    let config = format!("jetstream {{}}\nauthorization {{ users = [{{nkey: {}, {RIGHTS}}}] }}", key.public_key());
    let nats = Nats::start_with(&config).await;
    let file = nats.path("host.nk");
    std::fs::write(&file, KeyPair::new_user().seed().unwrap()).unwrap();
    let config = Config { credentials: Some(Credentials::Nkey(file.clone())), ..Config::new(&nats.url) };
    let mut host = connect(config.clone()).await.unwrap();
    let trouble = ill(&host.status, Reason::CredentialsRefused).await.message;
    assert!(trouble.contains("--nats-nkey") && trouble.contains("host.nk"), "{trouble}");
    // The file is mended while it runs.
    std::fs::write(&file, format!("{}\n", key.seed().unwrap())).unwrap();
    rings_and_hears(&mut host).await;
    let mut other = connect(config).await.unwrap();
    well(&other.status).await;
    let mut version = 0;
    until("news of the other host", async || {
        version += 1;
        host.announcer.committed(version);
        timeout(Duration::from_millis(50), other.heeder.committed()).await.ok()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_user_that_may_not_do_it_is_told_what_it_may_not() {
    let nats = Nats::start_with(
        "jetstream {}\nauthorization { users = [{user: host, password: x, permissions { publish = \"threeport.>\", subscribe = \">\" }}] }",
    )
    .await;
    let host = connect(Config::new(nats.url.replace("nats://", "nats://host:x@"))).await.unwrap();
    let trouble = ill(&host.status, Reason::NotPermitted).await.message;
    assert!(trouble.contains("$JS.API.STREAM.INFO.THREEPORT_WAKE"), "{trouble}");
}

/// A JWT as `nsc` makes it.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": nats,
    });
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn a_creds_file_is_used_and_one_that_is_none_is_told() {
    let (operator, system, account, user) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_operator = jwt(
        &operator,
        &operator,
        "operator",
        &json!({"type": "operator", "version": 2, "system_account": system.public_key()}),
    );
    let mut of_system = limits.clone();
    for unknown_there in ["mem_storage", "disk_storage", "streams", "consumer"] {
        of_system.as_object_mut().unwrap().remove(unknown_there);
    }
    let of_system = jwt(&operator, &system, "system", &json!({"type": "account", "version": 2, "limits": of_system}));
    let of_account = jwt(&operator, &account, "hosts", &json!({"type": "account", "version": 2, "limits": limits}));
    let nats = Nats::start_with(&format!(
        "jetstream {{}}\noperator: {of_operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{ {}: {of_system}, {}: {of_account} }}",
        system.public_key(),
        system.public_key(),
        account.public_key(),
    ))
    .await;
    let file = nats.path("host.creds");
    let config = Config { credentials: Some(Credentials::Creds(file.clone())), ..Config::new(&nats.url) };
    let mut host = connect(config).await.unwrap();
    for text in [None, Some("no credentials at all")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let why = if text.is_some() { "no user JWT" } else { "No such file" };
        let told = until(why, async || {
            let trouble = host.status.trouble()?;
            (trouble.reason == Reason::CredentialsUnusable && trouble.message.contains(why)).then_some(trouble.message)
        });
        let told = told.await;
        assert!(told.contains("--nats-creds") && told.contains("host.creds"), "{told}");
    }
    let of_user =
        jwt(&account, &user, "host", &json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}));
    std::fs::write(
        &file,
        format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap()
        ),
    )
    .unwrap();
    rings_and_hears(&mut host).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_one() {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let file = files.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let (ca, certificate, key) = authority();
    let (ca, certificate, key) = (write("ca.crt", &ca), write("tls.crt", &certificate), write("tls.key", &key));
    let nats = Nats::start_with(&format!(
        "jetstream {{}}\ntls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}"
    ))
    .await;
    let without = Config { ca_file: Some(ca), ..Config::new(&nats.url) };
    let host = connect(without.clone()).await.unwrap();
    let trouble = ill(&host.status, Reason::TlsFailed).await.message;
    assert!(trouble.contains("--nats-cert"), "{trouble}");
    // One that somebody else signed, which is mended while the host runs.
    let (_, other, other_key) = authority();
    let own = (write("own.crt", &other), write("own.key", &other_key));
    let mut host = connect(Config { certificate: Some(own.clone()), ..without }).await.unwrap();
    let trouble = ill(&host.status, Reason::TlsFailed).await.message;
    assert!(trouble.contains("own.crt (--nats-cert)"), "{trouble}");
    std::fs::copy(&certificate, &own.0).unwrap();
    std::fs::copy(&key, &own.1).unwrap();
    rings_and_hears(&mut host).await;
}

/// An authority, and a certificate of it for 127.0.0.1.
fn authority() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, TlsKey::generate().unwrap()).unwrap();
    let key = TlsKey::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (issuer.pem(), server.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_its_authority_and_by_no_other() {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let file = files.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let (ca, certificate, key) = authority();
    let (ca, certificate, key) = (write("ca.crt", &ca), write("tls.crt", &certificate), write("tls.key", &key));
    let nats =
        Nats::start_with(&format!("jetstream {{}}\ntls {{ cert_file: {certificate:?}, key_file: {key:?} }}")).await;
    for scheme in ["nats://", "tls://"] {
        let url = nats.url.replace("nats://", scheme);
        let mut trusts = connect(Config { ca_file: Some(ca.clone()), ..Config::new(url) }).await.unwrap();
        rings_and_hears(&mut trusts).await;
    }
    let system = connect(Config::new(&nats.url)).await.unwrap();
    let trouble = ill(&system.status, Reason::TlsFailed).await.message;
    assert!(trouble.contains("--nats-ca"), "{trouble}");

    let other = write("other.crt", &authority().0);
    let mut mended = connect(Config { ca_file: Some(other.clone()), ..Config::new(&nats.url) }).await.unwrap();
    let trouble = ill(&mended.status, Reason::TlsFailed).await.message;
    assert!(trouble.contains("other.crt (--nats-ca)"), "{trouble}");
    std::fs::copy(&ca, &other).unwrap();
    rings_and_hears(&mut mended).await;
}

//! Databases that cannot be used: each is refused with a word on what to do.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use threeport_test_postgres::Postgres;

use crate::*;

async fn open(url: &str) -> Result<Store, String> {
    let database: Database = url.parse().unwrap();
    Store::open(Config::new(database, Key32::new([7; 32]))).await.map_err(|error| error.to_string())
}

async fn refused(url: &str) -> String {
    let why = open(url).await.err().expect("it was not refused");
    assert!(!why.contains("not-a-secret") && !why.contains("wrong-one"), "the password is shown: {why}");
    why
}

async fn database() -> String {
    tokio::task::spawn_blocking(|| server().database().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_with_what_to_check() {
    let url = database().await;
    let place = url.split('@').nth(1).unwrap();
    let wrong = refused(&format!("postgres://tester:wrong-one@{place}")).await;
    assert!(wrong.contains(place) && wrong.contains("check user and password"), "{wrong}");
    let missing = refused(&server().url("nowhere")).await;
    assert!(missing.contains("nowhere") && missing.contains("createdb"), "{missing}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = refused(&format!("postgres://u@{closed}/db")).await;
    assert!(nobody.contains(&closed.to_string()), "{nobody}");
    let listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = refused(&format!("postgres://u@{}/db", listens.local_addr().unwrap())).await;
    assert!(silent.contains("does not answer"), "{silent}");
    assert!("mysql://u@h/db".parse::<Database>().unwrap_err().contains("postgres://"));
}

#[tokio::test]
async fn a_newer_schema_is_used_as_long_as_it_says_so() {
    let temp = Temp::open(Kind::Postgres, Config::KEEP_CHANGES).await;
    // A migration that this version does not know, which older hosts can live with.
    temp.sql("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (99, 'later', true, '', 0)").await;
    let temp = temp.reopen().await;
    write(&temp, put(&key("a", "one"), json!(1), ABSENT)).await;
    temp.sql("update meta set value = 99 where name = 'needs'").await;
    temp.close().await.unwrap();
    let why = Store::open(temp.config()).await.err().unwrap().to_string();
    assert!(why.contains("newer version") && why.contains("upgrade this host"), "{why}");
}

#[tokio::test]
async fn a_host_that_runs_stops_writing_when_a_newer_one_says_so() {
    let temp = Temp::open(Kind::Postgres, Config::KEEP_CHANGES).await;
    write(&temp, put(&key("a", "one"), json!(1), ABSENT)).await;
    temp.sql("update journal set format = 99 where seq = (select max(seq) from journal)").await;
    let why = temp.write(vec![put(&key("a", "two"), json!(1), ABSENT)]).await.unwrap_err().to_string();
    assert!(why.contains("upgrade this host"), "{why}");
    assert_eq!(temp.count("select count(*) from object").await, 1);
}

#[tokio::test]
async fn a_database_that_may_only_be_read_is_refused() {
    let temp = Temp::open(Kind::Postgres, Config::KEEP_CHANGES).await;
    temp.close().await.unwrap();
    let name = temp.config().database.to_string();
    let name = name.rsplit('/').next().unwrap().to_owned();
    let alter = format!("alter database {name} set default_transaction_read_only = on");
    tokio::task::spawn_blocking(move || server().sql("postgres", &alter).unwrap()).await.unwrap();
    let why = Store::open(temp.config()).await.err().unwrap().to_string();
    assert!(why.contains("read-only") && why.contains("primary"), "{why}");
}

/// An authority's certificate and what a server shows that it has signed.
fn certificates(name: &str) -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (authority.pem(), signed.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_the_certificate_of_an_authority_that_is_trusted() {
    let (authority, certificate, key) = certificates("localhost");
    let files = tempfile::tempdir().unwrap();
    let (trusted, other) = (files.path().join("ca.pem"), files.path().join("other.pem"));
    fs::write(&trusted, authority).unwrap();
    fs::write(&other, certificates("localhost").0).unwrap();
    let server = tokio::task::spawn_blocking(move || Postgres::start_tls(&certificate, &key).unwrap()).await.unwrap();
    let url = server.database().unwrap().replace("127.0.0.1", "localhost");
    let verified = |file: &std::path::Path| format!("{url}?sslmode=verify-full&sslrootcert={}", file.display());
    let store = open(&verified(&trusted)).await.unwrap();
    write(&store, put(&crate::key("a", "one"), json!(1), ABSENT)).await;
    let plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'threeport' and not ssl";
    let encrypted = plain.replace("not ssl", "ssl");
    assert_eq!(server.sql("test0", plain).unwrap().trim(), "0");
    assert_ne!(server.sql("test0", &encrypted).unwrap().trim(), "0");
    store.close().await.unwrap();
    let why = refused(&verified(&other)).await;
    assert!(why.contains("sslrootcert"), "{why}");
    let why = refused(&verified(&trusted).replace("localhost", "127.0.0.1")).await;
    assert!(why.contains("sslrootcert"), "another name than the certificate's: {why}");
}

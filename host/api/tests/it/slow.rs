//! Clients that are slow on purpose, or many: they are let go, and nobody else notices. Who reads slowly is no such client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use threeport_api::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Server, TOKEN, eventually};

/// What slow clients are given here.
const SHORT: Duration = Duration::from_millis(400);

/// Nobody is waited for longer, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn short() -> Limits {
    Limits { headers: SHORT, body: SHORT, ..Limits::default() }
}

async fn tcp(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.trim_start_matches("https://")).await.expect("a connection")
}

/// A connection on which nothing was said yet.
async fn connect(server: &Server, protocol: &str) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca_pem.as_bytes()).expect("PEM")).expect("a certificate");
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp(server).await).await.expect("a handshake")
}

/// Says one byte after the other until the server has had enough; gives what it said, and after how long.
async fn trickle(mut connection: TlsStream<TcpStream>, first: &str, rest: u8) -> (String, Duration) {
    let (began, mut said, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
    connection.write_all(first.as_bytes()).await.expect("written");
    loop {
        assert!(began.elapsed() < PATIENCE, "it is waited for without end");
        match tokio::time::timeout(Duration::from_millis(20), connection.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => said.extend_from_slice(&buffer[..count]),
            Err(_quiet) => {
                // It may have closed its side by now.
                if connection.write_all(&[rest]).await.is_err() || connection.flush().await.is_err() {
                    break;
                }
            }
        }
    }
    (String::from_utf8_lossy(&said).into_owned(), began.elapsed())
}

fn post(length: usize) -> String {
    format!(
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{{"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_come_to_the_point_is_let_go() {
    let server = Server::start_with(short()).await;
    // Nothing at all, half a handshake's first byte, nothing after the handshake, a request whose head never ends.
    let silent = async {
        let mut connection = tcp(&server).await;
        let closed = tokio::time::timeout(PATIENCE, connection.read(&mut [0; 16])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    };
    let begun = async {
        let mut connection = tcp(&server).await;
        connection.write_all(&[22]).await.expect("written");
        let closed = tokio::time::timeout(PATIENCE, connection.read(&mut [0; 16])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    };
    let quiet = async |protocol: &str| {
        let mut connection = connect(&server, protocol).await;
        let closed = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "{protocol}: it is kept without a request");
    };
    let headers = async {
        let (said, took) =
            trickle(connect(&server, "http/1.1").await, "GET /api HTTP/1.1\r\nhost: a\r\nx: ", b'x').await;
        assert!(took >= SHORT && !said.contains("200"), "{took:?}: {said}");
    };
    let frames = async {
        // The preface of HTTP/2, settings, and then the beginning of a frame that never ends.
        let first = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0\0\0\u{7f}\u{1}";
        let (_, took) = trickle(connect(&server, "h2").await, first, 0).await;
        assert!(took >= SHORT, "{took:?}");
    };
    tokio::join!(silent, begun, quiet("http/1.1"), quiet("h2"), headers, frames);
    let (code, _) = server.get("/api/v1/namespaces/default").await;
    assert_eq!(code, StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_a_request_that_took_too_long() {
    let server = Server::start_with(short()).await;
    let (said, took) = trickle(connect(&server, "http/1.1").await, &post(100_000), b' ').await;
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("--body-timeout"), "{said}");
    assert!(took >= SHORT, "{took:?}");
    // The same over HTTP/2, where others use the connection meanwhile; and of a blob.
    for path in ["/api/v1/namespaces/default/configmaps", "/blobs"] {
        let trickling = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::convert::Infallible>("{"), ()))
        });
        let request = server.request(Method::POST, path).header("content-type", "application/json");
        let slow = request.body(reqwest::Body::wrap_stream(trickling)).send();
        let (slow, (code, _)) = tokio::join!(slow, server.get("/api/v1/namespaces/default"));
        let slow = slow.expect("an answer");
        assert_eq!(slow.version(), reqwest::Version::HTTP_2, "{path}");
        assert_eq!((slow.status(), code), (StatusCode::REQUEST_TIMEOUT, StatusCode::OK), "{path}");
        let status: Value = slow.json().await.expect("a Status");
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(408)), "{status}");
    }
    let (_, left) = server.get("/api/v1/namespaces/default/configmaps").await;
    assert!(left["items"].as_array().expect("items").iter().all(|map| map["metadata"]["name"] == "kube-root-ca.crt"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_may_be_are_told_so_and_find_room_when_there_is() {
    let server = Server::start_with(Limits { connections: 4, ..Limits::default() }).await;
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(connect(&server, "http/1.1").await);
    }
    for client in [server.client.clone(), http1(&server)] {
        let answer = client.get(format!("{}/readyz", server.url)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "1");
        let status: Value = answer.json().await.expect("a Status");
        let message = status["message"].as_str().expect("a message");
        assert!(status["reason"] == "ServiceUnavailable" && message.contains("--max-connections"), "{status}");
    }
    // Far too many are not even told; the server does not mind, and who was served before still is.
    let crowd = futures::future::join_all((0..200).map(|_| tcp(&server))).await;
    let mut first = taken.remove(0);
    first.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("written");
    let mut said = String::new();
    first.read_to_string(&mut said).await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    drop((crowd, taken, first));
    eventually("there is room", || async {
        let answer = http1(&server).get(format!("{}/livez", server.url)).send().await.ok()?;
        (answer.status() == StatusCode::OK).then_some(())
    })
    .await;
    server.stop().await;
}

fn http1(server: &Server) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(server.ca_pem.as_bytes()).expect("a certificate");
    reqwest::Client::builder().tls_certs_only([ca]).http1_only().build().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_and_long_answers_last_as_long_as_they_take() {
    let server = Server::start_with(short()).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let text = "x".repeat(1_000_000);
    for number in 0..8 {
        server.make(maps, &json!({"metadata": {"name": format!("large-{number}")}, "data": {"text": text}})).await;
    }
    let long = SHORT * 5;
    // A client that takes its answer in pieces.
    let reads = async |client: reqwest::Client| {
        let began = Instant::now();
        let answer = client.get(format!("{}{maps}", server.url)).bearer_auth(TOKEN).send().await.expect("an answer");
        let (mut pieces, mut size) = (answer.bytes_stream(), 0);
        while let Some(piece) = pieces.next().await {
            size += piece.expect("the answer is not cut").len();
            if began.elapsed() < long {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert!(size > 8_000_000, "{size}");
    };
    let watches = async |client: reqwest::Client, name: &str| {
        let began = Instant::now();
        let url = format!("{}{maps}?watch=true&fieldSelector=metadata.name={name}", server.url);
        let answer = client.get(url).bearer_auth(TOKEN).send().await.expect("an answer");
        let mut pieces = answer.bytes_stream();
        // Nothing happens for longer than anybody may be quiet, and then something does.
        tokio::time::sleep(long.saturating_sub(began.elapsed())).await;
        server.make(maps, &json!({"metadata": {"name": name}})).await;
        let mut heard = String::new();
        while !heard.contains(name) {
            let piece = tokio::time::timeout(PATIENCE, pieces.next()).await.expect("an event");
            heard.push_str(&String::from_utf8_lossy(&piece.expect("it is not cut").expect("it is not cut")));
        }
    };
    let (h2, h1) = (server.client.clone(), http1(&server));
    tokio::join!(reads(h2.clone()), reads(h1.clone()), watches(h2, "over-two"), watches(h1, "over-one"));
    server.stop().await;
}

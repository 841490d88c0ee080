use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;
use threeport_kube::{ApplyOptions, Class, Error, Reference, State, Target, health};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

#[tokio::test]
async fn several_objects_are_observed_in_the_order_asked_for() {
    let (target, ns) = target().await;
    for i in 0..20 {
        target
            .apply(&owner("u1", 1), &config_map(&ns, &format!("c{i}"), json!({})), &ApplyOptions::default())
            .await
            .unwrap();
    }
    let reference = |name: String| Reference::of(&config_map(&ns, &name, json!({})));
    let mut asked: Vec<_> = (0..20).rev().map(|i| reference(format!("c{i}"))).collect();
    asked.push(reference("missing".into()));
    asked.push(Reference { kind: "Nothing".into(), ..reference("x".into()) });
    let seen = target.observe(&asked).await;
    for (asked, seen) in asked.iter().zip(&seen).take(20) {
        assert_eq!(seen.as_ref().unwrap().as_ref().unwrap()["metadata"]["name"], asked.name.as_str());
    }
    assert_eq!(seen[20], Ok(None));
    assert!(matches!(seen[21], Err(Error::KindUnknown { .. })));
    assert_eq!(health(&json!(null)).class, State::NotFound);
}

#[tokio::test]
async fn a_list_comes_in_pages_and_items_say_what_they_are() {
    let (target, ns) = target().await;
    for i in 0..5 {
        target
            .apply(&owner("u1", 1), &config_map(&ns, &format!("c{i}"), json!({})), &ApplyOptions::default())
            .await
            .unwrap();
    }
    let labels = Some("threeport.dev/owner-uid=u1");
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let (items, next) = target.list("v1", "ConfigMap", Some(&ns), labels, 2, token.as_deref()).await.unwrap();
        assert!(items.len() <= 2 && items.iter().all(|i| i["kind"] == "ConfigMap" && i["apiVersion"] == "v1"));
        names.extend(items.into_iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()));
        token = next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
    assert!(target.list("v1", "Namespace", Some(&ns), None, 0, None).await.is_err());
    assert!(!target.list("v1", "Namespace", None, None, 0, None).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_target_tells_its_version_and_kinds() {
    let (target, _) = target().await;
    assert!(target.version().await.unwrap().starts_with("v1."));
    target.ready().await.unwrap();
    assert!(target.has_kind("apps/v1", "Deployment").await.unwrap());
    assert_eq!(target.namespaced("v1", "Namespace").await.unwrap(), Some(false));
    assert!(!target.has_kind("apps/v1", "Scale").await.unwrap(), "a subresource is no kind of its own");
}

#[tokio::test]
async fn missing_rights_and_bad_credentials_are_told_apart() {
    let (_, ns) = target().await;
    let (cluster, server) = cluster().await;
    let nobody = Target::connect(&cluster.kubeconfig(server.port, NOBODY)).unwrap();
    let error =
        nobody.apply(&owner("u1", 1), &config_map(&ns, "x", json!({})), &ApplyOptions::default()).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (Class::Denied, "Forbidden"));
    assert!(error.to_string().contains("nobody") && error.to_string().contains(&ns), "{error}");
    let wrong = Target::connect(&cluster.kubeconfig(server.port, "hunter2")).unwrap();
    let error = wrong.version().await.unwrap_err();
    assert_eq!(error.reason(), "Unauthorized");
    assert!(!format!("{error}{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_target_that_is_away_is_unreachable_within_seconds() {
    let (cluster, _) = cluster().await;
    let refused = Target::connect(&cluster.kubeconfig(free_port(), ADMIN)).unwrap();
    let error = refused.version().await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (Class::Unreachable, "Unreachable"));
    assert!(error.to_string().contains("refused"), "{error}");

    // Takes connections and says nothing, not even in TLS.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::connect(&cluster.kubeconfig(silent.local_addr().unwrap().port(), ADMIN)).unwrap();
    let start = Instant::now();
    assert_eq!(target.version().await.unwrap_err().class(), Class::Unreachable);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_certificate_of_someone_else_is_not_trusted() {
    let (cluster, server) = cluster().await;
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let mut config: serde_json::Value = serde_json::from_str(&cluster.kubeconfig(server.port, ADMIN)).unwrap();
    config["clusters"][0]["cluster"]["certificate-authority-data"] = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(other).into()
    };
    let error = Target::connect(&config.to_string()).unwrap().version().await.unwrap_err();
    assert_eq!(error.class(), Class::Unreachable);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn an_error_that_never_ends_is_cut_off() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let talks = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = 0usize;
        let _asked = stream.read(&mut [0; 4096]).await.unwrap();
        let head =
            b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/html\r\ncontent-length: 99999999999\r\n\r\n";
        if stream.write_all(head).await.is_ok() {
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {
                said += 4096;
            }
        }
        said
    });
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}]});
    let target = Target::connect(&kubeconfig.to_string()).unwrap();
    let error = target.version().await.unwrap_err();
    assert_eq!(error.reason(), "TargetError", "{error}");
    assert!(error.to_string().contains("MiB"), "{error}");
    let said = talks.await.unwrap();
    assert!(said < 32 << 20, "{said} bytes were read");
}

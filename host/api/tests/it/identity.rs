//! Who somebody is: ServiceAccounts, their tokens, being taken for somebody else.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, answer, eventually};

const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

/// The namespace `shop` with the ServiceAccount `robot`, and a token of it.
async fn robot(server: &Server) -> String {
    server.kubectl_ok(&["create", "namespace", "shop"]).await;
    server.kubectl_ok(&["create", "serviceaccount", "robot", "-n", "shop"]).await;
    server.kubectl_ok(&["create", "token", "robot", "-n", "shop"]).await.trim().to_owned()
}

#[tokio::test]
async fn a_service_account_comes_in_with_its_token_until_it_is_deleted() {
    let server = Server::start().await;
    let token = robot(&server).await;
    let who: Value =
        serde_json::from_str(&server.kubectl_ok(&["auth", "whoami", "-o", "json", "--token", &token]).await)
            .expect("JSON");
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:shop:robot");
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"])
    );
    assert!(
        user["extra"]["authentication.kubernetes.io/credential-id"][0]
            .as_str()
            .is_some_and(|id| id.starts_with("JTI="))
    );
    let own = server.kubectl_ok(&["auth", "whoami"]).await;
    assert!(own.contains("threeport-admin") && own.contains("system:masters"), "{own}");

    let refused = server.kubectl_fails(&["get", "secrets", "-n", "shop", "--token", &token]).await;
    assert_eq!(
        refused.trim(),
        "Error from server (Forbidden): secrets is forbidden: User \"system:serviceaccount:shop:robot\" cannot list resource \"secrets\" \
         in API group \"\" in the namespace \"shop\""
    );
    server.kubectl_ok(&["delete", "serviceaccount", "robot", "-n", "shop"]).await;
    let (code, body) = server.with_token(&token, Method::GET, "/api", None).await;
    assert_eq!((code.as_u16(), &body["reason"]), (401, &json!("Unauthorized")));
    server.kubectl_ok(&["create", "serviceaccount", "robot", "-n", "shop"]).await;
    assert_eq!(server.with_token(&token, Method::GET, "/api", None).await.0, 401, "another account of the same name");
    server.stop().await;
}

#[tokio::test]
async fn tokens_are_for_an_audience_a_time_and_an_object() {
    let server = Server::start().await;
    robot(&server).await;
    let path = "/api/v1/namespaces/shop/serviceaccounts/robot/token";
    let request = |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let review = async |token: &str, audiences: Value| {
        let body = json!({"spec": {"token": token, "audiences": audiences}});
        server.make("/apis/authentication.k8s.io/v1/tokenreviews", &body).await["status"].clone()
    };

    let made = server.make(path, &request(json!({"audiences": ["vault"], "expirationSeconds": 600}))).await;
    assert_eq!(made["spec"]["expirationSeconds"], 600);
    assert_eq!(made["metadata"]["name"], "robot");
    assert!(made["status"]["expirationTimestamp"].is_string());
    let token = made["status"]["token"].as_str().expect("a token");
    assert_eq!(server.with_token(token, Method::GET, "/api", None).await.0, 401, "it is for somebody else");
    let status = review(token, json!(["vault", "other"])).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    assert_eq!(status["user"]["username"], "system:serviceaccount:shop:robot");
    assert_eq!(review(token, json!(["other"])).await["authenticated"], Value::Null);
    assert_eq!(review("nonsense", json!([])).await, json!({"error": "invalid bearer token", "user": {}}));

    server.make(SECRETS, &json!({"metadata": {"name": "s"}})).await;
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s"}});
    let made = server.make(path, &request(bound)).await;
    let token = made["status"]["token"].as_str().expect("a token");
    assert_eq!(server.with_token(token, Method::GET, "/api", None).await.0, 200);
    server.delete(&format!("{SECRETS}/s")).await;
    assert_eq!(server.with_token(token, Method::GET, "/api", None).await.0, 401, "it was bound to the Secret");

    for (spec, code, message) in [
        (json!({"expirationSeconds": 5}), 422, "may not specify a duration less than 10 minutes"),
        (json!({"expirationSeconds": 5_000_000_000_i64}), 422, "may not specify a duration larger than 2^32 seconds"),
        (json!({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}}), 400, "cannot bind token"),
        (json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "none"}}), 404, "not found"),
    ] {
        let (found, body) = server.post(path, &request(spec.clone())).await;
        assert_eq!(found, code, "{spec} {body}");
        assert!(body["message"].as_str().is_some_and(|m| m.contains(message)), "{spec} {body}");
    }
    assert_eq!(server.post(&path.replace("robot", "none"), &request(json!({}))).await.0, 404);

    let (code, found) = server.get("/.well-known/openid-configuration").await;
    assert_eq!((code.as_u16(), &found["issuer"]), (200, &json!("https://threeport.default.svc")));
    let keys = server.get("/openid/v1/jwks").await.1;
    assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["crv"]), (&json!("EC"), &json!("P-256")));
    server.stop().await;
}

#[tokio::test]
async fn every_namespace_has_its_account_and_the_authority_again_and_again() {
    let server = Server::start().await;
    server.kubectl_ok(&["create", "namespace", "shop"]).await;
    for namespace in ["default", "shop"] {
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        let authority = format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt");
        let there = async |path: &str| {
            eventually("it is there", || async {
                let (code, body) = server.get(path).await;
                (code == 200).then_some(body)
            })
            .await
        };
        let first = there(&account).await;
        assert_eq!(there(&authority).await["data"]["ca.crt"].as_str(), Some(server.ca_pem.as_str()));
        server.delete(&account).await;
        eventually("it is back", || async {
            let found = server.get(&account).await.1;
            (found["metadata"]["uid"].is_string() && found["metadata"]["uid"] != first["metadata"]["uid"]).then_some(())
        })
        .await;
        server.patch(&authority, "merge-patch", &json!({"data": {"ca.crt": "forged"}})).await;
        eventually("it is right again", || async {
            let found = server.get(&authority).await.1;
            (found["data"]["ca.crt"].as_str() == Some(server.ca_pem.as_str())).then_some(())
        })
        .await;
    }
    server.kubectl_ok(&["delete", "namespace", "shop"]).await;
    let (_, left) = server.get("/api/v1/serviceaccounts").await;
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "{left}");
    server.stop().await;
}

#[tokio::test]
async fn a_secret_that_asks_for_a_token_gets_one() {
    let server = Server::start().await;
    robot(&server).await;
    let secret = |name: &str, account: &str| {
        json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}},
               "type": "kubernetes.io/service-account-token"})
    };
    let path = format!("{SECRETS}/t");
    server.make(SECRETS, &secret("t", "robot")).await;
    let filled = eventually("it is filled in", || async {
        let found = server.get(&path).await.1;
        found["data"]["token"].is_string().then_some(found)
    })
    .await;
    assert!(filled["metadata"]["annotations"]["kubernetes.io/service-account.uid"].is_string());
    assert_eq!(filled["data"]["namespace"], "c2hvcA==");
    let token = server
        .kubectl_ok(&["get", "secret", "t", "-n", "shop", "-o", "go-template={{.data.token | base64decode}}"])
        .await;
    assert!(server.kubectl_ok(&["auth", "whoami", "--token", &token]).await.contains("shop:robot"));

    let (code, refused) =
        server.post(SECRETS, &json!({"metadata": {"name": "u"}, "type": "kubernetes.io/service-account-token"})).await;
    assert_eq!(code, 422, "{refused}");
    server.make(SECRETS, &secret("nobodys", "none")).await;
    let gone = async |name: &str| {
        let path = format!("{SECRETS}/{name}");
        eventually("it goes", || async { (server.get(&path).await.0 == 404).then_some(()) }).await;
    };
    gone("nobodys").await;
    server.kubectl_ok(&["delete", "serviceaccount", "robot", "-n", "shop"]).await;
    assert_eq!(server.with_token(&token, Method::GET, "/api", None).await.0, 401);
    gone("t").await;
    server.stop().await;
}

#[tokio::test]
async fn somebody_is_taken_for_another_where_they_may() {
    let server = Server::start().await;
    let token = robot(&server).await;
    let who = server.kubectl_ok(&["auth", "whoami", "--as", "alice", "--as-group", "dev", "--as-uid", "7"]).await;
    assert!(who.contains("alice") && who.contains("dev") && who.contains("system:authenticated"), "{who}");
    assert!(!who.contains("system:masters"), "{who}");
    let who = server.kubectl_ok(&["auth", "whoami", "--as", "system:serviceaccount:shop:robot"]).await;
    assert!(who.contains("system:serviceaccounts:shop"), "{who}");
    let refused = server.kubectl_fails(&["get", "configmaps", "--as", "alice"]).await;
    assert!(refused.contains("User \"alice\" cannot list resource \"configmaps\""), "{refused}");
    let refused = server.kubectl_fails(&["get", "configmaps", "--token", &token, "--as", "alice"]).await;
    assert!(
        refused.contains("cannot impersonate resource \"users\" in API group \"\" at the cluster scope"),
        "{refused}"
    );

    server
        .kubectl_ok(&[
            "create",
            "clusterrole",
            "as-alice",
            "--verb=impersonate",
            "--resource=users",
            "--resource-name=alice",
        ])
        .await;
    server
        .kubectl_ok(&[
            "create",
            "clusterrolebinding",
            "as-alice",
            "--clusterrole=as-alice",
            "--serviceaccount=shop:robot",
        ])
        .await;
    assert!(server.kubectl_ok(&["auth", "whoami", "--token", &token, "--as", "alice"]).await.contains("alice"));
    for more in [["--as", "bob"].as_slice(), &["--as", "alice", "--as-group", "system:masters"]] {
        let refused = server.kubectl_fails(&[&["get", "configmaps", "--token", &token], more].concat()).await;
        assert!(refused.contains("cannot impersonate"), "{refused}");
    }
    let request = server.request(Method::GET, "/api").header("impersonate-group", "dev");
    assert_eq!(answer(request.send().await.expect("an answer")).await.0, 400, "a group without a user");
    server.stop().await;
}

//! A database that cannot be used while the server runs: whoever asks is told, whoever distributes requests is told, and it goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt as _;
use serde_json::Value;
use threeport_tests::{Postgres, Server, eventually, plain_client, tool};

use crate::postgres::DATABASE;
use crate::startup::refused;

const SOON: Duration = Duration::from_secs(60);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Status, the header that says when to try again, and the body.
async fn ask(client: &kube::Client, method: &str, path: &str, body: &str) -> Result<(u16, bool, String)> {
    let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    let answer = client.send(request.body(kube::client::Body::from(body.as_bytes().to_vec()))?).await?;
    let (code, again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    Ok((code, again, String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?))
}

async fn readiness(client: &kube::Client, wanted: u16) -> Result<String> {
    eventually("/readyz says how it is", SOON, || async {
        let (code, _, said) = ask(client, "GET", "/readyz", "").await?;
        ensure!(code == wanted, "{code}: {said}");
        Ok(said)
    })
    .await
}

/// All that a client and an operator see of a database that cannot be used; `why` stands in the log.
async fn is_told(server: &Server, client: &kube::Client, name: &str, why: &str) -> Result<()> {
    let body = format!(r#"{{"metadata": {{"name": "{name}"}}}}"#);
    let (code, again, said) = ask(client, "POST", MAPS, &body).await?;
    let status: Value = serde_json::from_str(&said)?;
    ensure!(code == 503 && again && status["reason"] == "ServiceUnavailable", "{code}: {said}");
    ensure!(status["message"].as_str().is_some_and(|said| said.contains("nothing was written")), "{said}");
    let said = readiness(client, 503).await?;
    ensure!(said.contains("[-]database failed") && !said.contains("127.0.0.1"), "{said}");
    ensure!(ask(client, "GET", "/livez", "").await?.0 == 200, "it need not be started again");
    ensure!(server.metrics()?.sum("threeport_store_available", &[]) == 0.0);
    eventually("the log says why", SOON, || async {
        let log = std::fs::read_to_string(server.log())?;
        ensure!(log.contains(why) && !log.contains("not-a-secret"), "{why:?} is not in the log:\n{log}");
        Ok(())
    })
    .await
}

async fn is_mended(server: &Server, client: &kube::Client, name: &str) -> Result<()> {
    readiness(client, 200).await?;
    ensure!(server.metrics()?.sum("threeport_store_available", &[]) == 1.0);
    let kubectl = server.kubectl()?;
    kubectl.run(&["create", "configmap", name])?;
    let all = kubectl.run(&["get", "configmaps", "-o", "name"])?;
    ensure!(all.contains("/before") && !all.contains("refused"), "{all}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_is_told_and_used_again_when_it_can() -> Result<()> {
    let mut postgres = tokio::task::spawn_blocking(Postgres::start).await??;
    let url = postgres.database()?;
    let server = Server::start_with(&[(DATABASE, &url)]).await?;
    let client = plain_client(&server.kubeconfig()).await?;
    server.kubectl()?.run(&["create", "configmap", "before"])?;

    postgres.stop()?;
    is_told(&server, &client, "refused", "the database cannot be used").await?;
    postgres.boot()?;
    is_mended(&server, &client, "after").await?;

    // Somebody changes the password and ends the sessions.
    let (user, password) = postgres.owner();
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'threeport'";
    postgres.sql("postgres", &format!("alter role {user} password 'another'; {cut}"))?;
    is_told(&server, &client, "refused-too", "check user and password").await?;
    // Nobody comes in by that password any more, but for who runs the server.
    postgres.trust()?;
    eventually("the password is what it was", SOON, || async {
        postgres.sql("postgres", &format!("alter role {user} password '{password}'"))
    })
    .await?;
    is_mended(&server, &client, "after-too").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_database_is_not_started_on_without_what_clients_know() -> Result<()> {
    let postgres = Arc::new(tokio::task::spawn_blocking(Postgres::start).await??);
    let url = postgres.database()?;
    let mut server = Server::start().await?;
    server.kubectl()?.run(&["create", "configmap", "kept"])?;
    server.stop()?;
    let file = format!("sqlite:{}", server.path("data/threeport.db").display());
    let mut copy = std::process::Command::new(tool("THREEPORT")?);
    let copied = copy.args(["store", "copy", "--from", &file, "--to", &url]).output().context("start threeport")?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let directory = tempfile::tempdir()?;
    let mut command = std::process::Command::new(tool("THREEPORT")?);
    command.args(["server", "--listen", "127.0.0.1:0", "--database", &url, "--data-dir"]).arg(directory.path());
    command.arg("--config-dir").arg(directory.path().join("config"));
    let key = server.path("config/encryption.key");
    let said = refused("the key alone", command.arg("--encryption-key").arg(key))?;
    ensure!(said.contains("--config-dir") && said.contains("pki/"), "{said}");
    server.set(DATABASE, &url);
    server.boot(&[]).await?;
    server.kubectl()?.run(&["get", "configmap", "kept"])?;
    Ok(())
}

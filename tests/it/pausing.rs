//! Pausing objects and looking at the queue, by the commands that people use.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use threeport_tests::{Server, eventually};

fn note(text: &str) -> String {
    format!(
        "apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {{name: seen, namespace: default}}\nspec: {{text: {text}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_paused_changed_and_resumed_and_says_so() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    let kubectl = server.kubectl()?;
    kubectl.apply(&note("one"))?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=30s", "note/seen"])?;
    let version = || kubectl.run(&["get", "note/seen", "-o", "jsonpath={.metadata.resourceVersion}"]);

    ensure!(server.threeport(&["pause", "note/seen"])?.contains("seen paused"), "it says what it did");
    kubectl.run(&["wait", "--for=condition=Paused", "--timeout=30s", "note/seen"])?;
    kubectl.apply(&note("two"))?;
    kubectl.run(&["wait", "--for=jsonpath={.status.observedGeneration}=2", "--timeout=30s", "note/seen"])?;
    let text = kubectl.run(&["get", "note/seen", "-o", "jsonpath={.status.text}"])?;
    ensure!(text == "one", "a paused object is not run for: {text}");
    let described = kubectl.run(&["describe", "note/seen"])?;
    ensure!(described.contains("Paused") && described.contains("threeport.dev/paused-"), "{described}");

    server.threeport(&["resume", "note/seen"])?;
    kubectl.run(&["wait", "--for=jsonpath={.status.text}=two", "--timeout=30s", "note/seen"])?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=30s", "note/seen"])?;
    let before = version()?;
    let described = server.threeport(&["describe", "note/seen"])?;
    for part in ["Last run:", "succeeded (Kept) on ", "because it was changed", "Next run:     in "] {
        ensure!(described.contains(part), "{part:?} is not in\n{described}");
    }
    ensure!(version()? == before, "looking at it changed it");

    // The same for everything of a plugin, while it is swapped.
    server.threeport(&["pause", "plugin/note-v1"])?;
    kubectl.run(&["wait", "--for=condition=Paused", "--timeout=30s", "note/seen", "plugin/note-v1"])?;
    server.threeport(&["resume", "plugin/note-v1"])?;
    eventually("it is not paused any more", Duration::from_secs(30), || async {
        let note: Value = serde_json::from_str(&kubectl.run(&["get", "note/seen", "-o", "json"])?)?;
        ensure!(!note["status"]["conditions"].to_string().contains("Paused"), "{note:#}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_stands_in_the_queue_and_in_its_metrics_with_its_reason() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["puppet"])?;
    let kubectl = server.kubectl()?;
    kubectl.apply(
        "apiVersion: test.threeport.dev/v1\nkind: Puppet\nmetadata: {name: torn, namespace: default}\nspec: {fail: [transient, Torn, mend it]}\n",
    )?;
    // Until it is tried again takes long enough to be seen.
    let queue = eventually("it backs off", Duration::from_secs(60), || async {
        let queue: Value = serde_json::from_str(&kubectl.run(&["get", "--raw", "/apis/threeport.dev/v1/queue"])?)?;
        ensure!(queue["failing"][0]["attempts"].as_u64() >= Some(3), "{queue:#}");
        Ok(queue)
    })
    .await?;
    let torn = &queue["failing"][0];
    ensure!(torn["name"] == "torn" && torn["reason"] == "Torn" && torn["cause"] == "retry", "{queue:#}");
    let message = torn["message"].as_str().unwrap_or_default();
    ensure!(message.contains("mend it"), "{queue:#}");
    eventually("the command shows it", Duration::from_secs(30), || async {
        let table = server.threeport(&["queue"])?;
        ensure!(table.contains("Puppet default/torn") && table.contains("Torn"), "{table}");
        ensure!(
            server.threeport(&["queue", "-n", "kube-system", "-o", "json"])?.contains("\"failing\": []"),
            "{table}"
        );
        Ok(())
    })
    .await?;
    eventually("the metrics count it", Duration::from_secs(30), || async {
        let text = server.metrics()?;
        ensure!(text.sum("threeport_queue_backing_off", &["reason=\"Torn\""]) == 1.0, "{text}");
        Ok(())
    })
    .await
}

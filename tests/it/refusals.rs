//! What is refused, and that the refusal says why, loses nothing and leaves the rest at work.

use std::time::Duration;

use anyhow::{Result, ensure};
use threeport_tests::{Server, condition, eventually, guest};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_does_not_load_is_refused_and_the_old_one_serves_on() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    for (bad, why) in [("wrong-contract", "ContractUnsupported"), ("traps-in-describe", "ComponentInvalid")] {
        let file = guest(bad)?;
        let error = server
            .threeport(&["plugin", "push", &file.to_string_lossy(), "--name", "note-v1", "--approve-grants"])
            .expect_err("a plugin that does not load must be refused")
            .to_string();
        ensure!(error.contains(why), "{bad}: {error}");
    }
    let text = server.path("not-a-component.wasm");
    std::fs::write(&text, "hello")?;
    let error = server
        .threeport(&["plugin", "push", &text.to_string_lossy(), "--name", "note-v1"])
        .expect_err("text is no plugin")
        .to_string();
    ensure!(error.contains("not-a-component.wasm"), "{error}");

    let kubectl = server.kubectl()?;
    kubectl
        .apply("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: after}\nspec: {text: still here}\n")?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=15s", "note/after"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_is_judged_again_when_what_stood_in_its_way_is_gone() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    let file = guest("note-v1")?.to_string_lossy().into_owned();
    let push = || server.threeport(&["plugin", "push", &file, "--name", "second", "--approve-grants"]);
    for attempt in ["at first", "with nothing changed"] {
        let error = push().expect_err("the kind has another plugin").to_string();
        ensure!(error.contains("KindConflict"), "{attempt}: {error}");
    }
    let kubectl = server.kubectl()?;
    kubectl.apply("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {name: held}\nspec: {text: hello}\n")?;
    let error = kubectl.run(&["delete", "plugin", "note-v1", "--timeout=15s"]).expect_err("it is needed").to_string();
    ensure!(error.contains("Conflict") && error.contains("default/held"), "{error}");
    kubectl.run(&["delete", "note", "held", "--timeout=15s"])?;
    kubectl.run(&["delete", "plugin", "note-v1", "--timeout=15s"])?;
    push()?;
    let (status, reason, message) = condition(&kubectl.get(&["plugin", "second"])?, "Ready");
    ensure!((status.as_str(), reason.as_str()) == ("True", "Serving"), "{status} {reason} {message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_the_field_and_the_fix() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["cluster", "workload"])?;
    let kubectl = server.kubectl()?;
    let cases = [
        ("kind: Workload\nmetadata: {name: a}\nspec: {cluster: c, image: i, replicas: many}", "spec.replicas"),
        ("kind: Workload\nmetadata: {name: a}\nspec: {cluster: c, image: i, replica: 2}", "spec.replica"),
        ("kind: Workload\nmetadata: {name: a}\nspec: {cluster: c}", "spec.image"),
        ("kind: Workload\nmetadata: {name: A_b}\nspec: {cluster: c, image: i}", "metadata.name"),
        (
            "kind: Cluster\nmetadata: {name: a}\nspec: {adopt: {kubeconfigSecret: {name: s}}, tenants: [{namespace: shop, namespaces: [A_b]}]}",
            "spec.tenants[0].namespaces[0]",
        ),
        (
            "kind: Cluster\nmetadata: {name: a}\nspec: {adopt: {kubeconfigSecret: {name: s}}, tenants: [{namespace: a}, {namespace: a}]}",
            "spec.tenants[1]",
        ),
        ("kind: Wrkload\nmetadata: {name: a}\nspec: {}", "Wrkload"),
    ];
    for (manifest, named) in cases {
        let error = kubectl
            .apply(&format!("apiVersion: threeport.dev/v1\n{manifest}\n"))
            .expect_err("bad input must be refused")
            .to_string();
        ensure!(error.contains(named), "{manifest}: {error}");
    }
    ensure!(kubectl.run(&["get", "workloads", "-o", "name"])?.trim().is_empty());
    kubectl.apply(include_str!("../../plugins/cluster/examples/tenants.yaml"))?;
    // A way to serve that this version does not have is not taken for one that it has.
    let error = kubectl
        .apply("apiVersion: threeport.dev/v1\nkind: Plugin\nmetadata: {name: a}\nspec: {component: x, rollout: {canary: 10}}\n")
        .expect_err("an unknown field must be refused")
        .to_string();
    ensure!(error.contains("canary"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_is_garbage_is_a_condition_that_names_it() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["cluster"])?;
    let kubectl = server.kubectl()?;
    kubectl.run(&["create", "secret", "generic", "local-kubeconfig", "--from-literal=kubeconfig=nonsense"])?;
    kubectl.apply(
        "apiVersion: threeport.dev/v1\nkind: Cluster\nmetadata: {name: local}\nspec: {adopt: {kubeconfigSecret: {name: local-kubeconfig}}}\n",
    )?;
    eventually("the Cluster says what is wrong", Duration::from_secs(20), || async {
        let (status, reason, message) = condition(&kubectl.get(&["cluster", "local"])?, "Ready");
        ensure!(
            status == "False" && reason == "InvalidKubeconfig" && message.contains("kubeconfig"),
            "{status} {reason} {message}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_data_is_refused_with_the_path() -> Result<()> {
    let server = Server::start().await?;
    let data = server.path("data");
    let output = std::process::Command::new(threeport_tests::tool("THREEPORT")?)
        .args(["server", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .arg("--config-dir")
        .arg(server.path("config"))
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && stderr.contains(&*data.to_string_lossy()), "{stderr}");
    server.kubectl()?.run(&["get", "namespaces"])?;
    Ok(())
}

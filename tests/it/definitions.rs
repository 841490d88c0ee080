//! Objects that take their spec from a Definition, and objects that refer to others, whatever comes first.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use threeport_tests::{Cluster, Kubectl, Server, condition, eventually};

const SOON: Duration = Duration::from_secs(20);

/// A Definition of Notes with this template.
fn greeting(template: &str) -> String {
    format!(
        "apiVersion: threeport.dev/v1\nkind: Definition\nmetadata: {{name: greeting}}\n\
         spec:\n  for: {{apiVersion: test.threeport.dev/v1, kind: Note}}\n  template: {{spec: {template}}}\n"
    )
}

fn note(name: &str, spec: &str) -> String {
    format!("apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

fn used(object: &Value) -> &str {
    object["metadata"]["annotations"]["threeport.dev/definition-revision"].as_str().unwrap_or_default()
}

/// The note once it is Ready as it is now, with this text and of this revision.
async fn says(kubectl: &Kubectl, name: &str, text: &str, revision: &str) -> Result<Value> {
    eventually(&format!("{name} says {text:?}"), SOON, || async {
        let note = kubectl.get(&["note", name])?;
        let status = &note["status"];
        ensure!(status["text"] == text && used(&note) == revision, "{note}");
        ensure!(condition(&note, "Ready").0 == "True", "{status}");
        ensure!(status["observedGeneration"] == note["metadata"]["generation"], "{note}");
        Ok(note)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_follow_a_definition_stay_on_a_revision_and_go_back() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    let kubectl = server.kubectl()?;

    // The users first: they wait, say for what, and start by themselves.
    let users = [
        note("follows", "{definition: {name: greeting, track: latest}}"),
        note("stays", "{definition: {name: greeting, revision: 1}}"),
        note("differs", "{definition: {name: greeting, track: latest}, text: mine}"),
    ];
    kubectl.apply(&users.concat())?;
    eventually("they say what they wait for", SOON, || async {
        let (status, reason, message) = condition(&kubectl.get(&["note", "follows"])?, "Ready");
        ensure!((status.as_str(), reason.as_str()) == ("False", "DefinitionNotFound"), "{status} {reason}");
        ensure!(message.contains("greeting") && message.contains("spec.definition.name"), "{message}");
        Ok(())
    })
    .await?;
    kubectl.apply(&greeting("{text: hello}"))?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "note/follows", "note/stays", "note/differs"])?;
    let stored = says(&kubectl, "follows", "hello", "1").await?;
    ensure!(stored["spec"] == serde_json::json!({"definition": {"name": "greeting", "track": "latest"}}), "{stored}");
    says(&kubectl, "differs", "mine", "1").await?;

    // A new revision: another generation for those that follow, nothing for who stays.
    let before = says(&kubectl, "stays", "hello", "1").await?;
    kubectl.apply(&greeting("{text: good day}"))?;
    let followed = says(&kubectl, "follows", "good day", "2").await?;
    ensure!(followed["metadata"]["generation"].as_i64() > stored["metadata"]["generation"].as_i64());
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "definition/greeting"])?;
    let after = says(&kubectl, "stays", "hello", "1").await?;
    ensure!(before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"], "it was written: {after}");
    let definition = kubectl.get(&["definition", "greeting"])?;
    let status = &definition["status"];
    ensure!(status["latestRevision"] == 2 && status["objects"] == 3 && status["outdated"] == 0, "{status}");
    let counts: Vec<_> = status["revisions"].as_array().into_iter().flatten().map(|it| it["objects"].clone()).collect();
    ensure!(counts == [2, 1], "{status}");

    // One that leaves out what only one of them says itself: that one goes on, the other stays on what it has and says why.
    kubectl.apply(&greeting("{}"))?;
    says(&kubectl, "differs", "mine", "3").await?;
    eventually("it says why it stays", SOON, || async {
        let (status, reason, message) = condition(&kubectl.get(&["note", "follows"])?, "DefinitionResolved");
        ensure!((status.as_str(), reason.as_str()) == ("False", "RevisionInvalid"), "{status} {reason} {message}");
        ensure!(message.contains("spec.text") && message.contains("stays on revision 2"), "{message}");
        let (_, reason, message) = condition(&kubectl.get(&["definition", "greeting"])?, "Ready");
        ensure!(reason == "RevisionInvalid" && message.contains("default/follows"), "{reason} {message}");
        Ok(())
    })
    .await?;
    says(&kubectl, "follows", "good day", "2").await?;

    // Back: by saying what was said before, which is a new revision, or by staying on the older one.
    kubectl.apply(&greeting("{text: hello}"))?;
    says(&kubectl, "follows", "hello", "4").await?;
    let back = r#"{"spec":{"definition":{"revision":2,"track":null}}}"#;
    kubectl.run(&["patch", "note", "follows", "--type=merge", "-p", back])?;
    says(&kubectl, "follows", "good day", "2").await?;

    // Neither the Definition nor a revision goes while it is used; what nobody uses goes, down to the limit.
    for used in ["definition/greeting", "definitionrevision/greeting-1"] {
        let error = kubectl.run(&["delete", used, "--timeout=5s"]).expect_err("it is in use").to_string();
        ensure!(error.contains("default/stays"), "{used}: {error}");
    }
    kubectl.run(&[
        "patch",
        "definition",
        "greeting",
        "--type=merge",
        "-p",
        r#"{"spec":{"revisionHistoryLimit":0}}"#,
    ])?;
    eventually("only what is used is kept", SOON, || async {
        let list = kubectl.run(&["get", "definitionrevisions", "-o", "name"])?;
        let names: Vec<&str> =
            list.lines().filter_map(|line| line.rsplit_once('-')).map(|(_, number)| number).collect();
        ensure!(names == ["1", "2", "4"], "{list}");
        Ok(())
    })
    .await?;
    kubectl.run(&["delete", "notes", "follows", "stays", "differs", "--timeout=20s"])?;
    kubectl.run(&["delete", "definition", "greeting", "--timeout=20s"])?;
    let left = kubectl.run(&["get", "definitionrevisions", "-o", "name"])?;
    ensure!(left.trim().is_empty(), "{left}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_revision_reaches_many() -> Result<()> {
    const MANY: usize = 200;
    let server = Server::start().await?;
    server.push(&["note-v1"])?;
    let kubectl = server.kubectl()?;
    kubectl.apply(&greeting("{text: hello}"))?;
    let all: String =
        (0..MANY).map(|number| note(&format!("n{number}"), "{definition: {name: greeting, track: latest}}")).collect();
    kubectl.apply(&all)?;
    kubectl.apply(&greeting("{text: good day}"))?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=60s", "definition/greeting"])?;
    eventually("all of them are of the new revision, once", SOON, || async {
        let list = kubectl.get(&["notes"])?;
        let notes = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let done = notes.iter().filter(|note| {
            let generation = &note["metadata"]["generation"];
            note["status"]["text"] == "good day"
                && *generation == 2
                && note["status"]["observedGeneration"] == *generation
        });
        let done = done.count();
        ensure!(done == MANY, "{done} of {MANY}");
        Ok(())
    })
    .await?;
    let status = &kubectl.get(&["definition", "greeting"])?["status"];
    ensure!(status["objects"] == MANY && status["outdated"] == 0, "{status}");
    Ok(())
}

fn puppet(name: &str, spec: &str) -> String {
    format!("apiVersion: test.threeport.dev/v1\nkind: Puppet\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_definition_refers_to_is_required_by_its_users() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["puppet"])?;
    let kubectl = server.kubectl()?;
    let definition = |needs: &str| {
        format!(
            "apiVersion: threeport.dev/v1\nkind: Definition\nmetadata: {{name: led}}\n\
             spec:\n  for: {{apiVersion: test.threeport.dev/v1, kind: Puppet}}\n  template: {{spec: {{requires: {needs}}}}}\n"
        )
    };
    kubectl.apply(&definition("base"))?;
    kubectl.apply(&puppet("user", "{definition: {name: led, track: latest}}"))?;
    eventually("it says what is missing", SOON, || async {
        let (status, _, message) = condition(&kubectl.get(&["puppet", "user"])?, "Ready");
        ensure!(status == "False" && message.contains("base") && message.contains("spec.requires"), "{message}");
        let (status, reason, message) = condition(&kubectl.get(&["puppet", "user"])?, "ReferencesResolved");
        ensure!((status.as_str(), reason.as_str()) == ("False", "NotFound"), "{status} {reason}");
        ensure!(message == "spec.requires: Puppet default/base does not exist", "{message}");
        Ok(())
    })
    .await?;
    kubectl.apply(&puppet("base", "{}"))?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "puppet/user"])?;
    ensure!(condition(&kubectl.get(&["puppet", "user"])?, "ReferencesResolved").0 == "True");
    let error = kubectl.run(&["delete", "puppet", "base", "--timeout=5s"]).expect_err("it is in use").to_string();
    ensure!(error.contains("default/user"), "{error}");

    // Another revision, other references: with the step of the generation.
    kubectl.apply(&puppet("other", "{}"))?;
    kubectl.apply(&definition("other"))?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "definition/led"])?;
    kubectl.run(&["delete", "puppet", "base", "--timeout=20s"])?;
    let error = kubectl.run(&["delete", "puppet", "other", "--timeout=5s"]).expect_err("it is in use").to_string();
    ensure!(error.contains("default/user"), "{error}");

    // A revision that closes a circle is not taken.
    kubectl.apply(&definition("user"))?;
    eventually("it says that this is a circle", SOON, || async {
        let (_, _, message) = condition(&kubectl.get(&["puppet", "user"])?, "DefinitionResolved");
        ensure!(message.contains("circle") && message.contains("stays on revision 2"), "{message}");
        Ok(())
    })
    .await?;
    ensure!(condition(&kubectl.get(&["puppet", "user"])?, "Ready").0 == "True");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_in_which_objects_are_applied_does_not_matter() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["puppet"])?;
    let kubectl = server.kubectl()?;
    kubectl.apply(
        &[puppet("d", "{requires: c}"), puppet("c", "{requires: b}"), puppet("b", "{requires: a}"), puppet("a", "{}")]
            .concat(),
    )?;
    kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", "puppet/a", "puppet/b", "puppet/c", "puppet/d"])?;
    let circle = kubectl.apply(&puppet("a", "{requires: d}")).expect_err("a circle").to_string();
    ensure!(circle.contains("spec.requires") && circle.contains("circle"), "{circle}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_from_a_definition_runs_and_is_rolled_out_and_back() -> Result<()> {
    let namespace = "definitions-web";
    let cluster = Cluster::with_namespace(namespace)?;
    let (first, second) = ("localkube.test/definitions:1", "localkube.test/definitions:2");
    cluster.image(first, "one", 0)?;
    cluster.image(second, "two", 0)?;
    let server = Server::start().await?;
    server.push(&["workload"])?;
    let kubectl = server.kubectl()?;
    kubectl.run(&["create", "namespace", namespace])?;

    // All in the wrong order; Cluster is not even a kind yet.
    let example = include_str!("../../plugins/workload/examples/definition.yaml");
    let example = |image: &str| {
        example
            .replace("namespace: shop", &format!("namespace: {namespace}"))
            .replace("registry.example/web:1.27", image)
    };
    kubectl.apply(&example(first))?;
    eventually("the workload says what is missing", SOON, || async {
        let (_, reason, message) = condition(&kubectl.get(&["workload", "web", "-n", namespace])?, "Ready");
        ensure!(
            reason == "ClusterMissing" && message.contains("local") && message.contains("spec.cluster"),
            "{reason} {message}"
        );
        Ok(())
    })
    .await?;
    server.push(&["cluster"])?;
    kubectl.apply(&format!(
        "apiVersion: threeport.dev/v1\nkind: Cluster\nmetadata: {{name: local, namespace: {namespace}}}\n\
         spec: {{adopt: {{kubeconfigSecret: {{name: local-kubeconfig}}}}}}\n"
    ))?;
    eventually("the cluster says what is missing", SOON, || async {
        let (_, _, message) = condition(&kubectl.get(&["cluster", "local", "-n", namespace])?, "Ready");
        ensure!(message.contains("local-kubeconfig"), "{message}");
        Ok(())
    })
    .await?;
    let file = format!("--from-file=kubeconfig={}", cluster.kubeconfig.display());
    kubectl.run(&["create", "secret", "generic", "-n", namespace, "local-kubeconfig", &file])?;
    let ready = |name: &str| kubectl.run(&["wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s", name]);
    ready("workload/web")?;
    ensure!(cluster.page(namespace, "web:http")?.trim() == "one");
    let replicas = || -> Result<Value> {
        Ok(cluster.kubectl.get(&["deployment", "web", "-n", namespace])?["spec"]["replicas"].clone())
    };
    ensure!(replicas()? == 2, "the workload's own word counts");

    kubectl.apply(&example(second))?;
    ready("definition/web-server")?;
    ready("workload/web")?;
    ensure!(cluster.page(namespace, "web:http")?.trim() == "two");
    let back = r#"{"spec":{"definition":{"revision":1,"track":null}}}"#;
    kubectl.run(&["patch", "workload", "web", "-n", namespace, "--type=merge", "-p", back])?;
    ready("workload/web")?;
    ensure!(cluster.page(namespace, "web:http")?.trim() == "one");
    kubectl.run(&["delete", "workload", "web", "-n", namespace, "--timeout=60s"])?;
    kubectl.run(&["delete", "definition", "web-server", "-n", namespace, "--timeout=20s"])?;
    Ok(())
}

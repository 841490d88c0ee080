//! kubectl's commands and their forms: what a user sees of each.

use serde_json::Value;

use crate::harness::{Server, WIDGETS};

const WIDGET: &str = "
apiVersion: example.com/v1
kind: Widget
metadata: {name: one, labels: {app: one}}
spec: {image: 'web:1', replicas: 2}
";

/// A server with widgets, and the file of one that is there.
async fn with_widget() -> (Server, String) {
    let server = Server::start().await;
    let definition = server.file("crd.yaml", WIDGETS);
    server.kubectl_ok(&["create", "-f", &definition]).await;
    server.kubectl_ok(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s"]).await;
    let file = server.file("widget.yaml", WIDGET);
    server.kubectl_ok(&["create", "-f", &file, "--save-config"]).await;
    (server, file)
}

/// A program for KUBE_EDITOR.
fn editor(server: &Server, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = server.file("editor", &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("made a program");
    path
}

#[tokio::test]
async fn get_selects_sorts_and_prints_in_every_form() {
    let (server, file) = with_widget().await;
    let other = server.file("other.yaml", &WIDGET.replace("one", "big").replace("replicas: 2", "replicas: 10"));
    server.kubectl_ok(&["create", "-f", &other]).await;
    let both = "widget.example.com/big\nwidget.example.com/one\n";
    for (arguments, said) in [
        (&["wd", "-o", "name"][..], both),
        (&["wd", "-o", "name", "--sort-by=.spec.replicas"], "widget.example.com/one\nwidget.example.com/big\n"),
        (&["wd", "-o", "name", "-l", "app in (one)"], "widget.example.com/one\n"),
        (&["wd", "-o", "name", "-l", "app!=one"], "widget.example.com/big\n"),
        (&["wd", "-o", "name", "--field-selector=metadata.name=big"], "widget.example.com/big\n"),
        (&["wd", "-o", "name", "-A", "--chunk-size=1"], both),
        (&["wd", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas"], "N     R\nbig   10\none   2\n"),
        (&["wd", "-o", "jsonpath={.items[*].spec.replicas}"], "10 2"),
        (&["wd", "one", "-o", "jsonpath={.metadata.labels.app}"], "one"),
        (&["wd", "one", "-o", "go-template={{.spec.image}}"], "web:1"),
        (&["wd", "one", "--subresource=status", "-o", "name"], "widget.example.com/one\n"),
        (&["-f", &file, "-o", "name"], "widget.example.com/one\n"),
        (&["wd", "none", "--ignore-not-found"], ""),
        (&["wd/one", "ns/default", "-o", "name"], "widget.example.com/one\nnamespace/default\n"),
    ] {
        assert_eq!(server.kubectl_ok(&[&["get"], arguments].concat()).await, said, "{arguments:?}");
    }
    let wide = server.kubectl_ok(&["get", "wd", "one", "-o", "wide", "--show-labels"]).await;
    let words: Vec<Vec<&str>> = wide.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "IMAGE", "REPLICAS", "READY", "MODE", "AGE", "LABELS"]);
    assert_eq!((words[1][3], words[1][5]), ("slow", "app=one"), "{wide}");
    let json: Value =
        serde_json::from_str(&server.kubectl_ok(&["get", "wd,cm", "-o", "json"]).await).expect("a list of both");
    let kinds: Vec<&str> = json["items"].as_array().expect("items").iter().filter_map(|i| i["kind"].as_str()).collect();
    assert_eq!(kinds, ["Widget", "Widget", "ConfigMap"], "kubectl knows the kind of each item");
    let plain = server.kubectl_ok(&["get", "wd", "one", "-o", "yaml"]).await;
    let managed = server.kubectl_ok(&["get", "wd", "one", "-o", "yaml", "--show-managed-fields"]).await;
    assert!(!plain.contains("managedFields") && managed.contains("f:replicas"), "{managed}");
    let raw = server.kubectl_ok(&["get", "--raw", "/apis/example.com/v1/namespaces/default/widgets/one"]).await;
    assert_eq!(serde_json::from_str::<Value>(&raw).expect("JSON")["spec"]["replicas"], 2);
    let error = server.kubectl_fails(&["get", "wd", "--field-selector=spec.nothing=1"]).await;
    assert!(error.contains("field label not supported: spec.nothing"), "{error}");
    let error = server.kubectl_fails(&["get", "pods"]).await;
    assert!(error.contains("the server doesn't have a resource type \"pods\""), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn diff_and_apply_change_what_a_file_says_and_no_more() {
    let (server, file) = with_widget().await;
    assert_eq!(server.kubectl_ok(&["diff", "-f", &file]).await, "", "nothing differs");
    server.file("widget.yaml", &WIDGET.replace("replicas: 2", "replicas: 3"));
    for form in [&["diff", "-f", &file][..], &["diff", "--server-side", "-f", &file]] {
        let output = server.kubectl(form).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{form:?}: {text}");
        assert!(text.contains("-  replicas: 2\n") && text.contains("+  replicas: 3\n"), "{form:?}: {text}");
    }
    let stored =
        server.kubectl_ok(&["get", "wd", "one", "-o", "jsonpath={.spec.replicas} {.metadata.generation}"]).await;
    assert_eq!(stored, "2 1", "a diff writes nothing");
    assert_eq!(server.kubectl_ok(&["apply", "-f", &file]).await, "widget.example.com/one configured\n");
    let last = server.kubectl_ok(&["apply", "view-last-applied", "wd/one"]).await;
    assert!(last.contains("replicas: 3") && !last.contains("mode"), "{last}");
    // Another's field is a conflict, until it is taken by force.
    server
        .kubectl_ok(&[
            "patch",
            "wd",
            "one",
            "--type=merge",
            "-p",
            r#"{"spec":{"replicas":5}}"#,
            "--field-manager=other",
        ])
        .await;
    let error = server.kubectl_fails(&["apply", "--server-side", "-f", &file]).await;
    assert!(error.contains("conflict with \"other\"") && error.contains(".spec.replicas"), "{error}");
    server.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-f", &file]).await;
    assert_eq!(server.kubectl_ok(&["get", "wd", "one", "-o", "jsonpath={.spec.replicas}"]).await, "3");
    server.stop().await;
}

#[tokio::test]
async fn apply_prunes_by_label_and_by_set() {
    let (server, _) = with_widget().await;
    let map =
        |name: &str| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: x}}}}\n");
    let widget = "---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: in-set}\nspec: {image: a}\n";
    let all = [map("keep"), map("drop"), widget.to_owned()].concat();
    let file = server.file("set.yaml", &all);
    let labelled = ["apply", "-f", &file, "--prune", "-l", "set=x", "--prune-allowlist=core/v1/ConfigMap"];
    server.file("set.yaml", &[map("keep"), map("drop")].concat());
    server.kubectl_ok(&labelled).await;
    server.file("set.yaml", &map("keep"));
    assert_eq!(server.kubectl_ok(&labelled).await, "configmap/keep unchanged\nconfigmap/drop pruned\n");
    server.kubectl_ok(&["delete", "configmap", "keep"]).await;

    let applyset = async || {
        let mut command = server.kubectl_command();
        let output = command
            .args(["apply", "-n", "default", "-f", &file, "--prune", "--applyset=secret/mine"])
            .env("KUBECTL_APPLYSET", "true")
            .output()
            .await
            .expect("kubectl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    server.file("set.yaml", &all);
    assert_eq!(applyset().await.matches("created").count(), 3);
    server.file("set.yaml", &map("keep"));
    let pruned = applyset().await;
    for line in ["configmap/keep unchanged", "configmap/drop pruned", "widget.example.com/in-set pruned"] {
        assert!(pruned.contains(line), "{line} is not in {pruned}");
    }
    let parts = "jsonpath={.metadata.annotations.applyset\\.kubernetes\\.io/contains-group-kinds}";
    assert_eq!(server.kubectl_ok(&["get", "secret", "mine", "-o", parts]).await, "ConfigMap");
    assert_eq!(
        server.kubectl_ok(&["get", "wd", "-o", "name"]).await,
        "widget.example.com/one\n",
        "what is in no set stays"
    );
    server.stop().await;
}

#[tokio::test]
async fn edit_patch_label_and_annotate_change_what_they_are_told_to() {
    let (server, _) = with_widget().await;
    let edit = async |script: &str| {
        let mut command = server.kubectl_command();
        let program = editor(&server, script);
        command.args(["edit", "wd", "one"]).env("KUBE_EDITOR", program).output().await.expect("kubectl runs")
    };
    let done = edit("sed -i 's/replicas: 2/replicas: 7/' \"$1\"").await;
    assert_eq!(String::from_utf8_lossy(&done.stdout), "widget.example.com/one edited\n");
    // Refused: kubectl opens the file again with the reason, and gives up when nothing is mended.
    let refused = edit(
        "grep -q '^# .*replicas' \"$1\" && cp \"$1\" \"$HOME/reason\"; sed -i 's/replicas: 7/replicas: 5000/' \"$1\"",
    )
    .await;
    assert!(!refused.status.success(), "{refused:?}");
    let reason = std::fs::read_to_string(server.directory.path().join("reason")).expect("it was opened again");
    assert!(reason.contains("# * spec.replicas: Invalid value: 5000"), "{reason}");

    let field =
        async |name: &str| server.kubectl_ok(&["get", "wd", "one", "-o", &format!("jsonpath={{{name}}}")]).await;
    let patch = async |form: &str, patch: &str| server.kubectl(&["patch", "wd", "one", form, "-p", patch]).await;
    assert!(
        patch(
            "--type=json",
            r#"[{"op":"test","path":"/spec/replicas","value":7},{"op":"replace","path":"/spec/replicas","value":8}]"#
        )
        .await
        .status
        .success()
    );
    assert_eq!(field(".spec.replicas").await, "8");
    assert!(patch("--type=merge", r#"{"spec":{"replicas":null}}"#).await.status.success());
    assert_eq!(field(".spec.replicas").await, "1", "its default");
    let strategic = patch("--type=strategic", r#"{"spec":{"replicas":2}}"#).await;
    assert!(String::from_utf8_lossy(&strategic.stderr).contains("not supported"), "{strategic:?}");
    server.kubectl_ok(&["create", "configmap", "m", "--from-literal=a=1"]).await;
    for finalizer in ["x.example/y", "x.example/z"] {
        let patch = format!(r#"{{"metadata":{{"finalizers":["{finalizer}"]}}}}"#);
        server.kubectl_ok(&["patch", "configmap", "m", "-p", &patch]).await;
    }
    let merged = server.kubectl_ok(&["get", "configmap", "m", "-o", "jsonpath={.metadata.finalizers}"]).await;
    assert_eq!(merged.matches("x.example").count(), 2, "a strategic patch merges the list: {merged}");
    server.kubectl_ok(&["patch", "configmap", "m", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await;

    let error = server.kubectl_fails(&["label", "wd", "one", "app=two"]).await;
    assert!(error.contains("'app' already has a value (one), and --overwrite is false"), "{error}");
    server.kubectl_ok(&["label", "wd", "one", "app=two", "--overwrite"]).await;
    assert_eq!(server.kubectl_ok(&["label", "wd", "one", "--list"]).await, "app=two\n");
    server.kubectl_ok(&["label", "wd", "--all", "app-", "tier=x"]).await;
    assert_eq!(field(".metadata.labels").await, r#"{"tier":"x"}"#);
    server.kubectl_ok(&["annotate", "wd", "one", "note=1"]).await;
    assert!(server.kubectl_fails(&["annotate", "wd", "one", "note=2"]).await.contains("--overwrite is false"));
    let old = ["annotate", "wd", "one", "note=2", "--overwrite", "--resource-version=1"];
    assert!(server.kubectl_fails(&old).await.contains("the object has been modified"));
    server.kubectl_ok(&["annotate", "wd", "one", "note-"]).await;
    assert_eq!(field(".metadata.annotations.note").await, "");
    server.stop().await;
}

#[tokio::test]
async fn replace_delete_and_wait_tell_what_became_of_it() {
    let (server, file) = with_widget().await;
    let uid = async || server.kubectl_ok(&["get", "wd", "one", "-o", "jsonpath={.metadata.uid}"]).await;
    let first = uid().await;
    server.file("widget.yaml", &WIDGET.replace("replicas: 2", "replicas: 6"));
    assert_eq!(server.kubectl_ok(&["replace", "-f", &file]).await, "widget.example.com/one replaced\n");
    assert_eq!(uid().await, first);
    let forced = server.kubectl_ok(&["replace", "--force", "-f", &file]).await;
    assert!(forced.ends_with("widget.example.com/one replaced\n") && uid().await != first, "{forced}");
    let patch = r#"{"metadata":{"finalizers":["example.com/held"]}}"#;
    server.kubectl_ok(&["patch", "wd", "one", "--type=merge", "-p", patch]).await;
    server.kubectl_ok(&["delete", "wd", "one", "--wait=false"]).await;
    assert!(server.kubectl_fails(&["wait", "--for=delete", "wd/one", "--timeout=1s"]).await.contains("timed out"));
    let waiting = server.kubectl_command().args(["wait", "--for=delete", "wd/one", "--timeout=20s"]).spawn();
    let mut waiting = waiting.expect("kubectl runs");
    server.kubectl_ok(&["patch", "wd", "one", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await;
    assert!(waiting.wait().await.expect("it ends").success());
    let waiting = server.kubectl_command().args(["wait", "--for=create", "wd/one", "--timeout=20s"]).spawn();
    let mut waiting = waiting.expect("kubectl runs");
    server.kubectl_ok(&["create", "-f", &file]).await;
    assert!(waiting.wait().await.expect("it ends").success());
    let met = server.kubectl_ok(&["wait", "--for=jsonpath={.spec.replicas}=6", "wd", "-l", "app=one"]).await;
    assert_eq!(met, "widget.example.com/one condition met\n");
    let error = server.kubectl_fails(&["wait", "--for=condition=Ready", "wd/one", "--timeout=1s"]).await;
    assert!(error.contains("timed out waiting for the condition on widgets/one"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn explain_describe_and_the_lists_of_kinds_tell_what_there_is() {
    let (server, _) = with_widget().await;
    let whole = server.kubectl_ok(&["explain", "wd", "--recursive"]).await;
    for line in
        ["GROUP:      example.com", "    env\t<[]Object>", "      name\t<string> -required-", "    enum: fast, slow"]
    {
        assert!(whole.contains(line), "{line} is not in:\n{whole}");
    }
    let whole = server.kubectl_ok(&["explain", "leases", "--recursive"]).await;
    assert!(whole.contains("holderIdentity\t<string>") && whole.contains("ownerReferences\t<[]"), "{whole}");
    let error = server.kubectl_fails(&["explain", "wd.spec.nothing"]).await;
    assert!(error.contains("field \"nothing\" does not exist"), "{error}");
    server.kubectl_ok(&["create", "role", "r", "--verb=get,list", "--resource=configmaps", "--resource-name=m"]).await;
    server.kubectl_ok(&["create", "serviceaccount", "robot"]).await;
    server.kubectl_ok(&["create", "rolebinding", "rb", "--role=r", "--serviceaccount=default:robot"]).await;
    server.kubectl_ok(&["create", "configmap", "m", "--from-literal=a=1"]).await;
    server
        .kubectl_ok(&[
            "create",
            "secret",
            "docker-registry",
            "d",
            "--docker-server=x",
            "--docker-username=u",
            "--docker-password=p",
        ])
        .await;
    for (object, part) in [
        ("role/r", "configmaps  []                 [m]             [get list]"),
        ("rolebinding/rb", "ServiceAccount  robot  default"),
        ("configmap/m", "a:\n----\n1\n"),
        ("secret/d", ".dockerconfigjson:  "),
        ("serviceaccount/robot", "Image pull secrets:"),
        ("namespace/default", "Status:       Active"),
        ("crd/widgets.example.com", "List Kind:  WidgetList"),
    ] {
        let described = server.kubectl_ok(&["describe", object]).await;
        assert!(described.contains(part), "{part} is not in:\n{described}");
    }
    let uid = server.kubectl_ok(&["get", "wd", "one", "-o", "jsonpath={.metadata.uid}"]).await;
    let event = "{apiVersion: v1, kind: Event, metadata: {name: e}, reason: Tried, message: and failed, type: Warning, \
                 involvedObject: {apiVersion: example.com/v1, kind: Widget, name: one, namespace: default, uid: UID}}";
    server.kubectl_ok(&["create", "-f", &server.file("event.yaml", &event.replace("UID", &uid))]).await;
    for form in [&["events", "--for", "wd/one"][..], &["get", "events"], &["events", "--types=Warning"]] {
        let said = server.kubectl_ok(form).await;
        assert!(said.contains("Tried") && said.contains("and failed"), "{form:?}: {said}");
    }
    assert!(server.kubectl_ok(&["describe", "wd", "one"]).await.contains("and failed"));
    let versions = server.kubectl_ok(&["api-versions"]).await;
    assert!(versions.lines().any(|line| line == "example.com/v1") && versions.ends_with("v1\n"), "{versions}");
    let names = server.kubectl_ok(&["api-resources", "--verbs=list", "--namespaced=false", "-o", "name"]).await;
    assert!(names.contains("namespaces\n") && !names.contains("widgets"), "{names}");
    let wide = server.kubectl_ok(&["api-resources", "--api-group=example.com", "-o", "wide"]).await;
    assert!(wide.contains("deletecollection") && wide.contains("all"), "{wide}");
    assert!(server.kubectl_ok(&["version"]).await.contains("threeport"));
    assert_eq!(server.kubectl_ok(&["config", "current-context"]).await, "threeport\n");
    let error = server.kubectl_fails(&["create", "deployment", "x", "--image=y"]).await;
    assert!(error.contains("the server could not find the requested resource"), "{error}");
    server.stop().await;
}

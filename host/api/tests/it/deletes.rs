//! kubectl deletes as it does with Kubernetes.

use serde_json::json;

use crate::harness::{Server, WIDGETS, eventually};

const FAMILY: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: child, labels: {app: x}, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: UID, blockOwnerDeletion: true}]}
";

/// An owner and what it owns, made with kubectl.
async fn family(server: &Server) {
    server.kubectl_ok(&["create", "configmap", "owner"]).await;
    let uid = server.kubectl_ok(&["get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}"]).await;
    let child = server.file("child.yaml", &FAMILY.replace("UID", &uid));
    server.kubectl_ok(&["create", "-f", &child]).await;
}

async fn maps(server: &Server) -> String {
    let names = server.kubectl_ok(&["get", "configmaps", "-o", "name"]).await;
    names.split_whitespace().filter(|name| *name != "configmap/kube-root-ca.crt").collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn kubectl_cascades_as_it_is_told() {
    let server = Server::start().await;
    for cascade in ["background", "foreground"] {
        family(&server).await;
        server.kubectl_ok(&["delete", "configmap", "owner", &format!("--cascade={cascade}"), "--timeout=20s"]).await;
        if cascade == "foreground" {
            assert_eq!(maps(&server).await, "", "kubectl waited for the owner, and that for what it owns");
        }
        eventually("the child is gone", async || maps(&server).await.is_empty().then_some(())).await;
    }
    family(&server).await;
    server.kubectl_ok(&["delete", "configmap", "owner", "--cascade=orphan", "--timeout=20s"]).await;
    assert_eq!(maps(&server).await, "configmap/child");
    let owners = server.kubectl_ok(&["get", "configmap", "child", "-o", "jsonpath={.metadata.ownerReferences}"]).await;
    assert_eq!(owners, "");
    server.stop().await;
}

#[tokio::test]
async fn kubectl_deletes_many_at_once() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.kubectl_ok(&["create", "configmap", name]).await;
    }
    server.kubectl_ok(&["label", "configmap", "a", "b", "tier=front"]).await;
    server.kubectl_ok(&["delete", "configmap", "-l", "tier=front", "--timeout=20s"]).await;
    assert_eq!(maps(&server).await, "configmap/c");
    assert!(server.kubectl_ok(&["delete", "configmaps", "--all", "--dry-run=server"]).await.contains("dry run"));
    server.kubectl_ok(&["delete", "configmaps", "--all", "--timeout=20s"]).await;
    assert_eq!(maps(&server).await, "");
    // A collection, as client-go deletes it.
    server.kubectl_ok(&["create", "configmap", "d"]).await;
    server.kubectl_ok(&["delete", "--raw", "/api/v1/namespaces/default/configmaps"]).await;
    assert_eq!(maps(&server).await, "");
    server.stop().await;
}

#[tokio::test]
async fn kubectl_deletes_a_namespace_and_a_definition_with_what_is_in_them() {
    let server = Server::start().await;
    let definition = server.file("crd.yaml", WIDGETS);
    server.kubectl_ok(&["apply", "-f", &definition]).await;
    server.kubectl_ok(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s"]).await;
    server.kubectl_ok(&["create", "namespace", "team"]).await;
    let widget = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "team"}, "spec": {"image": "web:1"},
    });
    let file = server.file("widget.json", &widget.to_string());
    server.kubectl_ok(&["apply", "-f", &file]).await;
    server.kubectl_ok(&["create", "secret", "generic", "s", "-n", "team", "--from-literal=a=b"]).await;
    server.kubectl_ok(&["delete", "namespace", "team", "--timeout=20s"]).await;
    assert!(server.kubectl_fails(&["get", "namespace", "team"]).await.contains("NotFound"));
    assert_eq!(server.kubectl_ok(&["get", "widgets,secrets", "-A", "-o", "name"]).await, "");
    server.kubectl_ok(&["create", "namespace", "team"]).await;
    server.kubectl_ok(&["apply", "-f", &file]).await;
    server.kubectl_ok(&["delete", "-f", &definition, "--timeout=20s"]).await;
    assert!(server.kubectl_fails(&["get", "crd", "widgets.example.com"]).await.contains("NotFound"));
    server.kubectl_ok(&["delete", "namespace", "team", "--timeout=20s"]).await;
    server.stop().await;
}

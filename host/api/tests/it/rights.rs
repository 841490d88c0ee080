//! Who may do what: roles, bindings, tenants.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, WIDGETS, eventually, widget, widgets};

/// A namespace with the ServiceAccount `robot` that has a role there; a token of it.
async fn tenant(server: &Server, namespace: &str, role: &str) -> String {
    server.kubectl_ok(&["create", "namespace", namespace]).await;
    server.kubectl_ok(&["create", "serviceaccount", "robot", "-n", namespace]).await;
    let (role, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={namespace}:robot"));
    server.kubectl_ok(&["create", "rolebinding", "robot", "-n", namespace, &role, &account]).await;
    server.kubectl_ok(&["create", "token", "robot", "-n", namespace]).await.trim().to_owned()
}

/// Widgets as a plugin brings them.
async fn define_plugin_widgets(server: &Server) {
    let mut definition: Value = serde_yaml_ng::from_str(WIDGETS).expect("YAML");
    definition["metadata"]["annotations"] = json!({"threeport.dev/plugin": "widgets"});
    server.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
}

#[tokio::test]
async fn tenants_use_what_is_theirs_and_see_nothing_of_each_other() {
    let server = Server::start().await;
    define_plugin_widgets(&server).await;
    let tokens = [tenant(&server, "a", "edit").await, tenant(&server, "b", "edit").await];
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    for (own, token) in ["a", "b"].iter().zip(&tokens) {
        // The role for the kind follows its definition.
        eventually("the kind may be used", || async {
            (server.with_token(token, Method::GET, &widgets(own), None).await.0 == 200).then_some(())
        })
        .await;
        for (path, body) in [(widgets(own), widget("w")), (secrets(own), json!({"metadata": {"name": "s"}}))] {
            let (code, body) = server.with_token(token, Method::POST, &path, Some(&body)).await;
            assert_eq!(code, 201, "{body}");
        }
    }
    for (other, token) in ["b", "a"].iter().zip(&tokens) {
        for (path, name) in [(widgets(other), "w"), (secrets(other), "s")] {
            let named = format!("{path}/{name}");
            let everywhere = path.replace(&format!("/namespaces/{other}"), "");
            let body = json!({"metadata": {"name": "x"}});
            for (method, path) in [
                (Method::GET, path.clone()),
                (Method::GET, format!("{path}?watch=true")),
                (Method::GET, everywhere.clone()),
                (Method::GET, format!("{everywhere}?watch=true&fieldSelector=metadata.namespace%3D{other}")),
                (Method::POST, path.clone()),
                (Method::DELETE, path.clone()),
                (Method::GET, named.clone()),
                (Method::PUT, named.clone()),
                (Method::PATCH, named.clone()),
                (Method::DELETE, named.clone()),
                (Method::GET, format!("{path}/none")),
                (Method::PATCH, format!("{named}/status")),
            ] {
                let (code, answer) = server.with_token(token, method.clone(), &path, Some(&body)).await;
                assert_eq!(code, 403, "{method} {path} {answer}");
            }
        }
        let plan = format!("{}/w/status", widgets(if *other == "a" { "b" } else { "a" }));
        assert_eq!(
            server.with_token(token, Method::PATCH, &plan, Some(&json!({}))).await.0,
            403,
            "the status is the host's"
        );
    }
    let list = server.kubectl_ok(&["auth", "can-i", "--list", "-n", "a", "--token", &tokens[0]]).await;
    assert!(list.contains("widgets.example.com") && list.contains("selfsubjectreviews"), "{list}");
    for (answer, arguments) in [
        ("yes", ["create", "widgets", "-n", "a"]),
        ("yes", ["get", "secrets", "-n", "a"]),
        ("no", ["get", "secrets", "-n", "b"]),
        ("no", ["create", "rolebindings", "-n", "a"]),
        ("no", ["create", "plugins.threeport.dev", "-n", "a"]),
    ] {
        let output = server.kubectl(&[&["auth", "can-i", "--token", &tokens[0]], arguments.as_slice()].concat()).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), answer, "{arguments:?}");
    }
    server.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com").await;
    server.stop().await;
}

#[tokio::test]
async fn reading_is_not_reading_secrets() {
    let server = Server::start().await;
    let token = tenant(&server, "a", "view").await;
    let get = async |path: &str| server.with_token(&token, Method::GET, path, None).await.0.as_u16();
    assert_eq!(get("/api/v1/namespaces/a/configmaps").await, 200);
    assert_eq!(get("/api/v1/namespaces/a").await, 200, "its own namespace");
    assert_eq!(get("/api/v1/namespaces").await, 403);
    assert_eq!(get("/api/v1/namespaces/a/secrets").await, 403);
    assert_eq!(get("/apis/rbac.authorization.k8s.io/v1/namespaces/a/rolebindings").await, 403);
    for (role, path) in [("one", "/api/v1/namespaces/a/secrets/one"), ("none", "/metrics")] {
        assert_eq!(get(path).await, 403, "{role}");
    }
    server
        .kubectl_ok(&[
            "create",
            "role",
            "one",
            "-n",
            "a",
            "--verb=get,list,watch",
            "--resource=secrets",
            "--resource-name=one",
        ])
        .await;
    server.kubectl_ok(&["create", "rolebinding", "one", "-n", "a", "--role=one", "--serviceaccount=a:robot"]).await;
    server.make("/api/v1/namespaces/a/secrets", &json!({"metadata": {"name": "one"}})).await;
    assert_eq!(get("/api/v1/namespaces/a/secrets/one").await, 200);
    assert_eq!(get("/api/v1/namespaces/a/secrets/two").await, 403);
    assert_eq!(get("/api/v1/namespaces/a/secrets").await, 403);
    assert_eq!(get("/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Done").await, 200);
    assert_eq!(get("/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%21%3Done").await, 403);
    server.make("/api/v1/namespaces/a/secrets", &json!({"metadata": {"name": "two"}})).await;
    let both = "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Done,metadata.name%3Dtwo";
    let (code, answer) = server.with_token(&token, Method::GET, both, None).await;
    assert_eq!((code.as_u16(), &answer["items"]), (200, &json!([])), "no object has two names");
    server.kubectl_ok(&["delete", "rolebinding", "one", "-n", "a"]).await;
    assert_eq!(get("/api/v1/namespaces/a/secrets/one").await, 403, "at once");
    server.stop().await;
}

#[tokio::test]
async fn tree_and_why_show_of_others_what_may_be_read() {
    let server = Server::start().await;
    server.define_needing_widgets("widgets", "Secret").await;
    let token = tenant(&server, "a", "view").await;
    let mut body = widget("w");
    body["spec"]["extra"] = json!({"needs": ["absent"]});
    let made = server.make(&widgets("a"), &body).await;
    let owner =
        json!([{"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": made["metadata"]["uid"]}]);
    for (kind, name) in [("secrets", "child"), ("configmaps", "child")] {
        let child = json!({"metadata": {"name": name, "ownerReferences": owner}});
        server.make(&format!("/api/v1/namespaces/a/{kind}"), &child).await;
    }
    let path = |view: &str| format!("{}/w/{view}", widgets("a"));
    let theirs = async |view: &str| server.with_token(&token, Method::GET, &path(view), None).await;
    eventually("the kind may be seen", async || (theirs("tree").await.0 == 200).then_some(())).await;
    let unseen = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "namespace": "a", "name": name, "ready": "Unknown", "reason": "Forbidden"});
    let tree = theirs("tree").await.1;
    let children = tree["root"]["children"].as_array().expect("children");
    assert!(children.contains(&unseen("child")), "{tree}");
    assert!(children.iter().any(|child| child["kind"] == "ConfigMap" && child["reason"] == "Exists"), "{tree}");
    let required = |tree: &Value| tree["root"]["references"][0]["object"].clone();
    assert_eq!(required(&tree), unseen("absent"), "not even whether it is there");
    let why = theirs("why").await.1;
    assert_eq!(why["chain"][0]["object"]["name"], "w", "{why}");
    assert_eq!(why["chain"][0]["alsoWaitsFor"], json!([unseen("absent")]), "{why}");
    let last = &why["chain"][1]["object"];
    assert_eq!((&last["kind"], &last["reason"]), (&json!("Plugin"), &json!("Forbidden")), "{why}");
    // Whoever may read everything sees everything.
    let tree = server.get(&path("tree")).await.1;
    assert_eq!(required(&tree)["reason"], "NotFound", "{tree}");
    assert_eq!(
        server.get(&path("why")).await.1["chain"]
            .as_array()
            .and_then(|chain| chain.last())
            .map(|step| &step["object"]["reason"]),
        Some(&json!("NotFound"))
    );
    server.stop().await;
}

#[tokio::test]
async fn nobody_grants_more_than_they_hold() {
    let server = Server::start().await;
    let token = tenant(&server, "a", "admin").await;
    let kubectl = |arguments: &[&str]| {
        let all: Vec<String> =
            arguments.iter().chain(&["-n", "a", "--token", &token]).map(|a| (*a).to_owned()).collect();
        let server = &server;
        async move {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let output = server.kubectl(&all).await;
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    let (done, error) = kubectl(&["create", "role", "reads", "--verb=get", "--resource=configmaps"]).await;
    assert!(done, "{error}");
    let (done, error) = kubectl(&["create", "rolebinding", "edit", "--clusterrole=edit", "--user=alice"]).await;
    assert!(done, "{error}");
    let (done, error) =
        kubectl(&["create", "role", "more", "--verb=get,list", "--resource=plugins.threeport.dev"]).await;
    assert!(!done);
    assert!(
        error.contains(
            "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"system:serviceaccount:a:robot\" \
             (groups=[\"system:serviceaccounts\" \"system:serviceaccounts:a\" \"system:authenticated\"]) is attempting to grant RBAC \
             permissions not currently held:\n{APIGroups:[\"threeport.dev\"], Resources:[\"plugins\"], Verbs:[\"get\" \"list\"]}"
        ),
        "{error}"
    );
    let (done, error) = kubectl(&["create", "rolebinding", "all", "--clusterrole=cluster-admin", "--user=alice"]).await;
    assert!(!done && error.contains("attempting to grant RBAC permissions not currently held"), "{error}");
    let (done, error) = kubectl(&["create", "rolebinding", "all", "--clusterrole=none", "--user=alice"]).await;
    assert!(!done && error.contains("rolebindings.rbac.authorization.k8s.io \"none\" not found"), "{error}");
    let patch = r#"[{"op":"add","path":"/rules/-","value":{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}}]"#;
    let (done, error) = kubectl(&["patch", "role", "reads", "--type=json", "-p", patch]).await;
    assert!(!done && error.contains("not currently held"), "{error}");
    let (done, error) = kubectl(&["create", "clusterrolebinding", "all", "--clusterrole=view", "--user=alice"]).await;
    assert!(!done && error.contains("at the cluster scope"), "{error}");

    server
        .kubectl_ok(&[
            "create",
            "role",
            "binds",
            "-n",
            "a",
            "--verb=bind",
            "--resource=clusterroles.rbac.authorization.k8s.io",
            "--resource-name=cluster-admin",
        ])
        .await;
    server.kubectl_ok(&["create", "rolebinding", "binds", "-n", "a", "--role=binds", "--serviceaccount=a:robot"]).await;
    let (done, error) = kubectl(&["create", "rolebinding", "all", "--clusterrole=cluster-admin", "--user=alice"]).await;
    assert!(done, "it may bind that one: {error}");
    server
        .kubectl_ok(&[
            "create",
            "role",
            "escalates",
            "-n",
            "a",
            "--verb=escalate",
            "--resource=roles.rbac.authorization.k8s.io",
        ])
        .await;
    server
        .kubectl_ok(&["create", "rolebinding", "escalates", "-n", "a", "--role=escalates", "--serviceaccount=a:robot"])
        .await;
    let (done, error) = kubectl(&["create", "role", "more", "--verb=get", "--resource=plugins.threeport.dev"]).await;
    assert!(done, "it may escalate: {error}");
    server.stop().await;
}

#[tokio::test]
async fn gathered_roles_need_everything_and_follow_their_parts() {
    let server = Server::start().await;
    server
        .kubectl_ok(&[
            "create",
            "clusterrole",
            "roles",
            "--verb=*",
            "--resource=clusterroles.rbac.authorization.k8s.io",
        ])
        .await;
    server.kubectl_ok(&["create", "clusterrolebinding", "alice", "--clusterrole=roles", "--user=alice"]).await;
    let gathers = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: gathers}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {part: 'yes'}}]}
";
    let file = server.file("gathers.yaml", gathers);
    // The verb * on clusterroles is also `escalate`.
    server.kubectl_ok(&["apply", "-f", &file, "--as", "alice"]).await;
    server.kubectl_ok(&["delete", "-f", &file]).await;
    server
        .kubectl_ok(&[
            "create",
            "clusterrole",
            "roles-only",
            "--verb=create,get,update,patch",
            "--resource=clusterroles.rbac.authorization.k8s.io",
        ])
        .await;
    server.kubectl_ok(&["create", "clusterrolebinding", "bob", "--clusterrole=roles-only", "--user=bob"]).await;
    let error = server.kubectl_fails(&["apply", "-f", &file, "--as", "bob"]).await;
    assert!(error.contains("must have cluster-admin privileges to use the aggregationRule"), "{error}");

    server.kubectl_ok(&["apply", "-f", &file]).await;
    let rules = async || {
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/gathers";
        server.get(path).await.1["rules"].as_array().map(Vec::len).unwrap_or_default()
    };
    let part = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: part, labels: {part: 'yes'}}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
";
    let part = server.file("part.yaml", part);
    server.kubectl_ok(&["apply", "-f", &part]).await;
    eventually("it is gathered", || async { (rules().await == 1).then_some(()) }).await;
    server.kubectl_ok(&["create", "clusterrolebinding", "carol", "--clusterrole=gathers", "--user=carol"]).await;
    server.kubectl_ok(&["get", "configmap", "kube-root-ca.crt", "--as", "carol"]).await;
    server.kubectl_ok(&["delete", "-f", &part]).await;
    eventually("it is not any more", || async { (rules().await == 0).then_some(()) }).await;
    let error = server.kubectl_fails(&["get", "configmap", "kube-root-ca.crt", "--as", "carol"]).await;
    assert!(error.contains("Forbidden"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_binding_keeps_its_role_and_says_what_is_wrong_with_it() {
    let server = Server::start().await;
    let binding = "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: 'system:odd name'}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}, {kind: ServiceAccount, name: robot}]
";
    let file = server.file("binding.yaml", binding);
    server.kubectl_ok(&["apply", "-f", &file]).await;
    assert!(server.kubectl_ok(&["apply", "-f", &file]).await.contains("unchanged"));
    let wide = server.kubectl_ok(&["get", "rolebindings", "-o", "wide"]).await;
    assert!(wide.contains("ClusterRole/view") && wide.contains("alice") && wide.contains("/robot"), "{wide}");
    let other = server.file("other.yaml", &binding.replace("name: view", "name: edit"));
    let error = server.kubectl_fails(&["apply", "-f", &other]).await;
    assert!(error.contains("roleRef: Invalid value:") && error.contains("cannot change roleRef"), "{error}");
    for (from, to, expected) in [
        (
            "kind: ClusterRole, name: view",
            "kind: Thing, name: view",
            "roleRef.kind: Unsupported value: \"Thing\": supported values: \"Role\", \"ClusterRole\"",
        ),
        ("name: view", "name: a/b", "roleRef.name: Invalid value: \"a/b\": may not contain '/'"),
        (
            "kind: User,",
            "kind: Robot,",
            "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ),
        ("'system:odd name'", "a%b", "metadata.name: Invalid value: \"a%b\": may not contain '%'"),
    ] {
        let wrong = server.file("wrong.yaml", &binding.replace(from, to).replace("odd name", "other"));
        let error = server.kubectl_fails(&["create", "-f", &wrong]).await;
        assert!(error.contains(expected), "{to}: {error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn reviews_answer_for_others() {
    let server = Server::start().await;
    tenant(&server, "a", "edit").await;
    let review = async |path: &str, spec: Value| {
        let (code, body) = server.post(path, &json!({ "spec": spec })).await;
        (code.as_u16(), body)
    };
    let everywhere = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let create = json!({"verb": "create", "resource": "configmaps", "namespace": "a"});
    let (code, body) =
        review(everywhere, json!({"user": "system:serviceaccount:a:robot", "resourceAttributes": create})).await;
    assert_eq!(code, 201, "{body}");
    assert_eq!(
        body["status"],
        json!({"allowed": true, "reason": "RBAC: allowed by RoleBinding \"robot/a\" of ClusterRole \"edit\" to ServiceAccount \"robot/a\""})
    );
    let (_, body) =
        review(everywhere, json!({"user": "bob", "groups": ["system:masters"], "resourceAttributes": create})).await;
    assert_eq!(body["status"], json!({"allowed": true}));
    let (_, body) = review(everywhere, json!({"user": "bob", "resourceAttributes": create})).await;
    assert_eq!(body["status"], json!({"allowed": false}));
    let (_, body) = review(everywhere, json!({"user": "bob", "groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/api"}})).await;
    assert_eq!(body["status"]["allowed"], true);
    let (code, body) = review(everywhere, json!({"resourceAttributes": create})).await;
    assert_eq!((code, &body["details"]["causes"][0]["field"]), (422, &json!("spec.user")), "{body}");
    let local = "/apis/authorization.k8s.io/v1/namespaces/b/localsubjectaccessreviews";
    let (code, body) = review(local, json!({"user": "bob", "resourceAttributes": create})).await;
    assert_eq!(code, 422, "{body}");
    assert_eq!(server.get(everywhere).await.0, 405, "nothing is stored");
    server.stop().await;
}

/// Paths that are no objects, with whether a ServiceAccount without rights may read them.
const PATHS: [(&str, bool); 12] = [
    ("/", false),
    ("/metrics", false),
    ("/blobs", false),
    ("/nothing", false),
    ("/api", true),
    ("/api/v1", true),
    ("/apis", true),
    ("/apis/apps", true),
    ("/openapi/v2", true),
    ("/openapi/v3", true),
    ("/openid/v1/jwks", true),
    ("/.well-known/openid-configuration", true),
];
/// What everybody may ask about themselves.
const OWN: [&str; 3] = ["selfsubjectaccessreviews", "selfsubjectreviews", "selfsubjectrulesreviews"];

#[tokio::test]
async fn whoever_has_no_rights_gets_nowhere() {
    let server = Server::start().await;
    server.define_widgets().await;
    server.make(&widgets("default"), &widget("x")).await;
    server.kubectl_ok(&["create", "serviceaccount", "nobody"]).await;
    let token = server.kubectl_ok(&["create", "token", "nobody"]).await.trim().to_owned();
    let mut tried = BTreeSet::new();
    let mut try_all = async |paths: &[String], allowed: bool| {
        for path in paths {
            for method in
                [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS]
            {
                let body = json!({"metadata": {"name": "x"}});
                let (code, answer) = server.with_token(&token, method.clone(), path, Some(&body)).await;
                let exception = allowed && method == Method::POST && !path.ends_with("/none");
                assert_eq!(code == 403, !exception, "{method} {path}: {code} {answer}");
                tried.insert(format!("{method} {path}"));
            }
        }
    };
    let mut groups = vec![("/api/v1".to_owned(), "v1".to_owned())];
    let (_, list) = server.get("/apis").await;
    for group in list["groups"].as_array().expect("groups") {
        for version in group["versions"].as_array().expect("versions") {
            let version = version["groupVersion"].as_str().expect("a version");
            groups.push((format!("/apis/{version}"), version.to_owned()));
        }
    }
    for (base, version) in groups {
        let (_, list) = server.get(&base).await;
        for resource in list["resources"].as_array().unwrap_or_else(|| panic!("{version}: {list}")) {
            let name = resource["name"].as_str().expect("a name");
            let place =
                if resource["namespaced"] == true { format!("{base}/namespaces/default") } else { base.clone() };
            let paths = match name.split_once('/') {
                Some((plural, subresource)) => vec![format!("{place}/{plural}/x/{subresource}")],
                None => vec![
                    format!("{place}/{name}"),
                    format!("{base}/{name}"),
                    format!("{place}/{name}?watch=true"),
                    format!("{place}/{name}/x"),
                    format!("{place}/{name}/x/none"),
                ],
            };
            try_all(&paths, OWN.contains(&name)).await;
        }
    }
    try_all(&["/apis/apps/v1/deployments".to_owned(), "/api/v1/namespaces/default/pods/x/log".to_owned()], false).await;
    assert!(tried.len() > 500, "{}", tried.len());
    for (path, open) in PATHS {
        let (code, answer) = server.with_token(&token, Method::GET, path, None).await;
        assert_eq!(code != 403, open, "{path}: {code} {answer}");
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let (code, answer) = server.with_token(&token, method.clone(), path, Some(&json!({}))).await;
            assert_eq!(code, 403, "{method} {path}: {answer}");
        }
        let without = server.client.get(format!("{}{path}", server.url)).send().await.expect("an answer").status();
        assert_eq!(without, 401, "{path}");
    }
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        let without = server.client.get(format!("{}{path}", server.url)).send().await.expect("an answer").status();
        assert_eq!(without, 200, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_watch_ends_with_the_right_to_it() {
    let server = Server::start().await;
    let token = tenant(&server, "a", "edit").await;
    let secrets = "/api/v1/namespaces/a/secrets";
    let open =
        || server.client.get(format!("{}{secrets}?watch=true&timeoutSeconds=3600", server.url)).bearer_auth(&token);
    let mut watch = open().send().await.expect("a watch");
    assert_eq!(watch.status(), 200);
    server.make("/api/v1/namespaces/a/configmaps", &json!({"metadata": {"name": "other"}})).await;
    server.kubectl_ok(&["create", "role", "unrelated", "-n", "a", "--verb=get", "--resource=configmaps"]).await;
    server.make(secrets, &json!({"metadata": {"name": "before"}})).await;
    let mut seen = String::new();
    let read = async |watch: &mut reqwest::Response| {
        let piece = tokio::time::timeout(std::time::Duration::from_secs(20), watch.chunk()).await.expect("in time");
        piece.expect("readable").map(|piece| String::from_utf8_lossy(&piece).into_owned())
    };
    while !seen.contains("\"before\"") {
        seen.push_str(&read(&mut watch).await.expect("the right is there, whatever else changes"));
    }
    let (code, _) = server.delete("/apis/rbac.authorization.k8s.io/v1/namespaces/a/rolebindings/robot").await;
    assert_eq!(code, 200);
    server.make(secrets, &json!({"metadata": {"name": "after"}})).await;
    while let Some(piece) = read(&mut watch).await {
        seen.push_str(&piece);
    }
    assert!(!seen.contains("\"after\""), "{seen}");
    assert_eq!(open().send().await.expect("an answer").status(), 403);
    server.stop().await;
}

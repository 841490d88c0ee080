//! A kubeconfig that a tenant hands us, made into a client configuration.
//!
//! It comes from outside, so it may not run programs (`exec`, `auth-provider`), read files or sockets of this host (paths), or send our traffic through a
//! proxy of its choice. Errors name the field and never a value: parse errors and base64 errors can quote a token.

use std::time::Duration;

use futures::FutureExt;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig};

use crate::Error;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(3);
/// More is no kubeconfig.
const LIMIT: usize = 1 << 20;

/// Parses and checks; no network, no files.
pub(crate) fn parse(text: &str) -> Result<kube::Config, Error> {
    if text.len() > LIMIT {
        return Err(refuse("(whole)", "it is larger than 1 MiB"));
    }
    let parsed =
        Kubeconfig::from_yaml(text).map_err(|_| refuse("(whole)", "it is not a kubeconfig in YAML or JSON"))?;
    let current = parsed.current_context.clone().filter(|c| !c.is_empty());
    let current = current.ok_or_else(|| refuse("current-context", "it is missing; name the context to use"))?;
    let context = parsed.contexts.iter().find(|c| c.name == current).and_then(|c| c.context.as_ref());
    let context = context.ok_or_else(|| refuse("contexts", "the current context is not among them"))?;
    let cluster = parsed.clusters.iter().find(|c| c.name == context.cluster).and_then(|c| c.cluster.as_ref());
    check_cluster(cluster.ok_or_else(|| refuse("clusters", "the cluster of the current context is not among them"))?)?;
    if let Some(user) = context.user.as_ref().filter(|u| !u.is_empty()) {
        let user = parsed.auth_infos.iter().find(|u| &u.name == user).and_then(|u| u.auth_info.as_ref());
        check_user(user.ok_or_else(|| refuse("users", "the user of the current context is not among them"))?)?;
    }

    // The future only parses; it would wait for nothing but the programs and files that were refused above.
    let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).now_or_never();
    let mut config = match config {
        Some(Ok(config)) => config,
        _ => {
            return Err(refuse(
                "clusters[].cluster",
                "the certificate authority is not PEM in base64, or the server is no URL",
            ));
        }
    };
    config.connect_timeout = Some(CONNECT);
    // Requests have a deadline of their own as a whole; a read timeout here would also cut watches that are silent.
    config.read_timeout = None;
    config.write_timeout = Some(Duration::from_secs(10));
    // Waiting is the caller's business: hidden retries would hold its worker.
    config.default_retry = false;
    config.proxy_url = None;
    Ok(config)
}

pub(crate) fn refuse(field: &str, why: &str) -> Error {
    Error::InvalidKubeconfig { field: field.to_owned(), why: why.to_owned() }
}

fn check_cluster(cluster: &Cluster) -> Result<(), Error> {
    let server = cluster.server.as_deref().unwrap_or_default();
    let Some((scheme, rest)) = server.split_once("://") else {
        return Err(refuse("clusters[].cluster.server", "it must be a URL such as https://host:6443"));
    };
    if !matches!(scheme, "https" | "http") {
        return Err(refuse("clusters[].cluster.server", "only https and http are supported"));
    }
    if rest.contains('@') {
        return Err(refuse(
            "clusters[].cluster.server",
            "it must not hold a user name or password; put a token into the user",
        ));
    }
    let file = "files of this host are not read; put the content into";
    forbid(
        "clusters[].cluster.certificate-authority",
        &cluster.certificate_authority,
        &format!("{file} certificate-authority-data"),
    )?;
    forbid("clusters[].cluster.proxy-url", &cluster.proxy_url, "a proxy is not supported")
}

fn check_user(user: &AuthInfo) -> Result<(), Error> {
    if user.exec.is_some() {
        return Err(refuse(
            "users[].user.exec",
            "programs are not run on this host; use a token or a client certificate, e.g. of a ServiceAccount",
        ));
    }
    if user.auth_provider.is_some() {
        return Err(refuse(
            "users[].user.auth-provider",
            "programs are not run on this host; use a token or a client certificate",
        ));
    }
    let file = "files of this host are not read; put the content into";
    forbid("users[].user.tokenFile", &user.token_file, &format!("{file} token"))?;
    forbid("users[].user.client-certificate", &user.client_certificate, &format!("{file} client-certificate-data"))?;
    forbid("users[].user.client-key", &user.client_key, &format!("{file} client-key-data"))
}

fn forbid(field: &str, value: &Option<String>, why: &str) -> Result<(), Error> {
    match value.as_deref() {
        None | Some("") => Ok(()),
        Some(_) => Err(refuse(field, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    fn field(text: &str) -> String {
        match parse(text).expect_err("must be refused") {
            Error::InvalidKubeconfig { field, .. } => field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_token_and_inline_data_are_accepted() {
        let config = parse(&with("server: 'https://10.0.0.1:6443', insecure-skip-tls-verify: true", "token: abc"))
            .expect("valid");
        assert_eq!(config.cluster_url.to_string(), "https://10.0.0.1:6443/");
        assert_eq!(config.connect_timeout, Some(CONNECT));
    }

    #[test]
    fn what_runs_programs_or_reads_files_is_refused_by_field() {
        let server = "server: 'https://h:1'";
        for (cluster, user, expected) in [
            (
                "server: 'https://h:1', certificate-authority: /etc/shadow",
                "",
                "clusters[].cluster.certificate-authority",
            ),
            ("server: 'https://h:1', proxy-url: 'http://p:1'", "", "clusters[].cluster.proxy-url"),
            (server, "exec: {apiVersion: client.authentication.k8s.io/v1, command: id}", "users[].user.exec"),
            (server, "auth-provider: {name: gcp, config: {cmd-path: id}}", "users[].user.auth-provider"),
            (server, "tokenFile: /etc/shadow", "users[].user.tokenFile"),
            (server, "client-certificate: /etc/shadow", "users[].user.client-certificate"),
            (server, "client-key: /etc/shadow", "users[].user.client-key"),
            ("server: 'https://u:p@h:1'", "", "clusters[].cluster.server"),
            ("server: 'unix:///run/x.sock'", "", "clusters[].cluster.server"),
        ] {
            assert_eq!(field(&with(cluster, user)), expected);
        }
    }

    #[test]
    fn what_is_named_but_missing_is_refused_by_field() {
        assert_eq!(field("apiVersion: v1\nkind: Config\n"), "current-context");
        assert_eq!(field("current-context: a\n"), "contexts");
        assert_eq!(field("current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n"), "clusters");
    }

    #[test]
    fn no_error_tells_a_secret() {
        for text in [
            "token: hunter2: [".to_owned(),
            with("server: 'https://h:1', certificate-authority-data: 'hunter2!'", ""),
            with("server: 'https://h:1'", "token: hunter2, exec: {command: hunter2}"),
            with("server: 'https://root:hunter2@h:1'", ""),
        ] {
            let error = parse(&text).expect_err("must be refused");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}

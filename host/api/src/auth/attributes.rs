//! What a request wants to do, in the words that rules are written in. The router dispatches by the same reading of the path.

use std::borrow::Cow;

use axum::http::Method;
use axum::http::StatusCode;
use serde_json::json;

use super::user::User;
use crate::query::Query;
use crate::status::ApiError;

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    /// `get`, `list`, `create`, ...; on paths that are no objects, the method in lower case.
    pub verb: Cow<'a, str>,
    pub target: Target<'a>,
}

/// With what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// A path that is no object.
    Path(Cow<'a, str>),
    /// Objects.
    Resource(Resource<'a>),
}

/// Which objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource<'a> {
    pub group: &'a str,
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Empty: the objects themselves.
    pub subresource: &'a str,
    /// Empty: all of them, or a kind without namespaces. A namespace lies in itself.
    pub namespace: &'a str,
    /// Empty: all of them.
    pub name: &'a str,
    /// There is more to the path than this.
    pub beyond: bool,
}

impl<'a> Resource<'a> {
    /// Reads a path; None if it is not one of objects.
    pub(crate) fn parse(segments: &[&'a str]) -> Option<Self> {
        let (group, version, rest) = match segments {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            [] => return None,
            // `namespaces/x/status` is the namespace's own; anything else there lies in it.
            ["namespaces", namespace, plural, ..]
                if !(group.is_empty() && matches!(*plural, "status" | "finalize")) =>
            {
                (*namespace, &rest[2..])
            }
            ["namespaces", namespace, ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let at = |index: usize| rest.get(index).copied().unwrap_or_default();
        let (resource, name, subresource) = (at(0), at(1), at(2));
        Some(Self { group, version, resource, subresource, namespace, name, beyond: rest.len() > 3 })
    }
}

impl<'a> Attributes<'a> {
    /// What a request wants.
    pub(crate) fn of(method: &Method, segments: &[&'a str], query: &'a Query) -> Self {
        let Some(mut resource) = Resource::parse(segments) else {
            let path = format!("/{}", segments.join("/"));
            return Self { verb: method.as_str().to_ascii_lowercase().into(), target: Target::Path(path.into()) };
        };
        let named = !resource.name.is_empty();
        let verb = match (method.as_str(), named) {
            ("GET" | "HEAD", true) => "get",
            ("GET" | "HEAD", false) if query.flag("watch") => "watch",
            ("GET" | "HEAD", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            _ => "",
        };
        if matches!(verb, "list" | "watch")
            && let Some(name) = query.get("fieldSelector").and_then(selected_name)
        {
            resource.name = name;
        }
        Self { verb: verb.into(), target: Target::Resource(resource) }
    }

    /// Something on objects.
    pub(crate) fn on(verb: &'a str, resource: Resource<'a>) -> Self {
        Self { verb: verb.into(), target: Target::Resource(resource) }
    }

    /// Where the rules of namespaces count: empty for none.
    pub(crate) fn namespace(&self) -> &str {
        match &self.target {
            Target::Path(_) => "",
            Target::Resource(resource) => resource.namespace,
        }
    }

    /// 403 as Kubernetes words it.
    pub(crate) fn forbidden(&self, user: &User, reason: &str) -> ApiError {
        let (who, verb) = (&user.name, &self.verb);
        let (mut message, head, details) = match &self.target {
            Target::Path(path) => {
                (format!("User {who:?} cannot {verb} path {path:?}"), "forbidden".to_owned(), json!({}))
            }
            Target::Resource(at) => {
                let slash = if at.subresource.is_empty() { "" } else { "/" };
                let what = format!("{}{slash}{}", at.resource, at.subresource);
                let place = match at.namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let message =
                    format!("User {who:?} cannot {verb} resource {what:?} in API group {:?} {place}", at.group);
                let resource = threeport_store::Resource::new(at.group, at.resource);
                let mut details = json!({"kind": at.resource});
                if !at.group.is_empty() {
                    details["group"] = at.group.into();
                }
                let head = if at.name.is_empty() {
                    format!("{resource} is forbidden")
                } else {
                    details["name"] = at.name.into();
                    format!("{resource} {:?} is forbidden", at.name)
                };
                (message, head, details)
            }
        };
        if !reason.is_empty() {
            message = format!("{message}: {reason}");
        }
        let mut error = ApiError::new(StatusCode::FORBIDDEN, "Forbidden", format!("{head}: {message}"));
        error.details = Some(Box::new(details));
        error
    }
}

/// The one name that a field selector lets through.
pub(crate) fn selected_name(selector: &str) -> Option<&str> {
    let name = selector.split(',').find_map(|part| {
        let value = part.trim().strip_prefix("metadata.name=")?;
        Some(value.strip_prefix('=').unwrap_or(value))
    })?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.:_".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::segments;

    fn read(method: Method, uri: &str) -> String {
        let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
        let (owned, query) = (segments(path), Query::parse(query));
        let segments: Vec<&str> = owned.iter().map(String::as_str).collect();
        let attributes = Attributes::of(&method, &segments, &query);
        let what = match &attributes.target {
            Target::Path(path) => path.to_string(),
            Target::Resource(r) => {
                format!("{}|{}|{}|{}|{}|{}", r.group, r.version, r.resource, r.subresource, r.namespace, r.name)
            }
        };
        format!("{} {what}", attributes.verb)
    }

    #[test]
    fn paths_are_read_as_kubernetes_reads_them() {
        let cases = [
            (Method::GET, "/", "get /"),
            (Method::GET, "/api/v1", "get /api/v1"),
            (Method::GET, "/apis/example.com/v1", "get /apis/example.com/v1"),
            (Method::POST, "/blobs", "post /blobs"),
            (Method::GET, "//metrics", "get /metrics"),
            (Method::GET, "/api/v1/namespaces", "list |v1|namespaces|||"),
            (Method::GET, "/api/v1/namespaces/a", "get |v1|namespaces||a|a"),
            (Method::PUT, "/api/v1/namespaces/a/status", "update |v1|namespaces|status|a|a"),
            (Method::GET, "/api/v1/namespaces/a/secrets", "list |v1|secrets||a|"),
            (Method::GET, "/api/v1/namespaces/a/secrets?watch=true", "watch |v1|secrets||a|"),
            (Method::GET, "/api/v1/secrets?fieldSelector=metadata.name%3Db%2Ctype%3Dc", "list |v1|secrets|||b"),
            (Method::GET, "/api/v1/secrets?fieldSelector=metadata.name%21%3Db", "list |v1|secrets|||"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets", "deletecollection |v1|secrets||a|"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets/b", "delete |v1|secrets||a|b"),
            (Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token", "create |v1|serviceaccounts|token|a|b"),
            (Method::PATCH, "/apis/g.io/v1/namespaces/a/ws/b/status", "patch g.io|v1|ws|status|a|b"),
            (Method::HEAD, "/apis/g.io/v1/ws/b", "get g.io|v1|ws|||b"),
            (Method::OPTIONS, "/apis/g.io/v1/ws/b", " g.io|v1|ws|||b"),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(read(method.clone(), uri), expected, "{method} {uri}");
        }
    }

    #[test]
    fn a_refusal_reads_as_in_kubernetes() {
        let user = User { name: "alice".into(), ..User::default() };
        let mut at = Resource { group: "g.io", resource: "ws", namespace: "a", name: "b", ..Resource::default() };
        let error = Attributes::on("get", at).forbidden(&user, "");
        assert_eq!(
            error.message,
            "ws.g.io \"b\" is forbidden: User \"alice\" cannot get resource \"ws\" in API group \"g.io\" in the namespace \"a\""
        );
        assert_eq!(error.status()["details"], json!({"name": "b", "group": "g.io", "kind": "ws"}));
        at = Resource { resource: "secrets", subresource: "x", ..Resource::default() };
        assert_eq!(
            Attributes::on("list", at).forbidden(&user, "RBAC: no").message,
            "secrets is forbidden: User \"alice\" cannot list resource \"secrets/x\" in API group \"\" at the cluster scope: RBAC: no"
        );
        let path = Attributes { verb: "get".into(), target: Target::Path("/metrics".into()) };
        assert_eq!(path.forbidden(&user, "").message, "forbidden: User \"alice\" cannot get path \"/metrics\"");
    }
}

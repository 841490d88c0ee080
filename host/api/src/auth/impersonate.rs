//! Being taken for somebody else: `kubectl --as`. Each part of who that is needs the verb `impersonate` on it.

use axum::http::HeaderMap;

use super::attributes::{Attributes, Resource};
use super::rbac::Rbac;
use super::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User, service_account_groups, split_service_account};
use crate::status::{ApiError, ApiResult};

const PREFIX: &str = "impersonate-";
const EXTRA: &str = "impersonate-extra-";
/// Group of what no kind stands for.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Whom a request wants to be taken for.
#[derive(Debug)]
pub(super) struct Wanted {
    user: User,
    groups_given: bool,
}

/// Reads the headers; None where there are none.
pub(super) fn wanted(headers: &HeaderMap) -> ApiResult<Option<Wanted>> {
    // The ordinary request has none of them.
    if !headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
        return Ok(None);
    }
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut user = User { name: first("impersonate-user"), uid: first("impersonate-uid"), ..User::default() };
    user.groups = headers.get_all("impersonate-group").iter().map(text).collect();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            user.extra.entry(crate::query::unescape(key)).or_default().push(text(value));
        }
    }
    let groups_given = !user.groups.is_empty();
    if user.name.is_empty() {
        if groups_given || !user.extra.is_empty() || !user.uid.is_empty() {
            let message = "requested a group, a uid or an extra value to be impersonated without impersonating a user";
            return Err(ApiError::bad_request(message));
        }
        return Ok(None);
    }
    Ok(Some(Wanted { user, groups_given }))
}

impl Wanted {
    /// The user, if `by` may be taken for it.
    pub(super) fn judge(self, rbac: &Rbac, by: &User) -> ApiResult<User> {
        let Self { mut user, groups_given } = self;
        let require = |at: Resource<'_>| {
            let attributes = Attributes::on("impersonate", at);
            let verdict = rbac.decide(by, &attributes);
            if verdict.allowed() { Ok(()) } else { Err(attributes.forbidden(by, &verdict.reason())) }
        };
        let named = |resource, name| Resource { resource, name, version: "v1", ..Resource::default() };
        match split_service_account(&user.name) {
            Some((namespace, name)) => {
                require(Resource { namespace, ..named("serviceaccounts", name) })?;
                if !groups_given {
                    user.groups = service_account_groups(namespace).to_vec();
                }
            }
            None => require(named("users", &user.name))?,
        }
        if groups_given {
            user.groups.iter().try_for_each(|group| require(named("groups", group)))?;
        }
        for (key, values) in &user.extra {
            let at = |value| Resource { group: AUTHENTICATION, subresource: key, ..named("userextras", value) };
            values.iter().try_for_each(|value| require(at(value)))?;
        }
        if !user.uid.is_empty() {
            require(Resource { group: AUTHENTICATION, ..named("uids", &user.uid) })?;
        }
        let has = |group: &str| user.groups.iter().any(|one| one == group);
        let (own, known) = if user.name == ANONYMOUS {
            (UNAUTHENTICATED, has(UNAUTHENTICATED))
        } else {
            (AUTHENTICATED, has(AUTHENTICATED) || has(UNAUTHENTICATED))
        };
        if !known {
            user.groups.push(own.to_owned());
        }
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: axum::http::HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn headers_say_who_is_meant() {
        let administrator = User::administrator();
        let judge = |pairs: &[(&str, &str)]| {
            let wanted = wanted(&headers(pairs)).expect("valid").expect("somebody");
            wanted.judge(&Rbac::default(), &administrator).expect("allowed")
        };
        let alice = judge(&[
            ("Impersonate-User", "alice"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "b"),
            ("Impersonate-Uid", "1"),
            ("Impersonate-Extra-Acme.com%2Fproject", "x"),
        ]);
        assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice", "1"));
        assert_eq!(alice.groups, ["a", "b", "system:authenticated"]);
        assert_eq!(alice.extra["acme.com/project"], ["x"]);
        let robot = judge(&[("Impersonate-User", "system:serviceaccount:shop:robot")]);
        assert_eq!(robot.groups, ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]);
        assert_eq!(judge(&[("Impersonate-User", ANONYMOUS)]).groups, [UNAUTHENTICATED]);
        assert!(wanted(&headers(&[("Accept", "x")])).expect("valid").is_none());
        let error = wanted(&headers(&[("Impersonate-Group", "a")])).expect_err("no user");
        assert_eq!(error.code, 400);
    }

    #[test]
    fn every_part_needs_its_right() {
        let nobody = User { name: "bob".into(), ..User::default() };
        let cases = [
            (
                vec![("Impersonate-User", "alice")],
                "users \"alice\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            ),
            (
                vec![("Impersonate-User", "system:serviceaccount:a:b")],
                "serviceaccounts \"b\" is forbidden: User \"bob\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"a\"",
            ),
        ];
        for (pairs, expected) in cases {
            let wanted = wanted(&headers(&pairs)).expect("valid").expect("somebody");
            assert_eq!(wanted.judge(&Rbac::default(), &nobody).expect_err("refused").message, expected);
        }
    }
}

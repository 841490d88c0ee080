//! Who makes a request.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// May do everything, whatever the roles say.
pub(crate) const MASTERS: &str = "system:masters";
/// Everybody who said who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Nobody in particular; only by impersonation, nobody comes in so.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// The group of those.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Every ServiceAccount.
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// A user, as Kubernetes describes one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    /// Empty for users that are no objects.
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The holder of the administrator's token.
    pub(crate) fn administrator() -> Self {
        let groups = [MASTERS, AUTHENTICATED].map(str::to_owned).into();
        Self { name: "threeport-admin".to_owned(), groups, ..Self::default() }
    }

    /// A ServiceAccount.
    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let mut groups = service_account_groups(namespace).to_vec();
        groups.push(AUTHENTICATED.to_owned());
        Self { name: service_account_name(namespace, name), uid: uid.to_owned(), groups, extra: BTreeMap::new() }
    }

    pub(crate) fn is_superuser(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// As `authentication.k8s.io/v1` UserInfo.
    pub(crate) fn info(&self) -> Value {
        let mut info = Map::new();
        for (key, text) in [("username", &self.name), ("uid", &self.uid)] {
            if !text.is_empty() {
                info.insert(key.to_owned(), text.as_str().into());
            }
        }
        if !self.groups.is_empty() {
            info.insert("groups".to_owned(), self.groups.clone().into());
        }
        if !self.extra.is_empty() {
            let extra: Map<String, Value> = self.extra.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
            info.insert("extra".to_owned(), extra.into());
        }
        info.into()
    }
}

/// The name of a ServiceAccount as a user.
pub(crate) fn service_account_name(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT}{namespace}:{name}")
}

/// The groups of the ServiceAccounts of a namespace.
pub(crate) fn service_account_groups(namespace: &str) -> [String; 2] {
    [SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")]
}

/// Namespace and name, if it is the name of a ServiceAccount.
pub(crate) fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (crate::schema::is_dns_label(namespace) && crate::schema::is_dns_subdomain(name)).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_service_accounts_are_taken_apart() {
        let cases = [
            ("system:serviceaccount:shop:robot", Some(("shop", "robot"))),
            ("system:serviceaccount:shop:a.b", Some(("shop", "a.b"))),
            ("system:serviceaccount:shop", None),
            ("system:serviceaccount:shop:a:b", None),
            ("system:serviceaccount:SHOP:a", None),
            ("alice", None),
        ];
        for (name, expected) in cases {
            assert_eq!(split_service_account(name), expected, "{name}");
        }
    }
}

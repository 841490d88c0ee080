//! Nobody grants more than they hold: what has to be true before a role or binding is written.

use axum::http::StatusCode;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::rule::{describe, missing, quoted};
use super::{CLUSTER_ROLES, GROUP, ROLES, Rbac};
use crate::auth::attributes::{Attributes, Resource};
use crate::auth::user::User;
use crate::registry::Kind;
use crate::status::{ApiError, ApiResult};

/// A write of a role or binding, as far as this matters.
struct Grant<'a> {
    rbac: &'a Rbac,
    user: &'a User,
    kind: &'a Kind,
    namespace: &'a str,
    name: &'a str,
}

impl Rbac {
    /// 403 if writing this object would give somebody rights that the user does not have; nothing for other kinds. `old` is what is there.
    pub(crate) fn check_grant(
        &self,
        user: &User,
        kind: &Kind,
        namespace: Option<&str>,
        body: &Value,
        old: Option<&Value>,
    ) -> ApiResult<()> {
        if !kind.builtin || &*kind.resource.group != GROUP || user.is_superuser() {
            return Ok(());
        }
        if old.is_some_and(|old| same_but_collection(old, body)) {
            return Ok(());
        }
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let grant = Grant { rbac: self, user, kind, namespace: namespace.unwrap_or_default(), name };
        match &*kind.resource.plural {
            ROLES | CLUSTER_ROLES => grant.role(body, old),
            _ => grant.binding(body),
        }
    }
}

impl Grant<'_> {
    fn role(&self, body: &Value, old: Option<&Value>) -> ApiResult<()> {
        // The name that the request names: none for a creation.
        let name = if old.is_some() { self.name } else { "" };
        if self.may("escalate", &self.kind.resource.plural, name) {
            return Ok(());
        }
        let rules: Vec<PolicyRule> = match body.get("rules") {
            None | Some(Value::Null) => Vec::new(),
            Some(rules) => read(rules)?,
        };
        self.holds(&rules)?;
        let gathers = |object: &Value| {
            let selectors = object.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array);
            selectors.is_some_and(|selectors| !selectors.is_empty())
        };
        // It can gather anything.
        if gathers(body) || old.is_some_and(gathers) {
            let all = |field: &str| vec![field.to_owned()];
            let everything = [
                PolicyRule {
                    api_groups: Some(all("*")),
                    resources: Some(all("*")),
                    verbs: all("*"),
                    ..PolicyRule::default()
                },
                PolicyRule { non_resource_urls: Some(all("*")), verbs: all("*"), ..PolicyRule::default() },
            ];
            let (held, _) = self.rbac.rules_of(self.user, self.namespace);
            if !missing(&held, &everything).is_empty() {
                return Err(self.forbidden("must have cluster-admin privileges to use the aggregationRule"));
            }
        }
        Ok(())
    }

    fn binding(&self, body: &Value) -> ApiResult<()> {
        let role: RoleRef = read(&body["roleRef"])?;
        let plural = if role.kind == "Role" { ROLES } else { CLUSTER_ROLES };
        if self.may("bind", plural, &role.name) {
            return Ok(());
        }
        let rules = self.rbac.read().rules(&role, self.namespace).cloned();
        let rules = rules.map_err(|_| ApiError::not_found(&self.kind.resource, &role.name))?;
        self.holds(&rules)
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let at =
            Resource { group: GROUP, version: "*", resource, namespace: self.namespace, name, ..Resource::default() };
        self.rbac.decide(self.user, &Attributes::on(verb, at)).allowed()
    }

    fn holds(&self, wanted: &[PolicyRule]) -> ApiResult<()> {
        let (held, wrong) = self.rbac.rules_of(self.user, self.namespace);
        let missing = missing(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            self.user.name,
            quoted(&self.user.groups),
            describe(missing)
        );
        if !wrong.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", wrong.join(", ")));
        }
        Err(self.forbidden(&why))
    }

    fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(&self.kind.resource, self.name, why)
    }
}

/// Whether an update touches nothing but what a garbage collector does.
fn same_but_collection(old: &Value, new: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["finalizers", "ownerReferences", "managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
        }
        object
    };
    strip(old) == strip(new)
}

/// What passed the schema can be read; if not, it is not let through.
fn read<T: DeserializeOwned>(value: &Value) -> ApiResult<T> {
    serde_json::from_value(value.clone())
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "BadRequest", format!("it cannot be read: {error}")))
}

//! The answer to "may this user do that?", in Kubernetes' words.

use std::sync::Arc;

use super::index::Binding;

/// Why something is allowed or not.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// A member of system:masters.
    Superuser,
    Granted(Granted),
    /// With what is wrong with the user's bindings.
    Refused(Vec<String>),
}

/// The binding that allows it.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(super) binding: Arc<Binding>,
    pub(super) subject: usize,
}

impl Verdict {
    pub(crate) fn allowed(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// As Kubernetes words it.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Superuser => String::new(),
            Self::Granted(granted) => format!("RBAC: allowed by {}", granted.describe()),
            Self::Refused(wrong) => match wrong.as_slice() {
                [] => String::new(),
                [one] => format!("RBAC: {one}"),
                many => format!("RBAC: [{}]", many.join(", ")),
            },
        }
    }
}

impl Granted {
    fn describe(&self) -> String {
        let Binding { namespace, name, role, subjects } = &*self.binding;
        let (kind, name) = match namespace {
            Some(namespace) => ("RoleBinding", format!("{name}/{namespace}")),
            None => ("ClusterRoleBinding", name.to_string()),
        };
        let subject = subjects.get(self.subject).map_or_else(String::new, |subject| {
            let name = &subject.name;
            if subject.kind == "ServiceAccount" {
                let own = subject.namespace.as_deref().or(namespace.as_deref()).unwrap_or_default();
                format!("ServiceAccount {:?}", format!("{name}/{own}"))
            } else {
                format!("{} {name:?}", subject.kind)
            }
        });
        format!("{kind} {name:?} of {} {:?} to {subject}", role.kind, role.name)
    }
}

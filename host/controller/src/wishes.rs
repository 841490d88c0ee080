//! What the owner of an object asks of the host with annotations, beside its spec.

use serde_json::Value;
use threeport_kube::Reference;

use crate::trouble::Trouble;

/// `true`, or a list of `Kind/namespace/name`: take over what is there already.
pub(crate) const ADOPT: &str = "threeport.dev/adopt";
/// `orphan` or `delete`: what becomes of what is on targets when the object is deleted.
pub(crate) const ON_DELETE: &str = "threeport.dev/on-delete";
/// `true`: what is on a target that does not let it be removed is left behind. On the object, or on the target's.
pub(crate) const ABANDON: &str = "threeport.dev/abandon";

/// `true`: a plan that keeps nothing of what there is is carried out all the same.
pub(crate) const ALLOW_PRUNE: &str = "threeport.dev/allow-prune";

/// `true`: nothing is done for it, or for those whose target it is.
pub(crate) const PAUSE: &str = "threeport.dev/paused";

/// The annotations of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wishes {
    adopt: Adopt,
    pub(crate) on_delete: Option<OnDelete>,
    pub(crate) abandon: bool,
    pub(crate) allow_prune: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Adopt {
    #[default]
    Nothing,
    Everything,
    These(Vec<String>),
}

/// What becomes of what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDelete {
    /// It stays, without our marks.
    Orphan,
    /// It goes, also what was adopted.
    Delete,
}

impl Wishes {
    /// Reads the annotations; a value that means nothing is told with those that do.
    pub(crate) fn of(body: &Value) -> Result<Self, Trouble> {
        let bad = |key: &str, value: &str, may: &str| {
            let message = format!("metadata.annotations[{key}] is {value:?}; it may be {may}");
            Trouble::stalled("AnnotationInvalid", message)
        };
        let adopt = match annotation(body, ADOPT) {
            None | Some("" | "false") => Adopt::Nothing,
            Some("true") => Adopt::Everything,
            Some(list) => {
                let items: Vec<String> = list.split(',').map(|item| item.trim().to_owned()).collect();
                if !items.iter().all(|item| (2..=3).contains(&item.split('/').filter(|part| !part.is_empty()).count()))
                {
                    return Err(bad(ADOPT, list, "\"true\" or a list such as \"Deployment/shop/web, Namespace/shop\""));
                }
                Adopt::These(items)
            }
        };
        let on_delete = match annotation(body, ON_DELETE) {
            None | Some("") => None,
            Some("orphan") => Some(OnDelete::Orphan),
            Some("delete") => Some(OnDelete::Delete),
            Some(other) => return Err(bad(ON_DELETE, other, "\"orphan\" or \"delete\"")),
        };
        let abandon = abandoned(body).map_err(|other| bad(ABANDON, other, "\"true\" or \"false\""))?;
        let allow_prune = flag(body, ALLOW_PRUNE).map_err(|other| bad(ALLOW_PRUNE, other, "\"true\" or \"false\""))?;
        Ok(Self { adopt, on_delete, abandon, allow_prune })
    }

    /// Whether that object may be taken over.
    pub(crate) fn adopts(&self, reference: &Reference) -> bool {
        match &self.adopt {
            Adopt::Nothing => false,
            Adopt::Everything => true,
            Adopt::These(items) => {
                let name = match &reference.namespace {
                    Some(namespace) => format!("{}/{namespace}/{}", reference.kind, reference.name),
                    None => format!("{}/{}", reference.kind, reference.name),
                };
                items.iter().any(|item| item.replace("//", "/") == name)
            }
        }
    }
}

/// Whether an object says that what cannot be reached any more is to be left behind.
pub(crate) fn abandoned(body: &Value) -> Result<bool, &str> {
    flag(body, ABANDON)
}

/// Whether an annotation says `true`; the value, if it says neither that nor `false`.
pub(crate) fn flag<'a>(body: &'a Value, key: &str) -> Result<bool, &'a str> {
    match annotation(body, key) {
        None | Some("" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(other),
    }
}

fn annotation<'a>(body: &'a Value, key: &str) -> Option<&'a str> {
    body.pointer("/metadata/annotations")?.get(key)?.as_str().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(key: &str, value: &str) -> Result<Wishes, Trouble> {
        Wishes::of(&json!({"metadata": {"annotations": {key: value}}}))
    }

    fn reference(kind: &str, namespace: Option<&str>, name: &str) -> Reference {
        Reference {
            api_version: "v1".into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    #[test]
    fn everything_or_what_is_listed_is_adopted_and_nothing_by_default() {
        let (web, shop) = (reference("Deployment", Some("shop"), "web"), reference("Namespace", None, "shop"));
        assert!(!Wishes::default().adopts(&web) && !of(ADOPT, "false").unwrap().adopts(&web));
        assert!(of(ADOPT, "true").unwrap().adopts(&web));
        let listed = of(ADOPT, "Deployment/shop/web, Namespace//shop").unwrap();
        assert!(listed.adopts(&web) && listed.adopts(&shop));
        assert!(!listed.adopts(&reference("Deployment", Some("shop"), "other")));
    }

    #[test]
    fn what_means_nothing_is_refused_with_what_would() {
        for (key, value, may) in
            [(ADOPT, "yes", "Deployment/shop/web"), (ON_DELETE, "keep", "orphan"), (ABANDON, "1", "true")]
        {
            let trouble = of(key, value).unwrap_err();
            assert!(trouble.stalled && trouble.message.contains(key) && trouble.message.contains(may), "{trouble:?}");
        }
        assert_eq!(of(ON_DELETE, "orphan").unwrap().on_delete, Some(OnDelete::Orphan));
        assert!(of(ABANDON, "true").unwrap().abandon);
    }
}

//! What an object refers to, by the rules of its kind: what a plugin is told of, and the edges that order deletion and wake it.

use serde_json::Value;
use threeport_store::{BadReference, Claim, Edge, Error, Op, Precondition, ReferenceRule, definitions, references};
use threeport_wasm::ObjectRef;

use crate::conditions::{self, Claimed};
use crate::host::Host;
use crate::kinds::{Kind, Kinds};
use crate::request::Found;
use crate::trouble::{Stop, Trouble};

/// The condition that names references which lead nowhere.
const RESOLVED: &str = "ReferencesResolved";

/// The objects that `rule`'s field names. An absent field names nothing.
pub(crate) fn extract(object: &Value, rule: &ReferenceRule, kinds: &Kinds) -> Result<Vec<ObjectRef>, BadReference> {
    let found = references::named(object, rule, &|group, kind| kinds.lookup(group, kind));
    let named = found.into_iter().map(|found| {
        found.map(|named| ObjectRef {
            api_version: rule.to_api_version.clone(),
            kind: named.kind,
            namespace: named.namespace,
            name: named.name,
        })
    });
    named.collect()
}

/// The edges of an object, given with its whole spec and as it is stored.
pub(crate) fn edges(
    whole: &Value,
    stored: &Value,
    kind: &Kind,
    kinds: &Kinds,
    namespace: Option<&str>,
) -> (Vec<Edge>, Vec<BadReference>) {
    let (mut edges, wrong) = references::edges(whole, &kind.references, &|group, kind| kinds.lookup(group, kind));
    if let Some(wish) = definitions::wish(stored).filter(|_| kind.namespaced) {
        edges.extend(definitions::edges(namespace, &wish, definitions::used(stored)));
    }
    (edges, wrong)
}

/// Which references lead nowhere: the fields and the objects that they name. `before` is the object as it was: where it said so, it says now that all are
/// found.
pub(crate) fn resolved(found: &[Found], before: &Value) -> Option<Claimed> {
    let missing: Vec<String> = found
        .iter()
        .flat_map(|found| found.resolved.missing.iter().map(move |missing| (&found.resolved.field, missing)))
        .map(|(field, missing)| {
            let ObjectRef { kind, namespace, name, .. } = missing;
            let place = namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
            format!("{field}: {kind} {place}{name} does not exist")
        })
        .collect();
    if missing.is_empty() {
        let said = conditions::find(&conditions::of(before), RESOLVED).is_some();
        return said.then(|| Claimed::new(RESOLVED, "True", "Found", "all objects that it refers to exist"));
    }
    Some(Claimed::new(RESOLVED, "False", "NotFound", missing.join("; ")))
}

/// Writes the edges anew where they are not as the rules say now: rules come with versions of a plugin, and a kind may be called otherwise than was
/// thought before anybody served it. A circle of objects that require each other ends here: none of them could ever come first.
pub(crate) async fn keep(host: &Host, claim: &Claim, kind: &Kind, whole: &Value, stored: &Value) -> Result<(), Stop> {
    let key = &claim.object.key;
    let (edges, wrong) = edges(whole, stored, kind, &host.kinds, key.namespace.as_deref());
    if !wrong.is_empty() {
        // The run says so.
        return Ok(());
    }
    if host.store.references(key).await? != edges {
        let precondition = Precondition::Present {
            uid: Some(claim.object.uid.clone()),
            resource_version: Some(claim.object.resource_version),
        };
        let op =
            Op::Put { key: key.clone(), body: stored.clone(), precondition, edges: Some(edges.clone()), wake: None };
        match host.store.write_held(claim, vec![op]).await {
            // Somebody wrote meanwhile, and with that the next run comes.
            Ok(_) | Err(Error::Conflict { .. } | Error::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match host.store.circle(key, &edges) {
        Some(circle) => Err(Trouble::stalled("ReferenceCycle", circle.to_string()).into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::work::tests::{TTL, claim, host, key, kind};
    use serde_json::json;

    fn rule() -> ReferenceRule {
        let rule = json!({"kind": "Kite", "field": "spec.line", "to-api-version": "example.org/v1", "to-kinds": ["Kite"], "role": "requires"});
        serde_json::from_value(rule).unwrap()
    }

    #[tokio::test]
    async fn a_host_that_wakes_after_its_lease_does_not_go_by_the_rules_of_its_time() {
        let (host, _dir) = host().await;
        let late = claim(&host, "late", Duration::from_millis(1)).await;
        let holder = claim(&host, "holder", TTL).await;
        let mut whole = late.object.value();
        whole["spec"] = json!({"line": "blue"});
        let stored = late.object.value();
        // Nobody has written the object since: its version would let the late one through.
        assert_eq!(late.object.resource_version, host.store.get(&key()).await.unwrap().unwrap().resource_version);
        let version = host.store.version();
        let kept = keep(&host, &late, &kind(vec![rule()]), &whole, &stored).await;
        assert!(matches!(kept, Err(Stop::LeaseLost)), "{kept:?}");
        assert_eq!((host.store.version(), host.store.references(&key()).await.unwrap()), (version, Vec::new()));
        keep(&host, &holder, &kind(vec![rule()]), &whole, &stored).await.unwrap();
        assert_eq!(host.store.references(&key()).await.unwrap()[0].to.name.as_ref(), "blue");
    }
}

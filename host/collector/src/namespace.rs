//! A namespace goes as a whole: what is in it first, in the reverse order of references; conditions say what remains, and why.

use std::collections::BTreeMap;

use serde_json::Value;
use threeport_store::lifecycle::{self, CONTENT, DELETE, Propagation, WITH_DEPENDANTS};
use threeport_store::{Demand, Error, Key, Object, Op, Outline, Resource};

use crate::collector::{Collector, Outcome};
use crate::deletion::{as_read, put, same};
use crate::sweep::{STRETCH, Swept, Why, condition, who_holds};

/// Events in one transaction.
const BATCH: usize = 256;

impl Collector {
    pub(crate) async fn namespace(&self, object: &Object, body: &Value) -> Result<Outcome, Error> {
        let name = &object.key.name;
        let (events, mut content): (Vec<_>, Vec<_>) =
            self.store.in_namespace(name).await?.into_iter().partition(|inside| is_event(&inside.key));
        if content.is_empty() {
            return self.emptied(object, body, events).await;
        }
        if body["metadata"]["annotations"][DELETE] == WITH_DEPENDANTS {
            content.extend(self.users_of(&content).await?);
        }
        let swept = self
            .sweep(&content, &Why { of: object, cause: "namespace", way: Some(Propagation::Background), note: None })
            .await?;
        let left = self.store.in_namespace(name).await?;
        let left: Vec<Object> = left.into_iter().filter(|inside| !is_event(&inside.key)).collect();
        let mut next = body.clone();
        let now = lifecycle::timestamp(self.store.now());
        if !left.is_empty() && describe(&mut next["status"], &Remaining::of(&left).await, &swept, &now) {
            self.write(vec![put(object, next)]).await?;
        }
        // What was removed at once may have been all that others waited for.
        let more = swept.again || left.len() < content.len() && !swept.deleted.is_empty();
        Ok(if more || left.is_empty() { Outcome::Again } else { Outcome::Waits })
    }

    /// Nothing but Events is left: they tell of the rest until the end, and go last.
    async fn emptied(&self, object: &Object, body: &Value, events: Vec<Object>) -> Result<Outcome, Error> {
        for batch in events.chunks(BATCH) {
            let removals =
                batch.iter().map(|event| Op::Remove { key: event.key.clone(), precondition: as_read(event) });
            match self.store.write(std::iter::once(same(object)).chain(removals).collect()).await {
                Ok(_) => {}
                Err(Error::NotFound(_) | Error::Conflict { .. }) => return Ok(Outcome::Again),
                Err(error) => return Err(error),
            }
        }
        let mut next = body.clone();
        if let Some(finalizers) = next["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|name| name != CONTENT);
        }
        describe(
            &mut next["status"],
            &Remaining::default(),
            &Swept::default(),
            &lifecycle::timestamp(self.store.now()),
        );
        let empty = Demand::NoneIn(object.key.name.clone());
        match self.finish(object, next, vec![empty]).await {
            Err(Error::NotEmpty(_)) => Ok(Outcome::Again),
            result => result.map(|()| Outcome::Settled),
        }
    }
}

fn is_event(key: &Key) -> bool {
    key.resource == Resource::new("", "events")
}

/// What remains in a namespace, counted.
#[derive(Default)]
struct Remaining {
    kinds: BTreeMap<Resource, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Remaining {
    async fn of(left: &[Object]) -> Self {
        let mut remaining = Self::default();
        for stretch in left.chunks(STRETCH) {
            for object in stretch {
                *remaining.kinds.entry(object.key.resource.clone()).or_default() += 1;
                for finalizer in Outline::of(object).finalizers {
                    *remaining.finalizers.entry(finalizer.into_owned()).or_default() += 1;
                }
            }
            tokio::task::yield_now().await;
        }
        remaining
    }
}

/// Kubernetes' conditions of a namespace that goes, in its words; true if they changed.
fn describe(status: &mut Value, remaining: &Remaining, swept: &Swept, now: &str) -> bool {
    let mut changed = false;
    let mut say = |kind: &str, wrong: Option<(&str, String)>, fine: (&str, &str)| {
        let (reason, message) = wrong.as_ref().map_or(fine, |(reason, message)| (*reason, message.as_str()));
        changed |= condition(status, kind, wrong.is_some(), reason, message, now);
    };
    say("NamespaceDeletionDiscoveryFailure", None, ("ResourcesDiscovered", "All resources successfully discovered"));
    let parsed = ("ParsedGroupVersions", "All legacy kube types successfully parsed");
    say("NamespaceDeletionGroupVersionParsingFailure", None, parsed);
    let held = (!swept.held.is_empty())
        .then(|| ("ContentInUse", format!("{}; delete what uses it first", who_holds(&swept.held))));
    let deleted = ("ContentDeleted", "All content successfully deleted, may be waiting on finalization");
    say("NamespaceDeletionContentFailure", held, deleted);

    let Remaining { kinds, finalizers } = remaining;
    let remain = (!kinds.is_empty()).then(|| {
        let counted =
            kinds.iter().map(|(kind, count)| format!("{}.{} has {count} resource instances", kind.plural, kind.group));
        ("SomeResourcesRemain", format!("Some resources are remaining: {}", counted.collect::<Vec<_>>().join(", ")))
    });
    say("NamespaceContentRemaining", remain, ("ContentRemoved", "All content successfully removed"));
    let remain = (!finalizers.is_empty()).then(|| {
        let counted = finalizers.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"));
        let counted = counted.collect::<Vec<_>>().join(", ");
        ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {counted}"))
    });
    let fine = ("ContentHasNoFinalizers", "All content-preserving finalizers finished");
    say("NamespaceFinalizersRemaining", remain, fine);
    changed
}

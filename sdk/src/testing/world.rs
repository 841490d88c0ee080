//! What a guest's imports are when there is no host: the targets and objects of one scenario, on this thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{GivenTarget, named, object};
use crate::bindings::threeport::reconciler::kubernetes::{Page, Query};
use crate::bindings::threeport::reconciler::types::Object;
use crate::{ObjectRef, Problem};

/// 2026-01-01T00:00:00Z, whenever a test runs.
const NOW_MS: u64 = 1_767_225_600_000;

#[derive(Default)]
struct World {
    targets: BTreeMap<String, GivenTarget>,
    state: Vec<Value>,
    random: u8,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

pub(super) fn enter(targets: BTreeMap<String, GivenTarget>, state: Vec<Value>) {
    WORLD.replace(World { targets, state, random: 0 });
}

pub(crate) fn now_ms() -> u64 {
    NOW_MS
}

pub(crate) fn random(count: u32) -> Vec<u8> {
    WORLD.with_borrow_mut(|world| {
        (0..count.min(4096))
            .map(|_| {
                world.random = world.random.wrapping_mul(37).wrapping_add(11);
                world.random
            })
            .collect()
    })
}

pub(crate) fn log(level: &str, message: &str, fields: &[(String, String)]) {
    eprintln!("{level}: {message} {fields:?}");
}

pub(crate) struct Cluster(GivenTarget);

pub(crate) fn open(target: &ObjectRef) -> Result<Cluster, Problem> {
    WORLD.with_borrow(|world| match world.targets.get(&target.name) {
        Some(GivenTarget { problem: Some(problem), .. }) => Err(problem.problem()),
        Some(given) => Ok(Cluster(given.clone())),
        None => Err(problem("NotConnected", format!("the scenario has no target {}", target.name))),
    })
}

impl Cluster {
    fn answers(&self) -> Result<&GivenTarget, Problem> {
        match &self.0.refuses {
            Some(problem) => Err(problem.problem()),
            None => Ok(&self.0),
        }
    }

    pub(crate) fn get(&self, wanted: &ObjectRef, _fields: &[String]) -> Result<Option<Object>, Problem> {
        Ok(self.answers()?.objects.iter().find(|body| named(body) == *wanted).map(object))
    }

    pub(crate) fn list(&self, query: &Query) -> Result<Page, Problem> {
        let objects = self.answers()?.objects.iter();
        let selected = objects.filter(|body| {
            let name = named(body);
            name.api_version == query.api_version
                && name.kind == query.kind
                && query.namespace.as_ref().is_none_or(|namespace| name.namespace.as_ref() == Some(namespace))
                && query.labels.as_ref().is_none_or(|selector| labelled(body, selector))
        });
        Ok(Page { items: selected.map(object).collect(), token: None })
    }

    pub(crate) fn has_kind(&self, api_version: &str, kind: &str) -> Result<bool, Problem> {
        Ok(self.answers()?.objects.iter().any(|body| body["apiVersion"] == api_version && body["kind"] == kind))
    }

    pub(crate) fn version(&self) -> Result<String, Problem> {
        Ok(self.answers()?.version.clone())
    }
}

/// `a=b,c=d` is all that a scenario needs.
fn labelled(body: &Value, selector: &str) -> bool {
    selector.split(',').all(|part| {
        part.split_once('=').is_some_and(|(name, value)| {
            body["metadata"]["labels"][name.trim()] == value.trim_start_matches('=').trim()
        })
    })
}

fn problem(code: &str, message: String) -> Problem {
    Problem { code: code.into(), message, field: None, objects: vec![], retry_after_ms: None }
}

pub(crate) mod state {
    use crate::bindings::threeport::reconciler::state::Listing;

    use super::{Object, ObjectRef, Problem, WORLD, named, object};

    pub(crate) fn get(wanted: &ObjectRef) -> Result<Option<Object>, Problem> {
        WORLD.with_borrow(|world| Ok(world.state.iter().find(|body| named(body) == *wanted).map(object)))
    }

    pub(crate) fn list(
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        _labels: Option<&str>,
        _limit: u32,
        _token: Option<&str>,
    ) -> Result<Listing, Problem> {
        WORLD.with_borrow(|world| {
            let selected = world.state.iter().filter(|body| {
                let name = named(body);
                name.api_version == api_version
                    && name.kind == kind
                    && namespace.is_none_or(|namespace| name.namespace.as_deref() == Some(namespace))
            });
            Ok(Listing { items: selected.map(object).collect(), token: None })
        })
    }
}

//! Deleting one object, and letting go of one.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use threeport_scheduler::Wake;
use threeport_store::lifecycle::{self, Deletion, FINALIZER, Propagation};
use threeport_store::{Class, Demand, Error, Key, Object, Op, Precondition};

use crate::collector::Collector;

/// It is written only as it was read.
pub(crate) fn as_read(object: &Object) -> Precondition {
    Precondition::Present { uid: Some(object.uid.clone()), resource_version: Some(object.resource_version) }
}

/// What is done because an object goes is done only while that one is there: who was held up meanwhile may find another one under its name.
pub(crate) fn same(object: &Object) -> Op {
    Op::Check(Demand::Same { key: object.key.clone(), uid: object.uid.clone() })
}

/// Writes a body in an object's place. Its reconciler, if it has one, has to look.
pub(crate) fn put(object: &Object, body: Value) -> Op {
    let wake = lifecycle::has_finalizer(&body, FINALIZER).then_some(Class::User);
    Op::Put { key: object.key.clone(), body, precondition: as_read(object), edges: None, wake }
}

/// What deleting an object comes to, unless others need it (but `but`); None when its deletion was asked for already.
pub(crate) fn delete(
    object: &Object,
    propagation: Option<Propagation>,
    but: Vec<Key>,
    now: Timestamp,
) -> Option<[Op; 2]> {
    let unused = Op::Check(Demand::Unused { key: object.key.clone(), but });
    match lifecycle::delete(&object.value(), now, propagation) {
        Deletion::Already => None,
        Deletion::Remove => Some([unused, Op::Remove { key: object.key.clone(), precondition: as_read(object) }]),
        Deletion::Mark(body) => Some([unused, put(object, body)]),
    }
}

impl Collector {
    /// Writes, and rings for whom it concerns.
    pub(crate) async fn write(&self, ops: Vec<Op>) -> Result<(), Error> {
        let mut rung: Vec<(Arc<str>, Class)> = Vec::new();
        for op in &ops {
            match op {
                Op::Put { body, wake: Some(class), .. } => {
                    rung.extend(body["metadata"]["uid"].as_str().map(|uid| (Arc::from(uid), *class)));
                }
                Op::Remove { key, .. } => {
                    // Whoever refers to it is due when it is gone, and what goes and waited for that.
                    for (user, _) in self.store.dependants(key).await? {
                        rung.extend(self.store.get(&user).await?.map(|user| (user.uid, Class::Dependency)));
                    }
                    for edge in self.store.references(key).await? {
                        let needed = self.store.get(&edge.to).await?.filter(lifecycle::is_going);
                        rung.extend(needed.map(|needed| (needed.uid, Class::Dependency)));
                    }
                }
                Op::Put { .. } | Op::Check(_) => {}
            }
        }
        self.store.write(ops).await?;
        rung.iter().for_each(|(uid, class)| self.bell.ring(Wake::new(&**uid, class.name())));
        Ok(())
    }

    /// Takes a finalizer off, and the object away if that was what held it. What `demands` must hold.
    pub(crate) async fn let_go(
        &self,
        object: &Object,
        body: &Value,
        finalizer: &str,
        demands: Vec<Demand>,
    ) -> Result<(), Error> {
        let mut body = body.clone();
        lifecycle::drop_finalizer(&mut body, finalizer);
        self.finish(object, body, demands).await
    }

    /// Writes a body, or removes the object if nothing holds it any more.
    pub(crate) async fn finish(&self, object: &Object, body: Value, demands: Vec<Demand>) -> Result<(), Error> {
        let mut ops: Vec<Op> = demands.into_iter().map(Op::Check).collect();
        ops.push(if lifecycle::finished(&body) {
            Op::Remove { key: object.key.clone(), precondition: as_read(object) }
        } else {
            put(object, body)
        });
        self.write(ops).await
    }
}

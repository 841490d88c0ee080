//! Rings that wait to be taken: each object once, in the order of its first ring.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Ring;

#[derive(Default)]
struct Inner {
    order: Vec<Ring>,
    /// Where in the order an object is.
    known: HashMap<String, usize>,
    /// Something may have been missed: to be taken even if there is nothing.
    alarm: bool,
    closed: bool,
}

/// A set that one task takes from and many put into. It never holds more than it may, and never makes anybody wait.
pub(crate) struct Pending {
    most: usize,
    inner: Mutex<Inner>,
    filled: Notify,
}

impl Pending {
    /// One for at most so many objects.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, inner: Mutex::default(), filled: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if there was no room for it.
    pub(crate) fn add(&self, ring: Ring) -> bool {
        let mut inner = self.inner();
        let Inner { order, known, .. } = &mut *inner;
        if let Some(earlier) = known.get(&ring.wake.uid).and_then(|at| order.get_mut(*at)) {
            earlier.join(ring);
            return true;
        }
        if order.len() >= self.most {
            return false;
        }
        known.insert(ring.wake.uid.clone(), order.len());
        order.push(ring);
        drop(inner);
        self.filled.notify_one();
        true
    }

    /// Lets the next take return, even with nothing.
    pub(crate) fn alarm(&self) {
        self.inner().alarm = true;
        self.filled.notify_one();
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.inner().closed = true;
        self.filled.notify_one();
    }

    /// Waits for something and takes all of it; None when closed and empty. For one task only.
    pub(crate) async fn take(&self) -> Option<Vec<Ring>> {
        loop {
            {
                let mut inner = self.inner();
                if inner.alarm || !inner.order.is_empty() {
                    inner.alarm = false;
                    inner.known.clear();
                    return Some(std::mem::take(&mut inner.order));
                }
                if inner.closed {
                    return None;
                }
            }
            // A notification between the look and this is kept.
            self.filled.notified().await;
        }
    }
}

/// The ringing end: closes when its last clone goes.
#[derive(Clone)]
pub(crate) struct Ringer(Arc<Closing>);

struct Closing(Arc<Pending>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Ringer {
    pub(crate) fn new(pending: Arc<Pending>) -> Self {
        Self(Arc::new(Closing(pending)))
    }

    /// False if there was no room for it.
    pub(crate) fn ring(&self, ring: Ring) -> bool {
        self.0.0.add(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wake;

    fn ring(uid: &str) -> Ring {
        Ring::local(Wake::new(uid, "user"))
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_refused_and_what_is_known_needs_none() {
        let pending = Pending::new(2);
        assert!(pending.add(ring("a")) && pending.add(ring("b")));
        assert!(!pending.add(ring("c")) && pending.add(ring("a")));
        let taken: Vec<String> = pending.take().await.unwrap().into_iter().map(|ring| ring.wake.uid).collect();
        assert_eq!(taken, ["a", "b"]);
        assert!(pending.add(ring("c")));
    }

    #[tokio::test]
    async fn all_who_rang_for_an_object_get_their_receipts() {
        let (given, receipts) = std::sync::mpsc::channel();
        let pending = Pending::new(2);
        for number in [1, 2] {
            let given = given.clone();
            pending.add(Ring::with_receipt(Wake::new("a", "user"), Box::new(move || given.send(number).unwrap())));
        }
        let taken = pending.take().await.unwrap();
        assert!(receipts.try_recv().is_err(), "not handed over yet");
        taken.into_iter().for_each(Ring::handed_over);
        assert_eq!(receipts.try_iter().collect::<Vec<_>>(), [1, 2]);
    }
}

//! Wakes that wait to be taken: each object once, in the order of its first ring.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Wake;

/// More than this many distinct objects are not worth remembering: whoever takes them finds the rest due in SQL.
const MOST: usize = 100_000;

#[derive(Default)]
struct Inner {
    order: Vec<Wake>,
    known: HashSet<Wake>,
    /// Something may have been missed: to be taken even if there is nothing.
    alarm: bool,
    closed: bool,
}

/// A set that one task takes from and many put into.
#[derive(Default)]
pub(crate) struct Pending {
    inner: Mutex<Inner>,
    filled: Notify,
}

impl Pending {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, wake: Wake) {
        let mut inner = self.inner();
        if inner.order.len() < MOST && inner.known.insert(wake.clone()) {
            inner.order.push(wake);
        }
        drop(inner);
        self.filled.notify_one();
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
    pub(crate) async fn take(&self) -> Option<Vec<Wake>> {
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

    pub(crate) fn ring(&self, wake: Wake) {
        self.0.0.add(wake);
    }
}

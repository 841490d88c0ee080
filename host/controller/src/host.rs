//! What all runs of this host share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use k8s_openapi::jiff::Timestamp;
use threeport_kube::Watches;
use threeport_scheduler::{Bell, Wake};
use threeport_store::{Class, Error, ListQuery, Resource, Scope, Store};

use crate::config::Config;
use crate::follow::Behind;
use crate::kinds::Kinds;
use crate::merged::Specs;
use crate::pause::Pauses;
use crate::redact::Redactor;
use crate::serving::Serving;
use crate::stats::Counters;
use crate::targets::Targets;

/// Shared by all runs.
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) bell: Arc<dyn Bell>,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) serving: Serving,
    pub(crate) behind: Behind,
    /// Whether a host of another version is there.
    pub(crate) mixed: AtomicBool,
    pub(crate) pauses: Pauses,
    pub(crate) targets: Arc<Targets>,
    pub(crate) redactor: Redactor,
    pub(crate) watches: Watches,
    pub(crate) counters: Counters,
}

/// What the database's clock says, in the type of the ecosystem's objects.
pub(crate) fn now(store: &Store) -> Timestamp {
    Timestamp::from_microsecond(store.now().as_microsecond()).unwrap_or_default()
}

/// Rows woken by one statement.
const BATCH: usize = 500;
/// One ring is enough to have a host look; some more bring the others.
const RINGS: usize = 16;

impl Host {
    /// Shows objects with their whole specs.
    pub(crate) fn specs(&self) -> Specs {
        Specs { store: self.store.clone(), kinds: self.kinds.clone(), schemas: self.config.schemas.clone() }
    }

    /// Makes every object of a collection due, behind everything else.
    pub(crate) async fn wake_all(&self, resource: &Resource) -> Result<usize, Error> {
        let query = ListQuery {
            scope: Scope { resource: resource.clone(), namespace: None },
            limit: None,
            after: None,
            at: None,
        };
        let uids: Vec<Arc<str>> = self.store.list(query).await?.items.into_iter().map(|object| object.uid).collect();
        self.wake(&uids, Class::Resync).await?;
        Ok(uids.len())
    }

    /// Makes objects due, however many.
    pub(crate) async fn wake(&self, uids: &[Arc<str>], class: Class) -> Result<(), Error> {
        for batch in uids.chunks(BATCH) {
            self.store.wake(batch, class).await?;
        }
        self.ring(uids.iter().take(RINGS), class);
        Ok(())
    }

    /// Whether a collection has objects, and the first of them.
    pub(crate) async fn any(&self, resource: &Resource) -> Result<Option<String>, Error> {
        let query = ListQuery {
            scope: Scope { resource: resource.clone(), namespace: None },
            limit: Some(1),
            after: None,
            at: None,
        };
        let list = self.store.list(query).await?;
        Ok(list.items.first().map(|object| match list.remaining {
            0 => object.key.to_string(),
            more => format!("{} and {more} more", object.key),
        }))
    }

    /// Rings for objects that are due, in this class.
    pub(crate) fn ring<'a>(&self, uids: impl IntoIterator<Item = &'a Arc<str>>, class: Class) {
        for uid in uids {
            self.bell.ring(Wake::new(&**uid, class.name()));
        }
    }
}

//! The bell inside one process.

use std::sync::Arc;

use async_trait::async_trait;

use crate::pending::{Pending, Ringer};
use crate::{Bell, Listener, Ring, Wake};

/// More than this many distinct objects are not worth remembering: whoever takes them finds the rest due in SQL.
const MOST: usize = 100_000;

/// A bell and who hears it.
pub fn bell() -> (LocalBell, LocalListener) {
    let pending = Arc::new(Pending::new(MOST));
    (LocalBell(Ringer::new(pending.clone())), LocalListener(pending))
}

/// Rings in this process.
#[derive(Clone)]
pub struct LocalBell(Ringer);

impl Bell for LocalBell {
    fn ring(&self, wake: Wake) {
        let _there_is_enough_to_take = self.0.ring(Ring::local(wake));
    }
}

/// Hears what is rung in this process; None when the last bell is gone.
pub struct LocalListener(Arc<Pending>);

#[async_trait]
impl Listener for LocalListener {
    async fn heard(&mut self) -> Option<Vec<Ring>> {
        self.0.take().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(listener: &mut LocalListener) -> Option<Vec<String>> {
        Some(listener.heard().await?.into_iter().map(|ring| ring.wake.uid).collect())
    }

    #[tokio::test]
    async fn rings_for_the_same_object_are_heard_once_and_in_order() {
        let (bell, mut listener) = bell();
        for uid in ["b", "a", "b", "a", "c"] {
            bell.ring(Wake::new(uid, "user"));
        }
        assert_eq!(heard(&mut listener).await.unwrap(), ["b", "a", "c"]);
        bell.ring(Wake::new("a", "user"));
        assert_eq!(heard(&mut listener).await.unwrap(), ["a"]);
    }

    #[tokio::test]
    async fn a_listener_that_waits_is_woken_and_ends_with_the_last_bell() {
        let (bell, mut listener) = bell();
        let second = bell.clone();
        let task = tokio::spawn(async move {
            let first = heard(&mut listener).await;
            (first, heard(&mut listener).await)
        });
        tokio::task::yield_now().await;
        drop(bell);
        second.ring(Wake::new("a", "user"));
        drop(second);
        assert_eq!(task.await.unwrap(), (Some(vec!["a".to_owned()]), None));
    }
}

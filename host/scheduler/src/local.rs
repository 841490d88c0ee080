//! The bell inside one process.

use std::sync::Arc;

use async_trait::async_trait;

use crate::pending::{Pending, Ringer};
use crate::{Bell, Listener, Wake};

/// A bell and who hears it.
pub fn bell() -> (LocalBell, LocalListener) {
    let pending = Arc::new(Pending::default());
    (LocalBell(Ringer::new(pending.clone())), LocalListener(pending))
}

/// Rings in this process.
#[derive(Clone)]
pub struct LocalBell(Ringer);

impl Bell for LocalBell {
    fn ring(&self, wake: Wake) {
        self.0.ring(wake);
    }
}

/// Hears what is rung in this process; None when the last bell is gone.
pub struct LocalListener(Arc<Pending>);

#[async_trait]
impl Listener for LocalListener {
    async fn heard(&mut self) -> Option<Vec<Wake>> {
        self.0.take().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wake(uid: &str) -> Wake {
        Wake { uid: uid.to_string() }
    }

    #[tokio::test]
    async fn rings_for_the_same_object_are_heard_once_and_in_order() {
        let (bell, mut listener) = bell();
        for uid in ["b", "a", "b", "a", "c"] {
            bell.ring(wake(uid));
        }
        assert_eq!(listener.heard().await.unwrap(), [wake("b"), wake("a"), wake("c")]);
        bell.ring(wake("a"));
        assert_eq!(listener.heard().await.unwrap(), [wake("a")]);
    }

    #[tokio::test]
    async fn a_listener_that_waits_is_woken_and_ends_with_the_last_bell() {
        let (bell, mut listener) = bell();
        let second = bell.clone();
        let task = tokio::spawn(async move {
            let first = listener.heard().await;
            (first, listener.heard().await)
        });
        tokio::task::yield_now().await;
        drop(bell);
        second.ring(wake("a"));
        drop(second);
        assert_eq!(task.await.unwrap(), (Some(vec![wake("a")]), None));
    }
}

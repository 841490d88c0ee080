//! Rings from the moment they are heard until they are handed over: that is, until the store was asked after that, and gave their objects away or had
//! nothing due. A host that dies in between has not taken them from the others.

use std::collections::HashMap;

use threeport_scheduler::{Listener, Ring};
use tokio::sync::{mpsc, watch};

/// Rings that this host has heard and not handed over.
pub(crate) struct Rung {
    heard: mpsc::UnboundedReceiver<Vec<Ring>>,
    waiting: HashMap<String, Ring>,
    over: bool,
}

impl Rung {
    /// What a listener hears, and the task that asks it: only while this host is not `full`, so that others hear what it could not take.
    pub(crate) fn new(
        listener: Box<dyn Listener>,
        full: watch::Receiver<bool>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, heard) = mpsc::unbounded_channel();
        (Self { heard, waiting: HashMap::new(), over: false }, listen(listener, sender, full))
    }

    /// Waits for the bell. May be dropped and called again.
    pub(crate) async fn wait(&mut self) {
        if self.over {
            return std::future::pending().await;
        }
        match self.heard.recv().await {
            Some(rings) => self.add(rings),
            None => self.over = true,
        }
    }

    /// Before the store is asked: what it answers counts for these.
    pub(crate) fn gather(&mut self) {
        while let Ok(rings) = self.heard.try_recv() {
            self.add(rings);
        }
    }

    fn add(&mut self, rings: Vec<Ring>) {
        for ring in rings {
            match self.waiting.get_mut(&ring.wake.uid) {
                Some(earlier) => earlier.join(ring),
                None => drop(self.waiting.insert(ring.wake.uid.clone(), ring)),
            }
        }
    }

    /// The store gave this object to a run of ours.
    pub(crate) fn taken(&mut self, uid: &str) {
        if let Some(ring) = self.waiting.remove(uid) {
            ring.handed_over();
        }
    }

    /// The store has nothing more that is due.
    pub(crate) fn nothing_due(&mut self) {
        self.waiting.drain().for_each(|(_, ring)| ring.handed_over());
    }
}

async fn listen(
    mut listener: Box<dyn Listener>,
    heard: mpsc::UnboundedSender<Vec<Ring>>,
    mut full: watch::Receiver<bool>,
) {
    loop {
        let rests = *full.borrow_and_update();
        listener.rest(rests);
        tokio::select! {
            rings = listener.heard(), if !rests => {
                let Some(rings) = rings else { break };
                // An error: the controller has ended.
                if heard.send(rings).is_err() {
                    return;
                }
            }
            changed = full.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
    tracing::warn!("the bell is gone: work is found by the sweep");
}

#[cfg(test)]
mod tests {
    use super::*;
    use threeport_scheduler::{Bell, Wake, local};

    #[tokio::test]
    async fn a_host_that_is_full_hears_nothing_until_it_is_not() {
        let (bell, listener) = local::bell();
        let full = watch::Sender::new(true);
        let (mut rung, listening) = Rung::new(Box::new(listener), full.subscribe());
        let listening = tokio::spawn(listening);
        bell.ring(Wake::new("a", "user"));
        tokio::task::yield_now().await;
        rung.gather();
        assert!(rung.waiting.is_empty(), "it hears while it is full");
        full.send_replace(false);
        rung.wait().await;
        assert!(rung.waiting.contains_key("a"));
        rung.taken("a");
        assert!(rung.waiting.is_empty());
        drop(bell);
        listening.await.unwrap();
    }
}

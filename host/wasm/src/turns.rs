//! How guests share the processor with each other and with everything else that this process does.
//!
//! Guests run on the same threads as the API. Nearly all of them are done in a fraction of a millisecond. One that is not gives its thread back at
//! every tick; and when it has had some ticks it goes on only when it is its turn, in a lane that has fewer places than there are threads. So there
//! is always a thread for those who need little, however many guests never end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Engine, UpdateDeadline};

/// How often a running guest can be interrupted.
const TICK: Duration = Duration::from_millis(1);
/// Ticks that a run has before it goes to the lane.
const FREE: u32 = 3;
/// Ticks without a run after which the ticker rests.
const IDLE: u32 = 100;

/// The thread that interrupts guests, while there are any.
pub(crate) struct Ticker {
    state: Arc<Ticking>,
    thread: Thread,
}

#[derive(Default)]
struct Ticking {
    runs: AtomicUsize,
    resting: AtomicBool,
}

impl Ticker {
    /// Ticks until the last clone of the engine is gone.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let (engine, state) = (engine.weak(), Arc::new(Ticking::default()));
        let ticking = state.clone();
        let tick = move || {
            let mut idle = 0;
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                idle = if ticking.runs.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
                if idle < IDLE {
                    std::thread::sleep(TICK);
                    continue;
                }
                ticking.resting.store(true, Ordering::SeqCst);
                // Looked at again after saying so: whoever began in between sees it, or is seen.
                if ticking.runs.load(Ordering::SeqCst) == 0 {
                    std::thread::park_timeout(Duration::from_secs(1));
                }
                ticking.resting.store(false, Ordering::SeqCst);
            }
        };
        let thread = std::thread::Builder::new().name("wasm-epoch".into()).spawn(tick)?;
        Ok(Self { state, thread: thread.thread().clone() })
    }

    /// Ticks at least as long as the answer lives.
    pub(crate) fn run(&self) -> Ticks<'_> {
        self.state.runs.fetch_add(1, Ordering::SeqCst);
        if self.state.resting.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Ticks(&self.state)
    }
}

/// A run that needs ticks.
pub(crate) struct Ticks<'a>(&'a Ticking);

impl Drop for Ticks<'_> {
    fn drop(&mut self) {
        self.0.runs.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The lane for long runs.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Semaphore>);

impl Lane {
    /// With half as many places as this machine has processors.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }
}

/// A run's place in the lane, if it has one now.
#[derive(Clone, Default)]
pub(crate) struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    fn set(&self, place: Option<OwnedSemaphorePermit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Gives the place back: the run is waiting for something else.
    pub(crate) fn release(&self) {
        self.set(None);
    }

    /// What a run does at a tick, which is its `count`th: goes on after the others had their turn.
    pub(crate) fn next(&self, lane: &Lane, count: u32) -> UpdateDeadline {
        if count <= FREE {
            return UpdateDeadline::Yield(1);
        }
        let (turn, lane) = (self.clone(), lane.0.clone());
        UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                turn.release();
                // Even with nobody else in the lane: others share the thread.
                tokio::task::yield_now().await;
                // The lane is never closed.
                turn.set(lane.acquire_owned().await.ok());
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticker_rests_without_runs_and_wakes_for_one() {
        let mut config = wasmtime::Config::new();
        let engine = Engine::new(config.epoch_interruption(true)).unwrap();
        let ticker = Ticker::start(&engine).unwrap();
        let resting = |wanted: bool| {
            let began = std::time::Instant::now();
            while ticker.state.resting.load(Ordering::SeqCst) != wanted {
                assert!(began.elapsed() < Duration::from_secs(60), "it is not so: resting = {wanted}");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        for _ in 0..3 {
            resting(true);
            let run = ticker.run();
            resting(false);
            drop(run);
        }
    }
}

//! A target that does not answer is left alone. While that lasts nothing is sent there, and what waits for an answer is told at once; one request from
//! time to time finds out whether it is back.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::{Error, meters};

/// The pause grows at most so far. A target that answers with errors of its own is left alone no more often than that.
const GROWTH: u32 = 10;

/// Whether requests go to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Circuit {
    /// They do.
    Closed,
    /// One does, to find out whether it answers again.
    HalfOpen,
    /// None do.
    Open,
}

/// How long to leave a target alone, and whom to tell that it is.
struct Guard {
    pause: Duration,
    opened: Arc<Notify>,
}

/// One for a target and all who act on it. Without a guard it stays closed.
#[derive(Default)]
pub(crate) struct Breaker {
    guard: OnceLock<Guard>,
    state: Mutex<State>,
    /// Requests under way end when it opens.
    cut: Notify,
}

#[derive(Default)]
struct State {
    /// None: closed.
    open: Option<Open>,
    /// How often it was opened since something was answered last; a probe does not count.
    times: u32,
    /// When something was answered last.
    answered: Option<Instant>,
}

struct Open {
    until: Instant,
    /// The same, for people.
    at: Timestamp,
    why: String,
    probing: bool,
}

/// What a request came to, for the breaker.
pub(crate) enum Heard {
    /// The target said something.
    Answer,
    /// It did not: why.
    Nothing(String),
    /// It was not the target's to answer.
    NotAsked,
}

impl Breaker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn guard(&self, pause: Duration, opened: Arc<Notify>) {
        // An error: it is guarded already.
        let _guarded = self.guard.set(Guard { pause, opened });
    }

    /// Before a request is sent: may it be, and what ends it when the target is given up meanwhile.
    pub(crate) fn enter(&self, step: &str, server: &str) -> Result<Notified<'_>, Error> {
        // Made before it is asked: whatever comes after ends the request.
        let cut = self.cut.notified();
        self.left_alone(step, server).map_or(Ok(cut), Err)
    }

    /// Why nothing is sent; None: it is.
    pub(crate) fn left_alone(&self, step: &str, server: &str) -> Option<Error> {
        let state = self.state();
        let open = state.open.as_ref()?;
        let (step, server, why) = (step.to_owned(), server.to_owned(), open.why.clone());
        Some(Error::LeftAlone { step, server, why, until: open.at.to_string() })
    }

    /// Notes what a request that was sent at `sent` came to. Only a target that has answered nobody since then is given up.
    pub(crate) fn note(&self, sent: Instant, heard: Heard) {
        let mut state = self.state();
        match heard {
            Heard::NotAsked => {}
            Heard::Answer => (state.answered, state.times) = (Some(Instant::now()), 0),
            Heard::Nothing(why) => {
                let silent = state.answered.is_none_or(|answered| answered < sent);
                if silent && state.open.is_none() {
                    self.open(&mut state, why);
                }
            }
        }
    }

    fn open(&self, state: &mut State, why: String) {
        let Some(Guard { pause, opened }) = self.guard.get() else { return };
        state.times = state.times.saturating_add(1);
        let pause = *pause * state.times.min(GROWTH);
        let at = Timestamp::now().saturating_add(pause).unwrap_or(Timestamp::MAX);
        let at = at.round(jiff::Unit::Second).unwrap_or(at);
        state.open = Some(Open { until: Instant::now() + pause, at, why, probing: false });
        meters::given_up();
        self.cut.notify_waiters();
        opened.notify_one();
    }

    pub(crate) fn circuit(&self) -> Circuit {
        match &self.state().open {
            None => Circuit::Closed,
            Some(Open { probing: true, .. }) => Circuit::HalfOpen,
            Some(_) => Circuit::Open,
        }
    }

    /// When it is to be found out whether the target answers; None: there is no need to, or somebody does.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.state().open.as_ref().filter(|open| !open.probing).map(|open| open.until)
    }

    /// Lets one request through, if it is time to.
    pub(crate) fn begin_probe(&self) -> bool {
        let mut state = self.state();
        match &mut state.open {
            Some(open) if !open.probing && open.until <= Instant::now() => {
                open.probing = true;
                true
            }
            _ => false,
        }
    }

    /// What that request came to: None, or why the target is of no use yet. An answer that is a failure of the target counts as no answer for some time, not
    /// for ever. True: requests go there again.
    pub(crate) fn end_probe(&self, answered: bool, trouble: Option<String>) -> bool {
        let mut state = self.state();
        if let Some(why) = trouble.filter(|_| !answered || state.times < GROWTH) {
            self.open(&mut state, why);
            return false;
        }
        state.open = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(20);

    fn guarded(pause: Duration) -> Breaker {
        let breaker = Breaker::default();
        breaker.guard(pause, Arc::default());
        breaker
    }

    fn silence(breaker: &Breaker) {
        breaker.note(Instant::now(), Heard::Nothing("no route".into()));
    }

    fn wait(breaker: &Breaker) {
        while breaker.probe_at().is_some_and(|at| at > Instant::now()) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_silence_opens_it_and_the_refusal_says_why_and_until_when() {
        let breaker = guarded(Duration::from_secs(60));
        assert!(breaker.enter("get", "s").is_ok());
        silence(&breaker);
        assert_eq!(breaker.circuit(), Circuit::Open);
        let refused = breaker.enter("get ConfigMap a/b", "https://s").err().unwrap().to_string();
        assert!(refused.contains("no route") && refused.contains("until 2"), "{refused}");
        assert!(!breaker.begin_probe(), "it is too early");
    }

    #[test]
    fn what_answers_others_is_slow_and_not_away() {
        let breaker = guarded(PAUSE);
        let sent = Instant::now();
        breaker.note(Instant::now(), Heard::Answer);
        breaker.note(sent, Heard::Nothing("late".into()));
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn half_open_lets_one_through_and_its_answer_closes_it() {
        let breaker = guarded(PAUSE);
        silence(&breaker);
        wait(&breaker);
        assert!(breaker.begin_probe() && !breaker.begin_probe(), "two went through");
        assert_eq!((breaker.circuit(), breaker.probe_at()), (Circuit::HalfOpen, None));
        assert!(breaker.enter("get", "s").is_err(), "a run is no probe");
        assert!(breaker.end_probe(true, None));
        assert!(breaker.enter("get", "s").is_ok());
    }

    #[test]
    fn a_probe_without_an_answer_opens_it_for_longer_until_a_run_was_answered() {
        let breaker = guarded(PAUSE);
        silence(&breaker);
        for _ in 0..20 {
            breaker.state().open.as_mut().unwrap().until = Instant::now();
            assert!(breaker.begin_probe());
            assert!(!breaker.end_probe(false, Some("no route".into())));
        }
        let longest = breaker.probe_at().unwrap() - Instant::now();
        assert!(longest > PAUSE * (GROWTH - 1) && longest <= PAUSE * GROWTH, "{longest:?}");
        wait(&breaker);
        assert!(
            breaker.begin_probe() && breaker.end_probe(true, Some("500".into())),
            "errors for ever keep it open for ever"
        );
        breaker.note(Instant::now(), Heard::Answer);
        silence(&breaker);
        assert!(breaker.probe_at().unwrap() <= Instant::now() + PAUSE);
    }

    #[tokio::test]
    async fn what_waits_for_an_answer_is_told_at_once() {
        let breaker = guarded(PAUSE);
        let waiting = breaker.enter("get", "s").unwrap();
        silence(&breaker);
        waiting.await;
    }

    #[test]
    fn without_a_guard_it_stays_closed() {
        let breaker = Breaker::default();
        silence(&breaker);
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }
}

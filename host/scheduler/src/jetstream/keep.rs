//! Sees to it that stream and consumer are there and are what they must be.

use std::time::Duration;

use async_nats::connection::State;

use super::trouble::{Reason, Trouble};
use super::{LONGEST_WAIT, Session, stream, wait};

/// Between looks without a reason: somebody may have changed a setting.
const CHECK: Duration = Duration::from_secs(30);

/// Between looks with reasons: what fails again and again although all is as it must be must not keep everybody busy.
const LEAST: Duration = Duration::from_millis(50);

/// What takes longer is tried again.
const LIMIT: Duration = Duration::from_secs(10);

/// Looks, mends, and says what it found; for ever.
pub(super) async fn keep(session: Session) {
    let link = &session.link;
    let mut failures = 0;
    loop {
        let connected = session.client.connection_state() == State::Connected;
        // Without a connection, the connection says what is wrong.
        if connected {
            let ensured = tokio::time::timeout(LIMIT, stream::ensure(&session)).await;
            let ensured = ensured.unwrap_or_else(|_elapsed| Err(silent(&session, "no answer")));
            match ensured {
                Ok(()) => {
                    failures = 0;
                    link.set_well(&session.client);
                }
                Err(trouble) => {
                    failures += 1;
                    link.set_ill(trouble);
                }
            }
        }
        let pause = match (connected, failures) {
            (true, 0) => CHECK,
            (true, failures) => wait(failures),
            // The event wakes us; should it get lost, this does.
            (false, _) => LONGEST_WAIT,
        };
        tokio::time::sleep(LEAST).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Whoever doubts while it is ill waits for the pause like everybody.
            () = link.doubted(), if failures == 0 => {}
        }
    }
}

/// A request that failed: because it is not answered, or because it may not be made.
pub(super) fn silent(session: &Session, said: &str) -> Trouble {
    let at = session.link.config.shown();
    match session.link.violation() {
        Some(violation) => Trouble::new(
            Reason::NotPermitted,
            format!(
                "{at} does not let this host do its work ({violation}): give its user the rights that \
                 \"What a host may do in NATS\" in docs/operating.md lists"
            ),
        ),
        None => Trouble::new(Reason::NotAnswering, format!("{at} (--nats) does not answer: {said}")),
    }
}

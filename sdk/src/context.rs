//! Time, chance and words. Time and chance are frozen for a run and written down with it, so that a run can be repeated.

#[cfg(target_family = "wasm")]
use crate::bindings::threeport::reconciler::context as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::world as host;

/// Milliseconds since the Unix epoch, when the run began.
pub fn now_ms() -> u64 {
    host::now_ms()
}

/// Random bytes, at most 4096. Not for secrets: those are made by the host and never seen by a plugin.
pub fn random(count: u32) -> Vec<u8> {
    host::random(count)
}

/// For the operator's log. `level` is debug, info, warn or error. What users should know belongs into conditions.
pub fn log(level: &str, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    host::log(level, message, &fields);
}

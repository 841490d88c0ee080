//! Why there is no plan.

use std::time::Duration;

use serde::Serialize;

use crate::bindings::threeport::reconciler::types as wit;
use crate::{Condition, ObjectRef, Problem};

/// Why there is no new plan. What runs is kept; status and conditions given here are still taken. The host retries as the kind of the failure says.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure(Box<wit::Failure>);

impl Failure {
    /// Something else has to be there or ready first. The host wakes the object when it changes.
    pub fn waiting_for(object: ObjectRef, message: impl Into<String>) -> Self {
        let mut failure = Self::of("waiting-for", "WaitingForDependency", message);
        failure.0.problem.objects.push(object);
        failure
    }

    /// It may work the next time, unchanged: retried with growing pauses.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self::of("transient", code, message)
    }

    /// The spec cannot be satisfied as it is; retried when it changes. `field` is its path, `spec.image` say.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::of("invalid", "InvalidSpec", message).field(field)
    }

    /// A grant is missing.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::of("denied", "Denied", message)
    }

    /// It will not work, however often it is tried; only a change by someone helps.
    pub fn terminal(code: &str, message: impl Into<String>) -> Self {
        Self::of("terminal", code, message)
    }

    fn of(kind: &str, code: &str, message: impl Into<String>) -> Self {
        let problem =
            Problem { code: code.into(), message: message.into(), field: None, objects: vec![], retry_after_ms: None };
        Self(Box::new(wit::Failure {
            kind: kind.into(),
            problem,
            status: None,
            conditions: vec![],
            watches: vec![],
            probes: vec![],
            memory: None,
            extensions: vec![],
        }))
    }

    /// Names the field that is to blame.
    #[must_use]
    pub fn field(mut self, field: &str) -> Self {
        self.0.problem.field = Some(field.into());
        self
    }

    /// Not before.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.problem.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Updates status all the same.
    #[must_use]
    pub fn status(mut self, status: &impl Serialize) -> Self {
        self.0.status = serde_json::to_string(status).ok();
        self
    }

    /// Says how the object is, in one respect.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        self.0.conditions.push(condition.into_wit());
        self
    }

    /// waiting-for, transient, invalid, denied or terminal.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// What happened and what to do.
    pub fn message(&self) -> &str {
        &self.0.problem.message
    }

    pub(crate) fn into_wit(self) -> wit::Failure {
        *self.0
    }
}

/// A read that was refused ends the run, unless the reconciler decides otherwise: `?` is all it takes.
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let kind = match problem.code.as_str() {
            "Denied" => "denied",
            "NotConnected" => "waiting-for",
            "InvalidKubeconfig" | "Invalid" => "invalid",
            _ => "transient",
        };
        let mut failure = Self::of(kind, "", "");
        failure.0.problem = problem;
        failure
    }
}

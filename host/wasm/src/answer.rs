//! Whether an answer keeps the contract, so that no later part has to wonder.

use serde::de::IgnoredAny;

use crate::{Answer, Condition, RunError, Watch};

/// Bytes that a plugin may leave for its next run.
const MEMORY_MAX: usize = 64 << 10;

/// Kinds of a failure.
const FAILURES: [&str; 5] = ["waiting-for", "transient", "invalid", "denied", "terminal"];

pub(crate) fn check(answer: &Answer) -> Result<(), RunError> {
    match answer {
        Ok(plan) => {
            json("status", &plan.status, '{')?;
            conditions(&plan.conditions)?;
            watches(&plan.watches)?;
            memory(plan.memory.as_deref())?;
            for (index, manifest) in plan.manifests.iter().enumerate() {
                json(&format!("manifests[{index}].body"), &manifest.body, '{')?;
            }
            for (index, child) in plan.children.iter().enumerate() {
                json(&format!("children[{index}].body"), &child.body, '{')?;
            }
            for (index, event) in plan.events.iter().enumerate() {
                if !matches!(event.kind.as_str(), "Normal" | "Warning") {
                    return Err(RunError::BadAnswer(format!(
                        "events[{index}].kind is {:?}, not Normal or Warning",
                        event.kind
                    )));
                }
            }
        }
        Err(failure) => {
            if !FAILURES.contains(&failure.kind.as_str()) {
                return Err(RunError::BadAnswer(format!(
                    "a failure's kind is {:?}, none of {}",
                    failure.kind,
                    FAILURES.join(", ")
                )));
            }
            if let Some(status) = &failure.status {
                json("status", status, '{')?;
            }
            conditions(&failure.conditions)?;
            watches(&failure.watches)?;
            memory(failure.memory.as_deref())?;
        }
    }
    Ok(())
}

fn json(field: &str, text: &str, begins: char) -> Result<(), RunError> {
    if !text.trim_start().starts_with(begins) {
        return Err(RunError::BadAnswer(format!("{field} is not a JSON object")));
    }
    serde_json::from_str::<IgnoredAny>(text)
        .map(|_| ())
        .map_err(|error| RunError::BadAnswer(format!("{field} is not JSON: {error}")))
}

fn conditions(conditions: &[Condition]) -> Result<(), RunError> {
    for condition in conditions {
        if condition.kind.is_empty()
            || condition.reason.is_empty()
            || !matches!(condition.status.as_str(), "True" | "False" | "Unknown")
        {
            return Err(RunError::BadAnswer(format!(
                "condition {:?} needs a type, a status of True, False or Unknown (it has {:?}) and a reason (it has {:?})",
                condition.kind, condition.status, condition.reason
            )));
        }
    }
    Ok(())
}

fn watches(watches: &[Watch]) -> Result<(), RunError> {
    for (index, watch) in watches.iter().enumerate() {
        if let Some(field) = watch.fields.iter().find(|field| field.starts_with('/') || field.is_empty()) {
            return Err(RunError::BadAnswer(format!(
                "watches[{index}].fields has {field:?}; fields are dotted paths, as status.conditions"
            )));
        }
    }
    Ok(())
}

fn memory(memory: Option<&str>) -> Result<(), RunError> {
    match memory {
        Some(memory) if memory.len() > MEMORY_MAX => {
            Err(RunError::BadAnswer(format!("memory has {} bytes and may have {MEMORY_MAX}", memory.len())))
        }
        Some(memory) => serde_json::from_str::<IgnoredAny>(memory)
            .map(|_| ())
            .map_err(|error| RunError::BadAnswer(format!("memory is not JSON: {error}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, Problem};

    fn failure(kind: &str) -> Failure {
        let problem =
            Problem { code: "X".into(), message: "x".into(), field: None, objects: Vec::new(), retry_after_ms: None };
        Failure {
            kind: kind.into(),
            problem,
            status: None,
            conditions: Vec::new(),
            watches: Vec::new(),
            probes: Vec::new(),
            memory: None,
            extensions: Vec::new(),
        }
    }

    #[test]
    fn a_failure_of_no_known_kind_breaks_the_contract() {
        assert!(check(&Err(failure("transient"))).is_ok());
        let error = check(&Err(failure("whatever"))).unwrap_err();
        assert_eq!(error.reason(), "AnswerInvalid");
        assert!(error.to_string().contains("waiting-for"), "{error}");
    }

    #[test]
    fn a_memory_that_is_too_large_breaks_the_contract() {
        let mut failure = failure("transient");
        failure.memory = Some(format!("{:?}", "x".repeat(MEMORY_MAX)));
        assert!(check(&Err(failure)).unwrap_err().to_string().contains("memory has"));
    }
}

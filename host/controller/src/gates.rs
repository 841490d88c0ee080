//! What a version of a plugin has to pass before it serves, each step a condition of its Plugin.

use crate::conditions::Claimed;
use crate::trouble::Trouble;
use threeport_wasm::LoadError;

/// The steps, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gate {
    /// The component is there and built for this contract.
    Verified,
    /// It is machine code within the limits.
    Compiled,
    /// It says what it is.
    Described,
    /// What it asks for is approved.
    GrantsApproved,
    /// What is stored stays good.
    SchemaCompatible,
    /// It serves.
    Serving,
}

const ALL: [(Gate, &str, &str, &str); 6] = [
    (Gate::Verified, "Verified", "ContractMatches", "the component is built for the contract of this host"),
    (Gate::Compiled, "Compiled", "Compiled", "the component is compiled"),
    (Gate::Described, "Described", "Described", "the component says what it serves and asks for"),
    (Gate::GrantsApproved, "GrantsApproved", "Approved", "everything it asks for is approved"),
    (Gate::SchemaCompatible, "SchemaCompatible", "Compatible", "everything that is stored stays as it is"),
    (Gate::Serving, "Serving", "Serving", "it serves"),
];

impl Gate {
    /// The step that a component did not pass.
    pub(crate) fn of(error: &LoadError) -> Self {
        match error {
            LoadError::NotAComponent(_)
            | LoadError::TooLarge { .. }
            | LoadError::WrongContract { .. }
            | LoadError::ForbiddenImport { .. } => Self::Verified,
            LoadError::Compile(_) | LoadError::CompileLimit(_) | LoadError::Oversized(_) | LoadError::Compiler(_) => {
                Self::Compiled
            }
            LoadError::Describe(_) => Self::Described,
        }
    }
}

/// All steps as conditions: those before `at` are passed, `at` is where it stands and why, those behind it are not reached.
pub(crate) fn stopped(at: Gate, trouble: &Trouble) -> Vec<Claimed> {
    let name = ALL.iter().find(|(gate, ..)| *gate == at).map_or("", |(_, name, ..)| name);
    let claims = ALL.into_iter().map(|(gate, kind, reason, message)| {
        if gate < at {
            Claimed::new(kind, "True", reason, message)
        } else if gate == at {
            let status = if trouble.unknown { "Unknown" } else { "False" };
            Claimed::new(kind, status, &trouble.reason, &trouble.message)
        } else {
            Claimed::new(kind, "Unknown", "NotReached", format!("{name} comes first"))
        }
    });
    claims.collect()
}

/// All steps are passed.
pub(crate) fn passed(serving: &str) -> Vec<Claimed> {
    let claims = ALL.into_iter().map(|(gate, kind, reason, message)| {
        Claimed::new(kind, "True", reason, if gate == Gate::Serving { serving } else { message })
    });
    claims.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_not_passed_hides_those_behind_it() {
        let claims = stopped(Gate::Described, &Trouble::stalled("Mumbles", "it mumbles"));
        let shown: Vec<_> = claims.iter().map(|claim| (claim.status.as_str(), claim.reason.as_str())).collect();
        let behind = ("Unknown", "NotReached");
        assert_eq!(
            shown,
            [("True", "ContractMatches"), ("True", "Compiled"), ("False", "Mumbles"), behind, behind, behind]
        );
        assert!(passed("now").iter().all(|claim| claim.status == "True"));
    }
}

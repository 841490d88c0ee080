//! How errors are told: in kubectl's words, on stderr, with exit code 1.

use std::io::Write as _;
use std::process::ExitCode;

use threeport_kube::kube;
use threeport_kube::kube::core::Status;

use crate::output::printable;

/// A failure that was told already, when it happened.
#[derive(Debug, thiserror::Error)]
#[error("some of it failed")]
pub(crate) struct Told;

/// One place for errors that end the process: tells them and answers the exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    // Whoever closed stdout has seen enough.
    let unheard = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(unheard)) {
        return ExitCode::SUCCESS;
    }
    if error.downcast_ref::<Told>().is_none() {
        tell(error);
    }
    ExitCode::FAILURE
}

/// Writes a failure to stderr, while the command goes on.
pub(crate) fn tell(error: &anyhow::Error) {
    // Nothing sensible is left to do when stderr is closed.
    let _written = writeln!(std::io::stderr(), "{}", printable(&words(error)));
}

/// What the server said, if it is the server that refused.
pub(crate) fn status(error: &anyhow::Error) -> Option<&Status> {
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(kube::Error::Api(status)) => Some(&**status),
        _ => None,
    })
}

/// Whether the server said that there is no such object.
pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Whether the command goes on after one of several objects failed: what is only missing may be passed over, of the rest it is told. True: it was told.
pub(crate) fn go_on(error: anyhow::Error, several: bool, ignore_missing: bool) -> anyhow::Result<bool> {
    if ignore_missing && is_not_found(&error) {
        return Ok(false);
    }
    if !several {
        return Err(error);
    }
    tell(&error);
    Ok(true)
}

fn words(error: &anyhow::Error) -> String {
    let Some(status) = status(error) else {
        if let Some(kube_error) = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>()) {
            return connection(error, kube_error);
        }
        return format!("error: {error:#}");
    };
    if status.code == 401 {
        return "error: You must be logged in to the server (Unauthorized); does the kubeconfig belong to this server?"
            .to_owned();
    }
    let details = status.details.as_ref();
    if status.reason == "Invalid"
        && let Some(details) = details.filter(|details| !details.causes.is_empty())
    {
        let causes: Vec<String> =
            details.causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let causes = match causes.as_slice() {
            [one] => one.clone(),
            many => many.iter().map(|cause| format!("\n* {cause}")).collect(),
        };
        return format!("The {} \"{}\" is invalid: {causes}", details.kind, details.name);
    }
    // What we were about, before what the server says of it.
    let about: String = error
        .chain()
        .take_while(|cause| cause.downcast_ref::<kube::Error>().is_none())
        .map(|context| format!("{context}: "))
        .collect();
    let reason = if status.reason.is_empty() { "Unknown" } else { &status.reason };
    format!("Error from server ({reason}): {about}{}", status.message)
}

/// The server did not answer, or not in a way that can be read.
fn connection(error: &anyhow::Error, kube_error: &kube::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = Some(kube_error);
    while let Some(this) = cause {
        if let Some(io) = this.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return "error: the connection to the server was refused: is it running, and is this its kubeconfig? (`threeport server` starts one)"
                .to_owned();
        }
        cause = this.source();
    }
    format!("error: {error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    fn api(status: serde_json::Value) -> anyhow::Error {
        let status: Status = serde_json::from_value(status).expect("a status");
        kube::Error::Api(Box::new(status)).into()
    }

    #[test]
    fn the_server_is_quoted_in_kubectls_words() {
        let missing =
            serde_json::json!({"code": 404, "reason": "NotFound", "message": "widgets.example.com \"x\" not found"});
        assert_eq!(words(&api(missing.clone())), "Error from server (NotFound): widgets.example.com \"x\" not found");
        let within = Err::<(), _>(api(missing)).context("error when deleting \"a.yaml\"").expect_err("it failed");
        assert_eq!(
            words(&within),
            "Error from server (NotFound): error when deleting \"a.yaml\": widgets.example.com \"x\" not found"
        );
        let cause = |field: &str| serde_json::json!({"field": field, "message": "Required value", "reason": "FieldValueRequired"});
        let invalid = |causes: Vec<serde_json::Value>| {
            api(serde_json::json!({"code": 422, "reason": "Invalid", "message": "...",
                "details": {"kind": "Widget", "name": "x", "causes": causes}}))
        };
        assert_eq!(words(&invalid(vec![cause("spec.a")])), "The Widget \"x\" is invalid: spec.a: Required value");
        assert_eq!(
            words(&invalid(vec![cause("spec.a"), cause("spec.b")])),
            "The Widget \"x\" is invalid: \n* spec.a: Required value\n* spec.b: Required value"
        );
        assert_eq!(words(&anyhow::anyhow!("inner").context("outer")), "error: outer: inner");
    }
}

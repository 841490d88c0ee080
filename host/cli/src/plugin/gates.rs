//! A version on its way through the gates of the server, until it serves or is refused.

use std::io::Write as _;

use anyhow::{Result, bail};
use serde_json::Value;

use super::deploy::{approve, kind};
use crate::connect::Server;
use crate::follow::{Place, condition, follow};
use crate::progress::Progress;

/// The gates, in order, as conditions of a Plugin.
const GATES: [&str; 6] = ["Verified", "Compiled", "Described", "GrantsApproved", "SchemaCompatible", "Serving"];

/// What was decided of a version.
enum Verdict {
    Serves {
        version: String,
        digest: String,
    },
    /// It asks for these grants.
    Asks(Value, String),
    Refused {
        reason: String,
        message: String,
    },
}

/// Waits until the Plugin's own generation was judged: Ready, or refused with a reason. Tells each gate.
pub(super) async fn serving(server: &Server, name: &str, may_approve: bool) -> Result<()> {
    let kind = kind();
    let mut asked = may_approve;
    loop {
        let mut progress = Progress::new();
        let label = kind.object(name);
        let verdict = follow(server, Place { kind: &kind, namespace: "", name }, |plugin| {
            tell(&mut progress, &label, plugin?);
            verdict(plugin?)
        })
        .await?;
        progress.end(&label);
        match verdict {
            Verdict::Serves { version, digest } => {
                writeln!(std::io::stdout(), "plugin {name} serves version {version} ({digest})")?;
                return Ok(());
            }
            Verdict::Asks(grants, _) if asked => {
                // Once: what is refused after that is not for want of approval.
                asked = false;
                writeln!(std::io::stderr(), "approving the grants that {name} asks for:\n{}", listed(&grants))?;
                approve(server, name, &grants).await?;
            }
            Verdict::Asks(grants, message) => bail!(
                "plugin {name} asks for more than is approved: {message}\nall that it asks for:\n{}\nto approve that, push it again with --approve-grants",
                listed(&grants)
            ),
            Verdict::Refused { reason, message } => {
                bail!("plugin {name} was refused: {reason}: {message}{}", hint(&reason))
            }
        }
    }
}

fn verdict(plugin: &Value) -> Option<Verdict> {
    let ready = condition(plugin, "Ready")?;
    let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
    match ready["status"].as_str()? {
        "True" => Some(Verdict::Serves {
            version: plugin["status"]["version"].as_str().unwrap_or("?").to_owned(),
            digest: plugin["spec"]["component"].as_str().unwrap_or("?").to_owned(),
        }),
        "False" if ready["reason"] == "GrantsNotApproved" => {
            Some(Verdict::Asks(plugin["status"]["requestedGrants"].clone(), text("message")))
        }
        "False" => Some(Verdict::Refused { reason: text("reason"), message: text("message") }),
        _ => None,
    }
}

/// The gate that it stands at, and those that it has passed.
fn tell(progress: &mut Progress, label: &str, plugin: &Value) {
    for gate in GATES {
        let Some(condition) = condition(plugin, gate) else { continue };
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        match (text("status"), text("reason")) {
            ("True", _) => progress.say(label, &format!("{gate}: {}", text("message"))),
            (_, "NotReached") => {}
            (_, reason) => progress.say(label, &format!("{gate}: {reason}: {}", text("message"))),
        }
    }
}

/// Grants, a rule a line.
fn listed(grants: &Value) -> String {
    let mut lines = Vec::new();
    for grant in grants.as_array().into_iter().flatten() {
        let capability = grant["capability"].as_str().unwrap_or_default();
        let rules = grant["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        if rules.is_empty() {
            lines.push(format!("  {capability}"));
        }
        lines.extend(rules.iter().map(|rule| format!("  {capability}: {}", said(rule))));
    }
    lines.join("\n")
}

/// `apply, delete ConfigMap in "" (core)`: as far as a rule has the usual form.
fn said(rule: &Value) -> String {
    let list = |key: &str| {
        let items: Vec<&str> = rule[key].as_array()?.iter().filter_map(Value::as_str).collect();
        Some(items.iter().map(|item| if item.is_empty() { "core" } else { item }).collect::<Vec<_>>().join(", "))
    };
    let (Some(verbs), Some(kinds), Some(groups)) = (list("verbs"), list("kinds"), list("apiGroups")) else {
        return rule.to_string();
    };
    let namespaces = list("namespaces").map(|namespaces| format!(", namespaces {namespaces}")).unwrap_or_default();
    format!("{verbs} of {kinds} ({groups}){namespaces}")
}

fn hint(reason: &str) -> &'static str {
    match reason {
        "ContractUnsupported" => "\nbuild it with the SDK of this server's release: `threeport plugin build`",
        "ComponentInvalid" => "\nbuild it with `threeport plugin build`, and push the file that it names",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn grants_are_listed_as_people_read_them() {
        let grants = json!([{"capability": "kubernetes", "rules": [
            {"apiGroups": ["", "apps"], "kinds": ["ConfigMap"], "verbs": ["get", "apply"]},
            {"apiGroups": ["apps"], "kinds": ["Deployment"], "verbs": ["apply"], "namespaces": ["*"]}]},
            {"capability": "odd", "rules": [{"what": 1}]}, {"capability": "bare"}]);
        assert_eq!(
            listed(&grants),
            "  kubernetes: get, apply of ConfigMap (core, apps)\n  kubernetes: apply of Deployment (apps), namespaces *\n  odd: {\"what\":1}\n  bare"
        );
    }

    #[test]
    fn only_what_is_said_of_the_present_generation_is_a_verdict() {
        let plugin = |seen: i64, status: &str, reason: &str| {
            json!({"metadata": {"generation": 2}, "status": {"version": "1.0.0", "conditions": [
                {"type": "Ready", "status": status, "reason": reason, "message": "m", "observedGeneration": seen}]}})
        };
        assert!(verdict(&plugin(1, "True", "Serving")).is_none());
        assert!(verdict(&plugin(2, "Unknown", "Compiling")).is_none());
        assert!(
            matches!(verdict(&plugin(2, "True", "Serving")), Some(Verdict::Serves { version, .. }) if version == "1.0.0")
        );
        assert!(matches!(verdict(&plugin(2, "False", "GrantsNotApproved")), Some(Verdict::Asks(..))));
        assert!(
            matches!(verdict(&plugin(2, "False", "SchemaInvalid")), Some(Verdict::Refused { reason, .. }) if reason == "SchemaInvalid")
        );
    }
}

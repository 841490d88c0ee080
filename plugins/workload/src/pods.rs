//! Why pods do not become ready, in plain words.

use serde_json::Value;
use threeport_sdk::{ObjectRef, Problem, kubernetes};

use crate::manifests::LABEL;

/// A reason for the condition and a sentence for people.
pub(crate) struct Trouble {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// The worst that the pods of a workload say, if they say anything.
pub(crate) fn trouble(
    cluster: &ObjectRef,
    namespace: Option<&str>,
    name: &str,
    image: &str,
) -> Result<Option<Trouble>, Problem> {
    let selector = format!("{LABEL}={name}");
    let pods = kubernetes::open(cluster)?.list(
        "v1",
        "Pod",
        namespace,
        Some(&selector),
        &["metadata.deletionTimestamp", "spec", "status"],
    )?;
    let living = pods.iter().filter(|pod| pod["metadata"].get("deletionTimestamp").is_none_or(Value::is_null));
    // Pods of the wanted image first: those of an earlier one are about to go.
    let (wanted, old): (Vec<_>, Vec<_>) = living.partition(|pod| pod["spec"]["containers"][0]["image"] == image);
    Ok(wanted.into_iter().chain(old).find_map(of))
}

fn of(pod: &Value) -> Option<Trouble> {
    let name = pod["metadata"]["name"].as_str().unwrap_or("a pod");
    let statuses = pod["status"]["containerStatuses"].as_array();
    for container in statuses.into_iter().flatten() {
        if let Some(trouble) = waiting(name, container) {
            return Some(trouble);
        }
    }
    let scheduled =
        pod["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "PodScheduled")?;
    (scheduled["status"] == "False").then(|| Trouble {
        reason: "Unschedulable".into(),
        message: format!("pod {name} finds no node: {}", scheduled["message"].as_str().unwrap_or("no reason is given")),
    })
}

fn waiting(pod: &str, container: &Value) -> Option<Trouble> {
    let waiting = &container["state"]["waiting"];
    let (reason, said) = (waiting["reason"].as_str()?, waiting["message"].as_str().unwrap_or_default());
    let image = container["image"].as_str().unwrap_or("the image");
    let message = match reason {
        "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            format!("the image {image} of pod {pod} cannot be fetched: {said}")
        }
        "InvalidImageName" => format!("{image} is not the name of an image: {said}"),
        "CrashLoopBackOff" => {
            let last = &container["lastState"]["terminated"];
            let code = last["exitCode"].as_i64().map(|code| format!(" with exit code {code}")).unwrap_or_default();
            let why = match last["reason"].as_str() {
                Some("OOMKilled") => ", out of memory",
                _ => "",
            };
            let restarts = container["restartCount"].as_u64().unwrap_or(0);
            format!(
                "the container of pod {pod} ends again and again{code}{why} ({restarts} restarts); `kubectl logs {pod} --previous` on the cluster says more"
            )
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            format!("the container of pod {pod} cannot be started: {said}")
        }
        _ => return None,
    };
    let reason = if reason == "ErrImagePull" { "ImagePullBackOff" } else { reason };
    Some(Trouble { reason: reason.into(), message })
}

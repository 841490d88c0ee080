//! `threeport wait`.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use serde_json::Value;
use tokio::time::Instant;

use crate::Connection;
use crate::connect::{Server, optional, server};
use crate::failure::{self, Told};
use crate::follow::{Place, condition, follow, news};
use crate::kinds::{Kind, Kinds};
use crate::output::Template;
use crate::progress::Progress;
use crate::select::{Objects, Selected, list};
use crate::time::duration;

pub(crate) const EXAMPLES: &str = "Examples:
  threeport wait workload/web --for=condition=Ready --timeout=2m
  threeport wait workloads --all --for=condition=Stalled=False
  threeport wait workload/web --for=jsonpath='{.status.replicas}'=3
  threeport wait -f site.yaml --for=condition=Ready
  threeport wait workload/web --for=delete";

/// Arguments of `wait`.
#[derive(Args, Debug)]
pub struct Wait {
    #[command(flatten)]
    objects: Objects,
    /// condition=TYPE[=STATUS], jsonpath=PATH[=VALUE], create, delete
    #[arg(long, value_name = "WHAT", value_parser = Until::parse)]
    r#for: Until,
    /// Give up after this time; 0 looks once, a negative time waits a week
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, allow_hyphen_values = true)]
    timeout: Duration,
    /// All objects of the type
    #[arg(long)]
    all: bool,
}

/// What is waited for.
#[derive(Clone, Debug)]
enum Until {
    Condition { kind: String, status: String },
    Path { path: Template, value: Option<String> },
    Created,
    Deleted,
}

impl Until {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text.eq_ignore_ascii_case("delete") => Ok(Self::Deleted),
            None if text.eq_ignore_ascii_case("create") => Ok(Self::Created),
            Some(("condition", rest)) if !rest.is_empty() => {
                let (kind, status) = rest.split_once('=').unwrap_or((rest, "True"));
                Ok(Self::Condition { kind: kind.to_owned(), status: status.to_owned() })
            }
            Some(("jsonpath", rest)) if !rest.is_empty() => {
                // The path may have a = in a filter: what follows the closing brace is the value.
                let (path, value) = match rest.rfind('}') {
                    Some(end) => (&rest[..=end], rest[end + 1..].strip_prefix('=')),
                    None => match rest.split_once('=') {
                        Some((path, value)) => (path, Some(value)),
                        None => (rest, None),
                    },
                };
                let path = Template::path(path).map_err(|error| format!("{error:#}"))?;
                Ok(Self::Path { path, value: value.map(str::to_owned) })
            }
            _ => Err(format!(
                "unrecognized condition: {text:?}; write condition=TYPE, jsonpath=PATH=VALUE, create or delete"
            )),
        }
    }

    fn met(&self, object: Option<&Value>) -> bool {
        match (self, object) {
            (Self::Deleted, object) => object.is_none(),
            (Self::Created, object) => object.is_some(),
            (_, None) => false,
            (Self::Condition { kind, status }, Some(object)) => condition(object, kind)
                .and_then(|condition| condition["status"].as_str())
                .is_some_and(|have| have.eq_ignore_ascii_case(status)),
            (Self::Path { path, value }, Some(object)) => {
                path.render(object).is_ok_and(|have| value.as_ref().map_or(!have.is_empty(), |value| *value == have))
            }
        }
    }
}

pub(crate) async fn run(connection: &Connection, mut args: Wait) -> Result<()> {
    let server = server(connection).await?;
    let kinds = Kinds::of(&server).await?;
    let selection = args.objects.select(&server, &kinds)?;
    args.objects.told_which(&selection, args.all)?;
    args.objects.names.clear();
    let mut places: Vec<(Kind, String, String)> = Vec::new();
    for selected in selection {
        match &selected.name {
            Some(name) => {
                let namespace = selected.namespace().to_owned();
                // One that is not there is never going to have a condition: said at once, as by kubectl.
                match args.r#for {
                    Until::Created => {}
                    // Gone already: there is nothing to wait for, and nothing to say.
                    Until::Deleted if optional(server.get(&selected.path()).await)?.is_none() => continue,
                    Until::Deleted => {}
                    _ => drop(server.get(&selected.path()).await?),
                }
                places.push((selected.kind.clone(), namespace, name.clone()));
            }
            None => places.extend(members(&server, &selected, &args.objects).await?),
        }
    }
    if places.is_empty() {
        match args.r#for {
            Until::Deleted => return Ok(()),
            _ => bail!("no matching resources found"),
        }
    }
    let met = |place: &(Kind, String, String)| Some(format!("{} condition met", place.0.object(&place.2)));
    if all(&server, &places, args.timeout, |object| args.r#for.met(object), met).await? {
        Ok(())
    } else {
        Err(Told.into())
    }
}

/// The objects of a collection.
pub(crate) async fn members(
    server: &Server,
    selected: &Selected,
    objects: &Objects,
) -> Result<Vec<(Kind, String, String)>> {
    let (items, _) = list(server, selected, objects).await?;
    let text = |item: &Value, key: &str| item["metadata"][key].as_str().unwrap_or_default().to_owned();
    Ok(items.iter().map(|item| (selected.kind.clone(), text(item, "namespace"), text(item, "name"))).collect())
}

/// [`all`], with nothing said of what is met.
pub(crate) async fn quietly(
    server: &Server,
    places: &[(Kind, String, String)],
    timeout: Duration,
    holds: impl Fn(Option<&Value>) -> bool,
) -> Result<bool> {
    all(server, places, timeout, holds, |_| None).await
}

/// Waits for all of them at a time, says what is met when it is, and answers whether everything was in time.
pub(crate) async fn all(
    server: &Server,
    places: &[(Kind, String, String)],
    timeout: Duration,
    holds: impl Fn(Option<&Value>) -> bool,
    met: impl Fn(&(Kind, String, String)) -> Option<String>,
) -> Result<bool> {
    let deadline = Instant::now() + timeout;
    let progress = std::cell::RefCell::new(Progress::new());
    let mut waits: FuturesOrdered<_> = places
        .iter()
        .map(|place| {
            let (kind, namespace, name) = place;
            let (holds, progress) = (&holds, &progress);
            async move {
                let label = kind.object(name);
                let followed = follow(server, Place { kind, namespace, name }, |object| {
                    if holds(object) {
                        return Some(true);
                    }
                    progress.borrow_mut().say(&label, &news(object));
                    timeout.is_zero().then_some(false)
                });
                let outcome = tokio::time::timeout_at(deadline, followed).await;
                progress.borrow_mut().end(&label);
                (place, outcome)
            }
        })
        .collect();
    let mut in_time = true;
    while let Some((place, outcome)) = waits.next().await {
        match outcome {
            Ok(Ok(true)) => {
                if let Some(said) = met(place) {
                    writeln!(std::io::stdout(), "{said}")?;
                }
            }
            Ok(Err(error)) => {
                failure::tell(&error);
                in_time = false;
            }
            Ok(Ok(false)) | Err(_) => {
                failure::tell(&anyhow::anyhow!(
                    "timed out waiting for the condition on {}/{}",
                    place.0.plural,
                    place.2
                ));
                in_time = false;
            }
        }
    }
    Ok(in_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn met(what: &str, object: &Value) -> bool {
        Until::parse(what).expect(what).met(Some(object))
    }

    #[test]
    fn conditions_count_for_the_present_generation_only() {
        let object = |generation| {
            json!({"metadata": {"generation": generation}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 2}, {"type": "Stalled", "status": "False"}]}})
        };
        assert!(met("condition=Ready", &object(2)) && met("condition=ready=true", &object(2)));
        assert!(!met("condition=Ready", &object(3)) && !met("condition=Ready=False", &object(2)));
        assert!(met("condition=Stalled=False", &object(3)) && !met("condition=Absent", &object(2)));
        assert!(
            Until::parse("delete").expect("it").met(None) && !met("delete", &object(1)) && met("create", &object(1))
        );
    }

    #[test]
    fn paths_may_have_filters_and_be_compared() {
        let object = json!({"status": {"replicas": 3, "list": [{"a": "x", "b": "y=z"}]}});
        assert!(met("jsonpath={.status.replicas}=3", &object) && met("jsonpath=.status.replicas=3", &object));
        assert!(
            met("jsonpath={.status.list[?(@.a==\"x\")].b}=y=z", &object) && met("jsonpath={.status.replicas}", &object)
        );
        assert!(!met("jsonpath={.status.none}", &object));
        for wrong in ["ready", "condition=", "jsonpath=", "conditions=Ready"] {
            assert!(Until::parse(wrong).is_err(), "{wrong}");
        }
    }
}

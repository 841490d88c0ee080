//! Definitions themselves: what they may say, and the revision that each change of their template makes.

use jiff::Timestamp;
use serde_json::Value;
use threeport_store::definitions::{self, NAME_LENGTH, PINS, REVISION, TRACKS};
use threeport_store::lifecycle::Part;
use threeport_store::{Class, Edge, Key, Op, Precondition};

use super::objects::{Admitted, UNKNOWN, key_of};
use crate::registry::{Kind, Kinds, OWN_GROUP};
use crate::resources::{judge, refuse};
use crate::router::App;
use crate::schema::{self, ErrorKind, FieldError};
use crate::status::ApiResult;

/// Judges a Definition as it would be stored, and notes on it the number of its newest revision.
pub(super) async fn admit(
    app: &App,
    kinds: &Kinds,
    kind: &Kind,
    body: &mut Value,
    old: Option<&Value>,
    part: Part,
) -> ApiResult<Admitted> {
    let (_, errors) = judge(app, kinds, kind, &kind.schema, body, old, part).await?;
    refuse(kind, body, &errors)?;
    let newest = old.and_then(definitions::newest).unwrap_or(0);
    let same = newest > 0 && old.is_some_and(|old| old["spec"]["template"] == body["spec"]["template"]);
    let key = key_of(kind, body);
    let mut number = if same { newest } else { newest + 1 };
    // An earlier Definition of this name may have left revisions behind (orphaned): what a number stands for never changes.
    while !same
        && app.store.get(&definitions::revision_key(key.namespace.as_deref(), &key.name, number)).await?.is_some()
    {
        number += 1;
    }
    definitions::annotate(body, REVISION, Some(number));
    // It uses its newest revision itself, so that nobody removes that from under it.
    let to = definitions::revision_key(key.namespace.as_deref(), &key.name, number);
    let edge = Edge { to, role: "requires".to_owned(), field: format!("metadata.annotations[{REVISION}]") };
    let mut warnings = Vec::new();
    let (group, name) = subject(body);
    if kinds.by_kind(group, name).is_none() {
        warnings.push(format!(
            "spec.for: kind {name} of group {group:?} is not served yet; spec.template is looked at when an object uses it"
        ));
    }
    Ok(Admitted { edges: Some(vec![edge]), warnings })
}

/// The group and kind that a Definition is for.
fn subject(body: &Value) -> (&str, &str) {
    let given = &body["spec"]["for"];
    let group = given["apiVersion"].as_str().and_then(|it| it.rsplit_once('/')).map_or("", |(group, _)| group);
    (group, given["kind"].as_str().unwrap_or_default())
}

/// What the schemas of Definition and DefinitionRevision cannot say.
pub(crate) fn check(app: &App, kind: &Kind, body: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if kind.is_builtin(OWN_GROUP, "definitionrevisions") {
        return match old {
            None => vec![FieldError::forbidden("spec", "revisions are made by changes of a Definition: change that")],
            Some(old) if old["spec"] != body["spec"] => {
                vec![FieldError::forbidden(
                    "spec",
                    "a revision does not change: change its Definition, which makes a new one",
                )]
            }
            Some(_) => Vec::new(),
        };
    }
    let mut errors = Vec::new();
    if key_of(kind, body).name.len() > NAME_LENGTH {
        let detail = format!("may not be more than {NAME_LENGTH} bytes: its revisions are called NAME-NUMBER");
        errors.push(FieldError::new(ErrorKind::TooLong, "metadata.name", None, detail));
    }
    if old.is_some_and(|old| old["spec"]["for"] != body["spec"]["for"]) {
        let detail = "field is immutable: objects rely on it; make another Definition";
        errors.push(FieldError::invalid("spec.for", &body["spec"]["for"], detail));
    }
    if body.pointer("/spec/template/spec/definition").is_some() {
        let detail = "a Definition uses no other: say here what both have in common";
        errors.push(FieldError::forbidden("spec.template.spec.definition", detail));
    }
    let (group, name) = subject(body);
    let kinds = app.registry.kinds();
    let Some(of) = kinds.by_kind(group, name) else { return errors };
    let Some(partial) = &of.partial else {
        let detail = "its objects take no Definition: only those of namespaced kinds do that a plugin serves, with fields in their spec";
        errors.push(FieldError::new(ErrorKind::NotSupported, "spec.for.kind", Some(name.into()), detail));
        return errors;
    };
    let Some(schema) = partial.properties.get("spec") else { return errors };
    if old.is_some_and(|old| old["spec"]["template"] == body["spec"]["template"]) {
        return errors;
    }
    const AT: &str = "spec.template.spec";
    let (mut template, mut unknown) = (body["spec"]["template"]["spec"].clone(), Vec::new());
    schema::prune(schema, &mut template, AT, &mut unknown);
    errors.extend(unknown.into_iter().map(|field| FieldError::forbidden(field, UNKNOWN)));
    schema::drop_nulls(schema, &mut template);
    schema::validate(schema, &template, None, AT, &mut errors);
    errors
}

/// A write with the revision that it makes, in one transaction.
pub(crate) async fn with_revision(app: &App, kind: &Kind, op: Op) -> ApiResult<Vec<Op>> {
    let made = match &op {
        Op::Put { key, body, .. } if kind.is_builtin(OWN_GROUP, "definitions") => {
            definitions::newest(body).map(|number| {
                let revision = definitions::revision_key(key.namespace.as_deref(), &key.name, number);
                let uid = uuid::Uuid::new_v4().to_string();
                (revision, definitions::revision_object(body, number, Timestamp::now(), &uid))
            })
        }
        _ => None,
    };
    let mut ops = vec![op];
    if let Some((key, body)) = made
        && app.store.get(&key).await?.is_none()
    {
        ops.push(Op::Put { key, body, precondition: Precondition::Absent, edges: None, wake: None });
    }
    Ok(ops)
}

/// The Definitions among the references of an object.
fn used(edges: &[Edge]) -> Vec<&Key> {
    edges.iter().filter(|edge| is_use(&edge.field)).map(|edge| &edge.to).filter(|to| is_definition(to)).collect()
}

fn is_use(field: &str) -> bool {
    matches!(field, PINS | TRACKS)
}

fn is_definition(key: &Key) -> bool {
    key.resource == definitions::definition_key(None, "").resource
}

/// Has the Definitions counted again that an object uses now and did not before, or the other way round; `before` are the references that it had.
pub(crate) async fn tell(app: &App, key: &Key, before: &[Edge]) {
    let now = app.store.references(key).await.unwrap_or_default();
    let (now, before) = (used(&now), used(before));
    let changed = before.iter().filter(|key| !now.contains(key)).chain(now.iter().filter(|key| !before.contains(key)));
    for key in changed {
        let Ok(Some(definition)) = app.store.get(key).await else { continue };
        // What is not woken now looks by itself, later.
        match app.store.wake(std::slice::from_ref(&definition.uid), Class::Resync).await {
            Ok(()) => app.ring(&definition.uid, Class::Resync),
            Err(error) => tracing::debug!(%error, "a Definition does not count its users at once"),
        }
    }
}

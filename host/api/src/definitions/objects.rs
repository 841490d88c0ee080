//! An object that says `spec.definition`, on its way into the store.

use serde_json::Value;
use threeport_store::definitions::{self, Found, Revision, USED, Wish};
use threeport_store::lifecycle::{self, Part};
use threeport_store::{Edge, Key};

use super::revisions;
use crate::registry::{Kind, Kinds, OWN_GROUP};
use crate::resources::{OBJECT_LIMIT, judge, refuse};
use crate::router::App;
use crate::schema::{self, ErrorKind, FieldError};
use crate::status::ApiResult;

/// What is said of a field of a Definition that the kind does not have.
pub(super) const UNKNOWN: &str = "unknown field";

/// What validation makes of an object.
pub(crate) struct Admitted {
    /// Whom it refers to; None leaves that as it is.
    pub(crate) edges: Option<Vec<Edge>>,
    /// For the client.
    pub(crate) warnings: Vec<String>,
}

/// Whether an object leaves part of its spec to a Definition: then it keeps its nulls, which take away what that says, and gets no defaults, which
/// would hide it.
pub(crate) fn is_partial(kind: &Kind, object: &Value) -> bool {
    kind.partial.is_some() && object.pointer("/spec/definition").is_some_and(Value::is_object)
}

/// Judges an object as it would be stored, by its whole spec, and notes on it which revision that is of.
pub(crate) async fn admit(
    app: &App,
    kinds: &Kinds,
    kind: &Kind,
    body: &mut Value,
    old: Option<&Value>,
    part: Part,
) -> ApiResult<Admitted> {
    if kind.is_builtin(OWN_GROUP, "definitions") && part != Part::Status {
        return revisions::admit(app, kinds, kind, body, old, part).await;
    }
    let judged = match definitions::wish(body).filter(|_| part != Part::Status && is_partial(kind, body)) {
        Some(wish) => with_definition(app, kinds, kind, body, old, part, &wish).await?,
        None => {
            // A definition without a name: that is said, and not what it would have said itself.
            let partial = kind.partial.as_ref().filter(|_| is_partial(kind, body));
            let before = before(app, kind, old).await?;
            let (edges, errors) =
                judge(app, kinds, kind, partial.unwrap_or(&kind.schema), body, before.as_ref().or(old), part).await?;
            refuse(kind, body, &errors)?;
            Judged { used: None, edges, warnings: Vec::new() }
        }
    };
    if part == Part::Status {
        return Ok(Admitted { edges: None, warnings: Vec::new() });
    }
    if kind.partial.is_some() {
        definitions::annotate(body, USED, judged.used);
        if let Some(old) = old
            && definitions::used(old) != judged.used
            && old["metadata"]["generation"] == body["metadata"]["generation"]
        {
            lifecycle::raise_generation(body);
        }
    }
    if let Some(circle) = app.store.circle(&key_of(kind, body), &judged.edges) {
        let detail = circle.to_string();
        let detail = detail.strip_prefix(&format!("{}: ", circle.field)).unwrap_or(&detail);
        refuse(kind, body, &[FieldError::forbidden(&circle.field, detail)])?;
    }
    let edges = (kind.partial.is_some() || !kind.references.is_empty()).then_some(judged.edges);
    Ok(Admitted { edges, warnings: judged.warnings })
}

struct Judged {
    /// The revision that it was judged with.
    used: Option<u64>,
    edges: Vec<Edge>,
    warnings: Vec<String>,
}

async fn with_definition(
    app: &App,
    kinds: &Kinds,
    kind: &Kind,
    body: &Value,
    old: Option<&Value>,
    part: Part,
    wish: &Wish,
) -> ApiResult<Judged> {
    let namespace = body.pointer("/metadata/namespace").and_then(Value::as_str);
    let before = before(app, kind, old).await?;
    let before = before.as_ref().or(old);
    let judge_with = async |revision: &Revision| {
        let (whole, unknown) = complete(kind, body, revision);
        let mut errors: Vec<FieldError> = unknown.into_iter().map(|it| FieldError::forbidden(it, UNKNOWN)).collect();
        if whole.to_string().len() > OBJECT_LIMIT {
            let detail = format!("with it the object is larger than {OBJECT_LIMIT} bytes");
            errors.push(FieldError::forbidden("spec.definition", detail));
        }
        let (mut edges, wrong) = judge(app, kinds, kind, &kind.schema, &whole, before, part).await?;
        errors.extend(wrong);
        explain(&mut errors, body, revision);
        edges.extend(definitions::edges(namespace, wish, Some(revision.number)));
        ApiResult::Ok((edges, errors))
    };
    let mut warnings = Vec::new();
    match definitions::find(&app.store, namespace, wish, &kind.resource.group, &kind.kind).await? {
        Found::Revision(revision) => {
            let (edges, errors) = judge_with(&revision).await?;
            if errors.is_empty() {
                return Ok(Judged { used: Some(revision.number), edges, warnings });
            }
            // An object that follows is held against the revision that it has, too: one that does not fit must not make it unchangeable.
            let kept = match old.filter(|old| wish.revision.is_none() && definitions::wish(old).as_ref() == Some(wish))
            {
                Some(old) => definitions::in_use(&app.store, old).await?.filter(|kept| kept.number != revision.number),
                None => None,
            };
            if let Some(kept) = kept {
                let (edges, of_kept) = judge_with(&kept).await?;
                if of_kept.is_empty() {
                    let message =
                        threeport_store::definitions::does_not_fit(&revision, Some(kept.number), &texts(&errors));
                    warnings.push(message);
                    return Ok(Judged { used: Some(kept.number), edges, warnings });
                }
            }
            refuse(kind, body, &errors)?;
            Ok(Judged { used: Some(revision.number), edges, warnings })
        }
        Found::Missing { message, .. } => {
            let partial = kind.partial.as_ref().unwrap_or(&kind.schema);
            let (mut edges, errors) = judge(app, kinds, kind, partial, body, before, part).await?;
            refuse(kind, body, &errors)?;
            edges.extend(definitions::edges(namespace, wish, None));
            warnings.push(format!("{message}; until then it waits"));
            Ok(Judged { used: None, edges, warnings })
        }
        Found::Never { field, message } => {
            let value = field.rsplit('.').next().map_or(&Value::Null, |name| &body["spec"]["definition"][name]);
            refuse(kind, body, &[FieldError::invalid(field, value, message)])?;
            Ok(Judged { used: None, edges: Vec::new(), warnings })
        }
    }
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// The stored object with its whole spec, for rules that compare.
async fn before(app: &App, kind: &Kind, old: Option<&Value>) -> ApiResult<Option<Value>> {
    let Some(old) = old.filter(|old| is_partial(kind, old)) else { return Ok(None) };
    Ok(definitions::in_use(&app.store, old).await?.map(|revision| complete(kind, old, &revision).0))
}

/// The object with its whole spec, defaults included, and the fields of it that the kind does not have.
pub(super) fn complete(kind: &Kind, object: &Value, revision: &Revision) -> (Value, Vec<String>) {
    let mut whole = definitions::whole(object, revision);
    let mut unknown = Vec::new();
    schema::prune(&kind.schema, &mut whole, "", &mut unknown);
    schema::drop_nulls(&kind.schema, &mut whole);
    schema::apply_defaults(&kind.schema, &mut whole);
    (whole, unknown)
}

/// Says of each bad field that the object does not set itself where it comes from.
pub(super) fn explain(errors: &mut [FieldError], object: &Value, revision: &Revision) {
    let of = format!("from revision {} of Definition \"{}\"", revision.number, revision.name);
    for error in errors.iter_mut().filter(|error| error.kind != ErrorKind::Required && !says(object, &error.field)) {
        error.detail = if error.detail.is_empty() { of.clone() } else { format!("{} ({of})", error.detail) };
    }
}

/// Whether an object has a field, or the list that it is in.
fn says(object: &Value, field: &str) -> bool {
    let mut value = object;
    for step in field.split('.') {
        let (name, in_list) = step.split_once('[').map_or((step, false), |(name, _)| (name, true));
        match value.get(name) {
            Some(_) if in_list => return true,
            Some(inner) => value = inner,
            None => return false,
        }
    }
    true
}

/// Where an object is to be stored.
pub(super) fn key_of(kind: &Kind, object: &Value) -> Key {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    Key {
        resource: kind.resource.clone(),
        namespace: text("/metadata/namespace").filter(|_| kind.namespaced).map(Into::into),
        name: text("/metadata/name").unwrap_or_default().into(),
    }
}

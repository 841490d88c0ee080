//! create, update and patch.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use threeport_store::lifecycle::{self, FINALIZER, Part};
use threeport_store::{Class, Key, Object, Op, Precondition};

use super::options::{Options, Write};
use super::{
    about, admit, after, answer, apply, builtin, existing, key, key_of, managers, metadata, owners, place, value_of,
};
use crate::accept;
use crate::definitions;
use crate::managed::Entries;
use crate::patch::Patch;
use crate::registry::{CRD_GROUP, CRD_PLURAL, Kind};
use crate::router::{App, Call};
use crate::status::{ApiError, ApiResult};

/// Largest object.
pub(crate) const OBJECT_LIMIT: usize = 1_572_864;
/// How many generated names are tried.
const NAMES: usize = 8;
/// How often a patch is tried again when others write at the same time.
pub(super) const ATTEMPTS: usize = 10;

/// POST to a collection.
pub(crate) async fn create(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    accept::output(&call.headers)?;
    let kind = call.kind.clone();
    if kind.namespaced && call.namespace.is_none() {
        return Err(ApiError::bad_request(
            "an object of a namespaced kind is created in a namespace: POST to namespaces/NAME/...",
        ));
    }
    let options = Options::parse(Write::Create, &call.query, &call.headers)?;
    fits(call.body.len())?;
    let (mut body, twice) = accept::decode_strictly(&accept::content_type(&call.headers), &call.body)?;
    let options = Options { twice, ..options };
    let sent = managers::take_sent(&call.kind, &mut body, None)?;
    add(app, &call, &options, body, |app, body| managers::of_new(app, &call, &options, body, sent)).await
}

/// Writes a new object; `managed` tells its managers when it is complete.
pub(super) async fn add(
    app: &Arc<App>,
    call: &Call,
    options: &Options,
    mut body: Value,
    managed: impl FnOnce(&App, &Value) -> Entries,
) -> ApiResult<Response> {
    let kind = &call.kind;
    admit::identify(kind, call.namespace.as_deref(), call.name.as_deref(), &mut body)?;
    let generated = generate_name(&mut body);
    let mut warnings = admit::complete(kind, options.validation, &mut body, &options.twice)?;
    warnings.extend(owners::once(&mut body["metadata"]));
    warnings.extend(metadata::warnings(&body["metadata"], None));
    if body["metadata"]["resourceVersion"].as_str().is_some_and(|v| !v.is_empty()) {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let mut body = lifecycle::create(body, app.store.now(), &uid, kind.has_status);
    admit::count_generations(kind, &mut body);
    let managed = managed(app, &body);
    if kind.reconciled {
        add_finalizer(&mut body);
    }
    let admitted = definitions::admit(app, &app.registry.kinds(), kind, &mut body, None, whole_or_main(kind)).await?;
    warnings.extend(admitted.warnings);
    app.auth.rbac().check_grant(&call.user, kind, call.namespace.as_deref(), &body, None)?;
    builtin::host_status(app, kind, &mut body);
    managers::set(&mut body, managed);
    if let Some(view) = &kind.view {
        view.store(&mut body);
    }
    // With defaults and managers it is more than what was sent; what is larger now could never be changed again.
    if call.body.len() > OBJECT_LIMIT / 2 {
        fits(body.to_string().len())?;
    }

    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let key = key_of(kind, call.namespace.as_deref(), &name);
    if let Some(namespace) = &call.namespace {
        place::open_namespace(app, kind, namespace, &name).await?;
    }
    if options.dry_run {
        if app.store.get(&key).await?.is_some() {
            return Err(ApiError::already_exists(&kind.resource, &name));
        }
        return answer(call, StatusCode::CREATED, &Bytes::from(body.to_string()), &warnings);
    }
    let wake = kind.reconciled.then_some(Class::User);
    let edges = admitted.edges;
    let op =
        |key: Key, body: Value| Op::Put { key, body, precondition: Precondition::Absent, edges: edges.clone(), wake };
    // The client did not choose a generated name: if it is taken, another one is as good.
    let spare = generated.then(|| body.clone());
    let mut result = put(app, kind, op(key, body)).await;
    if let Some(mut body) = spare {
        for _ in 1..NAMES {
            match &result {
                Err(error) if error.reason == "AlreadyExists" => {}
                _ => break,
            }
            body["metadata"]["name"] = "".into();
            generate_name(&mut body);
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            result = put(app, kind, op(key_of(kind, call.namespace.as_deref(), &name), body.clone())).await;
        }
    }
    let stored = result?;
    Ok(about(answer(call, StatusCode::CREATED, &stored.body, &warnings)?, &stored.key.name))
}

/// PUT of an object or of its status.
pub(crate) async fn update(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    accept::output(&call.headers)?;
    let kind = call.kind.clone();
    fits(call.body.len())?;
    let options = Options::parse(Write::Update, &call.query, &call.headers)?;
    let (sent, twice) = accept::decode_strictly(&accept::content_type(&call.headers), &call.body)?;
    let options = Options { twice, ..options };
    let named = sent["metadata"]["resourceVersion"].as_str().is_some_and(|v| !v.is_empty() && v != "0");
    if !named && !kind.builtin {
        let error = crate::schema::FieldError::invalid(
            "metadata.resourceVersion",
            &0.into(),
            "must be specified for an update",
        );
        let name = call.name.as_deref().unwrap_or_default();
        return Err(ApiError::invalid(&kind.resource.group, &kind.resource.plural, name, &[error]));
    }
    match change(app, &call, &options, named, |_old| Ok(sent.clone())).await {
        Err(error) if error.code == StatusCode::NOT_FOUND && !call.status && builtin::made_by_update(&kind) => {
            apply::may_create(app, &call)?;
            let mut body = sent;
            let sent = managers::take_sent(&call.kind, &mut body, None)?;
            add(app, &call, &options, body, |app, body| managers::of_new(app, &call, &options, body, sent)).await
        }
        result => result,
    }
}

/// PUT of a namespace's `finalize`: what holds it in its spec.
pub(crate) async fn finalize(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    update(app, Call { finalize: true, ..call }).await
}

/// PATCH of an object or of its status.
pub(crate) async fn patch(app: &Arc<App>, call: Call) -> ApiResult<Response> {
    accept::output(&call.headers)?;
    let content_type = accept::content_type(&call.headers);
    if content_type == Patch::APPLY {
        return apply::apply(app, call).await;
    }
    let patch = Patch::decode(&call.kind, &content_type, &call.body)?;
    let mut options = Options::parse(Write::Patch, &call.query, &call.headers)?;
    if !patch.is_json() {
        options.twice = crate::strict::read(&call.body).map(|(_, twice)| twice).unwrap_or_default();
    }
    let api_version = call.kind.api_version.clone();
    change(app, &call, &options, patch.names_version(), |old| {
        // A JSON patch names what is there; the others need not carry the managers along.
        let mut old = if patch.is_json() { old.clone() } else { managers::without(old) };
        old["apiVersion"] = (&*api_version).into();
        patch.apply(&call.kind, old)
    })
    .await
}

/// Reads, changes and writes; again if somebody else wrote meanwhile, unless the client named the version it means.
pub(super) async fn change(
    app: &Arc<App>,
    call: &Call,
    options: &Options,
    named: bool,
    make: impl Fn(&Value) -> ApiResult<Value>,
) -> ApiResult<Response> {
    let mut attempt = 1;
    loop {
        match change_once(app, call, options, &make).await {
            Err(error) if error.is_lost_race() && !named && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

async fn change_once(
    app: &Arc<App>,
    call: &Call,
    options: &Options,
    make: impl Fn(&Value) -> ApiResult<Value>,
) -> ApiResult<Response> {
    let stored = existing(app, &call.kind, &key(call)?).await?;
    let mut old = value_of(&call.kind, &stored);
    let mut body = make(&old)?;
    let there = managers::take(&mut old);
    let sent = managers::take_sent(&call.kind, &mut body, there.as_ref())?;
    let there = managers::base(call, sent, there);
    replace(app, call, options, stored, old, body, |app, old, body| {
        managers::of_changed(app, call, options, old, body, there)
    })
    .await
}

/// Writes what becomes of an object that is there; `managed` tells its managers when it is complete.
pub(super) async fn replace(
    app: &Arc<App>,
    call: &Call,
    options: &Options,
    stored: Object,
    old: Value,
    mut body: Value,
    managed: impl FnOnce(&App, &Value, &Value) -> Entries,
) -> ApiResult<Response> {
    let kind = &call.kind;
    admit::identify(kind, call.namespace.as_deref(), call.name.as_deref(), &mut body)?;
    expect_version(kind, &stored, &body)?;
    let mut warnings = admit::complete(kind, options.validation, &mut body, &options.twice)?;
    warnings.extend(owners::once(&mut body["metadata"]));
    warnings.extend(metadata::warnings(&body["metadata"], Some(&old["metadata"])));
    let part = part_of(call);
    let metadata = (part == Part::Status && kind.status_has_metadata()).then(|| body["metadata"].clone());
    let mut body = lifecycle::update(&old, body, part);
    if let Some(metadata) = metadata {
        builtin::describe(&mut body, &metadata);
    }
    if !call.finalize {
        builtin::keep(kind, &old, &mut body);
    }
    admit::count_generations(kind, &mut body);
    let managed = managed(app, &old, &body);
    let deleting = old["metadata"]["deletionTimestamp"].is_string();
    if kind.reconciled && !deleting {
        add_finalizer(&mut body);
    }
    let admitted = definitions::admit(app, &app.registry.kinds(), kind, &mut body, Some(&old), part).await?;
    warnings.extend(admitted.warnings);
    app.auth.rbac().check_grant(&call.user, kind, call.namespace.as_deref(), &body, Some(&old))?;
    if kind.is_builtin(CRD_GROUP, CRD_PLURAL) {
        // Also when somebody wrote the status: what the host says in it stands.
        builtin::host_status(app, kind, &mut body);
    }
    let wake = (kind.reconciled && part != Part::Status && matters(&old, &body)).then_some(Class::User);
    managers::set_changed(&mut body, managed, old, &stored);
    if let Some(view) = &kind.view {
        view.store(&mut body);
    }
    if call.body.len() + stored.body.len() > OBJECT_LIMIT {
        fits(body.to_string().len())?;
    }
    if options.dry_run {
        return answer(call, StatusCode::OK, &Bytes::from(body.to_string()), &warnings);
    }
    let precondition =
        Precondition::Present { uid: Some(stored.uid.clone()), resource_version: Some(stored.resource_version) };
    if lifecycle::finished(&body) {
        // The last one who held it has let go.
        remove(app, kind, stored.key, precondition).await?;
        return answer(call, StatusCode::OK, &Bytes::from(body.to_string()), &warnings);
    }
    let stored = put(app, kind, Op::Put { key: stored.key, body, precondition, edges: admitted.edges, wake }).await?;
    answer(call, StatusCode::OK, &stored.body, &warnings)
}

/// Writes one object, rings, and serves it at once if it defines a kind.
pub(super) async fn put(app: &Arc<App>, kind: &Kind, op: Op) -> ApiResult<Object> {
    let (woken, key) = match &op {
        Op::Put { wake, key, .. } => (wake.is_some(), key.clone()),
        _ => return Err(ApiError::internal("put writes nothing else")),
    };
    let before = app.store.references(&key).await.unwrap_or_default();
    let mut ops = place::room(kind, &op);
    ops.extend(definitions::with_revision(app, kind, op).await?);
    let stored = app.store.write(ops).await.map_err(|error| place::no_room(kind, &key.name, error))?;
    let stored = stored.into_iter().next().ok_or_else(|| ApiError::internal("the store gave no object back"))?;
    definitions::tell(app, &stored.key, &before).await;
    after::left(app, &before).await;
    after::written(app, kind, &stored, woken).await;
    Ok(stored)
}

/// Removes one object, rings for those that refer to it, and stops serving it if it defines a kind.
pub(super) async fn remove(app: &Arc<App>, kind: &Kind, key: Key, precondition: Precondition) -> ApiResult<Object> {
    let before = app.store.references(&key).await.unwrap_or_default();
    let op = Op::Remove { key: key.clone(), precondition };
    let removed =
        app.store.write(vec![op]).await?.pop().ok_or_else(|| ApiError::internal("the store gave no object back"))?;
    definitions::tell(app, &key, &before).await;
    after::left(app, &before).await;
    after::removed(app, kind, &key, removed.resource_version).await;
    Ok(removed)
}

/// A version or uid in the body must be that of the stored object.
fn expect_version(kind: &Kind, stored: &Object, body: &Value) -> ApiResult<()> {
    let given = |key: &str| body["metadata"][key].as_str().filter(|v| !v.is_empty());
    if given("uid").is_some_and(|uid| uid != &*stored.uid) {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            given("uid").unwrap_or_default(),
            stored.uid
        );
        return Err(ApiError::conflict(&kind.resource, &stored.key.name, &why));
    }
    match given("resourceVersion").filter(|v| *v != "0") {
        Some(version) if version != stored.resource_version.to_string() => Err(ApiError::conflict(
            &kind.resource,
            &stored.key.name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )),
        _ => Ok(()),
    }
}

/// Whether a reconciler has to look: the desired state, labels or annotations changed.
fn matters(old: &Value, new: &Value) -> bool {
    ["generation", "labels", "annotations", "finalizers"].iter().any(|f| old["metadata"][*f] != new["metadata"][*f])
}

/// What of the object a call writes.
pub(super) fn part_of(call: &Call) -> Part {
    if call.status { Part::Status } else { whole_or_main(&call.kind) }
}

fn whole_or_main(kind: &Kind) -> Part {
    if kind.has_status { Part::Main } else { Part::Whole }
}

fn add_finalizer(body: &mut Value) {
    let finalizers = &mut body["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(list) if list.iter().any(|f| f == FINALIZER) => {}
        Some(list) => list.push(FINALIZER.into()),
        None => *finalizers = Value::Array(vec![FINALIZER.into()]),
    }
}

/// Refuses an object of more bytes than the limit.
pub(crate) fn fits(size: usize) -> ApiResult<()> {
    if size <= OBJECT_LIMIT {
        return Ok(());
    }
    Err(ApiError::too_large(format!("the object is too large: limit is {OBJECT_LIMIT} bytes")))
}

/// `generateName` makes a name of five letters and digits that cannot form words; answers whether it did.
fn generate_name(body: &mut Value) -> bool {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let metadata = &mut body["metadata"];
    if metadata["name"].as_str().is_some_and(|n| !n.is_empty()) {
        return false;
    }
    let Some(prefix) = metadata["generateName"].as_str().filter(|p| !p.is_empty()) else { return false };
    let random = uuid::Uuid::new_v4();
    let suffix = random.as_bytes()[..5].iter().map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()]));
    let name: String = prefix.chars().take(58).chain(suffix).collect();
    metadata["name"] = name.into();
    true
}

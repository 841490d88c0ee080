//! get and list.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use threeport_store::{Error, ListQuery, Object, Scope};

use super::{answer, existing, key, parse, shown};
use crate::accept::{self, Output};
use crate::router::{App, Call};
use crate::schema::{ErrorKind, FieldError};
use crate::selector::Filter;
use crate::status::{ApiError, ApiResult, json_response};
use crate::table::{self, Include};

/// How many objects are read at once while a selector looks for its page.
const CHUNK: usize = 1000;

/// GET of one object: the stored bytes.
pub(crate) async fn get(app: &Arc<App>, call: &Call) -> ApiResult<Response> {
    let object = existing(app, &call.kind, &key(call)?).await?;
    answer(call, StatusCode::OK, &shown(&call.kind, &object), &[])
}

/// Where a page ended, and what it is a page of.
#[derive(Serialize, Deserialize)]
struct Continue {
    /// Version of the list; None: not of one.
    rv: Option<u64>,
    ns: Option<Arc<str>>,
    name: Arc<str>,
}

/// A page as it was found.
pub(super) struct Page {
    pub items: Vec<Object>,
    pub version: u64,
    next: Option<(Option<Arc<str>>, Arc<str>)>,
    remaining: Option<usize>,
}

/// GET of a collection.
pub(crate) async fn list(app: &Arc<App>, call: &Call) -> ApiResult<Response> {
    Ok(json_response(StatusCode::OK, select(app, call).await?.render(call)?))
}

/// What a call's query selects of a collection.
pub(super) struct Selected {
    page: Page,
    output: Output,
    /// Everything is selected.
    trivial: bool,
}

/// Finds what a call selects.
pub(super) async fn select(app: &App, call: &Call) -> ApiResult<Selected> {
    let output = accept::output(&call.headers)?;
    let query = &call.query;
    let filter = Filter::parse(&call.kind, query.get("labelSelector"), query.get("fieldSelector"))?;
    let limit = query.number("limit")?.filter(|l| *l > 0).and_then(|l| usize::try_from(l).ok());
    check_options(call)?;
    let version = query.version("resourceVersion")?;
    let (after, at) = match query.get("continue") {
        Some(_) if version.is_some_and(|version| version > 0) => {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        Some(token) => {
            let token = decode(token)?;
            // A token that does not say goes on in what is there now.
            (Some((token.ns, token.name)), token.rv)
        }
        None => (None, as_of(app, call, version, limit)?),
    };
    let start = after.clone();
    let page = page(app, call, &filter, limit, after, at).await.map_err(|error| match error {
        Error::Gone { asked, newest, .. } if asked <= newest => match start {
            None => ApiError::gone(format!("The resourceVersion for the provided list is too old: {asked}.")),
            Some((ns, name)) => ApiError::gone(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the \
                 continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with \
                 the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time \
                 the first chunk was returned and now may show up in the list.",
            )
            .continue_with(encode(&Continue { rv: None, ns, name })),
        },
        other => other.into(),
    })?;
    Ok(Selected { page, output, trivial: filter.is_trivial() })
}

impl Selected {
    pub(super) fn items(&self) -> &[Object] {
        &self.page.items
    }

    /// The list as the client wants it.
    pub(super) fn render(self, call: &Call) -> ApiResult<Bytes> {
        let (kind, query) = (&call.kind, &call.query);
        let Self { page, output, trivial } = self;
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), page.version.to_string().into());
        if output == Output::Json && !kind.is_typed() {
            // Clients of custom kinds always get it.
            metadata.insert("continue".into(), "".into());
        }
        if let Some((ns, name)) = page.next {
            metadata.insert("continue".into(), encode(&Continue { rv: Some(page.version), ns, name }).into());
            if let Some(remaining) = page.remaining.filter(|_| trivial) {
                metadata.insert("remainingItemCount".into(), remaining.into());
            }
        }
        let metadata = Value::Object(metadata);
        Ok(match output {
            Output::Json => whole(call, &page.items, &metadata),
            Output::Table => {
                let (include, now) = (Include::parse(query.get("includeObject"))?, Timestamp::now());
                let rows = page
                    .items
                    .iter()
                    .map(|object| Ok(table::row(kind, parse(&shown(kind, object))?, include, now)))
                    .collect::<ApiResult<Vec<_>>>()?;
                Bytes::from(table::table(table::columns(kind), rows, &metadata).to_string())
            }
            Output::Metadata => {
                let items = page
                    .items
                    .iter()
                    .map(|object| Ok(table::metadata_only(&parse(&object.body)?)))
                    .collect::<ApiResult<Vec<_>>>()?;
                let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items});
                Bytes::from(list.to_string())
            }
        })
    }
}

/// 422 for parameters that cannot go together.
fn check_options(call: &Call) -> ApiResult<()> {
    let query = &call.query;
    let mut errors = Vec::new();
    if let Some(matching) = query.get("resourceVersionMatch") {
        let mut forbidden = |why: &str| errors.push(FieldError::forbidden("resourceVersionMatch", why));
        if query.get("resourceVersion").is_none() {
            forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.get("continue").is_some() {
            forbidden("resourceVersionMatch is forbidden when continue is provided");
        }
        if matching == "Exact" && query.get("resourceVersion") == Some("0") {
            forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let detail = "supported values: \"Exact\", \"NotOlderThan\", \"\"";
            let given = Some(matching.into());
            errors.push(FieldError::new(ErrorKind::NotSupported, "resourceVersionMatch", given, detail));
        }
    }
    if query.get("sendInitialEvents").is_some() {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    if errors.is_empty() { Ok(()) } else { Err(query.invalid(&errors)) }
}

/// The snapshot that was asked for, if an exact one was.
fn as_of(app: &App, call: &Call, version: Option<u64>, limit: Option<usize>) -> ApiResult<Option<u64>> {
    let Some(version) = version.filter(|version| *version > 0) else { return Ok(None) };
    let exact = match call.query.get("resourceVersionMatch") {
        Some("Exact") => true,
        // Pages have always been of the version that was named with them.
        None => limit.is_some(),
        Some(_) => false,
    };
    if version > app.store.version() {
        return Err(Error::Gone { asked: version, oldest: 0, newest: app.store.version() }.into());
    }
    Ok(exact.then_some(version))
}

/// The objects that a call selects.
pub(super) async fn page(
    app: &App,
    call: &Call,
    filter: &Filter,
    limit: Option<usize>,
    mut after: Option<(Option<Arc<str>>, Arc<str>)>,
    mut at: Option<u64>,
) -> Result<Page, Error> {
    let namespace = call.namespace.as_deref().or(filter.namespace.as_deref().filter(|_| call.kind.namespaced));
    let scope = Scope { resource: call.kind.stored.clone(), namespace: namespace.map(Into::into) };
    if filter.is_trivial() {
        let list = app.store.list(ListQuery { scope, limit, after, at }).await?;
        let next = (list.remaining > 0).then(|| list.items.last().map(position)).flatten();
        return Ok(Page { items: list.items, version: list.resource_version, next, remaining: Some(list.remaining) });
    }
    let mut items = Vec::new();
    loop {
        let query = ListQuery { scope: scope.clone(), limit: limit.map(|_| CHUNK), after: after.take(), at };
        let list = app.store.list(query).await?;
        // Every further part is of the same snapshot.
        at = Some(list.resource_version);
        let count = list.items.len();
        for (index, object) in list.items.into_iter().enumerate() {
            after = Some(position(&object));
            if filter.matches(&object) {
                items.push(object);
            }
            if limit.is_some_and(|l| items.len() >= l) && (index + 1 < count || list.remaining > 0) {
                return Ok(Page { items, version: list.resource_version, next: after, remaining: None });
            }
        }
        if list.remaining == 0 {
            return Ok(Page { items, version: list.resource_version, next: None, remaining: None });
        }
    }
}

fn position(object: &Object) -> (Option<Arc<str>>, Arc<str>) {
    (object.key.namespace.clone(), object.key.name.clone())
}

/// A list put together from the stored bytes.
fn whole(call: &Call, items: &[Object], metadata: &Value) -> Bytes {
    let kind = &call.kind;
    let mut out = Vec::with_capacity(256 + items.iter().map(|o| o.body.len() + 1).sum::<usize>());
    let head =
        format!(r#"{{"apiVersion":"{}","kind":"{}","metadata":{metadata},"items":["#, kind.api_version, kind.list_kind);
    out.extend_from_slice(head.as_bytes());
    for (index, object) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let body = shown(kind, object);
        match kind.is_typed().then(|| untyped(&body)).flatten() {
            Some(item) => out.extend_from_slice(&item),
            None => out.extend_from_slice(&body),
        }
    }
    out.extend_from_slice(b"]}");
    Bytes::from(out)
}

/// An object as Kubernetes lists its own kinds: what the list is of is said once. Typed clients would otherwise hold other objects after a list
/// than after a watch.
fn untyped(body: &[u8]) -> Option<Vec<u8>> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    fields.remove("apiVersion");
    fields.remove("kind");
    serde_json::to_vec(&fields).ok()
}

fn encode(token: &Continue) -> String {
    URL_SAFE_NO_PAD.encode(json!(token).to_string())
}

fn decode(token: &str) -> ApiResult<Continue> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| ApiError::bad_request("invalid continue token: continue key is not valid"))
}

//! Who may delete an object with its dependants: whoever may delete those.

use std::collections::HashSet;

use threeport_store::Key;

use crate::auth::{Attributes, Resource, User};
use crate::router::App;
use crate::status::ApiResult;

/// 403 unless the user may delete everything that needs one of these objects, or needs what does. Those in a namespace that goes as a whole go with it.
pub(super) async fn allowed(app: &App, user: &User, objects: Vec<Key>, inside: Option<&str>) -> ApiResult<()> {
    if user.is_superuser() {
        return Ok(());
    }
    let mut known: HashSet<Key> = objects.iter().cloned().collect();
    let mut ahead = objects;
    while let Some(key) = ahead.pop() {
        for (dependant, edge) in app.store.dependants(&key).await? {
            if !edge.is_needed() || !known.insert(dependant.clone()) {
                continue;
            }
            if inside.is_none() || dependant.namespace.as_deref() != inside {
                may_delete(app, user, &dependant, &key)?;
            }
            ahead.push(dependant);
        }
    }
    Ok(())
}

fn may_delete(app: &App, user: &User, dependant: &Key, needed: &Key) -> ApiResult<()> {
    let resource = Resource {
        group: &dependant.resource.group,
        resource: &dependant.resource.plural,
        namespace: dependant.namespace.as_deref().unwrap_or_default(),
        name: &dependant.name,
        ..Resource::default()
    };
    let attributes = Attributes::on("delete", resource);
    let verdict = app.auth.rbac().decide(user, &attributes);
    if verdict.allowed() {
        return Ok(());
    }
    let mut refused = attributes.forbidden(user, &verdict.reason());
    refused.message = format!("{}; it needs {needed}, and would be deleted with it", refused.message);
    Err(refused)
}

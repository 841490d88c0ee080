//! Which components are still wanted: the rest is collected, as bytes and as compiled code.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use threeport_store::{Error, ListQuery, Scope, Store};

use crate::backoff::jittered;
use crate::host::Host;
use crate::kinds::plugins;
use crate::serving::history;

/// Digests that a Plugin names: what it wants, what serves, and what served before and can be gone back to.
fn named(plugin: &Value) -> impl Iterator<Item = &str> {
    let one = |pointer: &str| plugin.pointer(pointer).and_then(Value::as_str);
    [one("/spec/component"), one("/status/digest")].into_iter().flatten().chain(history(plugin))
}

async fn all_named(store: &Store) -> Result<BTreeSet<String>, Error> {
    let scope = Scope { resource: plugins(), namespace: None };
    let plugins = store.list(ListQuery { scope, limit: None, after: None, at: None }).await?;
    Ok(plugins.items.iter().flat_map(|plugin| named(&plugin.value()).map(str::to_owned).collect::<Vec<_>>()).collect())
}

async fn sweep(host: &Host) -> Result<(), Error> {
    let keep = all_named(&host.store).await?;
    let blobs = host.store.collect_blobs(keep.iter().cloned().collect(), host.config.blob_grace).await?;
    let compiled = match host.serving.runtime.keep_compiled(keep.iter().map(String::as_str)).await {
        Ok(compiled) => compiled,
        Err(error) => {
            tracing::warn!("compiled components that nobody needs are not removed: {error}");
            0
        }
    };
    if blobs + compiled > 0 {
        tracing::info!(blobs, compiled, "components that no Plugin names were removed");
    }
    Ok(())
}

/// Collects now and then, for ever.
pub(crate) async fn collect(host: Arc<Host>) {
    loop {
        tokio::time::sleep(jittered(host.config.blob_sweep)).await;
        if let Err(error) = sweep(&host).await {
            tracing::warn!("components that no Plugin names are not collected: {error}; it is tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plugin_names_what_it_wants_what_serves_and_what_served() {
        let plugin = json!({"spec": {"component": "new"}, "status": {"digest": "now", "history": ["now", "before", "long ago"]}});
        assert_eq!(named(&plugin).collect::<Vec<_>>(), ["new", "now", "now", "before", "long ago"]);
    }
}

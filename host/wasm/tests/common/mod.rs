//! Guests that were built, and a host that knows nothing to let them read.
#![allow(dead_code, unreachable_pub, reason = "each test binary includes it and uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use threeport_wasm::{Capabilities, Listing, Object, ObjectRef, Page, Problem, Query, Request};

/// The bytes of a guest that `plugins/build` left.
pub fn guest(name: &str) -> Vec<u8> {
    let built = option_env!("CARGO_TARGET_DIR")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into(), PathBuf::from);
    let directory = std::env::var_os("THREEPORT_GUESTS").map_or_else(|| built.join("plugins"), PathBuf::from);
    let path = directory.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run plugins/build", path.display()))
}

/// Bytes of this process in memory.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A request for an object of the test kinds.
pub fn request(kind: &str, spec: serde_json::Value) -> Request {
    let reference = ObjectRef {
        api_version: "test.threeport.dev/v1".into(),
        kind: kind.into(),
        namespace: Some("shop".into()),
        name: "one".into(),
    };
    let body = serde_json::json!({
        "apiVersion": reference.api_version, "kind": kind,
        "metadata": {"name": "one", "namespace": "shop", "uid": "u", "generation": 1},
        "spec": spec,
    });
    Request {
        object: Object {
            ref_: reference,
            uid: "u".into(),
            resource_version: "1".into(),
            generation: 1,
            deleting: false,
            body: body.to_string(),
        },
        references: vec![],
        children: vec![],
        observed: vec![],
        probed: vec![],
        memory: None,
        attempt: 0,
        reason: "changed".into(),
        extensions: vec![],
    }
}

/// Opens everything, has nothing; its version takes as long as it is told.
#[derive(Default)]
pub struct Empty {
    /// How long `version` takes.
    pub slow: Duration,
    /// Whether `version` panics.
    pub panics: bool,
    /// Lines and bytes that were logged.
    pub logged: Mutex<(usize, usize)>,
}

impl Empty {
    /// At once.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

#[async_trait]
impl Capabilities for Empty {
    async fn open(&self, _: ObjectRef) -> Result<u32, Problem> {
        Ok(1)
    }
    async fn get(&self, _: u32, _: ObjectRef, _: Vec<String>) -> Result<Option<Object>, Problem> {
        Ok(None)
    }
    async fn list(&self, _: u32, _: Query) -> Result<Page, Problem> {
        Ok(Page { items: vec![], token: None })
    }
    async fn has_kind(&self, _: u32, _: String, _: String) -> Result<bool, Problem> {
        Ok(false)
    }
    async fn version(&self, _: u32) -> Result<String, Problem> {
        assert!(!self.panics, "the host's own fault");
        tokio::time::sleep(self.slow).await;
        Ok("v1.36.0".into())
    }
    async fn state_get(&self, _: ObjectRef) -> Result<Option<Object>, Problem> {
        Ok(None)
    }
    async fn state_list(
        &self,
        _: String,
        _: String,
        _: Option<String>,
        _: Option<String>,
        _: u32,
        _: Option<String>,
    ) -> Result<Listing, Problem> {
        Ok(Listing { items: vec![], token: None })
    }
    fn log(&self, _: &str, message: &str, _: &[(String, String)]) {
        let mut logged = self.logged.lock().unwrap();
        *logged = (logged.0 + 1, logged.1 + message.len());
    }
}

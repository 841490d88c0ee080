//! The wasm part of a no-op reconcile: from a fresh instance to the plan, with the real workload plugin. The aim is a median of 100 µs.
//!
//! Prints the median and the 99th percentile of single runs besides criterion's estimate of the mean.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Empty, guest};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use threeport_wasm::{Entry, Limits, Object, ObjectRef, Observed, Plugin, Request, Resolved, ResolvedObject, Runtime};

fn object(body: &serde_json::Value) -> Object {
    let text = |pointer: &str| body.pointer(pointer).and_then(|value| value.as_str()).map(str::to_owned);
    Object {
        ref_: ObjectRef {
            api_version: text("/apiVersion").unwrap(),
            kind: text("/kind").unwrap(),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name").unwrap(),
        },
        uid: "6f5902ac-237d-4a1e-8f6a-0c4f6f0f8f61".into(),
        resource_version: "4711".into(),
        generation: 1,
        deleting: false,
        body: body.to_string(),
    }
}

/// A Workload as it is when nothing has to be done: its Deployment is healthy.
fn settled() -> Request {
    let workload = json!({
        "apiVersion": "threeport.dev/v1", "kind": "Workload",
        "metadata": {"name": "web", "namespace": "shop", "generation": 1, "uid": "6f5902ac-237d-4a1e-8f6a-0c4f6f0f8f61"},
        "spec": {
            "cluster": "prod", "image": "registry.example/web:1.27", "replicas": 2, "imagePullPolicy": "IfNotPresent",
            "ports": [{"name": "http", "containerPort": 8080, "servicePort": 80, "protocol": "TCP"}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "two"}],
            "readiness": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        },
        "status": {"replicas": 2, "readyReplicas": 2, "image": "registry.example/web:1.27"},
    });
    let cluster = json!({
        "apiVersion": "threeport.dev/v1", "kind": "Cluster", "metadata": {"name": "prod", "namespace": "shop", "generation": 1},
        "spec": {"adopt": {"kubeconfigSecret": {"name": "prod"}}},
        "status": {"version": "v1.36.0", "conditions": [{"type": "Ready", "status": "True", "reason": "Reachable", "message": "", "observedGeneration": 1}]},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "generation": 1},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"threeport.dev/workload": "web"}}, "template": {"metadata": {"labels": {"threeport.dev/workload": "web"}},
            "spec": {"containers": [{"name": "web", "image": "registry.example/web:1.27", "ports": [{"containerPort": 8080}], "env": [{"name": "A", "value": "1"}]}]}}},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
            "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability."}]},
    });
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.0.0.7", "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    let target = object(&cluster).ref_;
    let seen = |body: &serde_json::Value| Observed {
        target: target.clone(),
        object: object(body),
        health: "current".into(),
        message: String::new(),
        drifted: vec![],
        error: None,
        extensions: vec![],
    };
    Request {
        object: object(&workload),
        references: vec![Resolved {
            field: "spec.cluster".into(),
            objects: vec![ResolvedObject { object: object(&cluster), ready: true, outputs: vec![] }],
            missing: vec![],
        }],
        children: vec![],
        observed: vec![seen(&deployment), seen(&service)],
        probed: vec![],
        memory: None,
        attempt: 0,
        reason: "resync".into(),
        extensions: vec![],
    }
}

async fn run(plugin: &Plugin, request: Request, capabilities: &Arc<Empty>) -> Duration {
    let began = Instant::now();
    let answer = plugin.run(Entry::Reconcile, request, capabilities.clone()).await;
    let took = began.elapsed();
    let plan = answer.expect("the plugin answers").expect("with a plan");
    assert_eq!(plan.manifests.len(), 2);
    took
}

fn reconcile(criterion: &mut Criterion) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let capabilities = Empty::new();
    let plugin = tokio.block_on(async {
        let runtime = Runtime::new(Limits::default()).expect("an engine");
        runtime.load(guest("workload")).await.expect("the workload plugin loads")
    });
    let request = settled();
    tokio.block_on(async {
        let mut times = Vec::new();
        for _ in 0..6000 {
            times.push(run(&plugin, request.clone(), &capabilities).await);
        }
        let mut times = times.split_off(1000);
        times.sort();
        let at = |share: usize| times[times.len() * share / 100].as_nanos() as f64 / 1000.0;
        println!("no-op reconcile, fresh instance to plan: p50 {:.1} us, p99 {:.1} us", at(50), at(99));
    });
    criterion.bench_function("no-op reconcile, fresh instance to plan", |bencher| {
        bencher.to_async(&tokio).iter_custom(|times| {
            let (plugin, request, capabilities) = (&plugin, &request, &capabilities);
            async move {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    took += run(plugin, request.clone(), capabilities).await;
                }
                took
            }
        });
    });
}

criterion_group!(benches, reconcile);
criterion_main!(benches);

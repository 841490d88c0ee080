//! What does not answer, or asks for too much, holds up nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{ADMIN, cluster, config_map, target, until};
use crate::targets::{adopt, exists};
use crate::world::*;

/// Takes connections for a real API server, and as long as it hangs says nothing on them.
struct Way {
    port: u16,
    hangs: Arc<AtomicBool>,
    /// How many connections hang now.
    held: Arc<AtomicUsize>,
}

impl Way {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (hangs, held) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let way = Self { port, hangs: hangs.clone(), held: held.clone() };
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (hangs, held) = (hangs.clone(), held.clone());
                tokio::spawn(async move {
                    if hangs.load(Ordering::Acquire) {
                        held.fetch_add(1, Ordering::AcqRel);
                        let mut nothing = [0; 4096];
                        // Until whoever asked goes away.
                        while tokio::io::AsyncReadExt::read(&mut from, &mut nothing).await.is_ok_and(|read| read > 0) {}
                        held.fetch_sub(1, Ordering::AcqRel);
                    } else if let Ok(mut to) = TcpStream::connect(("127.0.0.1", server)).await {
                        // An error: one of them has hung up.
                        let _ended = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        way
    }
}

/// Publishes a connection without a look at what is behind it.
async fn publish(world: &World, namespace: &str, name: &str, kubeconfig: &str) {
    let encoded = base64::engine::general_purpose::STANDARD.encode(kubeconfig);
    world.secret(namespace, name, json!({"kubeconfig": encoded})).await;
    world.put("puppets", namespace, name, json!({"connection": [name, "kubeconfig"]})).await;
    world.ready("puppets", namespace, name, "True", "AsSaid").await;
}

fn spec(target: &str, manifest: &Value) -> Value {
    json!({"target": target, "manifests": [{"body": manifest}]})
}

const MANY: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hangs_holds_up_no_other_and_everything_goes_on_when_it_answers() {
    let (real, ns) = target().await;
    let (cluster, server) = cluster().await;
    let way = Way::to(server.port).await;
    let world = World::tuned(|config, _| config.target_slots = 3).await;
    world.serve("puppet", "puppet").await;
    adopt(&world, &ns, "quick", &cluster.kubeconfig(server.port, ADMIN)).await;
    publish(&world, &ns, "hangs", &cluster.kubeconfig(way.port, ADMIN)).await;
    let config = |name: &str| config_map(&ns, name, json!({"a": "1"}));
    for n in 0..MANY {
        world.put("puppets", &ns, &format!("stuck{n}"), spec("hangs", &config(&format!("stuck{n}")))).await;
    }
    until(|| "runs hang".into(), async || way.held.load(Ordering::Acquire) > 0).await;

    // So many runs are held and no more; what goes elsewhere does not wait for one of them to end.
    let running = world.monitor.stats().running;
    assert!(running <= 3 + 2, "{running} runs though three may be at one target, and two targets may be looked at");
    for n in 0..10 {
        world.put("puppets", &ns, &format!("free{n}"), spec("quick", &config(&format!("free{n}")))).await;
    }
    for n in 0..10 {
        world.ready("puppets", &ns, &format!("free{n}"), "True", "AsSaid").await;
    }

    // Then it is given up: everybody hears why and until when, and no run is held any more.
    for n in [0, MANY / 2, MANY - 1] {
        let name = format!("stuck{n}");
        let said = |object: &Value| {
            condition(object, "Ready").is_some_and(|(status, reason, message)| {
                (status.as_str(), reason.as_str()) == ("Unknown", "ClusterUnreachable")
                    && message.contains("left alone until 2")
            })
        };
        world.until("puppets", Some(&ns), &name, said).await;
    }
    until(|| "no run is held".into(), async || world.monitor.stats().running == 0).await;
    assert!(!exists(&real, &config("stuck0")).await);

    // What waits is looked at as soon as it answers, not when its own time comes.
    way.hangs.store(false, Ordering::Release);
    for n in 0..MANY {
        world.ready("puppets", &ns, &format!("stuck{n}"), "True", "AsSaid").await;
    }
    assert!(exists(&real, &config("stuck0")).await);
    world.stop().await;
}

#[tokio::test]
async fn what_failed_says_when_it_is_tried_again() {
    let world = World::tuned(|config, _| config.slow_retry = Duration::from_secs(600)).await;
    world.serve("puppet", "puppet").await;
    world.put("puppets", "a", "p", json!({"fail": ["terminal", "Broken", "do this"]})).await;
    let object = world.ready("puppets", "a", "p", "False", "Broken").await;
    let (_, _, ready) = condition(&object, "Ready").unwrap();
    let (_, _, beside) = condition(&object, "Stalled").unwrap();
    assert!(!ready.contains("next attempt"), "Ready stays as it is from one attempt to the next: {ready}");
    let at = beside.split("failed once; next attempt at ").nth(1).and_then(|rest| rest.strip_suffix(')')).unwrap();
    let at: Timestamp = at.parse().unwrap();
    let wait = (at - Timestamp::now()).get_seconds();
    assert!((300..=720).contains(&wait), "{beside}");
    world.stop().await;
}

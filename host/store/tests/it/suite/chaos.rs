//! The protocol under fire: workers that vanish, workers that pause past their lease, a server that restarts; at the end nothing is left
//! behind, and no effect of an older epoch came after one of a newer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::json;
use threeport_store::{Completion, Error};
use tokio::task::JoinHandle;

use super::*;

const OBJECTS: usize = 20;
const WORKERS: usize = 6;
const TTL: Duration = Duration::from_millis(100);

/// The world outside: takes an effect unless it has seen a newer epoch.
#[derive(Default)]
struct World {
    applied: Mutex<HashMap<Key, (u64, i64)>>,
    accepted: AtomicUsize,
    fenced: AtomicUsize,
    lost: AtomicUsize,
}

impl World {
    fn apply(&self, key: &Key, epoch: u64, spec: i64) -> bool {
        let mut applied = self.applied.lock().unwrap();
        let newest = applied.get(key).map_or(0, |(epoch, _)| *epoch);
        if epoch < newest {
            self.fenced.fetch_add(1, Relaxed);
            return false;
        }
        applied.insert(key.clone(), (epoch, spec));
        self.accepted.fetch_add(1, Relaxed);
        true
    }
}

async fn worker(store: Store, world: Arc<World>, name: String) {
    loop {
        let Ok(claims) = store.claim(&name, TTL, 1).await else { return };
        let Some(claim) = claims.into_iter().next() else {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        let pause =
            if fastrand::u32(..100) < 5 { TTL.mul_f32(1.7) } else { Duration::from_micros(fastrand::u64(..5000)) };
        tokio::time::sleep(pause).await;
        let spec = claim.object.value()["spec"].as_i64().unwrap();
        let applied = world.apply(&claim.object.key, claim.epoch, spec);
        let next = Some(if applied { Duration::from_secs(1) } else { Duration::from_millis(5) });
        let done = Completion { status: Some(json!({"epoch": claim.epoch, "spec": spec})), next, ..Default::default() };
        match store.complete(&claim, done).await {
            Ok(_) => {}
            Err(Error::LeaseLost { .. }) => drop(world.lost.fetch_add(1, Relaxed)),
            Err(_) => return,
        }
    }
}

fn start(store: &Store, world: &Arc<World>, n: usize) -> JoinHandle<()> {
    tokio::spawn(worker(store.clone(), world.clone(), format!("worker-{n}-{}", fastrand::u64(..))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_behind_and_no_stale_result_is_kept() {
    let mut store = open().await;
    let world = Arc::new(World::default());
    let keys: Vec<_> = (0..OBJECTS).map(|n| key(&format!("ns{}", n % 3), &format!("n{n}"))).collect();
    let mut wanted = vec![0i64; OBJECTS];
    for key in &keys {
        write(&store, put_due(key, json!(0), ABSENT)).await;
    }
    let mut workers: Vec<_> = (0..WORKERS).map(|n| start(&store, &world, n)).collect();
    for round in 0..1200 {
        let n = fastrand::usize(..OBJECTS);
        wanted[n] += 1;
        let mut op = put_due(&keys[n], json!(wanted[n]), PRESENT);
        if let threeport_store::Op::Put { body, .. } = &mut op {
            // An update of the main resource keeps the status, as the API does.
            let status = store.get(&keys[n]).await.unwrap().unwrap().value()["status"].take();
            body["status"] = status;
        }
        write(&store, op).await;
        if fastrand::u32(..100) < 5 {
            let n = fastrand::usize(..WORKERS);
            workers[n].abort();
            workers[n] = start(&store, &world, n);
        }
        if round == 600 {
            store = store.reopen().await;
            workers.iter().for_each(JoinHandle::abort);
            workers = (0..WORKERS).map(|n| start(&store, &world, n)).collect();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    until("every change to be applied", async || {
        let applied = world.applied.lock().unwrap();
        keys.iter().zip(&wanted).all(|(key, wanted)| applied.get(key).is_some_and(|(_, spec)| spec == wanted))
    })
    .await;
    for (key, wanted) in keys.iter().zip(&wanted) {
        until("every status to tell of it", async || {
            store.get(key).await.unwrap().unwrap().value()["status"]["spec"] == *wanted
        })
        .await;
    }
    workers.iter().for_each(JoinHandle::abort);
    let (accepted, lost) = (world.accepted.load(Relaxed), world.lost.load(Relaxed));
    println!("accepted {accepted}, fenced {}, stale results refused {lost}", world.fenced.load(Relaxed));
    assert!(lost > 0, "no lease was ever lost: this test tests nothing");
}

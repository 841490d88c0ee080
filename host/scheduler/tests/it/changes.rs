//! "Something changed", from host to host.

use threeport_scheduler::jetstream::Heeder;
use threeport_scheduler::{Announce, Heed};
use tokio::time::timeout;

use super::{host, well};
use crate::nats::{Nats, PATIENCE};

async fn hears(heeder: &mut Heeder, upto: u64) {
    let reached = async {
        while let Some(heard) = heeder.committed().await {
            assert!(heard <= upto, "{heard}, which nobody said");
            if heard == upto {
                return;
            }
        }
        panic!("nothing more comes");
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never heard of {upto}"));
}

#[tokio::test]
async fn a_commit_is_heard_by_the_other_hosts_and_not_by_the_one_that_made_it() {
    let nats = Nats::start().await;
    let (mut first, mut second, mut third) = (host(&nats).await, host(&nats).await, host(&nats).await);
    // A host hears from when it has subscribed: say it until it is heard.
    let mut version = 0;
    for heeder in [&mut second.heeder, &mut third.heeder] {
        let heard = crate::nats::until("the first news", async || {
            version += 1;
            first.announcer.committed(version);
            timeout(std::time::Duration::from_millis(50), heeder.committed()).await.ok()
        });
        assert!(heard.await.is_some());
    }
    for upto in version + 1..=version + 1000 {
        first.announcer.committed(upto);
    }
    hears(&mut second.heeder, version + 1000).await;
    hears(&mut third.heeder, version + 1000).await;
    // An older one is no news.
    first.announcer.committed(5);
    second.announcer.committed(version + 2000);
    hears(&mut first.heeder, version + 2000).await;
    hears(&mut third.heeder, version + 2000).await;
}

#[tokio::test]
async fn commits_are_heard_again_after_an_outage() {
    let mut nats = Nats::start().await;
    let (first, mut second) = (host(&nats).await, host(&nats).await);
    nats.kill();
    nats.wipe();
    nats.restart().await;
    well(&first.status).await;
    well(&second.status).await;
    let mut version = 0;
    crate::nats::until("news", async || {
        version += 1;
        first.announcer.committed(version);
        timeout(std::time::Duration::from_millis(50), second.heeder.committed()).await.ok()
    })
    .await
    .expect("it goes on");
}

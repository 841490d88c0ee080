//! What is broken, when, for how long: decided before anything starts, from the seed alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use threeport_tests::Proxy;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::broken::Mode;
use crate::seed;
use crate::servers::{HOSTS, World, start};

/// Something that can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// kill -9, and started again.
    KillHost(usize),
    /// SIGSTOP until the lease of everything it holds is over, then SIGCONT.
    FreezeHost(usize),
    /// SIGSTOP for a moment.
    StopHost(usize),
    KillPostgres,
    FreezePostgres,
    KillNats,
    FreezeNats,
    /// Everything that it holds is gone.
    WipeNats,
    /// Every request to the target is answered with this status.
    TargetSays(u16),
    TargetSilent,
    /// A host reaches everything but one thing.
    CutFromPostgres(usize),
    CutFromNats(usize),
    CutFromTarget(usize),
    /// The other version of a plugin is pushed, through this host.
    Swap(usize),
}

impl Fault {
    /// The kind of fault, for counting.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::KillHost(_) => "host killed",
            Self::FreezeHost(_) => "host frozen past its lease",
            Self::StopHost(_) => "host frozen for a moment",
            Self::KillPostgres => "PostgreSQL killed",
            Self::FreezePostgres => "PostgreSQL frozen",
            Self::KillNats => "NATS killed",
            Self::FreezeNats => "NATS frozen",
            Self::WipeNats => "NATS wiped",
            Self::TargetSays(409) => "target says 409",
            Self::TargetSays(429) => "target says 429",
            Self::TargetSays(_) => "target says 500",
            Self::TargetSilent => "target says nothing",
            Self::CutFromPostgres(_) => "host cut off from PostgreSQL",
            Self::CutFromNats(_) => "host cut off from NATS",
            Self::CutFromTarget(_) => "host cut off from the target",
            Self::Swap(_) => "plugin swapped",
        }
    }
}

/// One entry of the schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.2} s  {:?} for {:.2} s", self.at.as_secs_f64(), self.fault, self.lasts.as_secs_f64())
    }
}

/// What breaks one after the other; lanes break side by side.
pub(crate) type Lane = Vec<Planned>;

/// The schedule of a run.
pub(crate) fn plan(seed: u64, length: Duration) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = (0..HOSTS).map(|host| hosts(seed, host, length)).collect();
    lanes.push(lane(seed, "postgres", length, (8, 20), |random| match random.u8(0..4) {
        0 => (Fault::FreezePostgres, between(random, 500, 4_000)),
        _ => (Fault::KillPostgres, between(random, 200, 3_000)),
    }));
    lanes.push(lane(seed, "nats", length, (6, 16), |random| match random.u8(0..3) {
        0 => (Fault::KillNats, between(random, 200, 5_000)),
        1 => (Fault::FreezeNats, between(random, 500, 5_000)),
        _ => (Fault::WipeNats, between(random, 200, 2_000)),
    }));
    lanes.push(lane(seed, "target", length, (5, 14), |random| match random.u8(0..4) {
        0 => (Fault::TargetSays(409), between(random, 500, 4_000)),
        1 => (Fault::TargetSays(429), between(random, 500, 4_000)),
        2 => (Fault::TargetSays(500), between(random, 500, 4_000)),
        _ => (Fault::TargetSilent, between(random, 500, 8_000)),
    }));
    lanes.push(lane(seed, "network", length, (5, 14), |random| {
        let (host, lasts) = (random.usize(0..HOSTS), between(random, 500, 8_000));
        match random.u8(0..3) {
            0 => (Fault::CutFromPostgres(host), lasts),
            1 => (Fault::CutFromNats(host), lasts),
            _ => (Fault::CutFromTarget(host), lasts),
        }
    }));
    lanes.push(lane(seed, "plugins", length, (8, 20), |random| (Fault::Swap(random.usize(0..HOSTS)), Duration::ZERO)));
    lanes
}

fn hosts(seed: u64, host: usize, length: Duration) -> Lane {
    lane(seed, &format!("host {host}"), length, (4, 14), |random| match random.u8(0..10) {
        0 | 1 => (Fault::FreezeHost(host), between(random, 21_000, 26_000)),
        2 | 3 => (Fault::StopHost(host), between(random, 300, 6_000)),
        _ => (Fault::KillHost(host), between(random, 0, 3_000)),
    })
}

fn lane(
    seed: u64,
    name: &str,
    length: Duration,
    (least, most): (u64, u64),
    mut next: impl FnMut(&mut fastrand::Rng) -> (Fault, Duration),
) -> Lane {
    let mut random = seed::of(seed, name);
    let mut lane = Vec::new();
    // The first ones come early, so that a short run has some of each.
    let mut at = between(&mut random, 2_000, most * 500);
    while at < length {
        let (fault, lasts) = next(&mut random);
        if at + lasts > length {
            break;
        }
        lane.push(Planned { at, lasts, fault });
        at += lasts + between(&mut random, least * 1000, most * 1000);
    }
    lane
}

fn between(random: &mut fastrand::Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.u64(least..most))
}

/// How often each kind of fault happened.
pub(crate) type Counts = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// Breaks what the lane says, when it says it, and mends it.
pub(crate) async fn run(world: Arc<World>, lane: Lane, began: Instant, counts: Counts) -> Result<()> {
    for (number, planned) in lane.into_iter().enumerate() {
        tokio::time::sleep_until(began + planned.at).await;
        *counts.lock().await.entry(planned.fault.kind()).or_default() += 1;
        inflict(&world, &planned, number).await.with_context(|| format!("{:?}", planned.fault))?;
    }
    Ok(())
}

async fn inflict(world: &World, planned: &Planned, number: usize) -> Result<()> {
    let lasts = planned.lasts;
    match planned.fault {
        Fault::KillHost(at) => {
            let mut host = world.hosts[at].lock().await;
            host.kill()?;
            tokio::time::sleep(lasts).await;
            start(&mut host).await?;
            world.to_target.host_is(at, host.id().unwrap_or_default());
            Ok(())
        }
        Fault::FreezeHost(at) | Fault::StopHost(at) => {
            let host = world.hosts[at].lock().await;
            host.signal("STOP")?;
            tokio::time::sleep(lasts).await;
            host.signal("CONT")
        }
        Fault::KillPostgres => {
            let mut postgres = world.postgres.lock().await;
            postgres.kill()?;
            tokio::time::sleep(lasts).await;
            // Its sessions may take a moment longer to go, and it does not start before.
            let mut tries = 0;
            while let Err(error) = tokio::task::block_in_place(|| postgres.boot()) {
                tries += 1;
                if tries > 20 {
                    return Err(error);
                }
                let _not_running = postgres.kill();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        }
        Fault::FreezePostgres => {
            let postgres = world.postgres.lock().await;
            postgres.signal("STOP")?;
            tokio::time::sleep(lasts).await;
            // Sessions that began meanwhile did not: their parent is frozen.
            postgres.signal("CONT")
        }
        Fault::KillNats => {
            let mut nats = world.nats.lock().await;
            nats.kill()?;
            tokio::time::sleep(lasts).await;
            nats.restart().await
        }
        Fault::FreezeNats => {
            let nats = world.nats.lock().await;
            nats.freeze()?;
            tokio::time::sleep(lasts).await;
            nats.thaw()
        }
        Fault::TargetSays(code) => target(world, Mode::Says(code), lasts).await,
        Fault::TargetSilent => target(world, Mode::Silent, lasts).await,
        Fault::CutFromPostgres(host) => cut(&world.to_postgres[host], lasts).await,
        Fault::CutFromNats(host) => cut(&world.to_nats[host], lasts).await,
        Fault::CutFromTarget(host) => {
            world.to_target.cut(host, true);
            tokio::time::sleep(lasts).await;
            world.to_target.cut(host, false);
            Ok(())
        }
        Fault::Swap(host) => {
            let version = if number.is_multiple_of(2) { "note-v2" } else { "note-v1" };
            // The host may be away. Whether it was done is known in the end, when it is done once more.
            let _may_fail = world.swap(host, version).await;
            Ok(())
        }
        Fault::WipeNats => {
            let mut nats = world.nats.lock().await;
            nats.kill()?;
            nats.wipe()?;
            tokio::time::sleep(lasts).await;
            nats.restart().await
        }
    }
}

async fn target(world: &World, mode: Mode, lasts: Duration) -> Result<()> {
    world.to_target.mode(mode);
    tokio::time::sleep(lasts).await;
    world.to_target.mode(Mode::Open);
    Ok(())
}

async fn cut(way: &Proxy, lasts: Duration) -> Result<()> {
    way.cut();
    tokio::time::sleep(lasts).await;
    way.mend();
    Ok(())
}

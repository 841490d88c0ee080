//! The chaos suite: load on three hosts while everything breaks, and what must hold in the end. `tests/run chaos` runs it; see README.md.

mod ask;
mod broken;
mod faults;
mod found;
mod invariants;
mod load;
mod record;
mod report;
mod seed;
mod servers;
mod target;
mod watchers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use tokio::time::Instant;

use found::Found;
use invariants::Verdict;
use record::{Kind, Written};
use report::Report;
use servers::World;
use watchers::Watcher;

/// Breaks everything on purpose, and checks from outside that nothing is lost.
#[derive(Debug, Parser)]
struct Args {
    /// Decides what breaks, when and for how long, and what is written; a run says its own
    #[arg(long)]
    seed: Option<u64>,
    /// How long things break, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Ten minutes
    #[arg(long, conflicts_with = "seconds")]
    long: bool,
    /// Writes a second, of all clients together
    #[arg(long, default_value_t = 25)]
    rate: u64,
    /// How long it may take afterwards until everything is as it should be
    #[arg(long, default_value_t = 330)]
    patience: u64,
    /// Keep the logs here
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Writers of each kind.
const WRITERS: usize = 3;
/// Watchers of each kind.
const WATCHERS: usize = 2;

fn main() -> Result<ExitCode> {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut args = Args::parse();
    if args.long {
        args.seconds = 600;
    }
    let seed = args.seed.unwrap_or_else(seed::fresh);
    println!("chaos: seed {seed}, {} s; the same again: tests/run chaos --seed {seed}", args.seconds);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the async runtime")?;
    let held = match runtime.block_on(run(&args, seed)) {
        Ok(report) => {
            print!("{report}");
            report.holds()
        }
        Err(error) => {
            eprintln!("chaos: seed {seed}: {error:#}");
            false
        }
    };
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(args: &Args, seed: u64) -> Result<Report> {
    let started = Instant::now();
    let world = Arc::new(World::start(seed).await?);
    println!("chaos: everything runs after {:.1} s", started.elapsed().as_secs_f64());
    let outcome = hurt(args, seed, &world).await;
    if let Some(to) = &args.keep {
        world.keep(to).await?;
    }
    outcome
}

async fn hurt(args: &Args, seed: u64, world: &Arc<World>) -> Result<Report> {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let plan = load::Plan {
        namespace: world.namespace.clone(),
        targets: vec!["stays".to_owned()],
        pace: Duration::from_millis(1000 * (WRITERS * Kind::ALL.len()) as u64 / args.rate.max(1)),
        stop: stop.clone(),
        count: count.clone(),
    };
    // What the hosts do is watched from before the first write.
    let seen_all = Arc::new(AtomicBool::new(false));
    let target = threeport_tests::client(&threeport_tests::tool("LOCALKUBE_KUBECONFIG")?).await?;
    let effects = tokio::spawn(target::follow(target.clone(), world.namespace.to_string(), seen_all.clone()));
    let watching = watch(seed, world).await?;

    let lanes = faults::plan(seed, Duration::from_secs(args.seconds));
    let faults = faults::Counts::default();
    let began = Instant::now();
    let mut writers = Vec::new();
    for kind in Kind::ALL {
        for number in 0..WRITERS {
            let random = seed::of(seed, &format!("writer {number} of {}", kind.plural()));
            let clients = world.clients(seed::of(seed, &format!("hosts of writer {number} of {}", kind.plural())));
            writers.push(tokio::spawn(load::Writer::new(kind, number, random, clients, &plan).run()));
        }
    }
    let breaking: Vec<_> = lanes
        .iter()
        .map(|lane| tokio::spawn(faults::run(world.clone(), lane.clone(), began, faults.clone())))
        .collect();
    tokio::time::sleep_until(began + Duration::from_secs(args.seconds)).await;
    for lane in breaking {
        lane.await.context("join the faults")??;
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = Written::default();
    for writer in writers {
        written.add(writer.await.context("join a writer")??);
    }
    let mended = Instant::now();
    // Each host is to plan with this version from now on.
    world.swap(0, "note-v2").await?;
    let settled = settle(world, &target, &written, Duration::from_secs(args.patience)).await;
    let settling = mended.elapsed();

    let mut all = Vec::new();
    for client in &world.clients {
        all.push(Found::by(client, &world.namespace).await?);
    }
    let found = all.first().context("there are hosts")?;
    last(world).await?;
    let mut accounts = Vec::new();
    for watcher in watching {
        let account = tokio::time::timeout(Duration::from_secs(60), watcher).await;
        accounts.push(account.context("a watcher never heard of the last change")?.context("join a watcher")?);
    }
    seen_all.store(true, Ordering::Relaxed);
    let effects = effects.await.context("join the target's watcher")??;
    let holds = target::holds(&target, &world.namespace).await?;

    let mut ends = Verdict { says: "nothing waits for ever", checked: written.stories.len(), broken: Vec::new() };
    ends.broken.extend(settled.err().map(|error| format!("{error:#}")));
    let verdicts = vec![
        invariants::kept(&written, found),
        invariants::agreed(&all),
        invariants::observed(found),
        invariants::exact(&invariants::wanted(&written, found, "stays"), &holds),
        invariants::fenced(&effects),
        invariants::alone(&effects),
        invariants::heard(&accounts, &written, found),
        ends,
    ];
    Ok(Report {
        seed,
        length: mended - began,
        settling,
        written,
        faults: faults.lock().await.clone(),
        effects: effects.len(),
        heard: accounts.iter().map(|account| account.heard.len()).sum(),
        resumed: accounts.iter().map(|account| account.resumed).sum(),
        verdicts,
    })
}

async fn watch(seed: u64, world: &World) -> Result<Vec<tokio::task::JoinHandle<watchers::Account>>> {
    let mut watching = Vec::new();
    for kind in Kind::ALL {
        for number in 0..WATCHERS {
            let name = format!("watcher {number} of {}", kind.plural());
            let watcher = Watcher {
                kind,
                number,
                clients: world.clients(seed::of(seed, &format!("hosts of {name}"))),
                path: kind.path(&world.namespace),
                random: seed::of(seed, &name),
            };
            let from = watcher.begin().await?;
            watching.push(tokio::spawn(watcher.run(from)));
        }
    }
    Ok(watching)
}

/// Makes the objects that end the watches.
async fn last(world: &World) -> Result<()> {
    for kind in Kind::ALL {
        let content = record::Content { token: watchers::LAST.to_owned(), pieces: 0, target: None };
        let mut body = content.body(kind, &world.namespace, watchers::LAST);
        body["apiVersion"] = kind.api_version().into();
        body["kind"] = kind.name().into();
        body["metadata"] = serde_json::json!({"name": watchers::LAST});
        let path = kind.path(&world.namespace);
        let made = ask::ask(&world.clients[0], "POST", &path, "application/json", Some(&body)).await?;
        ensure!(matches!(made, ask::Answer::Done(_)), "create the last of {}: {made:?}", kind.plural());
    }
    Ok(())
}

/// Waits until everything is as it should be. What is wrong after that is told by the invariants.
async fn settle(world: &World, target: &kube::Client, written: &Written, limit: Duration) -> Result<()> {
    threeport_tests::eventually("everything is as it was asked for", limit, || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut all = Vec::new();
        for client in &world.clients {
            all.push(Found::by(client, &world.namespace).await?);
        }
        let found = &all[0];
        let holds = target::holds(target, &world.namespace).await?;
        let verdicts = [
            invariants::kept(written, found),
            invariants::agreed(&all),
            invariants::observed(found),
            invariants::exact(&invariants::wanted(written, found, "stays"), &holds),
        ];
        let broken: Vec<&String> = verdicts.iter().flat_map(|verdict| &verdict.broken).collect();
        ensure!(broken.is_empty(), "{} are not, the first: {}", broken.len(), broken[0]);
        Ok(())
    })
    .await
}

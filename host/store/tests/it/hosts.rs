//! Several hosts on one PostgreSQL.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures::StreamExt;
use serde_json::json;
use threeport_store::{Beat, Change, Completion, Demand, Error, HostInfo, ListQuery};
use threeport_test_postgres::Postgres;

use crate::*;

const TTL: Duration = Duration::from_secs(60);

async fn two() -> (Temp, Temp) {
    let one = Temp::open(Kind::Postgres, Config::KEEP_CHANGES).await;
    let other = one.beside().await;
    (one, other)
}

async fn take(store: &Store, since: u64, count: usize) -> Vec<Change> {
    let watch = store.watch(scope(), Some(since)).await.unwrap();
    let changes = watch.take(count).map(Result::unwrap).collect();
    tokio::time::timeout(Duration::from_secs(60), changes).await.expect("the watch stalls")
}

#[tokio::test]
async fn what_one_host_writes_another_watches_at_once() {
    let (one, other) = two().await;
    let mut watch = other.watch(scope(), None).await.unwrap();
    for n in 0..10 {
        write(&one, put_due(&key("a", &format!("n{n}")), json!(n), ABSENT)).await;
        let began = std::time::Instant::now();
        let change = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(change.object.value()["spec"], n);
        println!("seen on the other host after {:?}", began.elapsed());
    }
    until("the other host to know of the work", async || other.queue().depth == 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_that_write_together_make_one_order_and_come_to_hold_the_same() {
    let (one, other) = two().await;
    let third = one.beside().await;
    let (hosts, writers, each) = ([&one, &other, &third], 4, 40);
    let since = one.version();
    let (first, count) = (key("a", "first"), 3 * writers * each + 1);
    write(&one, put(&first, json!(0), ABSENT)).await;
    let watching = hosts.map(|host| {
        let store = host.store.clone();
        tokio::spawn(async move { take(&store, since, count).await })
    });
    let writing =
        hosts.iter().enumerate().flat_map(|(host, temp)| (0..writers).map(move |writer| (host, writer, temp)));
    let writing = writing.map(|(host, writer, temp)| {
        let (store, first) = (temp.store.clone(), first.clone());
        tokio::spawn(async move {
            for n in 0..each {
                let key = key("a", &format!("h{host}w{writer}"));
                let mut op = put_due(&key, json!(n), if n == 0 { ABSENT } else { PRESENT });
                if let Op::Put { edges, .. } = &mut op {
                    *edges = Some(vec![Edge { field: n.to_string(), ..edge(&first) }]);
                }
                write(&store, op).await;
            }
        })
    });
    futures::future::try_join_all(writing.collect::<Vec<_>>()).await.unwrap();
    let mut seen = Vec::new();
    for watch in watching {
        let changes = watch.await.unwrap();
        let versions: Vec<_> = changes.iter().map(|change| change.object.resource_version).collect();
        assert_eq!(versions, (since + 1..=since + count as u64).collect::<Vec<_>>());
        seen.push(changes.into_iter().map(|change| change.object.body).collect::<Vec<_>>());
    }
    assert!(seen.iter().all(|bodies| *bodies == seen[0]), "two hosts saw different things");
    for host in hosts {
        until("every host to know the work", async || host.queue().depth == 3 * writers).await;
        assert_eq!(host.dependants(&first).await.unwrap().len(), 3 * writers);
        let fields: HashSet<_> =
            host.dependants(&first).await.unwrap().into_iter().map(|(_, edge)| edge.field).collect();
        assert_eq!(fields, HashSet::from([(each - 1).to_string()]));
    }
    let read_again = third.reopen().await;
    let list = |store: Store| async move {
        let list = store.list(ListQuery { scope: scope(), limit: None, after: None, at: None }).await.unwrap();
        list.items.into_iter().map(|object| (object.key, object.body)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(list(read_again.store.clone()).await, list(one.store.clone()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_object_is_worked_on_by_one_host() {
    let (one, other) = two().await;
    for n in 0..60 {
        write(&one, put_due(&key("a", &format!("n{n}")), json!(n), ABSENT)).await;
    }
    until("the other host to know of the work", async || other.queue().depth == 60).await;
    let claiming = (0..12).map(|n| {
        let store = if n % 2 == 0 { one.store.clone() } else { other.store.clone() };
        tokio::spawn(async move { (n % 2, store.claim(&format!("host{}", n % 2), TTL, 5).await.unwrap()) })
    });
    let claims = futures::future::try_join_all(claiming.collect::<Vec<_>>()).await.unwrap();
    let uids: Vec<_> = claims.iter().flat_map(|(_, claims)| claims).map(|claim| claim.object.uid.clone()).collect();
    assert_eq!((uids.len(), uids.iter().collect::<HashSet<_>>().len()), (60, 60));
    // A result that comes through another host counts as well; the lease is what matters.
    let (_, first) = claims.iter().find(|(host, _)| *host == 0).unwrap();
    other.complete(&first[0], Completion { status: Some(json!({"done": true})), ..Default::default() }).await.unwrap();
    assert!(matches!(one.complete(&first[0], Completion::default()).await, Err(Error::LeaseLost { .. })));
    // A host that stops hands its work back at once.
    let left = one.queue().leased;
    other.close().await.unwrap();
    until("the work to be free", async || one.queue().depth == 30).await;
    assert_eq!(one.queue().leased, left - 30);
}

#[tokio::test]
async fn where_runs_go_is_known_on_every_host() {
    let (one, other) = two().await;
    let target = key("a", "slow");
    for n in 0..5 {
        let mut op = put_due(&key("a", &format!("n{n}")), json!(n), ABSENT);
        if let Op::Put { edges, .. } = &mut op {
            *edges = Some(vec![Edge { role: "target".into(), ..edge(&target) }]);
        }
        write(&one, op).await;
    }
    until("the other host to know of the work", async || other.queue().depth == 5).await;
    let shares = threeport_store::Shares::default().at_each_target(2);
    assert_eq!(other.claim_within("other", TTL, 24, shares.clone()).await.unwrap().len(), 2);
    assert_eq!(one.claim_within("one", TTL, 24, shares).await.unwrap().len(), 2, "each host counts its own");
}

#[tokio::test]
async fn what_must_hold_is_checked_against_what_other_hosts_wrote() {
    let (one, other) = two().await;
    let (needed, user) = (key("a", "needed"), key("a", "user"));
    write(&one, put(&needed, json!(1), ABSENT)).await;
    for round in 0..20 {
        let mut uses = put(&user, json!(round), ABSENT);
        if let Op::Put { edges, .. } = &mut uses {
            *edges = Some(vec![edge(&needed)]);
        }
        write(&one, uses).await;
        let unused = Op::Check(Demand::Unused { key: needed.clone(), but: Vec::new() });
        let removal = Op::Remove { key: needed.clone(), precondition: PRESENT };
        let refused = other.write(vec![unused, removal]).await;
        assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
        write(&other, Op::Remove { key: user.clone(), precondition: PRESENT }).await;
    }
    let stale = Precondition::Present {
        uid: None,
        resource_version: Some(one.get(&needed).await.unwrap().unwrap().resource_version),
    };
    write(&other, put(&needed, json!(2), PRESENT)).await;
    assert!(matches!(one.write(vec![put(&needed, json!(3), stale)]).await, Err(Error::Conflict { .. })));
}

#[tokio::test]
async fn a_host_that_fell_too_far_behind_reads_everything_again() {
    let (one, other) = two().await;
    write(&one, put_due(&key("a", "n"), json!(0), ABSENT)).await;
    // What the other host has not seen of this is forgotten before it looks.
    let mut watch = other.watch(scope(), None).await.unwrap();
    for n in 1..30 {
        write(&one, put_due(&key("a", "n"), json!(n), PRESENT)).await;
        one.sql("delete from journal where seq < (select max(seq) from journal)").await;
    }
    until("the other host to have the newest", async || {
        other.get(&key("a", "n")).await.unwrap().is_some_and(|object| object.value()["spec"] == 29)
    })
    .await;
    assert_eq!((other.version(), other.queue().depth), (one.version(), 1));
    let mut last = 0;
    while last < 29 {
        let change = watch.next().await.unwrap().unwrap();
        last = change.object.value()["spec"].as_i64().unwrap();
    }
    assert_eq!(watch.position(), one.version());
}

/// A create that is repeated says that there is one already; one that is lost is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_are_cut_anywhere_lose_nothing_and_repeat_nothing() {
    let (one, other) = two().await;
    let (writers, each, over) = (4, 60, AtomicBool::new(false));
    let cutting = async {
        let mut cuts = 0;
        while !over.load(Relaxed) {
            cuts += one
                .count("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'threeport' and datname = current_database()")
                .await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..60))).await;
        }
        cuts
    };
    let writing = async {
        let all = (0..writers).map(|writer| {
            let store = if writer % 2 == 0 { one.store.clone() } else { other.store.clone() };
            tokio::spawn(async move {
                for n in 0..each {
                    write(&store, put_due(&key("a", &format!("w{writer}-{n}")), json!(n), ABSENT)).await;
                }
            })
        });
        futures::future::try_join_all(all.collect::<Vec<_>>()).await.unwrap();
        over.store(true, Relaxed);
    };
    let (cuts, ()) = tokio::join!(cutting, writing);
    assert!(cuts > 10, "only {cuts} sessions were cut");
    println!("{cuts} sessions were cut during {} creates", writers * each);
    let made = (writers * each) as u64;
    let host = one.reopen().await;
    assert_eq!((host.version(), host.queue().items as u64), (1 + made, made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_database_cannot_hold_fails_alone() {
    let (one, _other) = two().await;
    let before = one.commits();
    // No text of PostgreSQL holds a NUL.
    let writes = (0..100).map(|n| {
        let store = one.store.clone();
        let name = if n == 50 { "with\0nul".to_owned() } else { format!("n{n}") };
        tokio::spawn(async move { store.write(vec![put_due(&key("a", &name), json!(n), ABSENT)]).await })
    });
    let written = futures::future::try_join_all(writes.collect::<Vec<_>>()).await.unwrap();
    let failed: Vec<_> = (0..).zip(&written).filter(|(_, written)| written.is_err()).map(|(n, _)| n).collect();
    assert_eq!(failed, [50], "{:?}", written.iter().find(|written| written.is_err()));
    assert!(one.commits() > before);
    assert_eq!((one.version(), one.queue().items), (100, 99));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_hangs_is_said_to_be_away_and_used_again_when_it_is_back() {
    let server = tokio::task::spawn_blocking(|| Postgres::start().unwrap()).await.unwrap();
    let database: Database = server.database().unwrap().parse().unwrap();
    let store = Store::open(Config::new(database, Key32::new([7; 32]))).await.unwrap();
    write(&store, put(&key("a", "before"), json!(1), ABSENT)).await;
    let next = store.write(vec![put(&key("a", "waits"), json!(1), ABSENT)]);
    server.signal("STOP").unwrap();
    let (fresh, _whatever) = tokio::join!(store.fresh(), next);
    assert!(matches!(fresh, Err(Error::Away(_))), "{fresh:?}");
    let refused = store.write(vec![put(&key("a", "late"), json!(1), ABSENT)]).await.unwrap_err();
    assert!(matches!(refused, Error::Away(_) | Error::Undecided(_)), "{refused}");
    server.signal("CONT").unwrap();
    until("the database to be used again", async || store.fresh().await.is_ok()).await;
    write(&store, put(&key("a", "after"), json!(1), ABSENT)).await;
    // What was said not to be written is not, and memory is what is on disk.
    assert!(matches!(refused, Error::Undecided(_)) || store.get(&key("a", "late")).await.unwrap().is_none());
    let all = || ListQuery { scope: scope(), limit: None, after: None, at: None };
    let before = names(&store.list(all()).await.unwrap().items);
    store.close().await.unwrap();
    let url: Database = server.url("test0").parse().unwrap();
    let store = Store::open(Config::new(url, Key32::new([7; 32]))).await.unwrap();
    assert_eq!(names(&store.list(all()).await.unwrap().items), before);
}

fn said(name: &str, lease: Duration) -> Beat {
    Beat { name: name.into(), version: "1".to_owned(), lease }
}

fn names_of(hosts: &[HostInfo]) -> Vec<&str> {
    hosts.iter().map(|host| &*host.name).collect()
}

#[tokio::test]
async fn who_is_there_is_heard_by_all_and_who_is_silent_is_gone() {
    let (one, other) = two().await;
    assert!(one.hosts().await.unwrap().is_empty());
    let first = one.beat(&said("first", TTL)).await.unwrap();
    assert_eq!((names_of(&first), first[0].is_live()), (vec!["first"], true));
    let both = other.beat(&said("second", Duration::from_millis(1))).await.unwrap();
    assert_eq!(names_of(&both), ["first", "second"]);
    assert!(both[1].is_live() && both[1].heard_ago.is_zero(), "who asks is there: {both:?}");
    until("the second to be gone", async || !one.hosts().await.unwrap()[1].is_live()).await;
    let again = one.beat(&said("first", TTL)).await.unwrap();
    assert_eq!((again[0].started, again[0].is_live(), again[1].is_live()), (first[0].started, true, false));
    other.leave("second").await.unwrap();
    assert_eq!(names_of(&one.hosts().await.unwrap()), ["first"]);
    // After a crash of the server nothing is known, and everybody is heard again.
    one.sql("truncate host").await;
    assert_eq!(names_of(&one.beat(&said("first", TTL)).await.unwrap()), ["first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_host_watched_is_due_once_when_it_is_gone() {
    let (one, other) = two().await;
    let watched = Completion { watches: true, next: Some(TTL), ..Default::default() };
    for n in 0..700 {
        write(&one, put_due(&key("a", &format!("n{n}")), json!(n), ABSENT)).await;
    }
    until("the other host to know of the work", async || other.queue().depth == 700).await;
    for (host, store, most) in [("dead", &one, 600), ("live", &other, 50), ("idle", &one, 50)] {
        let claims = store.claim(host, TTL, most).await.unwrap();
        assert_eq!(claims.len(), most);
        for claim in claims {
            let completion = if host == "idle" { Completion::default() } else { watched.clone() };
            store.complete(&claim, completion).await.unwrap();
        }
    }
    let live: HashSet<Arc<str>> = HashSet::from(["live".into()]);
    until("the others to know who watches", async || {
        other.watching_but(&live) == ["dead".into()] && other.queue().leased == 0
    })
    .await;
    // A host that starts now knows it, too.
    let third = one.beside().await;
    assert_eq!(third.watching_but(&live), ["dead".into()]);
    // Both survivors find out at the same time.
    let taking = [&third, &other].map(|store| {
        let store = store.store.clone();
        tokio::spawn(async move {
            let mut taken = Vec::new();
            loop {
                let due = store.take_watches(vec!["dead".into()], Duration::from_micros(1)).await.unwrap();
                assert!(due.len() <= 500, "{} at once", due.len());
                if due.is_empty() {
                    return taken;
                }
                taken.extend(due);
            }
        })
    });
    let taken: Vec<_> = futures::future::try_join_all(taking).await.unwrap().concat();
    assert_eq!((taken.len(), taken.iter().collect::<HashSet<_>>().len()), (600, 600));
    assert!(other.watching_but(&live).is_empty());
    until("all of it to be due", async || other.queue().by_class == [0, 0, 600, 0]).await;
}

#[tokio::test]
async fn times_go_by_the_clock_of_the_database() {
    let (one, _other) = two().await;
    write(&one, put_due(&key("a", "n"), json!(1), ABSENT)).await;
    let server = one.count("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").await;
    let apart = one.now().as_microsecond() - server;
    assert!((0..5_000_000).contains(&apart) && one.clock_ahead().abs() < 5_000_000, "{apart} {}", one.clock_ahead());
}

//! A server that is another one than before, that may only be read, or whose disk is full: nothing is mistaken for what it is not, and all goes on when it
//! is mended.

use std::path::{Path, PathBuf};
use std::process::Command;

use futures::StreamExt as _;
use serde_json::json;
use threeport_store::{Completion, Error, List, ListQuery};
use threeport_test_postgres::Postgres;

use crate::*;

const TTL: Duration = Duration::from_secs(60);

async fn started() -> (Postgres, String) {
    let made = tokio::task::spawn_blocking(|| {
        let server = Postgres::start().unwrap();
        let url = server.database().unwrap();
        (server, url)
    });
    made.await.unwrap()
}

async fn host(url: &str) -> Store {
    Store::open(Config::new(url.parse::<Database>().unwrap(), Key32::new([7; 32]))).await.unwrap()
}

async fn all(store: &Store) -> List {
    store.list(ListQuery { scope: scope(), limit: None, after: None, at: None }).await.unwrap()
}

/// Writes as soon as it can be done; how often that is refused before does not matter, what with does.
async fn writes_again(store: &Store, name: &str) -> Object {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match store.write(vec![put_due(&key("a", name), json!(1), ABSENT)]).await {
            Ok(written) => return written.into_iter().next().unwrap(),
            Err(Error::Away(_) | Error::Undecided(_) | Error::Full(_)) => {}
            Err(other) => panic!("{other}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "{:?}", store.trouble());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_that_lacks_the_last_writes_is_not_taken_for_the_server_that_had_them() {
    let (primary, url) = started().await;
    let (one, two) = (host(&url).await, host(&url).await);
    for n in 0..20 {
        write(&one, put_due(&key("a", &format!("kept-{n}")), json!(n), ABSENT)).await;
    }
    let kept = one.version();
    let (mut primary, standby) = tokio::task::spawn_blocking(move || {
        let standby = primary.standby().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !standby.has_all_of(&primary).unwrap() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(20));
        }
        (primary, standby)
    })
    .await
    .unwrap();
    // A replica is refused by whoever starts on it ...
    let replica = standby.url("test0");
    let why = Store::open(Config::new(replica.parse::<Database>().unwrap(), Key32::new([7; 32])))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(why.contains("read-only replica") && why.contains("primary"), "{why}");
    let mut standby = tokio::task::spawn_blocking(move || {
        let mut standby = standby;
        standby.stop().unwrap();
        standby
    })
    .await
    .unwrap();

    // ... and this one does not hear of what comes now, all of it acknowledged.
    let claim = one.claim("me", TTL, 1).await.unwrap().remove(0);
    for n in 0..10 {
        write(&two, put(&key("a", &format!("lost-{n}")), json!(n), ABSENT)).await;
    }
    two.fresh().await.unwrap();
    one.fresh().await.unwrap();
    let newest = one.version();
    assert_eq!(newest, kept + 10);
    let mut watching = two.watch(scope(), None).await.unwrap();
    let standby = tokio::task::spawn_blocking(move || {
        standby.take_over(&mut primary).unwrap();
        standby
    })
    .await
    .unwrap();

    let written = writes_again(&one, "after").await;
    assert!(
        written.resource_version > newest + 1000,
        "a resourceVersion that somebody has seen means something else now"
    );
    until("the trouble to be over", async || one.trouble().is_none()).await;
    until("the other host to know", async || two.fresh().await.is_ok() && two.version() == one.version()).await;
    let (by_one, by_two) = (all(&one).await, all(&two).await);
    assert_eq!((names(&by_one.items), by_one.items.len()), (names(&by_two.items), 21));
    assert!(by_one.items.iter().all(|object| !object.key.name.starts_with("lost")));
    // Nobody goes on from where there is nothing any more: not who watches, nor who watched, nor who reads page after page.
    for since in [kept, newest] {
        for store in [&one, &two] {
            let gone = store.watch(scope(), Some(since)).await.err();
            assert!(matches!(gone, Some(Error::Gone { .. })), "{since}: {gone:?}");
        }
    }
    let ended = tokio::time::timeout(TTL, watching.next()).await.unwrap();
    assert!(matches!(ended, Some(Err(Error::Gone { .. }))), "{:?}", ended.map(|change| change.map(|_| ())));
    // Who holds a lease of before has lost it, and whoever is next has an epoch that no target has seen.
    let late = one.complete(&claim, Completion::default()).await;
    assert!(matches!(late, Err(Error::LeaseLost { .. })), "{late:?}");
    let again = two.claim("other", TTL, 100).await.unwrap();
    assert_eq!(again.len(), 21, "everything is looked at again");
    assert!(again.iter().filter(|work| work.object.uid == claim.object.uid).all(|work| work.epoch > claim.epoch + 100));
    // The leap is made once: whoever starts now finds things settled.
    let version = two.version();
    let third = host(&url).await;
    assert_eq!(third.version(), version);
    drop(standby);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_turns_read_only_is_waited_for() {
    let (server, url) = started().await;
    let store = host(&url).await;
    write(&store, put(&key("a", "before"), json!(1), ABSENT)).await;
    let server = Arc::new(server);
    let frozen = async |how: &'static str| {
        let server = server.clone();
        let set = format!("alter system set default_transaction_read_only = {how}");
        tokio::task::spawn_blocking(move || {
            server.sql("postgres", &set).unwrap();
            server.sql("postgres", "select pg_reload_conf()").unwrap();
        })
        .await
        .unwrap();
    };
    frozen("on").await;
    // The server tells its sessions in its own time: some writes may come before that.
    let mut expected = vec!["before".to_owned()];
    let refused = loop {
        let name = format!("early-{:03}", expected.len());
        match store.write(vec![put(&key("a", &name), json!(1), ABSENT)]).await {
            Err(refused) => break refused,
            Ok(_) => expected.push(name),
        }
        assert!(expected.len() < 1000, "it never turned read-only");
    };
    assert!(matches!(&refused, Error::Away(why) if why.contains("read-only") && why.contains("primary")), "{refused}");
    assert!(store.trouble().is_some_and(|why| why.contains("read-only")), "{:?}", store.trouble());
    assert_eq!(names(&all(&store).await.items), expected);
    frozen("off").await;
    writes_again(&store, "after").await;
    expected.insert(0, "after".to_owned());
    assert_eq!((store.trouble(), names(&all(&store).await.items)), (None, expected));
}

/// A small disk, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "threeport-test"]).arg(at).status();
        assert!(
            mounted.unwrap().success(),
            "mount refused: this test has to run as root, as the local Kubernetes does"
        );
        Self(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_of_the_server_refuses_writes_and_loses_nothing() {
    // Whoever the server runs as has to come this far.
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let disk = Disk::mount(&directory.path().join("disk"));
    let tables = disk.0.join("tables");
    std::fs::create_dir(&tables).unwrap();
    let server = tokio::task::spawn_blocking(move || {
        let server = Postgres::start().unwrap();
        let url = server.database_in(&tables).unwrap();
        (server, url)
    });
    let (server, url) = server.await.unwrap();
    let store = host(&url).await;
    let filler = disk.0.join("filler");
    let filling = std::fs::File::create(&filler).unwrap();
    let block = vec![7; 1 << 16];
    while std::io::Write::write_all(&mut &filling, &block).is_ok() {}
    let (mut kept, text) = (Vec::new(), "x".repeat(100_000));
    let refused = loop {
        let name = format!("n{}", kept.len());
        // Noise, which does not get smaller.
        let noise: String = text.chars().map(|_| fastrand::alphanumeric()).collect();
        match store.write(vec![put(&key("a", &name), json!(noise), ABSENT)]).await {
            Ok(_) => kept.push(name),
            Err(refused) => break refused,
        }
        assert!(kept.len() < 1000, "the disk does not get full");
    };
    assert!(matches!(&refused, Error::Full(why) if why.contains("No space left")), "{refused}");
    assert_eq!(store.trouble(), None, "it can be reached, and read");
    assert_eq!(all(&store).await.items.len(), kept.len());
    drop(filling);
    std::fs::remove_file(&filler).unwrap();
    writes_again(&store, "after").await;
    store.close().await.unwrap();
    let store = host(&url).await;
    assert_eq!(all(&store).await.items.len(), kept.len() + 1);
    store.close().await.unwrap();
    // Before the disk that it writes to.
    drop(server);
}

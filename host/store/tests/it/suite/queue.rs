//! Claims, leases, completions.

use serde_json::json;
use threeport_store::{Claim, Class, Completion, Error, InventoryEntry, Op, Progress, Shares};

use super::*;

const TTL: Duration = Duration::from_secs(60);

async fn due(store: &Store, name: &str) -> Key {
    let key = key("a", name);
    write(store, put_due(&key, json!(1), ABSENT)).await;
    key
}

async fn claim(store: &Store) -> Claim {
    let mut claims = store.claim("me", TTL, 1).await.unwrap();
    assert_eq!(claims.len(), 1, "nothing is due");
    claims.remove(0)
}

fn entry(name: &str) -> InventoryEntry {
    InventoryEntry {
        target: "t".to_string(),
        api_version: "v1".to_string(),
        kind: "ConfigMap".to_string(),
        namespace: None,
        name: name.to_string(),
        uid: None,
        stage: 3,
        state: json!({"hash": name}),
    }
}

/// Makes an object that refers to another.
fn using(user: &Key, one: &Key) -> Op {
    Op::Put {
        key: user.clone(),
        body: body(user, json!(1)),
        precondition: ABSENT,
        edges: Some(vec![edge(one)]),
        wake: Some(Class::Resync),
    }
}

#[tokio::test]
async fn a_lease_that_ran_out_goes_to_another_and_the_late_result_is_refused_whole() {
    let store = open().await;
    let one = due(&store, "one").await;
    let stale = store.claim("first", Duration::from_millis(1), 1).await.unwrap().remove(0);
    let mut taken = Vec::new();
    until("the lease to run out", async || {
        taken = store.claim("second", TTL, 1).await.unwrap();
        !taken.is_empty()
    })
    .await;
    assert!(taken[0].epoch > stale.epoch);
    let version = store.version();
    let result = Completion {
        status: Some(json!({"stale": true})),
        carried: Some(json!("stale")),
        inventory: Some(vec![entry("stale")]),
        ops: vec![put(&key("a", "child"), json!(1), ABSENT)],
        ..Default::default()
    };
    assert!(matches!(store.complete(&stale, result).await, Err(Error::LeaseLost { .. })));
    assert!(matches!(store.intend(&stale, vec![entry("stale")]).await, Err(Error::LeaseLost { .. })));
    assert!(matches!(store.release(&stale).await, Err(Error::LeaseLost { .. })));
    // The object is as the late one claimed it, so its version would be no fence.
    let precondition = Precondition::Present { uid: None, resource_version: Some(stale.object.resource_version) };
    let op = || put(&one, json!("late"), precondition.clone());
    assert!(matches!(store.write_held(&stale, vec![op()]).await, Err(Error::LeaseLost { .. })));
    let leases = [(stale.object.uid.clone(), stale.epoch), (uid("unknown"), 1)];
    assert_eq!(store.renew("first", &leases, TTL).await.unwrap(), [stale.object.uid.clone(), uid("unknown")]);
    assert_eq!((store.version(), store.carried(&one).await.unwrap()), (version, json!(null)));
    assert!(store.get(&key("a", "child")).await.unwrap().is_none());
    store.write_held(&taken[0], vec![op()]).await.unwrap();
    assert_eq!(store.get(&one).await.unwrap().unwrap().value()["spec"], "late");
    store.release(&taken[0]).await.unwrap();
    assert!(claim(&store).await.inventory.is_empty());
}

#[tokio::test]
async fn a_renewed_lease_is_nobody_elses() {
    let store = open().await;
    due(&store, "one").await;
    let mine = store.claim("me", Duration::from_millis(50), 1).await.unwrap().remove(0);
    assert!(store.renew("me", &[(mine.object.uid.clone(), mine.epoch)], TTL).await.unwrap().is_empty());
    assert!(store.next_due().unwrap() > Duration::from_secs(50));
    assert_eq!((store.queue().leased, store.queue().depth), (1, 0));
    store.complete(&mine, Completion::default()).await.unwrap();
}

#[tokio::test]
async fn a_write_during_a_run_makes_it_due_again() {
    let store = open().await;
    let one = due(&store, "one").await;
    let mine = claim(&store).await;
    write(&store, put_due(&one, json!(2), PRESENT)).await;
    assert!(store.claim("other", TTL, 1).await.unwrap().is_empty(), "two run the same object");
    let status = Completion { status: Some(json!({"saw": 1})), next: Some(TTL), ..Default::default() };
    assert!(store.complete(&mine, status).await.unwrap().due_again);
    let again = claim(&store).await;
    assert_eq!((&again.object.value()["spec"], &again.object.value()["status"]["saw"]), (&json!(2), &json!(1)));
    assert_eq!(again.class, Class::User);
    assert!(!store.complete(&again, Completion::default()).await.unwrap().due_again);
    assert_eq!(store.next_due(), None);
}

#[tokio::test]
async fn a_wake_up_during_a_run_is_not_lost() {
    let store = open().await;
    due(&store, "one").await;
    let mine = claim(&store).await;
    store.wake(&[mine.object.uid.clone(), uid("unknown")], Class::Drift).await.unwrap();
    assert!(store.complete(&mine, Completion::default()).await.unwrap().due_again);
}

#[tokio::test]
async fn what_a_run_leaves_comes_with_the_next_claim_even_after_a_restart() {
    let store = open().await;
    let one = due(&store, "one").await;
    let mine = claim(&store).await;
    assert_eq!((mine.attempts, &mine.carried, mine.inventory.len()), (0, &json!(null), 0));
    let target = entry("a").target;
    assert!(store.on_target(&target, 5).await.unwrap().is_empty());
    store.intend(&mine, vec![entry("a")]).await.unwrap();
    assert_eq!(store.on_target(&target, 5).await.unwrap(), std::slice::from_ref(&mine.object.key));
    assert!(store.on_target("elsewhere", 5).await.unwrap().is_empty());
    let applied = InventoryEntry { uid: Some("u".to_string()), ..entry("a") };
    let inventory = Some(vec![applied.clone(), entry("b")]);
    let result = Completion {
        carried: Some(json!({"memory": 1})),
        inventory,
        next: Some(Duration::ZERO),
        next_class: Some(Class::Drift),
        failed: true,
        ..Default::default()
    };
    store.complete(&mine, result).await.unwrap();
    let store = store.reopen().await;
    assert_eq!(store.carried(&one).await.unwrap(), json!({"memory": 1}));
    let next = claim(&store).await;
    assert_eq!((next.attempts, next.class, next.epoch), (1, Class::Drift, mine.epoch + 1));
    assert_eq!(next.inventory, [applied.clone(), entry("b")]);
    store.intend(&next, vec![InventoryEntry { state: json!("new"), ..entry("a") }, entry("c")]).await.unwrap();
    store.release(&next).await.unwrap();
    let last = claim(&store).await;
    assert_eq!(last.inventory, [applied, entry("b"), entry("c")], "an intention overwrote what is known");
    store.complete(&last, Completion::default()).await.unwrap();
    assert_eq!(store.carried(&one).await.unwrap(), json!({"memory": 1}), "no news is no change");
}

#[tokio::test]
async fn a_restarted_server_takes_over_at_once_and_the_old_epoch_stays_fenced() {
    let store = open().await;
    due(&store, "one").await;
    let before = claim(&store).await;
    let store = store.reopen().await;
    let after = claim(&store).await;
    assert_eq!(after.epoch, before.epoch + 1);
    assert!(matches!(store.complete(&before, Completion::default()).await, Err(Error::LeaseLost { .. })));
}

#[tokio::test]
async fn a_status_that_is_the_same_costs_no_resource_version() {
    let store = open().await;
    let one = due(&store, "one").await;
    let ready =
        || Completion { status: Some(json!({"ready": true})), next: Some(Duration::ZERO), ..Default::default() };
    store.complete(&claim(&store).await, ready()).await.unwrap();
    let version = store.version();
    store.complete(&claim(&store).await, ready()).await.unwrap();
    assert_eq!(store.version(), version);
    assert_eq!(store.get(&one).await.unwrap().unwrap().value()["status"]["ready"], true);
}

#[tokio::test]
async fn dropping_the_last_finalizer_removes_what_is_to_be_deleted_and_wakes_its_users() {
    let store = open().await;
    let (one, user) = (key("a", "one"), key("a", "user"));
    let mut marked = body(&one, json!(1));
    marked["metadata"]["finalizers"] = json!(["f"]);
    let op = |body, wake| Op::Put { key: one.clone(), body, precondition: ABSENT, edges: None, wake };
    write(&store, op(marked.clone(), Some(Class::User))).await;
    write(&store, using(&user, &one)).await;
    let drop_it =
        || Completion { drop_finalizer: Some("f".to_string()), carried: Some(json!(1)), ..Default::default() };
    let done = store.complete(&claim(&store).await, drop_it()).await.unwrap();
    assert!(!done.removed, "nobody asked for its deletion");
    assert!(store.get(&one).await.unwrap().unwrap().value()["metadata"].get("finalizers").is_none());
    marked["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let again = Op::Put { key: one.clone(), body: marked, precondition: PRESENT, edges: None, wake: Some(Class::User) };
    write(&store, again).await;
    let done = store.complete(&claim(&store).await, drop_it()).await.unwrap();
    assert!(done.removed && !done.due_again);
    assert_eq!(done.woken, [uid("uid-a-user")]);
    assert!(store.get(&one).await.unwrap().is_none());
    assert_eq!((claim(&store).await.object.key, store.queue().items), (user, 1));
    let store = store.reopen().await;
    assert_eq!(store.queue().items, 1);
}

#[tokio::test]
async fn a_completion_wakes_users_only_when_told_to() {
    let store = open().await;
    let (one, user) = (due(&store, "one").await, key("a", "user"));
    write(&store, using(&user, &one)).await;
    let mut claims = store.claim("me", TTL, 2).await.unwrap();
    store.complete(&claims.pop().unwrap(), Completion::default()).await.unwrap();
    let quiet = Completion {
        status: Some(json!(1)),
        next: Some(Duration::ZERO),
        next_class: Some(Class::User),
        ..Default::default()
    };
    assert!(store.complete(&claims.pop().unwrap(), quiet).await.unwrap().woken.is_empty());
    let loud = Completion { wake_dependants: true, ..Default::default() };
    assert_eq!(store.complete(&claim(&store).await, loud).await.unwrap().woken, [uid("uid-a-user")]);
    let woken = claim(&store).await;
    assert_eq!((woken.object.key, woken.class), (user, Class::Dependency));
}

#[tokio::test]
async fn a_completion_whose_steps_conflict_writes_nothing_and_keeps_the_lease() {
    let store = open().await;
    due(&store, "one").await;
    let mine = claim(&store).await;
    let ops = vec![put(&key("a", "child"), json!(1), ABSENT), put(&key("a", "gone"), json!(1), PRESENT)];
    let result = Completion { status: Some(json!(1)), ops, ..Default::default() };
    assert!(matches!(store.complete(&mine, result).await, Err(Error::NotFound(_))));
    assert!(store.get(&key("a", "child")).await.unwrap().is_none());
    store.complete(&mine, Completion::default()).await.unwrap();
}

#[tokio::test]
async fn removing_an_object_during_its_run_loses_the_lease() {
    let store = open().await;
    let one = due(&store, "one").await;
    let mine = claim(&store).await;
    write(&store, Op::Remove { key: one, precondition: PRESENT }).await;
    assert!(matches!(store.complete(&mine, Completion::default()).await, Err(Error::LeaseLost { .. })));
}

#[tokio::test]
async fn an_epoch_that_was_found_to_be_behind_is_raised_past_what_was_found() {
    let store = open().await;
    due(&store, "one").await;
    let first = claim(&store).await;
    let raise = |epoch| Completion { raise_epoch: Some(epoch), next: Some(Duration::ZERO), ..Default::default() };
    store.complete(&first, raise(40)).await.unwrap();
    let second = claim(&store).await;
    assert_eq!((first.epoch, second.epoch), (1, 41));
    store.complete(&second, raise(7)).await.unwrap();
    let third = claim(&store).await;
    assert_eq!(third.epoch, 42, "it never goes back");
    store.complete(&third, raise(u64::MAX)).await.unwrap();
    assert_eq!(claim(&store).await.epoch, 43, "nor to where it cannot count on");
}

#[tokio::test]
async fn what_goes_is_woken_when_it_is_needed_no_more() {
    let store = open().await;
    let (place, other) = (due(&store, "place").await, due(&store, "other").await);
    let needs = |name: &str, to: &Key, precondition| {
        let key = key("a", name);
        let edges = Some(vec![edge(to)]);
        Op::Put { body: body(&key, json!(&*to.name)), key, precondition, edges, wake: Some(Class::Resync) }
    };
    for name in ["moves", "leaves", "ends"] {
        write(&store, needs(name, &place, ABSENT)).await;
    }
    let mut going = body(&place, json!(1));
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    write(&store, Op::Put { key: place.clone(), body: going, precondition: PRESENT, edges: None, wake: None }).await;
    let idle = async || {
        for claim in store.claim("me", TTL, 9).await.unwrap() {
            store.complete(&claim, Completion::default()).await.unwrap();
        }
        assert_eq!(store.queue().depth, 0);
    };
    let woken = async || store.claim("me", TTL, 9).await.unwrap().into_iter().map(|claim| claim.object.key).next();
    idle().await;
    let quiet = |op: Op| match op {
        Op::Put { key, body, precondition, edges, .. } => Op::Put { key, body, precondition, edges, wake: None },
        other => other,
    };
    write(&store, quiet(needs("moves", &place, PRESENT))).await;
    assert_eq!(woken().await, None, "it is needed as before");
    write(&store, quiet(needs("moves", &other, PRESENT))).await;
    assert_eq!(woken().await, Some(place.clone()), "one of its users needs another now");
    // By the end of a run, too; whoever carries it out rings then.
    let store = store.reopen().await;
    for claim in store.claim("me", TTL, 9).await.unwrap() {
        store.complete(&claim, Completion::default()).await.unwrap();
    }
    let leaves = key("a", "leaves");
    let uid = store.get(&leaves).await.unwrap().unwrap().uid;
    store.wake(&[uid], Class::User).await.unwrap();
    let run = claim(&store).await;
    let gone = Completion { ops: vec![Op::Remove { key: leaves, precondition: PRESENT }], ..Default::default() };
    assert_eq!(
        store.complete(&run, gone).await.unwrap().woken,
        [body(&place, json!(1))["metadata"]["uid"].as_str().unwrap().into()]
    );
    assert_eq!(claim(&store).await.object.key, place);
}

/// Makes or changes an object whose runs go to a target.
fn aimed(name: &str, target: &Key, precondition: Precondition, wake: Option<Class>) -> Op {
    let key = key("a", name);
    let edges = Some(vec![Edge { role: "target".to_string(), ..edge(target) }]);
    Op::Put { body: body(&key, json!(&*target.name)), key, precondition, edges, wake }
}

#[tokio::test]
async fn no_more_than_its_share_is_claimed_for_a_target_and_the_rest_stays_for_later() {
    let store = open().await;
    let (slow, quick) = (key("a", "slow"), key("a", "quick"));
    for n in 0..10 {
        write(&store, aimed(&format!("s{n}"), &slow, ABSENT, Some(Class::User))).await;
    }
    write(&store, aimed("q0", &quick, ABSENT, Some(Class::Resync))).await;
    // Known from the references, so also after a restart.
    let store = store.reopen().await;
    let mut shares = Shares::default().at_each_target(2);
    let names = |claims: &[Claim]| claims.iter().map(|claim| claim.object.key.name.to_string()).collect::<Vec<_>>();
    let claims = store.claim_within("me", TTL, 24, shares.clone()).await.unwrap();
    assert_eq!(names(&claims), ["s0", "s1", "q0"]);
    assert_eq!(*claims[0].targets, [slow]);
    claims.iter().for_each(|claim| shares.hold(claim));
    assert!(store.claim_within("me", TTL, 24, shares.clone()).await.unwrap().is_empty());
    assert_eq!(store.queue().depth, 8, "they wait unclaimed");
    assert!(store.next_due_within(&shares).unwrap() > Duration::from_secs(50));
    // One that refers to another target now, by a write that wakes nobody.
    write(&store, aimed("s5", &quick, PRESENT, None)).await;
    assert_eq!(names(&store.claim_within("me", TTL, 24, shares).await.unwrap()), ["s5"]);
}

#[tokio::test]
async fn a_storm_in_one_namespace_does_not_come_before_what_another_changes_once() {
    let store = open().await;
    for n in 0..40 {
        write(&store, put_due(&key("storm", &format!("n{n}")), json!(n), ABSENT)).await;
    }
    let mut shares = Shares::default().in_each_namespace(6);
    let held = store.claim_within("me", TTL, 8, shares.clone()).await.unwrap();
    assert_eq!(held.len(), 6, "what is left of the slots is for others");
    held.iter().for_each(|claim| shares.hold(claim));
    write(&store, put_due(&key("small", "one"), json!(1), ABSENT)).await;
    let next = store.claim_within("me", TTL, 2, shares).await.unwrap();
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].object.key, key("small", "one"));
}

#[tokio::test]
async fn a_survey_says_who_holds_what_and_how_the_last_run_ended() {
    let store = open().await;
    let one = due(&store, "one").await;
    let survey = |store: &Store| store.survey(Some("a")).pop().unwrap();
    assert!(matches!(survey(&store).progress, Progress::Due { .. }));
    assert!(store.survey(Some("b")).is_empty());
    let first = claim(&store).await;
    let Progress::Held { host, epoch, since, left } = survey(&store).progress else { panic!("it is held") };
    assert_eq!((&*host, epoch), ("me", first.epoch));
    assert!(since.is_some() && left <= TTL);
    let failed = Completion {
        failed: true,
        next: Some(TTL),
        next_class: Some(Class::Drift),
        next_reason: Some("retry"),
        verdict: Some("Torn".into()),
        ..Default::default()
    };
    store.complete(&first, failed).await.unwrap();
    let waits = survey(&store);
    assert!(matches!(waits.progress, Progress::BacksOff { next } if next <= TTL), "{waits:?}");
    assert_eq!((waits.attempts, waits.reason.as_deref(), waits.verdict.as_deref()), (1, Some("retry"), Some("Torn")));
    let standing = store.standing(&one).unwrap();
    let last = standing.last.unwrap();
    assert_eq!((last.failed, &*last.host, last.class, last.reason), (true, "me", first.class, None));
    assert_eq!(standing.reason.as_deref(), Some("retry"));
    // Something happens before the time has come.
    store.wake(&[store.get(&key("a", "one")).await.unwrap().unwrap().uid], Class::Dependency).await.unwrap();
    let second = claim(&store).await;
    assert_eq!((second.class, store.survey(None)[0].reason.as_deref()), (Class::Dependency, None));
    store.complete(&second, Completion { next: Some(TTL), ..Default::default() }).await.unwrap();
    assert!(store.survey(None).is_empty(), "what waits for its resync is in nobody's way");
    assert_eq!(store.standing(&one).unwrap().last.unwrap().class, Class::Dependency);
}

#[tokio::test]
async fn what_happens_during_a_run_gives_the_next_one_its_class_and_not_the_run_before() {
    let store = open().await;
    write(&store, using(&key("a", "one"), &key("a", "two"))).await;
    store.wake(&[store.get(&key("a", "one")).await.unwrap().unwrap().uid], Class::User).await.unwrap();
    let first = claim(&store).await;
    assert_eq!(first.class, Class::User);
    store.wake(&[store.get(&key("a", "one")).await.unwrap().unwrap().uid], Class::Drift).await.unwrap();
    assert!(store.complete(&first, Completion::default()).await.unwrap().due_again);
    assert_eq!(claim(&store).await.class, Class::Drift, "a user's change is urgent once");
}

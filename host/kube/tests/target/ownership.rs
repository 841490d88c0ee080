use serde_json::{Value, json};
use threeport_kube::kube::api::PostParams;
use threeport_kube::{ApplyOptions, Class, Error, Reference, Removed};

use crate::support::*;

fn options() -> ApplyOptions {
    ApplyOptions::default()
}

/// Makes an object as a person with kubectl would.
async fn foreign(ns: &str, data: Value) -> Value {
    let manifest = config_map(ns, "web", data);
    let params = PostParams { field_manager: Some("meddler".into()), ..PostParams::default() };
    let object = serde_json::from_value(manifest.clone()).unwrap();
    plain(&manifest).await.create(&params, &object).await.unwrap();
    manifest
}

#[tokio::test]
async fn a_second_owner_is_refused_by_name() {
    let (target, ns) = target().await;
    let manifest = config_map(&ns, "web", json!({"a": "1"}));
    target.apply(&owner("first", 1), &manifest, &options()).await.unwrap();
    for options in [options(), ApplyOptions { adopt: true, ..options() }] {
        let error = target.apply(&owner("second", 9), &manifest, &options).await.unwrap_err();
        assert_eq!(error.class(), Class::Conflict);
        assert!(error.to_string().contains("thing.example.com/tests/first"), "{error}");
    }
    assert_eq!(target.remove(&owner("second", 9), &Reference::of(&manifest)).await.unwrap(), Removed::NotOurs);
}

#[tokio::test]
async fn an_older_run_is_fenced_off() {
    let (target, ns) = target().await;
    let manifest = |v: &str| config_map(&ns, "web", json!({"a": v}));
    target.apply(&owner("u1", 7), &manifest("new"), &options()).await.unwrap();
    let error = target.apply(&owner("u1", 6), &manifest("old"), &options()).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { ours: 6, theirs: 7, .. }), "{error}");
    assert_eq!(error.class(), Class::Fenced);
    let reference = Reference::of(&manifest("new"));
    assert!(matches!(target.remove(&owner("u1", 6), &reference).await, Err(Error::Fenced { .. })));
    assert_eq!(live(&target, &manifest("new")).await["data"]["a"], "new");
}

#[tokio::test]
async fn of_owners_that_create_at_once_one_wins_and_the_others_learn_its_name() {
    let (target, ns) = target().await;
    for round in 0..5 {
        let owners: Vec<_> = (0..6).map(|i| owner(&format!("o{i}"), 1)).collect();
        let manifest = config_map(&ns, &format!("web-{round}"), json!({"same": "value"}));
        let options = options();
        let outcomes =
            futures::future::join_all(owners.iter().map(|owner| target.apply(owner, &manifest, &options))).await;
        let winner = live(&target, &manifest).await["metadata"]["annotations"]["threeport.dev/owner"]
            .as_str()
            .unwrap()
            .to_owned();
        for (owner, outcome) in owners.iter().zip(outcomes) {
            match outcome {
                Ok(_) => assert_eq!(owner.name, winner),
                Err(Error::OwnedByOther { owner, .. }) => assert_eq!(owner, winner),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_run_gets_through_while_others_write_and_the_newest_epoch_stays() {
    let (target, ns) = target().await;
    let manifest = |v: u64| config_map(&ns, "web", json!({"a": v.to_string()}));
    target.apply(&owner("u1", 1), &manifest(1), &options()).await.unwrap();
    let runs = (2..8).map(async |epoch| (epoch, target.apply(&owner("u1", epoch), &manifest(epoch), &options()).await));
    let (outcomes, ()) = tokio::join!(futures::future::join_all(runs), async {
        for i in 0..3 {
            meddle(&manifest(0), json!({"metadata": {"annotations": {"note": i.to_string()}}})).await;
        }
    });
    for (epoch, outcome) in &outcomes {
        // Six at once may outrun five attempts; what must not be is an older one over a newer one.
        let fine = matches!(outcome, Ok(_) | Err(Error::Fenced { .. } | Error::Race { .. }));
        assert!(fine, "epoch {epoch}: {outcome:?}");
    }
    let newest = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.is_ok())
        .map(|(epoch, _)| *epoch)
        .max()
        .expect("one gets through");
    let live = live(&target, &manifest(0)).await;
    assert_eq!(live["metadata"]["annotations"]["threeport.dev/epoch"], newest.to_string());
    assert_eq!(live["data"]["a"], newest.to_string());
}

/// A create that comes late is no apply over what a newer run made meanwhile.
#[tokio::test]
async fn of_runs_that_create_at_once_the_newest_stays() {
    let (target, ns) = target().await;
    for round in 0..10 {
        let manifest = |v: u64| config_map(&ns, &format!("web-{round}"), json!({"a": v.to_string()}));
        // The newest first: the others find that nothing is there, and come when it has written.
        let runs = (2..8).rev();
        let runs =
            runs.map(async |epoch| (epoch, target.apply(&owner("u1", epoch), &manifest(epoch), &options()).await));
        let outcomes = futures::future::join_all(runs).await;
        let done = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(epoch, _)| *epoch);
        let newest = done.max().expect("one gets through").to_string();
        let live = live(&target, &manifest(0)).await;
        assert_eq!(live["metadata"]["annotations"]["threeport.dev/epoch"], newest, "{outcomes:?}");
        assert_eq!(live["data"]["a"], newest);
    }
}

/// A run whose lease ran out has read the object and is about to write; the next run finds everything as it wants it.
#[tokio::test]
async fn after_a_lost_lease_what_is_as_wanted_is_stamped_once() {
    let (target, ns) = target().await;
    let manifest = config_map(&ns, "web", json!({"a": "1"}));
    let before = target.apply(&owner("u1", 3), &manifest, &options()).await.unwrap().live;
    let lost = ApplyOptions { newer_than: 4, ..options() };
    let next = target.apply(&owner("u1", 5), &manifest, &lost).await.unwrap();
    assert_eq!(next.live["metadata"]["annotations"]["threeport.dev/epoch"], "5");
    assert!(next.changed, "what the lost run has read is as it was");
    assert_ne!(next.live["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    let late = target.apply(&owner("u1", 4), &config_map(&ns, "web", json!({"a": "2"})), &options()).await;
    assert!(matches!(late, Err(Error::Fenced { ours: 4, theirs: 5, .. })), "{late:?}");
    // Once is enough: a run that writes each time would wake the next one each time.
    assert!(!target.apply(&owner("u1", 6), &manifest, &lost).await.unwrap().changed);
}

#[tokio::test]
async fn what_exists_is_adopted_only_when_asked_and_only_without_conflict() {
    let (target, ns) = target().await;
    let manifest = foreign(&ns, json!({"a": "theirs"})).await;
    let wanted = |a: &str| config_map(&ns, "web", json!({"a": a}));
    let adopt = ApplyOptions { adopt: true, ..options() };

    let error = target.apply(&owner("u1", 1), &wanted("theirs"), &options()).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (Class::Conflict, "AlreadyExists"));
    assert!(error.to_string().contains("threeport.dev/adopt=true") && error.to_string().contains("meddler"), "{error}");

    let error = target.apply(&owner("u1", 1), &wanted("ours"), &adopt).await.unwrap_err();
    let Error::FieldConflict { conflicts, .. } = &error else { panic!("{error}") };
    assert_eq!((conflicts[0].field.as_str(), conflicts[0].manager.as_str()), (".data.a", "meddler"));
    assert_eq!(live(&target, &manifest).await["data"]["a"], "theirs");

    let adopted = target.apply(&owner("u1", 1), &wanted("theirs"), &adopt).await.unwrap();
    assert!(adopted.adopted);
    assert_eq!(adopted.live["metadata"]["annotations"]["threeport.dev/adopted"], "meddler");
    let applied = target.apply(&owner("u1", 2), &wanted("ours"), &options()).await.unwrap();
    assert_eq!(applied.live["data"]["a"], "ours", "once it is ours, drift is corrected");
    assert!(applied.adopted, "it is not forgotten that it was there before");
    assert!(!target.apply(&owner("u1", 3), &wanted("ours"), &options()).await.unwrap().changed);

    // Let go of, it is as if we had never been there, but for the values.
    assert_eq!(target.release(&owner("u2", 1), &Reference::of(&manifest)).await.unwrap(), Removed::NotOurs);
    assert!(matches!(target.release(&owner("u1", 1), &Reference::of(&manifest)).await, Err(Error::Fenced { .. })));
    assert_eq!(target.release(&owner("u1", 4), &Reference::of(&manifest)).await.unwrap(), Removed::NotOurs);
    let free = live(&target, &manifest).await;
    assert_eq!(free["data"]["a"], "ours");
    assert!(!free["metadata"].to_string().contains("threeport"), "{free:#}");
    target.apply(&owner("u2", 1), &wanted("next"), &adopt).await.unwrap();
}

#[tokio::test]
async fn a_label_that_someone_took_off_comes_back() {
    let (target, ns) = target().await;
    let manifest = config_map(&ns, "web", json!({"a": "1"}));
    target.apply(&owner("u1", 1), &manifest, &options()).await.unwrap();
    meddle(&manifest, json!({"metadata": {"labels": {"threeport.dev/owner-uid": null}}})).await;
    let applied = target.apply(&owner("u1", 2), &manifest, &options()).await.unwrap();
    assert_eq!(applied.live["metadata"]["labels"]["threeport.dev/owner-uid"], "u1");
}

#[tokio::test]
async fn a_shared_object_has_parts_of_several_owners_and_goes_with_the_last() {
    let (target, ns) = target().await;
    let shared = ApplyOptions { shared: true, ..options() };
    let part = |key: &str, value: &str| config_map(&ns, "web", json!({key: value}));
    let reference = Reference::of(&part("a", "1"));
    target.apply(&owner("u1", 1), &part("a", "1"), &shared).await.unwrap();
    target.apply(&owner("u2", 5), &part("b", "2"), &shared).await.unwrap();
    assert!(!target.apply(&owner("u1", 2), &part("a", "1"), &shared).await.unwrap().changed);
    assert_eq!(live(&target, &part("a", "1")).await["data"], json!({"a": "1", "b": "2"}));

    let error = target.apply(&owner("u1", 2), &part("b", "mine"), &shared).await.unwrap_err();
    assert!(
        matches!(&error, Error::FieldConflict { conflicts, .. } if conflicts[0].manager == "threeport-u2"),
        "{error}"
    );
    let error = target.apply(&owner("u3", 1), &part("c", "3"), &options()).await.unwrap_err();
    assert_eq!(error.reason(), "OwnedByOther", "{error}");

    assert_eq!(target.remove(&owner("u1", 3), &reference).await.unwrap(), Removed::Shared);
    assert_eq!(live(&target, &part("b", "2")).await["data"], json!({"b": "2"}));
    assert_eq!(target.remove(&owner("u2", 6), &reference).await.unwrap(), Removed::Gone);
}

//! What comes of what, in `cases/`.

use cluster::{Clusters, describe};
use threeport_sdk::testing;

#[test]
fn each_case_comes_out_as_it_says_and_the_same_twice() {
    testing::cases::<Clusters>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases"));
}

#[test]
fn the_definition_is_the_kind() {
    let described = describe().into_wit();
    let definition: serde_json::Value = serde_json::from_str(&described.kinds[0]).unwrap();
    assert_eq!(definition["spec"]["names"]["kind"], "Cluster");
    assert_eq!(definition["metadata"]["name"], "clusters.threeport.dev");
}

//! What comes of what, in `cases/`.

use threeport_sdk::testing;
use workload::{Workloads, describe};

#[test]
fn each_case_comes_out_as_it_says_and_the_same_twice() {
    testing::cases::<Workloads>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases"));
}

#[test]
fn the_definition_is_the_kind() {
    let described = describe().into_wit();
    let definition: serde_json::Value = serde_json::from_str(&described.kinds[0]).unwrap();
    assert_eq!(definition["spec"]["names"]["kind"], "Workload");
    let probe = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/liveness/properties/tcpSocket");
    assert!(probe.is_some(), "what the YAML shares by reference is whole in the JSON");
}

//! Never says what it is.

use serde::{Deserialize, Serialize};
use threeport_sdk::{Description, Failure, Plan, Reconciler, Request, Resource};

/// A kind that nobody learns of.
pub struct Nothing;

/// Nothing.
#[derive(Default, Deserialize, Serialize)]
pub struct Empty {}

impl Resource for Nothing {
    const API_VERSION: &'static str = "test.threeport.dev/v1";
    const KIND: &'static str = "Nothing";
    type Spec = Empty;
    type Status = Empty;
}

/// Serves it.
pub struct Nobody;

impl Reconciler for Nobody {
    type Resource = Nothing;

    fn reconcile(_: Request<Nothing>) -> Result<Plan<Nothing>, Failure> {
        Ok(Plan::new(Empty {}))
    }
}

/// See [`Description`].
pub fn describe() -> Description {
    loop {
        std::hint::black_box(0);
    }
}

threeport_sdk::export!(describe, [Nobody]);

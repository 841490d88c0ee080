//! Does its worst, as `spec.deed` says. Whatever it does, its run ends and nobody else's is touched.

use std::hint::black_box;

use serde::{Deserialize, Serialize};
use threeport_sdk::{
    Condition, Description, Failure, Plan, Reconciler, Request, Resource, Status, context, json, kubernetes, support,
};

/// The kind Hostile.
pub struct Hostile;

/// What the user wants.
#[derive(Deserialize)]
pub struct HostileSpec {
    deed: String,
}

/// What is: nothing.
#[derive(Default, Deserialize, Serialize)]
pub struct HostileStatus {}

impl Resource for Hostile {
    const API_VERSION: &'static str = "test.threeport.dev/v1";
    const KIND: &'static str = "Hostile";
    type Spec = HostileSpec;
    type Status = HostileStatus;
}

/// Serves it.
pub struct Deeds;

impl Reconciler for Deeds {
    type Resource = Hostile;

    fn reconcile(request: Request<Hostile>) -> Result<Plan<Hostile>, Failure> {
        let plan = Plan::new(HostileStatus {});
        let own = request.object.reference();
        match request.object.spec.deed.as_str() {
            "none" => Ok(plan.condition(Condition::ready(Status::True, "Tame", "nothing was done"))),
            "loop" => loop {
                black_box(0);
            },
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            "trap" => panic!("a deed of {own}"),
            "stack" => Err(Failure::terminal("Counted", black_box(descend(0)).to_string())),
            "calls" => loop {
                black_box(context::now_ms());
            },
            "bytes" => {
                let words = "word ".repeat(100_000);
                loop {
                    context::log("debug", &words, &[]);
                }
            }
            "handles" => {
                let mut open = Vec::new();
                loop {
                    open.push(kubernetes::open(&own)?);
                }
            }
            "answer" => Ok((0..40).fold(plan, |plan, _| plan.output("x", "x".repeat(1 << 20)))),
            "nonsense" => Ok(plan.condition(Condition::ready(Status::True, "", "a condition without a reason"))),
            "wait" => Err(kubernetes::open(&own)?
                .version()
                .map_or_else(Failure::from, |version| Failure::terminal("Answered", version))),
            deed => Err(Failure::invalid("spec.deed", format!("{deed} is no deed"))),
        }
    }
}

#[allow(unconditional_recursion, reason = "that is the deed")]
fn descend(depth: u64) -> u64 {
    descend(black_box(depth + 1)).wrapping_mul(3).wrapping_add(black_box(depth))
}

/// See [`Description`].
pub fn describe() -> Description {
    let spec = json!({"type": "object", "required": ["deed"], "properties": {"deed": {"type": "string"}}});
    let definition = support::definition::<Hostile>(&spec);
    Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).kind(&definition.to_string())
}

threeport_sdk::export!(describe, [Deeds]);

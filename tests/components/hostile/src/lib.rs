//! Does its worst, as `spec.deed` says. Whatever it does, its run ends and nobody else's is touched.

use std::hint::black_box;

use serde::{Deserialize, Serialize};
use threeport_sdk::{
    Condition, Description, Failure, Manifest, ObjectRef, Plan, Reconciler, Request, Resource, Status, context, json,
    kubernetes, state, support,
};

/// The kind Hostile.
pub struct Hostile;

/// What the user wants.
#[derive(Deserialize)]
pub struct HostileSpec {
    deed: String,
}

/// What is: nothing worth to be kept.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub struct HostileStatus {
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
}

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
        let plan = Plan::new(HostileStatus::default());
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
            "logs" => {
                for line in 0..900 {
                    context::log("info", &format!("{line} {}", "words ".repeat(5000)), &[("loud", "yes")]);
                }
                Ok(plan.condition(Condition::ready(Status::True, "Loud", "everything was said")))
            }
            "events" => {
                let told = (0..10_000).fold(plan, |plan, _| plan.event("Heard", "again ".repeat(100)));
                Ok(told.condition(Condition::ready(Status::True, "Told", "everything was told")))
            }
            "wide" => {
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
                Ok((0..2000).fold(plan, |plan, _| plan.manifest(Manifest::new(own.clone(), &body))))
            }
            "status" => {
                let status = HostileStatus { text: "x".repeat(2 << 20) };
                Ok(Plan::new(status).condition(Condition::ready(Status::True, "Large", "it is large")))
            }
            "conditions" => {
                let said = (0..1000).fold(plan, |plan, number| {
                    plan.condition(Condition::new(&format!("C{number}"), Status::True, "Said", "x".repeat(1000)))
                });
                Ok(said)
            }
            "snoop" => {
                let other = ObjectRef { name: "somebody-elses".into(), ..own };
                Err(match kubernetes::open(&other) {
                    Ok(_) => Failure::terminal("Snooped", "it was let in"),
                    Err(problem) => problem.into(),
                })
            }
            "spy" => Err(match state::get(&ObjectRef::secret(own.namespace.as_deref(), "password")) {
                Ok(_) => Failure::terminal("Spied", "it was shown a Secret"),
                Err(problem) => problem.into(),
            }),
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

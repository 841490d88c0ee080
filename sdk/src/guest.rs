//! What [`export!`](crate::export) expands to calls; nothing for authors.

use crate::bindings::exports::threeport::reconciler::guest::{Failure, Plan, Request as WitRequest};
use crate::bindings::threeport::reconciler::types::Problem;
use crate::{Failure as OurFailure, Reconciler, Request};

/// `reconcile` or `cleanup`, decoded and encoded.
pub fn run<R: Reconciler>(
    request: WitRequest,
    call: impl FnOnce(Request<R::Resource>) -> Result<crate::Plan<R::Resource>, OurFailure>,
) -> Result<Plan, Failure> {
    let plan = Request::decode(request).and_then(call).map_err(OurFailure::into_wit)?;
    plan.into_wit().map_err(|error| OurFailure::terminal("StatusUnwritable", error.to_string()).into_wit())
}

/// A kind that the plugin does not serve: a fault of the host.
pub fn unserved(kind: &str) -> Result<Plan, Failure> {
    Err(OurFailure::terminal("KindNotServed", format!("this plugin does not serve the kind {kind}")).into_wit())
}

/// No kind of this SDK has more than one version yet.
pub fn convert(to_version: &str) -> Result<String, Problem> {
    Err(Problem {
        code: "NotSupported".into(),
        message: format!("this plugin does not convert to {to_version}"),
        field: None,
        objects: vec![],
        retry_after_ms: None,
    })
}

/// Has panics tell the host where and why, before they trap.
#[cfg(target_family = "wasm")]
pub fn start() {
    use std::sync::Once;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            crate::bindings::threeport::reconciler::context::log("panic", &panic.to_string(), &[]);
        }));
    });
}

/// Makes a crate a plugin: `export!(describe, [FirstReconciler, SecondReconciler]);` with `fn describe() -> Description`.
///
/// The crate's type has to be `cdylib` (and `lib`, for its tests).
#[macro_export]
macro_rules! export {
    ($describe:path, [$($reconciler:ty),+ $(,)?]) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::exports::threeport::reconciler::guest as wit;
            struct Component;
            impl wit::Guest for Component {
                fn describe() -> wit::Descriptor {
                    $crate::guest::start();
                    $describe().into_wit()
                }
                fn reconcile(request: wit::Request) -> Result<wit::Plan, wit::Failure> {
                    $crate::guest::start();
                    match request.object.ref_.kind.as_str() {
                        $(<<$reconciler as $crate::Reconciler>::Resource as $crate::Resource>::KIND =>
                            $crate::guest::run::<$reconciler>(request, <$reconciler as $crate::Reconciler>::reconcile),)+
                        kind => $crate::guest::unserved(kind),
                    }
                }
                fn cleanup(request: wit::Request) -> Result<wit::Plan, wit::Failure> {
                    $crate::guest::start();
                    match request.object.ref_.kind.as_str() {
                        $(<<$reconciler as $crate::Reconciler>::Resource as $crate::Resource>::KIND =>
                            $crate::guest::run::<$reconciler>(request, <$reconciler as $crate::Reconciler>::cleanup),)+
                        kind => $crate::guest::unserved(kind),
                    }
                }
                fn convert(_object: String, to_version: String) -> Result<String, $crate::Problem> {
                    $crate::guest::convert(&to_version)
                }
            }
            $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}

//! Fulfils a contract that no host speaks.

#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_imports,
    unused_macros,
    reason = "generated; crossing the border is what its unsafe code does"
)]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "reconciler" });
}

/// The guest.
pub struct Component;

impl bindings::exports::threeport::reconciler::guest::Guest for Component {
    fn describe() -> String {
        "of another time".into()
    }
}

#[cfg(target_family = "wasm")]
#[allow(unsafe_code, unreachable_pub, reason = "what it expands to")]
const _: () = {
    bindings::export!(Component with_types_in bindings);
};

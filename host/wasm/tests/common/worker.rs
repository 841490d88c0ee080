//! What `threeport compile-component` is in the product.

use std::process::ExitCode;

fn main() -> ExitCode {
    threeport_wasm::compile_worker(&std::env::args().next_back().unwrap_or_default())
}

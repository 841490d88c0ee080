//! The `threeport` binary.
fn main() {}

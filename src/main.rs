//! The `framewise` binary.
fn main() {}

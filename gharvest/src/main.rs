//! The `gharvest` command.
fn main() {}

//! Benchmarks that print ratios against a limit of the same run.

pub mod index;

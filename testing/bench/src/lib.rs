//! Benchmarks that print ratios against a limit of the same run.
//!
//! Each part is a module with one function that measures and gives back rows: what was measured, beside it the limit
//! that the same machine reached a moment before or after with the least code that does the same (the bare disk,
//! SQLite, tantivy writer, router), and the goal for their ratio. `_docs/benchmarks.md` describes every row.

pub mod archive;
pub mod cost;
pub mod deliveries;
pub mod deployment;
pub mod engine;
pub mod index;
pub mod load;
pub mod measure;
pub mod memory;
pub mod pipeline;
pub mod queue;
pub mod redis;
pub mod search;
pub mod system;
pub mod table;
pub mod threads;

//! What tests share: named skips, and real services on loopback.

pub mod redis;
mod search;
mod skip;

pub use search::{SearchServer, search_server};
pub use skip::{recorded_data, skip};

//! What tests share: named skips, and real services on loopback.

mod skip;

pub use skip::{recorded_data, skip};

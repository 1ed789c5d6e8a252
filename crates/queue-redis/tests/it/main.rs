//! The queue and the state on real servers.
#![expect(clippy::unwrap_used, reason = "tests")]

mod contract;
mod support;

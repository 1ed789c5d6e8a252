//! The queue and the state on real servers.
#![expect(clippy::unwrap_used, reason = "tests")]

mod budgets;
mod contract;
mod faults;
mod grouping;
mod leasing;
mod memory;
mod proxy;
mod state;
mod support;
mod work;

//! The archive in a folder, in memory and in a real object storage, and what becomes of it when things go wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod audit;
mod faults;
mod full;
mod golden;
mod inbox;
mod kill;
mod ledger;
mod place;
mod snapshot;
mod store;

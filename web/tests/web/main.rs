//! The web front on embedded backends: without a socket, and in a browser.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod access;
mod api;
mod audit;
mod browser;
mod description;
mod hidden;
mod live;
mod mirror;
mod pages;
